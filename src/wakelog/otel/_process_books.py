"""The books of one process at any moment, for the records for which it is responsible.

These are the records that its own writers have accepted, and those that it has adopted from writers
that have ended. Everything is read without the journal's locks: from the marks that delivery
publishes, else from the ledger, and from the tombstones.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wakelog.errors import JournalError
from wakelog.journal import (
    Cursor,
    Deletion,
    Journal,
    Mark,
    MarkRange,
    Writer,
    end_of,
    load_deletions,
    load_retired_totals,
)
from wakelog.journal import load_ledger_with_ranges as load_with_ranges
from wakelog.runtime import is_directory, list_regular, regular_file, size_of
from wakelog.storage import segment_index

if TYPE_CHECKING:
    from wakelog.delivery import WriterLanes

Marks = tuple[Mark, tuple[MarkRange, ...]]
Held = Callable[[Path], "WriterLanes | None"]
DELETED = "deleted"
"""Why records are evicted that another program has deleted."""
_ENDLESS = 1 << 62


class RecordTotals:
    """Counts of records by outcome; ``pending`` is the rest."""

    def __init__(self) -> None:
        self.accepted = self.delivered = self.dead_lettered = self.corrupt = 0
        self.evicted: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """Records that still have to be delivered."""
        gone = self.delivered + self.dead_lettered + self.corrupt + self.evicted.total()
        return self.accepted - gone

    def add(self, other: RecordTotals) -> None:
        """Add other counts to these."""
        self.accepted += other.accepted
        self.delivered += other.delivered
        self.dead_lettered += other.dead_lettered
        self.corrupt += other.corrupt
        self.evicted.update(other.evicted)


class _Known(NamedTuple):
    """Counts of a writer's records according to marks and tombstones, from the first record on."""

    acknowledged: int
    dead_lettered: int
    corrupt: int
    evicted: int


