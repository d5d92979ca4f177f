"""Lanes: the records of one writer in the order of delivery, and the ledger with their progress.

A writer has one lane while delivery keeps up. After an outage it has two: the live lane delivers
new records, and the replay lane delivers the backlog, oldest first. What the live lane has
delivered is a range ahead of the ledger's mark. When the replay lane reaches that range, the lanes
are joined.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wakelog.delivery._core import Slot
from wakelog.journal import (
    Cursor,
    DeliveryLock,
    Entry,
    EntryBatch,
    Folder,
    Mark,
    MarkRange,
    end_of,
    load_ledger_with_ranges,
    note_unserved,
    save_ledger,
    unserved_answer,
)

# Each outage adds a range. Beyond this number, new records wait for the backlog.
MOST_RANGES: Final = 32
_BEGINNING: Final = Mark()


class JournalLane:
    """A range of a writer's records, from a mark on.

    Args:
        lanes: The writer's lanes.
        mark: The mark at which it begins.
        until: The ``seq`` of its last record; None for no end.
        replayed: Whether its records are marked as replayed.
    """

    def __init__(
        self, lanes: WriterLanes, mark: Mark, *, until: int | None, replayed: bool
    ) -> None:
        self.lanes, self.slot = lanes, Slot()
        self.mark = mark
        self.until = until
        self.replayed = replayed
        self.finished = False
        """Whether every record up to ``until`` is finished."""
        self._cursor = Cursor(lanes.path, mark, complete=lanes.gone, later=True)
        self._next: EntryBatch | None = None

    def read(self, max_records: int, max_bytes: int) -> EntryBatch:
        """Read the next records.

        Returns:
            The chunk; without entries and damaged lines if there is nothing more for now.

        Raises:
            JournalError: When a file operation fails.
        """
        if self.finished:
            return EntryBatch([], self.mark)
        chunk, self._next = self._next, None
        if chunk is None:
            chunk = self._cursor.read(max_records, max_bytes)
        if self.until is not None and chunk.mark.seq > self.until:
            kept = [entry for entry in chunk.entries if entry.record.seq <= self.until]
            return EntryBatch(kept, self._at_the_end(kept), chunk.damaged)
        return chunk

    def read_ahead(self, max_records: int, max_bytes: int) -> None:
        """Read the next chunk in advance, for the next ``read``.

        Raises:
            JournalError: When a file operation fails.
        """
        if self._next is None and (self.until is None or self._cursor.mark.seq < self.until):
            chunk = self._cursor.read(max_records, max_bytes)
            self._next = chunk if chunk.entries else None

    def move(self, mark: Mark, dead: int) -> None:
        """Advance the mark.

        Args:
            mark: The mark up to which every record is finished.
            dead: The number of new dead letters before it.
        """
        self.mark = replace(mark, dead_lettered=self.mark.dead_lettered + dead)
        if self.until is not None and mark.seq >= self.until:
            self.finished = True
            self.close()

    def rewind(self) -> None:
        """Go back to the first record that is not finished."""
        self._next = None
        self._cursor.rewind(self.mark)

    def close(self) -> None:
        """Close the lane and its open segment."""
        self.slot.closed = True
        self._cursor.close()

    def _at_the_end(self, kept: list[Entry]) -> Mark:
        """Return the mark at the lane's end, counting unreadable records as corrupt."""
        mark = kept[-1].mark if kept else self.mark
        missing = (self.until or 0) - mark.seq
        return replace(mark, seq=mark.seq + missing, corrupt=mark.corrupt + missing)


