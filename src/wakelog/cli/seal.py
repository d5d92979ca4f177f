"""Sign a journal from a process that does not record.

It runs until Ctrl-C or SIGTERM, while programs record, and seals at each interval and once more at the end; with --once it
seals once. It seals every writer's folder, of running and of ended programs, and delivers nothing: 'wakelog ship' does both.
Only this process needs the key. The programs get WAKELOG_SEALING=true and no key.
If root runs it, it reads the key and then switches to the directory's owner.
The exit code is 1 if the last attempt failed for a writer or for --checkpoints.

With --json, at the end:
  {"path", "signer", "seals", "failed", "seconds", "writers": [{"writer", "seals", "new", "last_seq", "closed"}]}
"""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from wakelog.cli._identity import become_owner_of
from wakelog.cli._parser import number_from
from wakelog.cli._paths import add_path, journal_of, path_of, print_json
from wakelog.cli._place import journal_at
from wakelog.cli._sealing import INTERVAL_SECONDS, outside_sealer
from wakelog.cli._signals import Stop, until_asked, wait_for_journal
from wakelog.errors import ConfigurationError, JournalError
from wakelog.evidence import KEEP_SECONDS, FileAnchor, OutsideSealer, Sealing, last_seal
from wakelog.journal import folders

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

_POLL_SECONDS = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    parser.add_argument("--key", metavar="FILE", help="sign with this Ed25519 key, as PEM")
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--interval",
        type=number_from(0, including=False),
        default=INTERVAL_SECONDS,
        metavar="SECONDS",
        help="the maximum time that a line stays without a seal (60)",
    )
    when.add_argument("--once", action="store_true", help="seal the existing lines, and end")
    parser.add_argument(
        "--keep",
        type=number_from(0),
        default=KEEP_SECONDS,
        metavar="SECONDS",
        help="sign a requested deletion only of segments sealed at least this long ago (86400)",
    )
    parser.add_argument(
        "--checkpoints",
        metavar="FILE",
        help="append each seal to this file, in another place, and check at the start that no seal in it is missing",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Seal a journal.

    Raises:
        JournalError: If there is no journal at the path, or it cannot be read or written.
        ConfigurationError: If the key is missing or cannot be used.
    """
    if arguments.key is None:
        raise ConfigurationError(
            "seal needs the key to sign with: --key FILE. 'openssl genpkey -algorithm ed25519' makes one"
        )
    if not arguments.once and not wait_for_journal(path_of(arguments)):
        return 0
    path = journal_of(arguments).absolute()
    root, writer = journal_at(path)

    def is_meant(folder: Path) -> bool:
        return writer is None or folder.name == writer

    anchors = (FileAnchor(arguments.checkpoints),) if arguments.checkpoints else ()
    sealing = Sealing(arguments.key, arguments.interval, anchors)
    sealer = outside_sealer(root, sealing, is_meant, arguments.keep)  # before root gives up its id
    become_owner_of(path)

    before = _numbers(root, is_meant)
    begun = time.monotonic()
    with until_asked(signal.SIGTERM, signal.SIGINT) as stop:
        last = arguments.once
        fits = _seal(sealer)
        while not last:
            _wait(stop, arguments.interval)
            last = stop.asked
            fits = _seal(sealer)
    writers = _writers(root, is_meant, before)
    made = sum(one["new"] for one in writers)
    if arguments.json:
        print_json(
            {
                "path": str(path),
                "signer": sealer.signer.id,
                "seals": made,
                "failed": sealer.failed,
                "seconds": round(time.monotonic() - begun, 3),
                "writers": writers,
            }
        )
    else:
        sealed = sum(1 for one in writers if one["seals"])
        failed = f", {sealer.failed:,} attempts failed" if sealer.failed else ""
        sys.stdout.write(f"{made:,} seals made, {sealed:,} writers have seals{failed}\n")
    return 0 if fits else 1


def _seal(sealer: OutsideSealer) -> bool:
    """Seal what is there now, and return whether all attempts succeeded."""
    failed = sealer.failed
    try:
        sealer.seal_all()
    except JournalError as error:
        sealer.note("the journal was not sealed", error)
    return sealer.failed == failed


def _wait(stop: Stop, seconds: float) -> None:
    due = time.monotonic() + seconds
    while not stop.asked and (left := due - time.monotonic()) > 0:
        time.sleep(min(_POLL_SECONDS, left))


def _numbers(root: Path, is_meant: Callable[[Path], bool]) -> dict[str, int]:
    """Return the number of each writer's last seal."""
    seals = {folder.name: last_seal(folder) for folder in folders(root) if is_meant(folder)}
    return {name: seal.number for name, seal in seals.items() if seal is not None}


def _writers(
    root: Path, is_meant: Callable[[Path], bool], before: dict[str, int]
) -> list[dict[str, Any]]:
    """Return how far each writer is sealed, in the form that ``--json`` prints."""
    found: list[dict[str, Any]] = []
    for folder in folders(root):
        if not is_meant(folder):
            continue
        seal = last_seal(folder)
        number = seal.number if seal is not None else 0
        found.append(
            {
                "writer": folder.name,
                "seals": number,
                "new": max(0, number - before.get(folder.name, 0)),
                "last_seq": seal.last_seq if seal is not None else 0,
                "closed": seal is not None and seal.closed,
            }
        )
    return found
