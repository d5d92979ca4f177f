"""What the index says of an event, and where its line stands."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wakelog.index._schema import offset_of, segment_of
from wakelog.record import Record, Resource


class Event(NamedTuple):
    """What the index knows of an event. Times and durations are nanoseconds; what is not known is None."""

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
        """The number of its segment in the index."""
        return segment_of(self.position)

    @property
    def offset(self) -> int:
        """Bytes from the start of the segment to its line."""
        return offset_of(self.position)


class EventLine(NamedTuple):
    """Where an event stands in the journal.

    Attributes:
        position: Its position in the index.
        length: Bytes of its line, negative where its checksum cannot be checked by itself.
    """

    position: int
    length: int


class ReadEvent(NamedTuple):
    """A record that was read from its line, and whose it is."""

    record: Record
    resource: Resource
    writer: str
    folder: Path | None
    event: Event
