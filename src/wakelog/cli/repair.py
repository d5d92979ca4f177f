"""Find what is damaged in a journal, and move it aside.

It lists what it would do; --apply does it. Unreadable files are moved aside and written again if their data can
be found elsewhere. Damaged lines are copied aside and stay in their segment, because segments are never changed;
readers skip them. Files of a running program are left to that program. The exit code is 1 while a repair is
outstanding.

With --json:
  {"path", "applied", "faults": [{"file", "what", "remedy", "done"}]}
done is whether it was done now, or null for what a running program repairs by itself.
"""

from __future__ import annotations

import argparse
import sys

from wakelog._printable import printable
from wakelog.cli._paths import add_json, add_path, journal_of, print_json
from wakelog.cli._place import journal_at
from wakelog.journal import faults, repair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory, or one writer's folder")
    parser.add_argument(
        "--apply", action="store_true", help="repair the damage, instead of only listing it"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Find what is damaged, and with ``--apply`` repair it.

    Raises:
        JournalError: If there is no journal at the path, or reading or writing fails.
    """
    root, writer = journal_at(journal_of(arguments))
    found = list(faults(root, writer))
    done = [None if fault.repair is None else arguments.apply and repair(fault) for fault in found]
    left = sum(one is False for one in done)
    if arguments.json:
        listed = [
            {"file": str(fault.path), "what": fault.what, "remedy": fault.remedy, "done": one}
            for fault, one in zip(found, done, strict=True)
        ]
        print_json({"path": str(root), "applied": arguments.apply, "faults": listed})
        return 1 if left else 0
    for fault, one in zip(found, done, strict=True):
        word = "a living program mends it" if one is None else "done" if one else "to do"
        sys.stdout.write(printable(f"{fault.path}: {fault.what}; {fault.remedy} ({word})") + "\n")
    if not found:
        sys.stdout.write("Nothing is damaged that has not been moved aside.\n")
    elif left:
        sys.stdout.write(f"{left:,} to do: --apply does it.\n")
    return 1 if left else 0
