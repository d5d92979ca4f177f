"""Whose records are delivered: writers that are at work, and those that are gone, one at a time."""

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
    """Where the records to deliver come from."""

    def live(self) -> list[Path]:
        """Return the folders that are being written now."""
        ...

    def gone(self) -> Iterator[Folder]:
        """Adopt, one by one, the folders of writers that are gone, oldest first."""
        ...


class Writers:
    """The writers that this process delivers, each with its lanes, under its delivery lock.

    Args:
        journal: This process's journal.
        sources: What to deliver.
        behind: A lane that is further behind than so many records is split.
        clock: Tells monotonic seconds.
        observer: Is told what is found.
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
        """Those that are at work."""
        self.orphan: WriterLanes | None = None
        """The one that is gone. One at a time is adopted: there may be more of them than descriptors."""
        self._candidates: Iterator[Folder] | None = None
        self._done: set[Path] = set()
        self._finished_some = False
        self._passed_over: set[Path] = set()
        self._next_search, self._search_pause = 0.0, _FIRST_SEARCH_PAUSE
        # Writers to look at before the next round: are they further than one round away?
        self._maybe_behind: set[Path] = set()

    def lanes_of(self, path: Path) -> WriterLanes | None:
        """Return the lanes of a writer's folder while they are open here."""
        lanes, orphan = self.live.get(path), self.orphan
        if lanes is None and orphan is not None and orphan.path == path:
            lanes = orphan
        return None if lanes is None or lanes.closed else lanes

    def follow(self, *, failing: bool) -> None:
        """Have lanes for every writer that is at work and that nobody else delivers.

        Args:
            failing: Whether the next hop fails, so that nothing is known to be behind yet.

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
        """Learn that nothing gets through for now."""
        self._maybe_behind |= self.live.keys()

    def next_orphan(self) -> WriterLanes | None:
        """Return the oldest writer that is gone and not dealt with in this search."""
        while self.orphan is None:
            if self._candidates is None:
                now = self._clock()
                if now < self._next_search:
                    return None
                # Somebody who looks whether a folder is free holds its lock for that moment, so
                # the second look comes soon after the first.
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
        """Let go of a writer that is gone, all of whose records have been dealt with.

        Raises:
            JournalError: When a file operation fails.
        """
        if save_torn_tail(orphan.path) is not None:
            _log.warning("a line that a crash cut off is set aside in %s", orphan.path)
            self._observer.recovered("torn_line")
        self._done.add(orphan.path)
        self._finished_some = True
        self.orphan = None
        orphan.close()

    def pass_over(self, orphan: WriterLanes, error: JournalError) -> None:
        """Leave a writer whose files cannot be used to the next search: others shall not wait."""
        self.orphan = None
        orphan.close()
        if orphan.path not in self._passed_over:
            self._passed_over.add(orphan.path)
            _log.warning("what a process left behind is not delivered for now: %s", error)

    def _clean_up(self) -> None:
        """Have what was delivered since the last search deleted, where it need not be kept."""
        if not self._finished_some:
            return
        self._finished_some = False
        try:
            self._journal.clean_up()
        except JournalError as error:
            _log.warning("%s", error)

    def close(self) -> None:
        """Let go of every writer."""
        for lanes in (*self.live.values(), *([self.orphan] if self.orphan else [])):
            lanes.close()
