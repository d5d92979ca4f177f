"""The output of commands: rich's console if rich is installed, else plain text."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, Final, Protocol

from wakelog._printable import printable

WIDTH_IN_A_PIPE: Final = 120
_LEAST_WIDTH: Final = 20


class Output(Protocol):
    """The interface for printing."""

    @property
    def width(self) -> int:
        """The width of a line in columns."""
        ...

    @property
    def is_terminal(self) -> bool:
        """Whether to cut lines that are too long for the terminal."""
        ...

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a text, with rich's options for its style."""
        ...


class Plain:
    """Prints plain text if rich is not installed."""

    is_terminal = False
    """False: lines are never cut."""

    @property
    def width(self) -> int:
        """The width of a line in columns."""
        return width()

    def print(self, *args: Any, **_: Any) -> None:
        """Print a text without its style."""
        sys.stdout.write(f"{' '.join(map(str, args))}\n")


def console() -> Output:
    """Return the output for standard output, coloured on a terminal and plain in a pipe."""
    if not has_rich():
        return Plain()
    from wakelog.cli._rich import Coloured

    return Coloured(given_width())


def width() -> int:
    """Return the width of a line of standard output: at least 20 columns, and 120 in a pipe."""
    if is_piped():
        return WIDTH_IN_A_PIPE
    # shutil takes COLUMNS=0 for unknown.
    return max(shutil.get_terminal_size().columns, _LEAST_WIDTH)


def given_width() -> int | None:
    """Return the width of a line if it is fixed; None on a terminal, whose size may change."""
    return width() if is_piped() or "COLUMNS" in os.environ else None


def styled(*parts: tuple[str, str]) -> Any:
    """Return a line of styled texts, for ``Output.print``."""
    safe = [(printable(text), style) for text, style in parts]
    if not has_rich():
        return "".join(text for text, _ in safe)
    from rich.text import Text

    return Text.assemble(*safe)


def has_rich() -> bool:
    """Tell whether rich is installed."""
    try:
        import rich  # noqa: F401 - tests whether it can be imported
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        return False
    return True


def is_piped() -> bool:
    """Tell whether standard output is not a terminal and COLUMNS does not set a width."""
    return not sys.stdout.isatty() and "COLUMNS" not in os.environ
