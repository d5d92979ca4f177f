"""An argument parser that guesses what a mistyped word was meant to be."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from typing import Any, NoReturn

_CHOICE = re.compile(r"invalid choice: '([^']*)'")
_UNKNOWN = re.compile(r"unrecognized arguments: (\S+)")


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
        options = [option for action in self._actions for option in action.option_strings]
        choices = [str(word) for action in self._actions for word in action.choices or ()]
        for pattern, words in ((_CHOICE, choices), (_UNKNOWN, options)):
            if (match := pattern.search(message)) is not None:
                close = get_close_matches(match.group(1), words, n=1, cutoff=0.5)
                message += f"\nDid you mean {close[0]!r}?" if close else ""
        super().error(message)