class WriterLanes:
    """The lanes of one writer, under its delivery lock.

    Args:
        lock: The delivery lock of its folder.
        folder: The folder, if its writer has ended and this process has adopted it.
    """

    def __init__(self, lock: DeliveryLock, folder: Folder | None = None) -> None:
        self.path = lock.path
        self.writer = lock.path.name
        self._lock = lock
        self._folder = folder
        self._prefix, self._ahead = load_ledger_with_ranges(self.path, self.writer)
        self.marks: tuple[Mark, tuple[MarkRange, ...]] = (self._prefix, tuple(self._ahead))
        """The ledger's mark, and the finished ranges ahead of it. Other threads may read the tuple,
        because it is replaced as a whole."""
        self._unserved = unserved_answer(self.path)
        self.closed = False
        self.live: JournalLane | None = None
        """The live lane; None if the writer has ended."""
        self.replay: JournalLane | None = None
        """The replay lane; None without a backlog."""
        if folder is None and not self._ahead:
            self.live = self._lane(self._prefix, None, replayed=False)
        else:
            if folder is None:
                self.live = self._lane(self._ahead[-1].end, None, replayed=False)
            self.replay = self._replay_lane()

    @property
    def gone(self) -> bool:
        """Whether the writer has ended."""
        return self._folder is not None

    def has_acknowledged(self, seq: int) -> bool:
        """Return whether every record up to a number is finished."""
        return self._prefix.seq >= seq

    @property
    def given_up(self) -> int:
        """The number of records of the writer that are dead letters, evicted or corrupt."""
        marks = [(self._prefix, _BEGINNING), *((part.end, part.start) for part in self._ahead)]
        return sum(
            (end.dead_lettered + end.evicted + end.corrupt)
            - (start.dead_lettered + start.evicted + start.corrupt)
            for end, start in marks
        )

    def split_if_behind(self, records: int) -> None:
        """Move the live lane to the writer's end, and create a replay lane for the backlog.

        Args:
            records: The minimum size of the backlog; nothing is done below it.

        Raises:
            JournalError: When a file operation fails.
        """
        if self.live is None or len(self._ahead) >= MOST_RANGES:
            return
        end = end_of(self.path)
        if end is None or end.seq - self.live.mark.seq <= records:
            return
        self.live.close()
        self._ahead.append(MarkRange(end, end))
        self.marks = (self._prefix, tuple(self._ahead))
        self.live = self._lane(end, None, replayed=False)
        if self.replay is None:
            self.replay = self._replay_lane()

    def acknowledge(self, lane: JournalLane, mark: Mark, dead: int) -> None:
        """Write to the ledger that every record of a lane before a mark is finished.

        Args:
            lane: One of the writer's lanes.
            mark: The mark.
            dead: The number of new dead letters before it.

        Raises:
            JournalError: When a file operation fails.
        """
        before = lane.mark
        lane.move(mark, dead)
        if lane.mark == before and not lane.finished:
            return
        if lane is self.live and self._ahead:
            self._ahead[-1] = self._ahead[-1]._replace(end=lane.mark)
        else:
            self._prefix = lane.mark
        if lane.finished:
            self._join()
        self.marks = (self._prefix, tuple(self._ahead))
        save_ledger(self.path, self.writer, self._prefix, ahead=self._ahead)

    def answered(self, unserved: str) -> None:
        """Record for ``wakelog status`` whether the next hop has an endpoint for these records.

        Args:
            unserved: The answer in words; empty if records were accepted.
        """
        if unserved != self._unserved:
            self._unserved = unserved
            note_unserved(self.path, unserved)

    def close(self) -> None:
        """Close the lanes, and release the locks."""
        self.closed = True
        for lane in (self.live, self.replay):
            if lane is not None:
                lane.close()
        self._lock.release()
        if self._folder is not None:
            self._folder.release()

    def _lane(self, mark: Mark, until: int | None, *, replayed: bool) -> JournalLane:
        return JournalLane(self, mark, until=until, replayed=replayed)

    def _replay_lane(self) -> JournalLane:
        until = self._ahead[0].start.seq if self._ahead else None
        return self._lane(self._prefix, until, replayed=True)

    def _join(self) -> None:
        """Join the first range with the ledger's mark, once the replay lane has reached it."""
        part = self._ahead.pop(0)
        self._prefix = _sum(self._prefix, part)
        self.replay = None
        if self._ahead or self.gone:
            self.replay = self._replay_lane()
        elif self.live is not None:
            # The live lane has delivered the range, and its counts begin at the range's start.
            self.live.mark = self._prefix
            self.live.rewind()


def _sum(prefix: Mark, part: MarkRange) -> Mark:
    """Return a range's end mark with the counts before the range added."""
    start, end = part.start, part.end
    return replace(
        end,
        corrupt=prefix.corrupt + end.corrupt - start.corrupt,
        dead_lettered=prefix.dead_lettered + end.dead_lettered - start.dead_lettered,
        evicted=prefix.evicted + end.evicted - start.evicted,
    )
