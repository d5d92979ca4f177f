"""The coloured console. Needs rich, the extra ``cli``."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class Coloured(Console):
    """Rich's console for standard output, which prints texts without interpreting markup.

    Args:
        width: The width of a line in columns; None to follow the terminal's size.
    """

    def __init__(self, width: int | None) -> None:
        super().__init__(width=width, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error, which ``main`` handles for every command."""
        raise BrokenPipeError
