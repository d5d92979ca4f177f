"""The coloured console. Needs rich, the extra ``cli``."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class Coloured(Console):
    """Rich's console for standard output, which takes texts as they are.

    Args:
        width: The columns of a line; None to follow the size of the terminal as it changes.
    """

    def __init__(self, width: int | None) -> None:
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to ``main``, which ends quietly for every way of printing."""
        raise BrokenPipeError
