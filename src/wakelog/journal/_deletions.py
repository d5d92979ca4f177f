"""The record of deletions: which segments of a writer were deleted, and their records' counts.

It is synced to disk before anything is deleted. A reader that comes to a deleted segment finds here
where to go on and what to count.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import orjson

from wakelog.journal._mark import Mark
from wakelog.runtime import read_small

NAME = "deleted"
# Beyond this number, the oldest ranges are joined, so that the file stays small.
_MOST_TOMBSTONES = 32
_BEGINNING = Mark()


class Tombstone(NamedTuple):
    """A range of records that were deleted before they were delivered.

    Attributes:
        first_seq: The sequence number of the first of them.
        last_seq: The sequence number of the last of them.
        count: The number of evicted records; damaged ones in the range are not counted.
        reason: The reason for the deletion, such as ``quota`` or ``disk_full``.
    """

    first_seq: int
    last_seq: int
    count: int  # type: ignore[assignment] # as in the file, in place of the tuple's method
    reason: str

    def within(self, after: int, up_to: int) -> tuple[int, int]:
        """Return the numbers of evicted and of damaged records from ``after + 1`` to ``up_to``."""
        length = min(self.last_seq, up_to) - max(self.first_seq - 1, after)
        if length <= 0:
            return 0, 0
        evicted = min(self.count, length)
        return evicted, length - evicted


class Deletion(NamedTuple):
    """The record of one writer's deletions.

    Attributes:
        segment: Segments with a smaller index are deleted, or are about to be.
        seq: The ``seq`` of their last record.
        mark: The mark up to which everything was finished or deleted when this was written.
        tombstones: The ranges that were deleted before they were delivered, oldest first.
    """

    segment: int = 0
    seq: int = 0
    mark: Mark = _BEGINNING
    tombstones: tuple[Tombstone, ...] = ()

    def after(self, ledger: Mark) -> Mark:
        """Return the mark to continue from if the ledger's mark is in a deleted segment.

        A delivery that was under way during an eviction may have delivered some of the evicted
        records. The ledger counts these as delivered, so they are not counted as evicted again.
        """
        counted = sum(stone.within(0, ledger.seq)[0] for stone in self.tombstones)
        twice = min(max(0, counted - ledger.evicted), self.mark.evicted)
        return replace(self.mark, evicted=self.mark.evicted - twice)

    def pass_over(self, mark: Mark, seq: int) -> Mark:
        """Return a mark at ``seq`` that counts the unreadable records in between."""
        evicted = corrupt = 0
        for stone in self.tombstones:
            gone, damaged = stone.within(mark.seq, seq)
            evicted += gone
            corrupt += damaged
        corrupt += max(0, seq - max(mark.seq, self.seq))
        return replace(
            mark,
            seq=max(mark.seq, seq),
            evicted=mark.evicted + evicted,
            corrupt=mark.corrupt + corrupt,
        )

    def with_evicted(self, count: int) -> "Deletion":
        """Return a copy whose tombstones add up to ``count`` records.

        The excess was delivered after all; it is removed from the beginning of the newest ones.
        """
        stones: list[Tombstone] = []
        excess = sum(stone.count for stone in self.tombstones) - count
        for stone in reversed(self.tombstones):
            if (twice := min(stone.count, max(0, excess))) < stone.count:
                first, records = stone.first_seq + twice, stone.count - twice
                left = stone._replace(first_seq=first, count=records)
                stones.insert(0, left)
            excess -= twice
        return self._replace(tombstones=tuple(stones))

    def with_tombstone(self, stone: Tombstone) -> "Deletion":
        """Return a copy with one more tombstone, joined with the last one if it continues that."""
        stones = [*self.tombstones]
        last = stones[-1] if stones else None
        if last and last.reason == stone.reason and last.last_seq + 1 == stone.first_seq:
            stones[-1] = _joined(last, stone)
        else:
            stones.append(stone)
        if len(stones) > _MOST_TOMBSTONES:
            stones[:2] = [_joined(stones[0], stones[1])]
        return self._replace(tombstones=tuple(stones))

    def to_bytes(self, writer: str) -> bytes:
        """Return the content: a line of figures, a line for each tombstone, and a checksum."""
        mark = asdict(self.mark)
        figures = {"writer": writer, "segment": self.segment, "seq": self.seq, "mark": mark}
        lines = [figures, *({"tombstone": stone._asdict()} for stone in self.tombstones)]
        text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return text + b'{"crc":"%08x"}\n' % crc32(text)


def load(folder: Path) -> Deletion:
    """Read the record of deletions of a writer's folder.

    Returns:
        The record; an empty one if the file is missing or damaged.
    """
    try:
        *lines, crc, _ = read_small(folder / NAME).split(b"\n")
        if crc != b'{"crc":"%08x"}' % crc32(b"".join(line + b"\n" for line in lines)):
            return Deletion()
        figures, *stones = map(orjson.loads, lines)
        if figures["writer"] != folder.name:
            return Deletion()
        tombstones = tuple(Tombstone(**line["tombstone"]) for line in stones)
        return Deletion(figures["segment"], figures["seq"], Mark(**figures["mark"]), tombstones)
    except (OSError, ValueError, KeyError, TypeError):
        return Deletion()


def _joined(one: Tombstone, other: Tombstone) -> Tombstone:
    reason = one.reason if one.reason == other.reason else "quota, disk_full"
    return Tombstone(one.first_seq, other.last_seq, one.count + other.count, reason)
