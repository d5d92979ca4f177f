"""The mark: a place in a writer's records, and what was counted up to it."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Mark:
    """A place between two lines of a writer, and what was counted up to there.

    Attributes:
        segment: The index of the segment, from 1; 0 before the first.
        offset: Bytes from the start of the segment; always the start of a line.
        seq: The ``seq`` of the last record before this place.
        crc: The checksum of the last line before this place, None when it is not known.
        corrupt: How many of the ``seq`` records could not be read.
        dead_lettered: How many were set aside with a reason.
        evicted: How many were deleted under a quota before they were delivered.
    """

    segment: int = 0
    offset: int = 0
    seq: int = 0
    crc: int | None = None
    corrupt: int = 0
    dead_lettered: int = 0
    evicted: int = 0

    @property
    def delivered(self) -> int:
        """How many records before this place the next hop has accepted."""
        return self.seq - self.corrupt - self.dead_lettered - self.evicted

    @property
    def is_possible(self) -> bool:
        """Whether the figures can be true. What was read from a file may be of any type."""
        numbers: tuple[object, ...] = (
            self.segment,
            self.offset,
            self.seq,
            self.corrupt,
            self.dead_lettered,
            self.evicted,
        )
        return all(isinstance(n, int) and n >= 0 for n in numbers) and self.delivered >= 0

    def at_start(self) -> Mark:
        """Return the start of the same segment, with the same figures.

        Records up to ``seq`` that follow it are passed over when they are read.
        """
        return replace(self, offset=0, crc=None)
