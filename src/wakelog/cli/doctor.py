"""Check the set-up: variables, versions, directory, permissions, disk, books, damage and the destination.

The destination is checked with a real request without any record. The exit code is 1 if there is a
problem; warnings do not count.

With --json:
  {"ok", "checks": [{"name", "status", "what", "hint"}]}
status is "ok", "warning" or "problem", and hint is what to do about it, or empty.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from wakelog._printable import printable
from wakelog.cli._ansi import drawn, is_coloured
from wakelog.cli._paths import add_path, print_json

if TYPE_CHECKING:
    import argparse

_MARKS: Final = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_path(parser, "a journal directory")
    parser.add_argument("--endpoint", metavar="URL", help="the destination to check")
    parser.add_argument(
        "--protocol",
        choices=("http/protobuf", "grpc"),
        help="the OTLP protocol; gRPC unless a variable sets it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Check the configuration."""
    from wakelog.cli._checks import PROBLEM, checks

    coloured, found = is_coloured(), []
    for check in checks(arguments):
        found.append(check)
        if arguments.json:
            continue
        mark, style = _MARKS[check.status]
        line = [(mark, style), (f" {check.name}: ", "bold"), (printable(check.what), "")]
        sys.stdout.write(drawn(line, coloured=coloured) + "\n")
        if check.hint:
            sys.stdout.write(f"  {printable(check.hint)}\n")
        sys.stdout.flush()
    ok = all(check.status != PROBLEM for check in found)
    if arguments.json:
        print_json({"ok": ok, "checks": [check._asdict() for check in found]})
    return 0 if ok else 1
