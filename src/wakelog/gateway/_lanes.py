"""Lanes: the events of one session on their way, in the order in which they were logged."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from wakelog.gateway import _ledger as ledger
from wakelog.gateway._books import Account
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._ledger import FileMark, Item, Locks


class Lane(Protocol):
    """Where the forwarder gets a session's events from.

    Attributes:
        noted: How many events of this run were handed over.
        settled: How many of them have been dealt with.
        old: Whether it holds events of runs that are gone.
        queued: Whether a worker will come.
        busy: Whether a worker is there.
        again: Whether something has come while a worker was there.
        parked: How often in a row it was left for later.
        resting: Whether it is left until a timer ends.
        oldest: When its oldest waiting event was logged, in nanoseconds since 1970; 0 without one.
    """

    noted: int
    settled: int
    old: bool
    queued: bool
    busy: bool
    again: bool
    parked: int
    resting: bool
    oldest: int

    @property
    def account(self) -> Account:
        """The account of what was read last."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether it can be forgotten: nothing waits in it, and nobody has to note anything."""
        ...

    def read(self) -> list[Item]:
        """Return the next events, oldest first; empty when there are none for now."""
        ...

    def advance(self, item: Item) -> None:
        """Note that an event has been dealt with."""
        ...


class _State:
    def __init__(self) -> None:
        self.noted = self.settled = self.parked = self.oldest = 0
        self.old = self.queued = self.busy = self.again = self.resting = False

    @property
    def is_idle(self) -> bool:
        waits = self.queued or self.busy or self.resting or self.old
        return not waits and self.settled >= self.noted


class _File:
    """A file that is being read."""

    __slots__ = ("account", "mark", "mine", "path", "writer")

    def __init__(
        self, path: Path, writer: str, mark: FileMark, account: Account, *, mine: bool
    ) -> None:
        self.path, self.writer, self.mark, self.mine = path, writer, mark, mine
        self.account = account


