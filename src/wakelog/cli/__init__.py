"""The command ``wakelog``: one module for each subcommand.

``main`` returns 0 on success, 1 after a failure that it has reported, 2 for an invalid command
line, 130 after Ctrl-C and 141 when the reader of its output has closed the pipe. Without a command
it prints the help and returns 0.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import UnsupportedOperation
from typing import Any, Final, cast

from wakelog._printable import printable
from wakelog.cli._parser import CommandParser, Parser, SayVersion
from wakelog.errors import WakelogError

COMMANDS: Final = (
    "sessions",
    "show",
    "view",
    "tail",
    "stats",
    "query",
    "export",
    "status",
    "ship",
    "dead-letters",
    "seal",
    "verify",
    "prove",
    "erase",
    "repair",
    "prune",
    "doctor",
    "demo",
)
"""The commands. Each is a module of this package with the same name, with _ in place of -.

Its docstring is the help, ``add_arguments(parser)`` declares the arguments, and ``run(arguments)`` runs
the command and returns the exit code.
"""

_FAILED, _UNUSABLE, _INTERRUPTED, _NO_READER = 1, 2, 130, 141

# What a system call without a file name in its error was doing.
_UNNAMED: Final = {
    errno.ENOENT: "find the current directory",
    errno.ENOSPC: "write to standard output",
    errno.EDQUOT: "write to standard output",
    errno.EFBIG: "write to standard output",
    errno.EIO: "write to standard output",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command line without the program's name; ``sys.argv[1:]`` by default.

    Returns:
        The exit code.

    Raises:
        SystemExit: For ``--help``, ``--version`` and an invalid command line.
    """
    _make_printable()
    given = sys.argv[1:] if argv is None else list(argv)
    named = given[0] if given and given[0] in COMMANDS else None
    try:
        parser = build_parser(named)
    except ImportError as error:
        if error.name != "fcntl":
            raise
        return _say(str(error), _UNUSABLE)
    if not given:
        parser.print_help()
        return 0
    arguments, unknown = parser.parse_known_args(given)
    if unknown:
        # The command's own parser knows the options among which to look for the one that was meant.
        cast("Parser", arguments.parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    return _run(arguments)


def build_parser(only: str | None = None) -> Parser:
    """Return the parser of the whole command line, with a subparser for each command.

    Args:
        only: The one command to add, so that the others are not imported; None for all.
    """
    parser = Parser(
        prog="wakelog", description="Show, deliver and check what Wakelog has recorded."
    )
    parser.add_argument("--version", action=SayVersion, const=_version)
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for name in COMMANDS if only is None else (only,):
        command: Any = import_module(f"wakelog.cli.{name.replace('-', '_')}")
        first, _, rest = (command.__doc__ or "").partition("\n")
        subparser = subparsers.add_parser(name, help=first, description=first, epilog=rest.strip())
        command.add_arguments(subparser)
        subparser.set_defaults(command=command, parser=subparser)
    return parser


def _make_printable() -> None:
    """Make standard output accept any text, and open one if the process has none."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - never closed
    if sys.stderr is None:
        sys.stderr = sys.stdout
    if hasattr(sys.stdout, "reconfigure"):
        # Not every terminal's encoding can represent what agents record.
        sys.stdout.reconfigure(errors="backslashreplace")


def _write_utf8() -> None:
    """Write standard output as UTF-8 in any locale, because programs read it.

    RFC 8259, section 8.1: JSON text that systems exchange must be encoded using UTF-8.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")


def _run(arguments: argparse.Namespace) -> int:
    if getattr(arguments, "json", False) or getattr(arguments, "prints_data", False):
        _write_utf8()
    try:
        code: int = arguments.command.run(arguments)
        sys.stdout.flush()
    except WakelogError as error:
        return _say(str(error), _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return _NO_READER
    except OSError as error:
        # For example a path that disappeared, a revoked permission, or a full disk under the
        # output.
        named = isinstance(error.filename, str | bytes)
        what = f"use {os.fsdecode(error.filename)}" if named else _UNNAMED.get(error.errno or 0)
        _forget_output()
        return _say(f"cannot {what or 'go on'}: {error.strerror or error}", _FAILED)
    return code


def _forget_output() -> None:
    """Discard buffered output, so that the interpreter does not complain when it exits."""
    with suppress(UnsupportedOperation):  # sys.stdout was replaced
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"wakelog: {printable(' '.join(message.split()))}\n")
    return code


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"wakelog {version('wakelog')}"
    except PackageNotFoundError:
        return "wakelog (not installed)"
