"""Lanes: the events of one session in the order in which they were logged, for forwarding."""

from __future__ import annotations

import abc
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from wakelog.delivery import Slot
from wakelog.gateway import _ledger as ledger
from wakelog.gateway._books import RunBooks
from wakelog.gateway._downstream import Trial
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._ledger import FileMark, Item
from wakelog.gateway._locks import Locks


class SessionLane(abc.ABC):
    """The source of a session's events for the forwarder.

    Args:
        folder: The session's directory; None without local files.

    Attributes:
        noted: How many events of this run were added.
        settled: How many of them have been forwarded or set aside.
        old: Whether it has events of dead runs.
        slot: The delivery core's state of the lane.
        replayed: Always False: what dead runs left of a session is sent before its newer events.
        oldest: When its oldest pending event was logged, in nanoseconds since 1970; 0 if none is
            pending.
        trials: The attempts to send refused events, by event id.
        letters: The ids of events that are already dead letters; None before they are read.
    """

    def __init__(self, folder: Path | None) -> None:
        self.noted = self.settled = self.oldest = 0
        self.slot = Slot()
        self.old = self.replayed = False
        self.trials: dict[str, Trial] = {}
        self.letters: set[str] | None = None
        self.folder = folder

    @property
    @abc.abstractmethod
    def books(self) -> RunBooks:
        """The books of the run whose events were read last."""

    @property
    @abc.abstractmethod
    def writer(self) -> str:
        """The writer of the events that were read last; empty without files."""

    @property
    def is_idle(self) -> bool:
        """Whether it can be removed: nothing is pending, and nothing has to be saved."""
        return self.slot.is_idle and not self.old and self.settled >= self.noted

    @abc.abstractmethod
    def read(self) -> list[Item]:
        """Return the next events, oldest first; empty if there are none at present."""

    @abc.abstractmethod
    def ahead(self, most: int) -> list[Item]:
        """Return the events that ``read`` returns and those after them, without removing them."""

    def trial_of(self, event: ForwardedEvent, *, is_next: bool) -> Trial:
        """Return the attempts so far to send an event.

        Args:
            event: The event.
            is_next: Whether it is the next event, for which earlier processes may have saved
                attempts.
        """
        del is_next
        trial = self.trials.get(event.wakelog.id)
        if trial is None:
            trial = self.trials[event.wakelog.id] = Trial()
        return trial

    @abc.abstractmethod
    def failed(self, trial: Trial) -> None:
        """Save how many attempts to send the next event have failed, for later processes."""

    @abc.abstractmethod
    def advance(self, item: Item) -> None:
        """Move past an event that has been forwarded or set aside."""

    def _forget(self, item: Item) -> None:
        if item.event is not None:
            self.trials.pop(item.event.wakelog.id, None)


class _File:
    """A file that is being read."""

    __slots__ = ("books", "mark", "mine", "path", "writer")

    def __init__(
        self, path: Path, writer: str, mark: FileMark, books: RunBooks, *, mine: bool
    ) -> None:
        self.path, self.writer, self.mark, self.mine = path, writer, mark, mine
        self.books = books


