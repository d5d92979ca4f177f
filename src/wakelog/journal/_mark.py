"""The mark: a position in a writer's records, and the counts of the records before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Mark:
    """A position between two lines of a writer, and the counts of the records before it.

    Attributes:
        segment: The index of the segment, from 1; 0 before the first.
        offset: Bytes from the start of the segment to the start of a line.
        seq: The ``seq`` of the last record before this position.
        crc: The checksum of the last line before this position, None if unknown.
        corrupt: The number of these records that could not be read.
        dead_lettered: The number of them that became dead letters.
        evicted: The number of them that were deleted before delivery.
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
        """The number of records before this position that the next hop has accepted."""
        return self.seq - self.corrupt - self.dead_lettered - self.evicted

    @property
    def is_possible(self) -> bool:
        """Whether the figures are valid. Values that were read from a file may have any type."""
        numbers: tuple[object, ...] = (
            self.segment,
            self.offset,
            self.seq,
            self.corrupt,
            self.dead_lettered,
            self.evicted,
        )
        return all(isinstance(n, int) and n >= 0 for n in numbers) and self.delivered >= 0

    def after(self, offset: int, seq: int, crc: int | None) -> Mark:
        """Return the mark after the next line, six times as fast as ``replace``."""
        mark = _new(Mark)
        _put_segment(mark, self.segment)
        _put_offset(mark, offset)
        _put_seq(mark, seq)
        _put_crc(mark, crc)
        _put_corrupt(mark, self.corrupt)
        _put_dead_lettered(mark, self.dead_lettered)
        _put_evicted(mark, self.evicted)
        return mark

    def at_start(self) -> Mark:
        """Return the start of the same segment, with the same figures.

        Readers skip the records up to ``seq`` that follow it.
        """
        return replace(self, offset=0, crc=None)


# Setting the slots of a frozen object directly takes half the time of its constructor.
_new = object.__new__
(
    _put_segment,
    _put_offset,
    _put_seq,
    _put_crc,
    _put_corrupt,
    _put_dead_lettered,
    _put_evicted,
) = (vars(Mark)[name].__set__ for name in Mark.__slots__)


class MarkRange(NamedTuple):
    """A range of finished records ahead of the ledger's mark.

    Attributes:
        start: The mark before the first of them.
        end: The mark after the last one. Its counts minus those of ``start`` are theirs.
    """

    start: Mark
    end: Mark

    @property
    def delivered(self) -> int:
        """The number of them that the next hop has accepted."""
        return self.end.delivered - self.start.delivered
