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

    def after(self, offset: int, seq: int, crc: int | None) -> Mark:
        """Return the mark after the next line; a sixth of what ``replace`` costs."""
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

        Records up to ``seq`` that follow it are passed over when they are read.
        """
        return replace(self, offset=0, crc=None)


# The fields of a frozen object are put into its slots, one by one, at half the price of its constructor.
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


@dataclass(frozen=True, slots=True)
class MarkRange:
    """Records that have been dealt with ahead of others: those between two marks.

    Attributes:
        start: The place before the first of them.
        end: The place after the last one. What was counted there less what was counted at
            ``start`` is what became of them.
    """

    start: Mark
    end: Mark

    @property
    def delivered(self) -> int:
        """How many of them the next hop has accepted."""
        return self.end.delivered - self.start.delivered
