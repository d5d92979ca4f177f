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

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import Any

from wakelog.cli._identity import become_owner_of
from wakelog.cli._paths import add_json, add_path, journal_of, path_of, print_json
from wakelog.cli._place import journal_at
from wakelog.cli._sealing import add_sealing, outside_sealer
from wakelog.cli._signals import Stop, until_asked, wait_for_journal
from wakelog.cli._words import counted
from wakelog.errors import ConfigurationError, JournalError
from wakelog.evidence import OutsideSealer, Seal, last_seal
from wakelog.journal import folders

_POLL_SECONDS = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    add_sealing(parser, alone=True)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Seal a journal.

    Raises:
        JournalError: If there is no journal at the path, or it cannot be read or written.
        ConfigurationError: If the key is missing or cannot be used.
    """
    if arguments.seal_key is None:
        raise ConfigurationError(
            "seal needs the key to sign with: --key FILE. 'openssl genpkey -algorithm ed25519' makes one"
        )
    if not arguments.once and not wait_for_journal(path_of(arguments)):
        return 0
    path = journal_of(arguments).absolute()
    root, writer = journal_at(path)

    def is_meant(folder: Path) -> bool:
        return writer in (None, folder.name)

    sealer = outside_sealer(root, arguments, is_meant)  # before root gives up its id
    become_owner_of(path)

    before = _last_seals(root, writer)
    begun = time.monotonic()
    with until_asked(signal.SIGTERM, signal.SIGINT) as stop:
        last = arguments.once
        fits = _seal(sealer)
        while not last:
            _wait(stop, arguments.seal_interval)
            last = stop.asked
            fits = _seal(sealer)
    writers = [
        _to_json(name, seal, before.get(name)) for name, seal in _last_seals(root, writer).items()
    ]
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
        failed = f", {counted(sealer.failed, 'attempt')} failed" if sealer.failed else ""
        have = counted(sealed, "writer has", "writers have")
        sys.stdout.write(f"{counted(made, 'seal')} made, {have} seals{failed}\n")
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


def _last_seals(root: Path, writer: str | None) -> dict[str, Seal | None]:
    return {folder.name: last_seal(folder) for folder in folders(root, writer)}


def _to_json(writer: str, seal: Seal | None, before: Seal | None) -> dict[str, Any]:
    """Return how far a writer is sealed, in the form that ``--json`` prints."""
    number = 0 if seal is None else seal.number
    return {
        "writer": writer,
        "seals": number,
        "new": max(0, number - (0 if before is None else before.number)),
        "last_seq": 0 if seal is None else seal.last_seq,
        "closed": seal is not None and seal.closed,
    }
