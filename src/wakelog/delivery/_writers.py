"""The writers that a process delivers: live ones, and ended ones one at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from wakelog.delivery._circuit import Clock
from wakelog.delivery._journal_lanes import WriterLanes
from wakelog.delivery._observer import DeliveryObserver
from wakelog.errors import JournalError
from wakelog.journal import DeliveryLock, Folder, Journal, save_torn_tail

_log = logging.getLogger("wakelog")

_FIRST_SEARCH_PAUSE, _ORPHAN_SEARCH_SECONDS = 0.5, 10.0


class Sources(Protocol):
    """The source of the folders to deliver."""

    def live(self) -> list[Path]:
        """Return the folders of live writers."""
        ...

    def gone(self) -> Iterator[Folder]:
        """Adopt, one by one, the folders of ended writers, oldest first."""
        ...


class Writers:
    """The writers that this process delivers, each with its lanes, under its delivery lock.

    Args:
        journal: This process's journal.
        sources: The folders to deliver.
        behind: The number of pending records beyond which a lane is split.
        clock: Returns monotonic time in seconds.
        observer: Called with adopted writers and recovered lines.
    """

    def __init__(
        self,
        journal: Journal,
        sources: Sources,
        behind: int,
        clock: Clock,
        observer: DeliveryObserver,
    ) -> None:
        self._journal, self._sources, self._behind = journal, sources, behind
        self._clock, self._observer = clock, observer
        self.live: dict[Path, WriterLanes] = {}
        """The lanes of live writers."""
        self.orphan: WriterLanes | None = None
        """The lanes of an ended writer. Only one at a time, to limit open descriptors."""
        self._candidates: Iterator[Folder] | None = None
        self._done: set[Path] = set()
        self._finished_some = False
        self._passed_over: set[Path] = set()
        self._next_search, self._search_pause = 0.0, _FIRST_SEARCH_PAUSE
        # Writers whose backlog is checked before the next round.
        self._maybe_behind: set[Path] = set()

    def lanes_of(self, path: Path) -> WriterLanes | None:
        """Return the lanes of a writer's folder while they are open here."""
        lanes, orphan = self.live.get(path), self.orphan
        if lanes is None and orphan is not None and orphan.path == path:
            lanes = orphan
        return None if lanes is None or lanes.closed else lanes

    def follow(self, *, failing: bool) -> None:
        """Open lanes for every live writer that no other process delivers.

        Args:
            failing: Whether the next hop fails, so that lanes are not split yet.

        Raises:
            JournalError: When a file operation fails.
        """
        paths = self._sources.live()
        own = {writer.id for writer in self._journal.open_writers}
        for path in [path for path in self.live if path not in paths]:
            self.live.pop(path).close()
        for path in paths:
            if path not in self.live and (lock := DeliveryLock.take(path)) is not None:
                self.live[path] = lanes = WriterLanes(lock)
                if path.name not in own:
                    self._maybe_behind.add(path)
                    self._observer.adopted(lanes)
        if self._maybe_behind and not failing:
            for path in self._maybe_behind & self.live.keys():
                self.live[path].split_if_behind(self._behind)
            self._maybe_behind.clear()

    def fall_behind(self) -> None:
        """Note a failure, after which lanes may have a backlog."""
        self._maybe_behind |= self.live.keys()

    def next_orphan(self) -> WriterLanes | None:
        """Return the lanes of the oldest ended writer that this search has not handled."""
        while self.orphan is None:
            if self._candidates is None:
                now = self._clock()
                if now < self._next_search:
                    return None
                # A process that tests whether a folder is owned holds its lock for a moment, so the
                # second search comes soon after the first.
                self._next_search = now + self._search_pause
                self._search_pause = min(2 * self._search_pause, _ORPHAN_SEARCH_SECONDS)
                self._candidates = self._sources.gone()
            folder = next(self._candidates, None)
            if folder is None:
                self._candidates = None
                self._clean_up()
                return None
            self._adopt(folder)
        return self.orphan

    def _adopt(self, folder: Folder) -> None:
        lock = None
        try:
            if folder.path not in self._done:
                lock = DeliveryLock.take(folder.path)
        finally:
            if lock is None:
                folder.release()
        if lock is not None:
            orphan = WriterLanes(lock, folder)
            self._observer.recovered("writer", folder.path not in self._passed_over)
            self._observer.adopted(orphan)
            self.orphan = orphan

    def finish(self, orphan: WriterLanes) -> None:
        """Close the lanes of an ended writer whose records are all finished.

        Raises:
            JournalError: When a file operation fails.
        """
        if save_torn_tail(orphan.path) is not None:
            _log.warning(
                "a line that a crash cut off was saved in a file of its own in %s", orphan.path
            )
            self._observer.recovered("torn_line")
        self._done.add(orphan.path)
        self._finished_some = True
        self.orphan = None
        orphan.close()

    def pass_over(self, orphan: WriterLanes, error: JournalError) -> None:
        """Skip a writer with unusable files until the next search, so that others need not wait."""
        self.orphan = None
        orphan.close()
        if orphan.path not in self._passed_over:
            self._passed_over.add(orphan.path)
            _log.warning("records of an ended process are not delivered for now: %s", error)

    def _clean_up(self) -> None:
        """Clean the journal after deliveries since the last search."""
        if not self._finished_some:
            return
        self._finished_some = False
        try:
            self._journal.clean_up()
        except JournalError as error:
            _log.warning("%s", error)

    def close(self) -> None:
        """Close the lanes of every writer."""
        for lanes in (*self.live.values(), *([self.orphan] if self.orphan else [])):
            lanes.close()
