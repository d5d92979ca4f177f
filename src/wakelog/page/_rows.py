"""Events as rows for the page: the index's data about each, in the order of ``COLUMNS``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from wakelog.index import Event, Index
from wakelog.journal import is_owned

COLUMNS: Final = (
    "segment", "offset", "time", "type", "name", "agent", "session", "run", "outcome", "error",
    "failed", "severity", "input_tokens", "output_tokens", "cache_read", "reasoning", "cost",
    "duration", "pair", "open", "id", "parent",
)  # fmt: skip
"""Times and durations are microseconds; ``pair`` is segment and offset of a call's other half."""

_OFFSET_BITS: Final = 40
_OFFSETS: Final = (1 << _OFFSET_BITS) - 1


def row_of(event: Event) -> list[Any]:
    """Return an event as a row."""
    pair = event.pair
    return [
        event.segment,
        event.offset,
        None if event.time is None else event.time // 1000,
        event.type,
        event.tool or event.model,
        event.agent,
        event.session,
        event.run,
        event.outcome,
        event.error,
        event.failed,
        event.severity,
        event.input_tokens,
        event.output_tokens,
        event.cache_read_input_tokens,
        event.reasoning_output_tokens,
        event.cost_usd,
        None if event.duration is None else event.duration // 1000,
        None if pair is None else [pair >> _OFFSET_BITS, pair & _OFFSETS],
        event.open,
        event.id,
        event.parent,
    ]


def position_of(key: str) -> int | None:
    """Return the index's position for a key of the page, ``segment-offset``; None if invalid."""
    segment, _, offset = key.partition("-")
    if not (segment.isdecimal() and offset.isdecimal() and len(key) < len("9" * 24)):
        return None
    position = int(segment) << _OFFSET_BITS | int(offset)
    return position if position < 1 << 63 else None


def living_segments(index: Index, among: Iterable[int]) -> list[int]:
    """Return the segments whose writing process is alive."""
    known: dict[Any, bool] = {}
    found = []
    for segment in among:
        folder = index.folder_of(segment)
        if folder is None:
            continue
        if folder not in known:
            # If that cannot be determined, the outcome of an open step is unknown.
            known[folder] = is_owned(folder) is True
        if known[folder]:
            found.append(segment)
    return found
