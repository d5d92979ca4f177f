"""What commands print to: rich's console where rich is installed, else plain text."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, Final, Protocol

from wakelog._printable import printable

WIDTH_IN_A_PIPE: Final = 120
_LEAST_WIDTH: Final = 20


class Output(Protocol):
    """Where commands print to."""

    @property
    def width(self) -> int:
        """The columns of a line."""
        ...

    @property
    def is_terminal(self) -> bool:
        """Whether lines that are too long for the terminal should be cut."""
        ...

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a text, with rich's options for how it looks."""
        ...


class Plain:
    """Prints text as it is, where rich is not installed."""

    is_terminal = False
    """Never: it does not cut lines."""

    @property
    def width(self) -> int:
        """The columns of a line."""
        return width()

    def print(self, *args: Any, **_: Any) -> None:
        """Print a text; how it should look is left aside."""
        sys.stdout.write(f"{' '.join(map(str, args))}\n")


def console() -> Output:
    """Return what prints to standard output: coloured in a terminal, plain in a pipe."""
    if not has_rich():
        return Plain()
    from wakelog.cli._rich import Coloured

    return Coloured(given_width())


def width() -> int:
    """Return the columns of a line of standard output, 120 in a pipe, and 20 at least."""
    if is_piped():
        return WIDTH_IN_A_PIPE
    # It takes COLUMNS=0 for unknown.
    return max(shutil.get_terminal_size().columns, _LEAST_WIDTH)


def given_width() -> int | None:
    """Return the columns of a line as far as somebody says so; None in a terminal, which may change."""
    return width() if is_piped() or "COLUMNS" in os.environ else None


def styled(*parts: tuple[str, str]) -> Any:
    """Return a line of texts, each with its style, for ``Output.print``."""
    safe = [(printable(text), style) for text, style in parts]
    if not has_rich():
        return "".join(text for text, _ in safe)
    from rich.text import Text

    return Text.assemble(*safe)


def has_rich() -> bool:
    """Tell whether rich is installed."""
    try:
        import rich  # noqa: F401 - whether it can be imported is the question
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        return False
    return True


def is_piped() -> bool:
    """Tell whether standard output goes to no terminal, and nobody says how wide it is."""
    return not sys.stdout.isatty() and "COLUMNS" not in os.environ
