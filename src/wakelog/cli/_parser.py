"""An argument parser that guesses what a mistyped word was meant to be."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NoReturn

from wakelog._printable import printable

_CHOICE = re.compile(r"invalid choice: '([^']*)'")
_UNKNOWN = re.compile(r"unrecognized arguments: (\S{3,})")  # one letter is near to any other


class SayVersion(argparse.Action):
    """Prints a version that is looked up only when it is asked for, and exits; ``const`` returns it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, help="show the version and exit", **settings)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print it."""
        with suppress(OSError):  # as argparse does it for the help
            sys.stdout.write(f"{self.const()}\n")
            sys.stdout.flush()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """argparse's parser, with a suggestion in its errors and the help printed as written."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **settings,
        )

    def error(self, message: str) -> NoReturn:
        """Print usage and message, with the nearest word that would have been right, and exit."""
        message = printable(message)
        options = [option for action in self._actions for option in action.option_strings]
        choices = [str(word) for action in self._actions for word in action.choices or ()]
        for pattern, words in ((_CHOICE, [*choices, *options]), (_UNKNOWN, options)):
            if (match := pattern.search(message)) is not None:
                close = get_close_matches(match.group(1), words, n=1, cutoff=0.5)
                message += f"\nDid you mean {close[0]!r}?" if close else ""
        super().error(message)


class CommandParser(Parser):
    """The parser of one command, whose options may stand anywhere among its arguments.

    By itself argparse gives an optional PATH nothing when an option stands between it and the argument
    before it.
    """

    _intermixing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse what is known, and return the rest."""
        if self._intermixing:  # older versions of argparse come back here on their way
            return super().parse_known_args(args, namespace)
        self._intermixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixing = False


def number_from(least: float, *, including: bool = True) -> Callable[[str], float]:
    """Return what reads an option's number and says which numbers are allowed.

    Args:
        least: The least number.
        including: Whether that one is allowed itself.
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
    """Read an option's whole number, from 1 on.

    Raises:
        argparse.ArgumentTypeError: For anything else.
    """
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be used: give a whole number from 1 on")
    return int(text)