class FileLane(SessionLane):
    """Reads a session's events from its files: first what dead runs left, then this run's.

    Args:
        folder: The session's directory.
        run: This run.
        locks: Tells which other runs are alive.
        books_of: Returns the books of a run.
    """

    def __init__(
        self, folder: Path, run: str, locks: Locks, books_of: Callable[[str], RunBooks]
    ) -> None:
        super().__init__(folder)
        self._folder, self._run, self._locks = folder, run, locks
        self._books_of = books_of
        self._files: list[_File] = []
        self._newest: Path | None = None
        self._find_due = True
        self._moved: dict[Path, tuple[str, FileMark]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether it can be removed: nothing is pending, and the ledger has been saved."""
        return super().is_idle and not self._moved

    @property
    def books(self) -> RunBooks:
        """The books of the run whose events were read last."""
        return self._files[0].books

    @property
    def writer(self) -> str:
        """The writer of the events that were read last."""
        return self._files[0].writer

    def note(self, path: Path) -> None:
        """Note that an event was written to a file of this run."""
        self.noted += 1
        if path is not self._newest:  # an identity check is cheaper than comparing paths
            self._newest, self._find_due = path, True

    def find_again(self) -> None:
        """Find the files again at the next read."""
        self._find_due = True

    def read(self) -> list[Item]:
        """Return the next events, oldest first; empty if there are none at present."""
        if self._find_due:
            self._find_due = False
            self._find()
        while self._files:
            file = self._files[0]
            try:
                items = ledger.read_items(file.path, file.mark)
                if items:
                    return items
                if file.mine and len(self._files) == 1:
                    break  # it is still being written
                self._move(file, ledger.at_end(file.path, file.mark))
            except FileNotFoundError:
                pass  # the file was deleted
            self._files.pop(0)
            self.old = any(not file.mine for file in self._files)
        self.old = False
        return []

    def ahead(self, most: int) -> list[Item]:
        """Return the events that ``read`` returns and those after them, also from later files."""
        found: list[Item] = []
        for file in self._files:
            try:
                found += ledger.read_items(file.path, file.mark, most=most - len(found))
            except FileNotFoundError:
                continue  # the file was deleted
            if len(found) >= most:
                break
        return found

    def trial_of(self, event: ForwardedEvent, *, is_next: bool) -> Trial:
        """Return the attempts so far to send an event, including those of earlier processes."""
        trial = super().trial_of(event, is_next=is_next)
        if is_next and not trial.failures and not trial.earlier:
            trial.earlier = self._files[0].mark.failed
        return trial

    def failed(self, trial: Trial) -> None:
        """Save how many attempts to send the next event have failed, for later processes."""
        file = self._files[0]
        self._move(file, replace(file.mark, failed=trial.most_failures))

    def advance(self, item: Item) -> None:
        """Move past an event that has been forwarded or set aside."""
        self._forget(item)
        file = self._files[0]
        self._move(file, item.mark)
        # noted counts only lines that are to be forwarded.
        if file.mine and (item.event is not None or item.corrupt):
            self.settled += 1

    def take_moved(self) -> list[tuple[Path, str, FileMark]]:
        """Return the files that have been read further since the last call, for the ledger."""
        moved, self._moved = self._moved, {}
        return [(path, writer, mark) for path, (writer, mark) in moved.items()]

    def _move(self, file: _File, mark: FileMark) -> None:
        if mark != file.mark:
            file.mark = mark
            self._moved[file.path] = (file.writer, mark)

    def _find(self) -> None:
        known = {file.path: file for file in self._files}
        found: list[_File] = []
        for path in ledger.candidates(self._folder):
            file = known.get(path) or self._opened(path)
            if file is not None:
                found.append(file)
        self._files = sorted(found, key=lambda file: ledger.order_of(file.writer))
        self.old = any(not file.mine for file in self._files)

    def _opened(self, path: Path) -> _File | None:
        writer = ledger.writer_of(path)
        if writer is None:
            return None
        run = ledger.run_of(writer)
        mine = run == self._run
        if not mine and not (
            self._locks.recovers and self._locks.is_ours(run) and not self._locks.is_alive(run)
        ):
            return None
        moved = self._moved.get(path)
        mark = moved[1] if moved else ledger.load(path, writer)
        try:
            size = path.stat().st_size
        except OSError:
            return None
        if mark.offset >= size and path != self._newest:
            return None
        books = self._books_of(run)
        if not mine:
            books.begun.setdefault(path, mark.offset)
        return _File(path, writer, mark, books, mine=mine)


class MemoryLane(SessionLane):
    """A session's events in memory, without a file from which they can be read back.

    Args:
        books: The books of this run.
        folder: The session's directory; None without local files.
    """

    writer = ""

    def __init__(self, books: RunBooks, folder: Path | None) -> None:
        super().__init__(folder)
        self._books = books
        self.letters = set()  # events in memory are new, so none is a dead letter
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, ForwardedEvent]] = deque()
        # How many of the oldest events are being sent and must not be dropped.
        self._held = 0

    @property
    def books(self) -> RunBooks:
        """The books of this run."""
        return self._books

    def put(self, number: int, event: ForwardedEvent) -> None:
        """Add an event."""
        with self._lock:
            self._waiting.append((number, event))

    def remove(self, number: int) -> bool:
        """Drop an event if it is the oldest one that is not being sent; tell whether it was."""
        with self._lock:
            at = self._held
            if len(self._waiting) <= at or self._waiting[at][0] != number:
                return False
            del self._waiting[at]
            return True

    def holds(self, number: int) -> bool:
        """Tell whether an event that was not dropped is still pending."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0][0] <= number

    def read(self) -> list[Item]:
        """Return the oldest event, and hold it until ``advance``."""
        with self._lock:
            if not self.trials:
                self._held = 0
        return self.ahead(1)

    def ahead(self, most: int) -> list[Item]:
        """Return the oldest events, and hold them until ``advance``."""
        with self._lock:
            self._held = max(self._held, min(most, len(self._waiting)))
            events = list(islice(self._waiting, most))
        return [Item(event, FileMark()) for _, event in events]

    def failed(self, trial: Trial) -> None:
        """Do nothing, because no later process has this event."""

    def advance(self, item: Item) -> None:
        """Remove an event that has been forwarded or set aside."""
        self._forget(item)
        with self._lock:
            self._waiting.popleft()
            self._held -= 1
        self.settled += 1
