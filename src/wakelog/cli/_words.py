"""Figures as text: times, durations, tokens and money."""

from __future__ import annotations

from typing import Final

from wakelog.viewer.tree import clock_time, duration

_MILLION: Final = 1_000_000
_THOUSAND: Final = 10_000
_BARS: Final = "▁▂▃▄▅▆▇█"


def counted(count: int, one: str, several: str = "") -> str:
    """Format a number with its noun: ``1 span``, ``2 spans``.

    Args:
        count: The number.
        one: The noun, perhaps with its verb, after 1.
        several: The same after any other number; else ``one`` with an s.
    """
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def time_text(nanoseconds: int | None) -> str:
    """Format a time in UTC, to the second."""
    return "-" if nanoseconds is None else clock_time(nanoseconds, date=True)


def duration_text(nanoseconds: int | None) -> str:
    """Format a duration."""
    return "-" if nanoseconds is None else duration(nanoseconds / _MILLION)


def count_text(count: int | None) -> str:
    """Format a number of tokens: whole up to 9,999, then in thousands and millions."""
    if count is None:
        return "-"
    if count < _THOUSAND:
        return f"{count:,}"
    return f"{count / 1e6:.1f}M" if count >= _MILLION else f"{count / 1e3:.0f}k"


def cost_text(cost: float | None) -> str:
    """Format an amount of US dollars."""
    return "-" if cost is None else f"${cost:,.4f}"


def bar(value: float, most: float, width: int) -> str:
    """Return a bar of blocks for a value; the maximum fills the whole width."""
    filled = 0 if most <= 0 else round(value / most * width)
    return "█" * max(filled, 1 if value else 0)


def spark(values: list[int]) -> str:
    """Return a character for each value: a full block for the greatest, a space for zero."""
    most = max(values, default=0)
    return "".join(
        " " if not value else _BARS[min(len(_BARS) - 1, value * len(_BARS) // (most + 1))]
        for value in values
    )
