"""The index's data about an event, and the position of its line."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from wakelog.record import Record, Resource

OFFSET_BITS: Final = 40
OFFSETS: Final = (1 << OFFSET_BITS) - 1


def segment_of(position: int) -> int:
    """Return the number of a position's segment."""
    return position >> OFFSET_BITS


def offset_of(position: int) -> int:
    """Return the offset of a position in its segment."""
    return position & OFFSETS


class Event(NamedTuple):
    """The index's data about an event. Times and durations are nanoseconds; None if unknown."""

    position: int
    length: int
    time: int | None
    type: str
    tool: str | None
    model: str | None
    error: str | None
    severity: int | None
    failed: bool
    session: str | None
    run: str | None
    agent: str | None
    outcome: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_write_input_tokens: int | None
    reasoning_output_tokens: int | None
    cost_usd: float | None
    duration: int | None
    pair: int | None
    open: bool
    trace: str | None
    span: str | None
    id: str | None
    parent: str | None

    @property
    def segment(self) -> int:
        """The segment's number in the index."""
        return segment_of(self.position)

    @property
    def offset(self) -> int:
        """The offset of its line in the segment, in bytes."""
        return offset_of(self.position)


COLUMNS: Final = Event._fields
"""The columns of the table ``events``."""
FIGURES: Final = COLUMNS[COLUMNS.index("input_tokens") : COLUMNS.index("cost_usd") + 1]
"""The columns with tokens and cost."""


class EventLine(NamedTuple):
    """The line of an event in the journal.

    Attributes:
        position: The position in the index.
        length: The line's length in bytes, negative if its checksum cannot be verified alone.
    """

    position: int
    length: int


class ReadEvent(NamedTuple):
    """A record that was read from its line, with its resource and writer."""

    record: Record
    resource: Resource
    writer: str
    folder: Path | None
    event: Event