class WriterBooks:
    """The books of one writer since this process became responsible for it.

    The counts never decrease, whatever is read.

    Args:
        path: The writer's folder.
        marks: The current state of its delivery.
        writer: The writer, if it is this process's own.
    """

    def __init__(self, path: Path, marks: Marks, writer: Writer | None = None) -> None:
        self.path = path
        self.writer = writer
        self.marks = marks
        self.figures = RecordTotals()
        deletion = load_deletions(path)
        self._start = self._last = _known(marks, deletion) if writer is None else _Known(0, 0, 0, 0)
        self._end = 0 if writer is not None else _end_seq(path, marks)
        self._evicted = 0
        # Records that were evicted after their delivery had begun; they stay counted as evicted.
        self._twice = 0
        self._gone = False
        self._aged: tuple[Mark, int] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the writer has ended and nothing is pending."""
        ended = self.writer is None or self.writer.ended
        return ended and not self.figures.pending

    def update(self, lanes: WriterLanes | None) -> None:
        """Read the current state.

        Args:
            lanes: The lanes by which this process delivers the writer's records, if it does.
        """
        if self._gone:
            return
        if self.writer is None and lanes is not None and not lanes.gone:
            self.refresh_end()  # another process may have appended records
        if lanes is None and not is_directory(self.path):
            self._disappear()
            return
        # Deletions first, so that records deleted in between are not missing from the marks.
        deletion = load_deletions(self.path)
        marks = lanes.marks if lanes is not None else load_with_ranges(self.path, self.path.name)
        known = _known((marks[0], tuple(marks[1])), deletion)
        if known.acknowledged >= self._last.acknowledged:
            self.marks = (marks[0], tuple(marks[1]))
            self._twice += max(0, self._last.evicted - known.evicted)
            self._last = known
        self._count(deletion.tombstones[-1].reason if deletion.tombstones else "quota")

    def refresh_end(self) -> None:
        """Read how many records another process has written."""
        self._end = max(self._end, _end_seq(self.path, self.marks))

    def _count(self, reason: str) -> None:
        start, known, now = self._start, self._last, self.figures
        end = self._end if self.writer is None else self.writer.seq
        acknowledged = known.acknowledged - start.acknowledged
        # A record may be delivered before its writer has counted it.
        now.accepted = max(now.accepted, acknowledged, end - start.acknowledged)
        evicted = known.evicted - start.evicted + self._twice
        # A ledger that is behind may report delivered records as evicted; they stay delivered.
        more = min(evicted - self._evicted, now.pending)
        if more > 0:
            now.evicted[reason] += more
            self._evicted += more
        # Of what is set aside or damaged, too, a part may be counted as evicted already.
        more = known.dead_lettered - start.dead_lettered - now.dead_lettered
        now.dead_lettered += max(0, min(more, now.pending))
        more = known.corrupt - start.corrupt - now.corrupt
        now.corrupt += max(0, min(more, now.pending))
        rest = acknowledged - now.dead_lettered - now.corrupt - self._evicted
        now.delivered = max(now.delivered, rest)

    def _disappear(self) -> None:
        """Count the rest of a missing folder: as delivered if it was retired, else as evicted."""
        self._count("quota")
        if self.path.name in load_retired_totals(self.path.parent).going:
            self.figures.delivered += self.figures.pending
        else:
            self.figures.evicted[DELETED] += self.figures.pending
        self._gone = True

    def pending_bytes(self) -> int:
        """Return the approximate size of the pending records, in bytes."""
        if self.figures.pending <= 0:
            return 0
        sizes: dict[int, int] = {}
        with suppress(OSError):  # the folder may be deleted at this moment
            for name in list_regular(self.path):
                if (index := segment_index(name)) is not None:
                    status = regular_file(self.path / name)
                    sizes[index] = 0 if status is None else size_of(status)
        prefix, parts = self.marks

        def after(mark: Mark) -> int:
            size = sum(size for index, size in sizes.items() if index >= mark.segment)
            return max(0, size - (mark.offset if mark.segment in sizes else 0))

        ahead = sum(after(part.start) - after(part.end) for part in parts)
        return max(0, after(prefix) - ahead)

    def oldest_pending(self) -> int | None:
        """Return when the oldest pending record was observed, in nanoseconds since 1970."""
        if self.figures.pending <= 0:
            return None
        mark = self.marks[0]
        if self._aged is None or self._aged[0] != mark:
            cursor = Cursor(self.path, mark, blobs=False)
            try:
                entries = cursor.read(1, 1).entries
            except JournalError:
                entries = []
            finally:
                cursor.close()
            if not entries:
                return None
            record = entries[0].record
            self._aged = (mark, record.observed_timestamp or record.timestamp or time.time_ns())
        return self._aged[1]


class ProcessBooks:
    """The books of every writer for which this process is responsible.

    ``_lock`` guards the books. Threads that emit never take it.
    """

    def __init__(self) -> None:
        self._journals: list[Journal] = []
        self._held: list[weakref.WeakMethod[Held]] = []
        self.reset()

    def reset(self) -> None:
        """Set everything to zero: at the start, and in a forked child."""
        self._lock = threading.Lock()
        self._open: dict[Path, WriterBooks] = {}
        # Own writers whose books are closed, and the sums of all closed books.
        self._closed: set[Path] = set()
        self._own, self._adopted = RecordTotals(), RecordTotals()
        # Evictions from folders before this process adopted them.
        self._before: Counter[tuple[Path, str]] = Counter()

    def follow(self, journal: Journal) -> None:
        """Keep the books of a journal's own writers from now on."""
        with self._lock:
            self._journals.append(journal)

    def ask(self, held: Held) -> None:
        """Register a bound method that returns the lanes of a folder; its object is held weakly."""
        self._held.append(weakref.WeakMethod(held))

    def adopt(self, lanes: WriterLanes) -> None:
        """Take over the pending records of another process's writer, unless that has been done."""
        path = lanes.path
        with self._lock:
            self._open_own()
            if path in self._open:
                self._open[path].refresh_end()
            elif path not in self._closed:
                self._open[path] = WriterBooks(path, lanes.marks)
                for key, count in self._evictions().items():
                    if key[0] == path:
                        self._before[key] = count

    def balance(self) -> tuple[RecordTotals, RecordTotals, list[WriterBooks]]:
        """Read the current state of everything.

        Returns:
            The counts of this process's own writers, those of adopted ones, and the books that may
            have pending records.
        """
        with self._lock:
            self._open_own()
            for path, books in list(self._open.items()):
                lanes = self._lanes_of(path)
                books.update(lanes)
                if lanes is None and books.is_over:
                    (self._adopted if books.writer is None else self._own).add(books.figures)
                    if books.writer is not None:
                        self._closed.add(path)
                    del self._open[path]
            own, adopted = RecordTotals(), RecordTotals()
            own.add(self._own)
            adopted.add(self._adopted)
            for books in self._open.values():
                (adopted if books.writer is None else own).add(books.figures)
            # Deletions by this process from writers that it had not adopted.
            for (path, reason), count in self._evictions().items():
                known = path in self._open or path in self._closed
                others = self._before[path, reason] if known else count
                adopted.accepted += others
                adopted.evicted[reason] += others
            return own, adopted, list(self._open.values())

    def _open_own(self) -> None:
        for journal in self._journals:
            for writer in list(journal.writers):
                path = writer.folder.path
                if path not in self._open and path not in self._closed:
                    marks = load_with_ranges(path, path.name)
                    self._open[path] = WriterBooks(path, (marks[0], tuple(marks[1])), writer)

    def _evictions(self) -> Counter[tuple[Path, str]]:
        result: Counter[tuple[Path, str]] = Counter()
        for journal in self._journals:
            result.update(journal.evicted_from.copy())
        return result

    def _lanes_of(self, path: Path) -> WriterLanes | None:
        for method in self._held:
            held = method()
            lanes = held(path) if held is not None else None
            if lanes is not None:
                return lanes
        return None


def _known(marks: Marks, deletion: Deletion) -> _Known:
    """Sum up the finished records, and those that were evicted before delivery reached them."""
    prefix, parts = marks
    ends = [(prefix, Mark()), *((part.end, part.start) for part in parts)]
    acknowledged = sum(end.seq - start.seq for end, start in ends)
    dead = sum(end.dead_lettered - start.dead_lettered for end, start in ends)
    corrupt = sum(end.corrupt - start.corrupt for end, start in ends)
    evicted = sum(end.evicted - start.evicted for end, start in ends)
    edges = [prefix.seq, *(seq for part in parts for seq in (part.start.seq, part.end.seq))]
    for after, up_to in list(pairwise([*edges, _ENDLESS]))[::2]:
        for stone in deletion.tombstones:
            gone, damaged = stone.within(after, up_to)
            evicted += gone
            corrupt += damaged
            acknowledged += gone + damaged
    return _Known(acknowledged, dead, corrupt, evicted)


def _end_seq(path: Path, marks: Marks) -> int:
    """Return how many records an ended writer has accepted, according to its last line."""
    known = _known(marks, load_deletions(path)).acknowledged
    try:
        end = end_of(path)
    except JournalError:
        end = None
    return known if end is None else max(known, end.seq)
