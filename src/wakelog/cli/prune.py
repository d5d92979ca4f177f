"""Delete old segments of dead writers from a journal.

It lists the segments that it would delete; --apply deletes them. A segment is deleted if everything in it has been
delivered and its last event is older than --older-than. --undelivered also deletes segments with undelivered events,
which then count as evicted. Sealed segments are deleted only with --seal-key, which signs the deletion. Running
programs clean up after themselves, so their segments are not touched.

With --json:
  {"path", "applied", "bytes", "segments", "undelivered", "writers": [{"writer", "below", "segments",
   "bytes", "undelivered"}]}
undelivered is the number of segments with undelivered events, and below is the first segment that
stays.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import Final

from wakelog._printable import printable
from wakelog.cli._parser import add_file
from wakelog.cli._paths import add_json, add_path, print_json, whole_journal_of
from wakelog.cli._words import counted
from wakelog.cli.status import size_text
from wakelog.evidence import Sealing, Signer, Signing
from wakelog.journal import Prunable, prunable, prune

_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw]?)")
_SECONDS: Final = {"": 86_400.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_WEEK: Final = 7 * 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory")
    parser.add_argument(
        "--older-than",
        type=_age,
        default=_WEEK,
        metavar="AGE",
        help="the age, such as 12h, 30d, 4w (7d)",
    )
    parser.add_argument(
        "--undelivered", action="store_true", help="also delete segments with undelivered events"
    )
    add_file(
        parser,
        "--seal-key",
        "sign the deletion with this Ed25519 key; without it, sealed segments stay",
    )
    parser.add_argument(
        "--apply", action="store_true", help="delete the segments, instead of only listing them"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Delete old segments, or print which would be deleted.

    Raises:
        JournalError: If there is no journal at the path, or reading or writing fails.
        ConfigurationError: If the path is the folder of one writer.
    """
    root = whole_journal_of(arguments, "prune")
    if arguments.apply:
        signing = None
        if arguments.seal_key is not None:
            sealing = Sealing(arguments.seal_key)
            signing = Signing(sealing, Signer.from_file(arguments.seal_key), "pruner")
        found = prune(
            root, arguments.older_than, undelivered=arguments.undelivered, listener=signing
        )
    else:
        found = prunable(root, arguments.older_than, undelivered=arguments.undelivered)
    size, count = sum(one.size for one in found), sum(one.segments for one in found)
    if arguments.json:
        print_json(
            {
                "path": str(root),
                "applied": arguments.apply,
                "bytes": size,
                "segments": count,
                "undelivered": sum(one.undelivered for one in found),
                "writers": [_to_json(one) for one in found],
            }
        )
        return 0
    for one in found:
        sys.stdout.write(f"{_line(one)}\n")
    if not found:
        sys.stdout.write("No segment is old enough to be deleted.\n")
    elif arguments.apply:
        sys.stdout.write(f"{counted(count, 'segment')} deleted, {size_text(size)}.\n")
    else:
        sys.stdout.write(
            f"{counted(count, 'segment')} would be deleted, {size_text(size)}; --apply deletes them.\n"
        )
    return 0


def _to_json(one: Prunable) -> dict[str, object]:
    return {
        "writer": one.folder.name,
        "below": one.below,
        "segments": one.segments,
        "bytes": one.size,
        "undelivered": one.undelivered,
    }


def _line(one: Prunable) -> str:
    what = f"{counted(one.segments, 'segment')}, {size_text(one.size)}"
    if one.undelivered:
        what += f", {one.undelivered:,} of them with undelivered events"
    return f"{printable(one.folder.name)}  {what}"


def _age(text: str) -> float:
    match = _AGE.fullmatch(text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age: give one such as 12h, 30d or 4w")
    return float(match[1]) * _SECONDS[match[2]]
