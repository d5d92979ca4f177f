"""The command ``wakelog``: one module for each thing that it can do.

``main`` returns 0 when the command did what it is for, 1 when it could not and said why, 2 for a
command line that makes no sense or an extra that is missing, 130 after Ctrl-C and 141 when the
reader of its output has gone away.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from wakelog.cli._parser import Parser
from wakelog.errors import WakelogError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS: Final = ("show", "tail", "status", "ship", "dead-letters", "verify", "demo")
"""The commands, each a module of this package by its own name, with _ in place of -."""

_FAILED, _UNUSABLE, _INTERRUPTED, _NO_READER = 1, 2, 130, 141


class Command(Protocol):
    """What the module of a command has; its docstring's first line is its help."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it, and return the exit code."""
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The command line without the program's name; the process's own by default.

    Returns:
        The exit code.

    Raises:
        SystemExit: For ``--help``, ``--version`` and a command line that makes no sense.
    """
    if hasattr(sys.stdout, "reconfigure"):
        # Not every terminal can show what agents record.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = Parser(
        prog="wakelog", description="Show, deliver and check what Wakelog has recorded."
    )
    parser.add_argument("--version", action="version", version=f"wakelog {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = cast("Command", import_module(f"wakelog.cli.{name.replace('-', '_')}"))
        first, _, rest = (command.__doc__ or "").partition("\n")
        subparser = subparsers.add_parser(name, help=first, description=first, epilog=rest.strip())
        command.add_arguments(subparser)
        subparser.set_defaults(command=command, parser=subparser)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        # Asked here, the command's own parser knows which of its options was meant.
        cast("Parser", arguments.parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        code = cast("Command", arguments.command).run(arguments)
        sys.stdout.flush()
    except WakelogError as error:
        return _say(str(error), _FAILED)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "rich":
            raise
        return _say("this needs rich: pip install 'wakelog[cli]'", _UNUSABLE)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # What is still in the buffer would make the interpreter complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    return code


def _say(message: str, code: int) -> int:
    sys.stderr.write(f"wakelog: {' '.join(message.split())}\n")
    return code


def _version() -> str:
    # Only --version is that slow to load.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("wakelog")
    except PackageNotFoundError:
        return "(not installed)"
