"""The books of one process, at any moment: what became of the records that it answers for.

It answers for what its own writers have accepted, and for what it has taken over from writers that are
gone. Everything is read without the journal's locks: from the marks that delivery publishes, else from
the ledger, and from the record of deletions.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from wakelog.delivery import WriterLanes
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

Marks = tuple[Mark, tuple[MarkRange, ...]]
Held = Callable[[Path], WriterLanes | None]
DELETED = "deleted"
"""Why records are evicted that another program has deleted."""
_ENDLESS = 1 << 62


@dataclass(slots=True)
class RecordTotals:
    """What became of some records; ``pending`` is the rest."""

    accepted: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    corrupt: int = 0
    evicted: Counter[str] = field(default_factory=Counter)

    @property
    def pending(self) -> int:
        """Records that still have to be delivered."""
        gone = self.delivered + self.dead_lettered + self.corrupt + self.evicted.total()
        return self.accepted - gone

    def add(self, other: RecordTotals) -> None:
        """Add others."""
        self.accepted += other.accepted
        self.delivered += other.delivered
        self.dead_lettered += other.dead_lettered
        self.corrupt += other.corrupt
        self.evicted.update(other.evicted)


class _Known(NamedTuple):
    """What marks and tombstones say of a writer's records, from the first one on."""

    dealt_with: int
    dead_lettered: int
    corrupt: int
    evicted: int


class WriterBooks:
    """What became of one writer's records since this process answers for them.

    The figures never go back, whatever is read.

    Args:
        path: The writer's folder.
        marks: How far its delivery is now.
        writer: The writer, when it is this process's own.
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
        # Evicted beneath a delivery that had them already: they stay counted as evicted.
        self._twice = 0
        self._gone = False
        self._aged: tuple[Mark, int] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        ended = self.writer is None or self.writer.ended
        return ended and not self.figures.pending

    def update(self, lanes: WriterLanes | None) -> None:
        """Look where everything is now.

        Args:
            lanes: The lanes that this process delivers the writer by, if it does.
        """
        if self._gone:
            return
        if self.writer is None and lanes is not None and not lanes.gone:
            self.refresh_end()  # another process is writing it
        if lanes is None and not is_directory(self.path):
            self._disappear()
            return
        # Deletions first: what is deleted afterwards is not missing from the marks.
        deletion = load_deletions(self.path)
        marks = lanes.marks if lanes is not None else load_with_ranges(self.path, self.path.name)
        known = _known((marks[0], tuple(marks[1])), deletion)
        if known.dealt_with >= self._last.dealt_with:
            self.marks = (marks[0], tuple(marks[1]))
            self._twice += max(0, self._last.evicted - known.evicted)
            self._last = known
        self._count(deletion.tombstones[-1].reason if deletion.tombstones else "quota")

    def refresh_end(self) -> None:
        """Learn how much another process has written."""
        self._end = max(self._end, _end_seq(self.path, self.marks))

    def _count(self, reason: str) -> None:
        start, known, now = self._start, self._last, self.figures
        end = self._end if self.writer is None else self.writer.seq
        dealt_with = known.dealt_with - start.dealt_with
        # A record may be read before its writer has counted it.
        now.accepted = max(now.accepted, dealt_with, end - start.dealt_with)
        evicted = known.evicted - start.evicted + self._twice
        # What was delivered stays delivered when a ledger that is behind says that it was evicted.
        more = min(evicted - self._evicted, now.pending)
        if more > 0:
            now.evicted[reason] += more
            self._evicted += more
        now.dead_lettered = max(now.dead_lettered, known.dead_lettered - start.dead_lettered)
        now.corrupt = max(now.corrupt, known.corrupt - start.corrupt)
        rest = dealt_with - now.dead_lettered - now.corrupt - self._evicted
        now.delivered = max(now.delivered, rest)

    def _disappear(self) -> None:
        """Account for the rest of a folder that is gone: delivered and swept, or deleted by another program."""
        self._count("quota")
        if self.path.name in load_retired_totals(self.path.parent).going:
            self.figures.delivered += self.figures.pending
        else:
            self.figures.evicted[DELETED] += self.figures.pending
        self._gone = True

    def pending_bytes(self) -> int:
        """Return about how many bytes are still to be delivered."""
        if self.figures.pending <= 0:
            return 0
        sizes: dict[int, int] = {}
        with suppress(OSError):  # it was deleted in this moment
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
    """Every writer's books that this process keeps.

    ``_lock`` guards the books. Threads that emit never take it.
    """

    def __init__(self) -> None:
        self._journals: list[Journal] = []
        self._held: list[weakref.WeakMethod[Held]] = []
        self.reset()

    def reset(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
        self._lock = threading.Lock()
        self._open: dict[Path, WriterBooks] = {}
        # Own writers whose books are closed, and the sums of all that are.
        self._closed: set[Path] = set()
        self._own, self._adopted = RecordTotals(), RecordTotals()
        # What was evicted of folders before they were adopted.
        self._before: Counter[tuple[Path, str]] = Counter()

    def follow(self, journal: Journal) -> None:
        """Keep books of a journal's own writers from now on."""
        with self._lock:
            self._journals.append(journal)

    def ask(self, held: Held) -> None:
        """Ask somebody, for as long as he lives, for the lanes by which he delivers a folder."""
        self._held.append(weakref.WeakMethod(held))

    def adopt(self, lanes: WriterLanes) -> None:
        """Answer for what is pending of another process's writer, unless that is so already."""
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
        """Look where everything is now.

        Returns:
            The figures of this process's own writers, those of adopted ones, and the books of
            which something may be pending.
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
            # What this process has deleted of writers that it had not adopted.
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
    """Add up what has been dealt with, and what was evicted that delivery has not come to yet."""
    prefix, parts = marks
    ends = [(prefix, Mark()), *((part.end, part.start) for part in parts)]
    dealt_with = sum(end.seq - start.seq for end, start in ends)
    dead = sum(end.dead_lettered - start.dead_lettered for end, start in ends)
    corrupt = sum(end.corrupt - start.corrupt for end, start in ends)
    evicted = sum(end.evicted - start.evicted for end, start in ends)
    edges = [prefix.seq, *(seq for part in parts for seq in (part.start.seq, part.end.seq))]
    for after, up_to in list(pairwise([*edges, _ENDLESS]))[::2]:
        for stone in deletion.tombstones:
            gone, damaged = stone.within(after, up_to)
            evicted += gone
            corrupt += damaged
            dealt_with += gone + damaged
    return _Known(dealt_with, dead, corrupt, evicted)


def _end_seq(path: Path, marks: Marks) -> int:
    """Return how many records a writer that is gone has accepted, as far as its last line says."""
    known = _known(marks, load_deletions(path)).dealt_with
    try:
        end = end_of(path)
    except JournalError:
        end = None
    return known if end is None else max(known, end.seq)
