"""Recovery: finding the events that dead runs left in the files, and their owners."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wakelog.gateway import _ledger as ledger
from wakelog.gateway._books import GatewayCounters, RunBooks
from wakelog.gateway._locks import Locks
from wakelog.gateway._owner import RunOwner
from wakelog.runtime import list_directory

_log = logging.getLogger("wakelog")


class Left(NamedTuple):
    """What dead runs left in a session's directory.

    Attributes:
        folder: The directory.
        files: The run, path and number of events of each file.
        oldest: When the oldest event was logged, in nanoseconds since 1970; 0 if unknown.
    """

    folder: Path
    files: list[tuple[str, Path, int]]
    oldest: int


def left_behind(
    base: Path,
    depth: int,
    run: str,
    locks: Locks,
    books_of: Callable[[str], RunBooks],
) -> Iterator[Left]:
    """Yield the sessions' directories in which dead runs left events to forward.

    For files without such events this is saved, so that they are read once and not at every start.

    Args:
        base: The base directory.
        depth: How many directory levels a session's directory is below it.
        run: This run.
        locks: Tells which other runs are alive.
        books_of: Returns the books of a run.
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
                if not (count := ledger.count_marked(path, mark.offset)):
                    ledger.save(path, writer, end)
                    continue
                if not locks.is_ours(owner):
                    found.append((owner, path, count))
                    continue
                # A lane may have read the file earlier, and have advanced since.
                begin = books_of(owner).begun.setdefault(path, mark.offset)
                found.append((owner, path, ledger.count_marked(path, begin)))
                oldest = min(filter(None, (oldest, ledger.logged_at(path, mark))), default=0)
            except OSError:
                continue  # the file was just deleted, or is not readable
        if found:
            yield Left(folder, found, oldest)


def _folders(base: Path, depth: int) -> Iterator[Path]:
    if depth == 0:
        yield base
        return
    try:
        inner = [base / name for name in list_directory(base) if not name.startswith(".")]
    except OSError:
        return
    for path in inner:
        yield from _folders(path, depth - 1)


class Recovery:
    """Finds what dead runs left, and keeps their books.

    Args:
        base: The base directory.
        depth: How many directory levels a session's directory is below it.
        run: This run.
        locks: Tells which other runs are alive, and their owners.
        counters: Has the books.
    """

    def __init__(
        self, base: Path, depth: int, run: str, locks: Locks, counters: GatewayCounters
    ) -> None:
        self._base, self._depth, self._run = base, depth, run
        self._locks, self._counters = locks, counters
        # The books of dead runs of this owner.
        self._books: dict[str, RunBooks] = {}
        self._dead: set[str] = set()
        # For dead runs of other owners, the owner and the number of pending events.
        self._foreign: dict[str, tuple[RunOwner, int]] = {}
        self._told: set[RunOwner] = set()
        self._searched_for: RunOwner | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether some of what was found may still be pending."""
        return bool(self._dead or self._books)

    @property
    def elsewhere(self) -> int:
        """How many events are pending for pipelines that no process serves."""
        counts: Counter[RunOwner] = Counter()
        for owner, count in list(self._foreign.values()):
            counts[owner] += count
        return sum(n for owner, n in counts.items() if n and not self._locks.is_served(owner))

    def books_of(self, run: str) -> RunBooks:
        """Return the books of a dead run."""
        if run not in self._books:
            self._books[run] = self._counters.books.of(run)
        return self._books[run]

    async def search(self) -> list[Left]:
        """Find what dead runs left, at the start and whenever a run has died.

        Raises:
            OSError: If the base directory cannot be used.
        """
        self._locks.begin()
        if not self._locks.take_recovery():
            return []
        first, self._searched_for = self._searched_for != self._locks.owner, self._locks.owner
        dead = set(self._locks.dead_runs())
        foreign = {run for run in dead if not self._locks.is_ours(run)}
        self._foreign = {run: what for run, what in self._foreign.items() if run in foreign}
        new = dead - foreign - self._dead
        if not first and not new and not foreign - self._foreign.keys():
            return []
        books_of = self._counters.books.of
        left = await asyncio.to_thread(
            lambda: list(left_behind(self._base, self._depth, self._run, self._locks, books_of))
        )
        self._dead |= new
        counts: Counter[str] = Counter()
        for one in left:
            for run, path, count in one.files:
                if run in foreign:
                    counts[run] += count
                else:
                    self.books_of(run).adopt(path, count)
        for run in foreign:
            if (owner := self._locks.owner_of(run)) is not None:
                self._foreign[run] = owner, counts[run]
        self._tell()
        return [one for one in left if any(run not in foreign for run, _, _ in one.files)]

    def _tell(self) -> None:
        """Log once for each other owner that events are pending and no process serves it."""
        for owner in {owner for owner, count in self._foreign.values() if count} - self._told:
            if self._locks.is_served(owner):
                continue
            self._told.add(owner)
            count = sum(n for other, n in self._foreign.values() if other == owner)
            _log.warning(
                "%d events in %s wait for the %s, which no process serves, and are not sent elsewhere. Start "
                "a program that forwards to it, or give pipeline=%r to the logger that should send "
                "them",
                count,
                self._base,
                owner,
                owner.pipeline,
            )

    def forget(self) -> None:
        """Note that nothing is pending of the dead runs, and delete their locks."""
        for books in self._books.values():
            books.finish()
        self._books.clear()
        for run in self._dead:
            self._locks.forget(run)
        self._dead = set()

    def leave(self) -> None:
        """Note that the logger has been closed."""
        for run, books in self._books.items():
            books.leave(self._locks.path_of(run))
