"""List, show and replay dead letters: records that the next hop permanently refused.

list prints one line for each, show prints everything about those that --id names, and replay delivers
them again, to --endpoint or to the endpoint of the OTEL_EXPORTER_OTLP_* variables. Those that are
accepted then count as delivered. The exit code is 1 if one was not accepted. replay sends the dead
letters of one service and pipeline: the only one there is, or the one that --service and --pipeline
name; --all sends those of all services to one destination.

With --json, a list of {"id", "writer", "seq", "event_name", "timestamp", "time", "outcome",
"reason", "size", "segment", "offset"}; with show also "line", the record as it was recorded; with
replay also "replayed", and "reason" is that of the new attempt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wakelog._printable import printable
from wakelog.cli._identity import become_owner_of
from wakelog.cli._next_hop import add_destination, exporter_maker, exporter_of
from wakelog.cli._paths import add_json, add_path, path_of, print_json
from wakelog.cli._place import check_journal, journal_at
from wakelog.cli._whose import Whose, add_whose
from wakelog.errors import ConfigurationError, JournalError, WakelogError
from wakelog.gateway import dead_letter_folders
from wakelog.journal import DeadLetter, dead_letters, folders

_SHOWN = ("id", "writer", "seq", "event_name", "timestamp", "time", "outcome", "reason", "size")
_PLACE = ("segment", "offset")
_LONGEST_REASON = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=("list", "show", "replay"), help="the action")
    add_path(parser, "a journal directory, or one writer's folder")
    add_whose(parser)
    parser.add_argument("--id", metavar="ID", help="only those whose id begins with ID")
    add_destination(parser, "replay: the destination")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """List, show or replay dead letters.

    Raises:
        WakelogError: If there is no journal at the path, or no dead letter with the id.
    """
    path = path_of(arguments).absolute()
    of_a_gateway = None
    try:
        check_journal(path)
    except JournalError:
        if (of_a_gateway := dead_letter_folders(path)) is None:
            raise
    among = _of_a_journal(path, arguments) if of_a_gateway is None else of_a_gateway
    found = _found(among, arguments.id)
    if arguments.action == "replay":
        if of_a_gateway is not None:
            raise ConfigurationError(
                f"cannot replay from {path}: its events go where the gateway's program sends them. "
                "Call `await logger.replay_dead_letters()` in that program"
            )
        return _replay(path, found, arguments)
    if arguments.action == "show" and not arguments.id:
        raise ConfigurationError("show needs --id: name the dead letter, as list prints it")
    whole = arguments.action == "show"
    letters = [letter for _, letter in found]
    if arguments.id and not letters:
        raise WakelogError(f"there is no dead letter whose id begins with {arguments.id!r}")
    if arguments.json:
        print_json([_to_json(letter, whole=whole) for letter in letters])
    elif whole:
        for letter in letters:
            for name, value in _to_json(letter, whole=True).items():
                sys.stdout.write(f"{name:<12}{printable(str(value))}\n")
    else:
        for letter in letters:
            sys.stdout.write(f"{printable(_line(letter))}\n")
        if not letters:
            sys.stdout.write("There are no dead letters.\n")
    return 0


def _of_a_journal(path: Path, arguments: argparse.Namespace) -> list[Path]:
    """Return the writers' folders that are selected; for replay, of one service and pipeline."""
    root, writer = journal_at(path)
    if writer is not None:
        return [root / writer]
    whose = Whose(arguments)
    if arguments.action == "replay":
        whose.choose(root, "dead-letters replay")
        return [folder for folder in folders(root) if whose.is_meant(folder)]
    if arguments.service or arguments.pipeline:
        return [folder for folder in folders(root) if whose.is_asked(folder)]
    return list(folders(root))


def _found(among: list[Path], wanted: str | None) -> Iterator[tuple[Path, DeadLetter]]:
    return (
        (folder, letter)
        for folder in among
        for letter in dead_letters(folder)
        if wanted is None or letter.id.startswith(wanted)
    )


def _replay(
    path: Path, found: Iterator[tuple[Path, DeadLetter]], arguments: argparse.Namespace
) -> int:
    from wakelog.otel.shipping import replay

    exporter_of(arguments).shutdown()  # type: ignore[no-untyped-call]  # the SDK's; checks the settings
    become_owner_of(path)
    results: list[dict[str, Any]] = []
    for letter, reason in replay(found, exporter_maker(arguments)):
        results.append(
            {**_to_json(letter, whole=False), "reason": reason, "replayed": reason is None}
        )
        if not arguments.json:
            said = "delivered" if reason is None else f"not accepted: {reason}"
            sys.stdout.write(printable(f"{letter.id}  {said}") + "\n")
    if arguments.id and not results:
        raise WakelogError(f"there is no dead letter whose id begins with {arguments.id!r}")
    if arguments.json:
        print_json(results)
    elif not results:
        sys.stdout.write("There are no dead letters.\n")
    return 0 if all(one["replayed"] for one in results) else 1


def _to_json(letter: DeadLetter, *, whole: bool) -> dict[str, Any]:
    names = (*_SHOWN, *_PLACE, *(("line",) if whole else ()))
    return {name: getattr(letter, name) for name in names}


def _line(letter: DeadLetter) -> str:
    reason = " ".join(letter.reason.split())
    if len(reason) > _LONGEST_REASON:
        reason = reason[: _LONGEST_REASON - 1] + "…"
    name = letter.event_name or "-"
    return f"{letter.id}  {letter.time[:19]}Z  {name}  {letter.size} B  {reason}"
