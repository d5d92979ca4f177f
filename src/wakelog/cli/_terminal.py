"""The console that commands print to. Needs rich, the extra ``cli``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from rich.console import Console

_WIDTH_IN_A_PIPE = 120


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leave it to ``main``, which ends quietly for every way of printing."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console for standard output: coloured in a terminal, plain in a pipe."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return _Console(
        width=_WIDTH_IN_A_PIPE if piped else None, highlight=False, markup=False, emoji=False
    )
