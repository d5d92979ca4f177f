"""Check the set-up: variables, versions, directory, permissions, disk, books, damage and the destination.

The destination is checked with a real request without any record. The exit code is 1 if there is a
problem; warnings do not count.

With --json:
  {"ok", "checks": [{"name", "status", "what", "hint"}]}
status is "ok", "warning" or "problem", and hint is what to do about it, or empty.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from wakelog._printable import printable
from wakelog.cli._next_hop import add_destination
from wakelog.cli._paths import add_json, add_path, print_json
from wakelog.cli._terminal import say

_MARKS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory")
    add_destination(parser, "the destination to check")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check the configuration."""
    from wakelog.cli._checks import PROBLEM, checks

    found = []
    for check in checks(arguments):
        found.append(check)
        if arguments.json:
            continue
        mark, style = _MARKS[check.status]
        say((mark, style), (f" {check.name}: ", "bold"), printable(check.what))
        if check.hint:
            say(f"  {printable(check.hint)}")
        sys.stdout.flush()
    ok = all(check.status != PROBLEM for check in found)
    if arguments.json:
        print_json({"ok": ok, "checks": [check._asdict() for check in found]})
    return 0 if ok else 1