class FileLane(_State):
    """Reads a session's events from its files: those that dead runs have left, then our own.

    Args:
        folder: The session's directory.
        run: This run.
        locks: Which other runs are alive.
        account_of: Returns the account of a run.
    """

    def __init__(
        self, folder: Path, run: str, locks: Locks, account_of: Callable[[str], Account]
    ) -> None:
        super().__init__()
        self._folder, self._run, self._locks = folder, run, locks
        self._account_of = account_of
        self._files: list[_File] = []
        self._newest: Path | None = None
        self._look = True
        self._moved: dict[Path, tuple[str, FileMark]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether it can be forgotten: nothing waits in it, and the ledger has been written."""
        return super().is_idle and not self._moved

    @property
    def account(self) -> Account:
        """The account of what was read last."""
        return self._files[0].account

    def note(self, path: Path) -> None:
        """Learn that an event was written to a file of this run."""
        self.noted += 1
        if path is not self._newest:  # comparing paths costs more than looking again, once
            self._newest, self._look = path, True

    def look(self) -> None:
        """Look for files again at the next read."""
        self._look = True

    def read(self) -> list[Item]:
        """Return the next events, oldest first; empty when there are none for now."""
        if self._look:
            self._look = False
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
                pass  # somebody has deleted it
            self._files.pop(0)
            self.old = any(not file.mine for file in self._files)
        self.old = False
        return []

    def advance(self, item: Item) -> None:
        """Note that an event has been dealt with."""
        file = self._files[0]
        self._move(file, item.mark)
        # A line that was not to be forwarded has not been handed over.
        if file.mine and (item.event is not None or item.corrupt):
            self.settled += 1

    def take_moved(self) -> list[tuple[Path, str, FileMark]]:
        """Return which files have been read further since the last call, for the ledger."""
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
        if not mine and (not self._locks.recovers or self._locks.is_alive(run)):
            return None
        moved = self._moved.get(path)
        mark = moved[1] if moved else ledger.load(path, writer)
        try:
            size = path.stat().st_size
        except OSError:
            return None
        if mark.offset >= size and path != self._newest:
            return None
        account = self._account_of(run)
        if not mine:
            account.begun.setdefault(path, mark.offset)
        return _File(path, writer, mark, account, mine=mine)


class Left(NamedTuple):
    """What dead runs have left in a session's directory.

    Attributes:
        folder: The directory.
        files: Of each file its run, where it is, and how many events it holds, 0 where not counted.
        oldest: When the oldest event was logged, in nanoseconds since 1970; 0 where not known.
    """

    folder: Path
    files: list[tuple[str, Path, int]]
    oldest: int


def left_behind(
    base: Path,
    depth: int,
    run: str,
    locks: Locks,
    account_of: Callable[[str], Account] | None = None,
) -> Iterator[Left]:
    """Find the directories of sessions in which dead runs have left events to forward.

    What needs no forwarding is noted, so that it is read through once and not at every start.

    Args:
        base: The base directory.
        depth: How many directories a session's directory is below it.
        run: This run.
        locks: Which other runs are alive.
        account_of: Returns the account of a run, when what is left shall be counted.
    """
    alive: dict[str, bool] = {run: True}
    for folder in _folders(base, depth):
        found: list[tuple[str, Path, int]] = []
        oldest = 0
        for path in ledger.candidates(folder):
            writer = ledger.writer_of(path)
            if writer is None:
                continue
            owner = ledger.run_of(writer)
            if owner not in alive:
                alive[owner] = locks.is_alive(owner)
            if alive[owner]:
                continue
            try:
                mark = ledger.load(path, writer)
                end = ledger.at_end(path, mark)
                if end == mark:
                    continue
                if not ledger.holds_marked(path, mark.offset):
                    ledger.save(path, writer, end)
                    continue
                if account_of is None:
                    found.append((owner, path, 0))
                    break
                # A lane may have come earlier, and have gone on since.
                begin = account_of(owner).begun.setdefault(path, mark.offset)
                found.append((owner, path, ledger.count_marked(path, begin)))
                oldest = min(filter(None, (oldest, ledger.logged_at(path, mark))), default=0)
            except OSError:
                continue  # deleted in this moment, or not ours to read
        if found:
            yield Left(folder, found, oldest)


def _folders(base: Path, depth: int) -> Iterator[Path]:
    if depth == 0:
        yield base
        return
    try:
        inner = [path for path in base.iterdir() if not path.name.startswith(".")]
    except OSError:
        return
    for path in inner:
        yield from _folders(path, depth - 1)


class MemoryLane(_State):
    """A session's events in memory, where no file holds them in a form that can be read back.

    Args:
        account: The account of this run.
    """

    def __init__(self, account: Account) -> None:
        super().__init__()
        self.account = account
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, ForwardedEvent]] = deque()
        self._in_flight: int | None = None

    def put(self, number: int, event: ForwardedEvent) -> None:
        """Add an event."""
        with self._lock:
            self._waiting.append((number, event))

    def remove(self, number: int) -> bool:
        """Drop an event, when it is the oldest of those that nobody is sending."""
        with self._lock:
            at = 0 if self._in_flight is None else 1
            if len(self._waiting) <= at or self._waiting[at][0] != number:
                return False
            del self._waiting[at]
            return True

    def holds(self, number: int) -> bool:
        """Tell whether an event that was not dropped is still there."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0][0] <= number

    def read(self) -> list[Item]:
        """Return the oldest event, and hold it until it has been dealt with."""
        with self._lock:
            if not self._waiting:
                self._in_flight = None
                return []
            self._in_flight, event = self._waiting[0]
            return [Item(event, FileMark())]

    def advance(self, item: Item) -> None:
        """Note that an event has been dealt with."""
        del item
        with self._lock:
            self._waiting.popleft()
            self._in_flight = None
        self.settled += 1
