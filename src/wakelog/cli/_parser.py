"""An argument parser that suggests corrections for mistyped words."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NoReturn

from wakelog._printable import printable

_CHOICE = re.compile(r"invalid choice: '([^']*)'")
_UNKNOWN = re.compile(r"unrecognized arguments: (\S{3,})")  # one letter is similar to any other


class SayVersion(argparse.Action):
    """Prints the version, which the function ``const`` looks up when needed, and exits."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, help="show the version and exit", **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print the version."""
        with suppress(OSError):  # as argparse does when it prints the help
            sys.stdout.write(f"{self.const()}\n")
            sys.stdout.flush()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """argparse's parser, with suggestions in its errors, and which prints the help as written."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **settings,
        )

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, with the most similar valid words, and exit."""
        message = printable(message)
        options = [option for action in self._actions for option in action.option_strings]
        choices = [str(word) for action in self._actions for word in action.choices or ()]
        for pattern, words in ((_CHOICE, [*choices, *options]), (_UNKNOWN, options)):
            if (match := pattern.search(message)) is not None:
                word = match.group(1)
                close = get_close_matches(word, words, n=2, cutoff=0.8)
                close = close or get_close_matches(word, words, n=1, cutoff=0.5)
                message += f"\nDid you mean {' or '.join(map(repr, close))}?" if close else ""
        super().error(message)


class CommandParser(Parser):
    """The parser of one command, whose options may be between its positional arguments.

    argparse alone leaves an optional PATH empty if an option is between it and the argument before
    it.
    """

    _intermixing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the known arguments, and return the others."""
        if self._intermixing:  # older versions of argparse call this method recursively
            return super().parse_known_args(args, namespace)
        self._intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixing = False


def add_file(parser: argparse.ArgumentParser, name: str, what: str, **settings: Any) -> None:
    """Declare an option that names a file.

    Args:
        parser: The command's parser.
        name: The option.
        what: What the file is, for the help.
        settings: Other settings, as for ``add_argument``.
    """
    settings = {"metavar": "FILE", **settings}
    parser.add_argument(name, type=os.path.expanduser, help=what, **settings)


def number_from(least: float, *, including: bool = True) -> Callable[[str], float]:
    """Return a function that parses an option's number and names the allowed ones in its error.

    Args:
        least: The minimum.
        including: Whether the minimum itself is allowed.
    """
    allowed = f"a number from {least:g} on" if including else f"a number above {least:g}"

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (number > least or (including and number == least)):
            raise argparse.ArgumentTypeError(f"{text!r} cannot be used: give {allowed}")
        return number

    return read


def whole_number(text: str) -> int:
    """Parse an option's whole number, which must be at least 1.

    Raises:
        argparse.ArgumentTypeError: If the text is not such a number.
    """
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: give a whole number from 1 on")
    return int(text)
