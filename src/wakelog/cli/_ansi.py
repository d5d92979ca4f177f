"""Styled text for a terminal: colours, and cutting lines to its width."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final
from unicodedata import combining, east_asian_width

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "bold red": "1;31",
    "bold green": "1;32",
    "bold yellow": "1;33",
}


def is_coloured() -> bool:
    """Tell whether standard output shows colours, considering NO_COLOR and TERM."""
    return (
        sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def drawn(parts: Iterable[tuple[str, str]], *, coloured: bool, width: int | None = None) -> str:
    """Return a line of texts with terminal codes for their styles.

    Args:
        parts: Texts and their styles; the texts are safe for a terminal.
        coloured: Whether the terminal shows colours.
        width: The width in columns at which the line is cut; None to leave it whole.
    """
    if width is not None:
        parts = _cut(parts, width)
    if not coloured:
        return "".join(text for text, _ in parts)
    return "".join(
        f"\x1b[{code}m{text}\x1b[0m" if (code := _CODES.get(style)) else text
        for text, style in parts
    )


def _cut(parts: Iterable[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    kept: list[tuple[str, str]] = []
    left = width
    for text, style in parts:
        if len(text) * 2 <= left or (needed := _columns(text)) <= left:
            kept.append((text, style))
            left -= len(text) if text.isascii() else _columns(text)
            continue
        if needed > left:
            place = 0
            while place < len(text) and (taken := _columns(text[place])) <= left - 1:
                left -= taken
                place += 1
            kept.append((text[:place] + "…", style))
            break
    return kept


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
