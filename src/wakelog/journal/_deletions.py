"""The record of deletions: which segments of a writer are gone, and what became of their records.

It is written, and on the disk, before anything is deleted. Whoever comes to a place that is gone
reads here how to go on and what to count.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zlib import crc32

import orjson

from wakelog.journal._mark import Mark
from wakelog.runtime import read_small

NAME = "deleted"
# More ranges than this are joined, the oldest first, so that the record stays small.
_MOST_TOMBSTONES = 32
_BEGINNING = Mark()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A range of records that were deleted before they were delivered.

    Attributes:
        first_seq: The first of them.
        last_seq: The last of them.
        count: How many they were; fewer than the range has where lines were damaged.
        reason: Why: ``quota`` or ``disk_full``.
    """

    first_seq: int
    last_seq: int
    count: int
    reason: str

    def within(self, after: int, up_to: int) -> tuple[int, int]:
        """Return how many evicted and how many damaged records lie in a part of the numbering."""
        length = min(self.last_seq, up_to) - max(self.first_seq - 1, after)
        if length <= 0:
            return 0, 0
        evicted = min(self.count, length)
        return evicted, length - evicted


@dataclass(frozen=True, slots=True)
class Deletion:
    """What has been deleted of one writer.

    Attributes:
        segment: Segments with a smaller index are gone, or about to be.
        seq: The ``seq`` of the last record in them.
        mark: Up to where everything had been dealt with, or deleted, when this was written.
        tombstones: What was deleted before it was delivered, oldest first.
    """

    segment: int = 0
    seq: int = 0
    mark: Mark = _BEGINNING
    tombstones: tuple[Tombstone, ...] = ()

    def after(self, ledger: Mark) -> Mark:
        """Return where to go on when the ledger is behind the segments that are left.

        A delivery that was under way when a segment was evicted may have delivered some of it. The
        ledger knows, and counts as delivered what the tombstone counts as evicted.
        """
        counted = sum(stone.within(0, ledger.seq)[0] for stone in self.tombstones)
        twice = min(max(0, counted - ledger.evicted), self.mark.evicted)
        return replace(self.mark, evicted=self.mark.evicted - twice)

    def pass_over(self, mark: Mark, seq: int) -> Mark:
        """Count the records from a mark up to ``seq``, which cannot be read any more."""
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

    def with_evicted(self, count: int) -> Deletion:
        """Return the same, whose tombstones add up to so many records.

        What they say beyond that was delivered after all; it is the beginning of the newest.
        """
        stones: list[Tombstone] = []
        excess = sum(stone.count for stone in self.tombstones) - count
        for stone in reversed(self.tombstones):
            if (twice := min(stone.count, max(0, excess))) < stone.count:
                first, records = stone.first_seq + twice, stone.count - twice
                left = replace(stone, first_seq=first, count=records)
                stones.insert(0, left)
            excess -= twice
        return replace(self, tombstones=tuple(stones))

    def with_tombstone(self, stone: Tombstone) -> Deletion:
        """Return the same with one more tombstone, joined with the one that it follows on."""
        stones = [*self.tombstones]
        last = stones[-1] if stones else None
        if last and last.reason == stone.reason and last.last_seq + 1 == stone.first_seq:
            stones[-1] = _joined(last, stone)
        else:
            stones.append(stone)
        if len(stones) > _MOST_TOMBSTONES:
            stones[:2] = [_joined(stones[0], stones[1])]
        return replace(self, tombstones=tuple(stones))

    def to_bytes(self, writer: str) -> bytes:
        """Write the record: a line of figures, a line a tombstone, and a checksum."""
        mark = {name: getattr(self.mark, name) for name in Mark.__slots__}
        figures = {"writer": writer, "segment": self.segment, "seq": self.seq, "mark": mark}
        lines = [figures, *({"tombstone": asdict(stone)} for stone in self.tombstones)]
        text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return text + b'{"crc":"%08x"}\n' % crc32(text)


def load(folder: Path) -> Deletion:
    """Read the record of a writer's folder.

    Returns:
        What it says, or that nothing was deleted when there is none that can be believed.
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
