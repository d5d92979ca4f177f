"""Printing to a terminal, with colours and a width, or to a pipe."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

from wakelog.cli._ansi import drawn, is_coloured

WIDTH_IN_A_PIPE: Final = 120
_LEAST_WIDTH: Final = 20


def say(*parts: tuple[str, str] | str) -> None:
    """Print a line of texts, which must be safe to print; each may have a style."""
    styled = [(part, "") if isinstance(part, str) else part for part in parts]
    sys.stdout.write(drawn(styled, coloured=is_coloured()) + "\n")


def width() -> int:
    """Return the width of a line of standard output: at least 20 columns, and 120 in a pipe."""
    if is_piped():
        return WIDTH_IN_A_PIPE
    # shutil takes COLUMNS=0 for unknown.
    return max(shutil.get_terminal_size().columns, _LEAST_WIDTH)


def is_piped() -> bool:
    """Tell whether standard output is not a terminal and COLUMNS does not set a width."""
    return not sys.stdout.isatty() and "COLUMNS" not in os.environ
