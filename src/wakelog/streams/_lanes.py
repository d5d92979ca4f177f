"""The writers of a directory as this process knows them, and whom to wake when one has news."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wakelog.errors import ConfigurationError, TooManyReadersError
from wakelog.journal import folders, is_owned
from wakelog.streams._lane import WriterLines
from wakelog.streams._places import Place, Position, is_writer
from wakelog.streams._scans import Scans
from wakelog.streams._watch import Watch

if TYPE_CHECKING:
    from wakelog.streams._reader import Reader

_TICK_NANOSECONDS = 1_000_000_000


def in_order(lanes: Mapping[str, WriterLines]) -> Sequence[tuple[str, WriterLines]]:
    """Return lanes in the order in which their writers began: by generation, and else by id."""
    return sorted(lanes.items(), key=lambda pair: (pair[1].generation, pair[0]))


def newest_of(lanes: Mapping[str, WriterLines]) -> Position:
    """Return a position with nothing but the newest of some writers in it."""
    newest = in_order(lanes)[-1:]
    return Position(
        {writer: Place() for writer, _ in newest}, sum(one.generation for _, one in newest)
    )


class Lanes:
    """All lanes of a directory, and the watches of the sessions that somebody reads.

    ``lock`` guards the lanes, what they know, and the watches. Under it a line may be written, and
    nothing is synced, exported or called back.

    Attributes:
        by_writer: The lanes.
        version: Changes whenever a lane comes, goes or is complete.
        own: The one that this process writes to, once it does.
        watches: By session, as long as somebody reads it.
        scans: Finds on the disk what is not in memory.

    Args:
        directory: The journal's directory.
        max_readers: How many readers there may be at once.
        max_scans: How many scans of the disk run at once.

    Raises:
        ConfigurationError: When a limit is no number from 1 on.
    """

    def __init__(self, directory: Path, max_readers: int, max_scans: int) -> None:
        limits: dict[str, object] = {"max_readers": max_readers, "max_scans": max_scans}
        for name, limit in limits.items():
            if not isinstance(limit, int) or limit < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {limit!r:.80}")
        self.directory = directory
        self._max_readers = max_readers
        self.scans = Scans(max_scans)
        self._reset()

    def _reset(self) -> None:
        self.lock = threading.RLock()
        self.by_writer: dict[str, WriterLines] = {}
        self.version = 0
        self.own: WriterLines | None = None
        self.watches: weakref.WeakValueDictionary[str, Watch] = weakref.WeakValueDictionary()
        self._readers: weakref.WeakSet[Reader] = weakref.WeakSet()
        # Writers that are gone and whose streams are closed: a cache of what their ledgers say.
        self.acknowledged: set[str] = set()
        self._listed = -1
        # Held by the one who takes in what others write, while he reads their files.
        self._refreshing = threading.Lock()

    def make_room(self) -> None:
        """Refuse a reader for which there is no room.

        Raises:
            TooManyReadersError: When there are as many as there may be.
        """
        with self.lock:
            if len(self._readers) < self._max_readers:
                return
            # Whoever has ended may still be held by somebody.
            for reader in [reader for reader in self._readers if reader.ended is not None]:
                self._readers.discard(reader)
            if len(self._readers) >= self._max_readers:
                raise TooManyReadersError(
                    f"cannot read a session of {self.directory}: there are {self._max_readers} readers "
                    "already. Close those that are not needed, or raise max_readers="
                )

    def add_reader(self, reader: Reader) -> None:
        """Count a reader, until it has ended or nobody holds it any longer."""
        with self.lock:
            self._readers.add(reader)

    def watch(self, session_id: str) -> Watch:
        """Return the watch of a session, for a reader to hold."""
        with self.lock:
            watch = self.watches.get(session_id)
            if watch is None:
                watch = self.watches[session_id] = Watch()
            return watch

    def wake(self, session_id: str) -> None:
        """Wake the readers of a session. Whoever calls holds the lock."""
        if (watch := self.watches.get(session_id)) is not None:
            watch.wake()

    def begin_own(self, folder: Path) -> WriterLines:
        """Take up the writer that this process writes to now. Whoever calls holds the lock."""
        self.retire_own()
        lane = self.by_writer[folder.name] = self._watched(WriterLines(folder, own=True))
        self.own = lane
        self._changed()
        return lane

    def retire_own(self) -> None:
        """Take note that this process's writer has ended. Whoever calls holds the lock."""
        if self.own is not None:
            self.own.close()
            self.own.complete = True
            self.own = None
            self._changed()

    def list(self) -> None:
        """Take up the writers whose folders have come, and drop those whose folders have gone.

        Raises:
            JournalError: When the directory cannot be listed.
        """
        try:
            changed = os.stat(self.directory).st_mtime_ns
        except FileNotFoundError:
            return
        with self.lock:
            if changed == self._listed:
                return
            found = {path.name: path for path in folders(self.directory) if is_writer(path.name)}
            # A folder that comes in the same tick of the clock does not change the time again.
            self._listed = changed if time.time_ns() - changed > _TICK_NANOSECONDS else -1
            before = self.by_writer.keys() | set()
            for writer in found.keys() - before:
                lane = self._watched(WriterLines(found[writer], own=False))
                lane.complete = is_owned(lane.folder) is False
                if lane.complete:
                    lane.catch_up()
                self.by_writer[writer] = lane
            for writer in before - found.keys():
                if not self.by_writer[writer].own:
                    del self.by_writer[writer]
            if before != self.by_writer.keys():
                self._changed()

    def refresh(self, *, owners: bool) -> bool:
        """Take in what other processes have written.

        Args:
            owners: Look too which of them are gone.

        Returns:
            Whether one is gone that was there before.

        Raises:
            JournalError: When the file system refuses.
        """
        gone = False
        self.list()
        with self._refreshing:
            for lane in list(self.by_writer.values()):
                if lane.own or lane.complete:
                    continue
                free = owners and is_owned(lane.folder) is False
                with self.lock:
                    if not self.watches:  # nobody wants to know what it was
                        lane.catch_up()
                for news in lane.news():
                    with self.lock:
                        for session_id in lane.take(news, list(self.watches)):
                            self.wake(session_id)
                if free:  # nothing was written after it was, and all that was has been taken in
                    with self.lock:
                        lane.complete = gone = True
                        self._changed()
        return gone

    def close(self) -> None:
        """Forget everything, and tell the readers."""
        with self.lock:
            self.retire_own()
            for watch in list(self.watches.values()):
                watch.closed = True
                watch.wake()
            self.watches.clear()
            self.by_writer.clear()
            self._listed = -1
        self.scans.close()

    def forget_in_child(self) -> None:
        """Begin anew in a forked child, where nobody reads yet and locks may be held for ever."""
        if self.own is not None:
            self.own.close()
        self._reset()
        self.scans.reset()

    def _watched(self, lane: WriterLines) -> WriterLines:
        for session_id in list(self.watches):
            lane.recent(session_id)
        return lane

    def _changed(self) -> None:
        self.version += 1
        for watch in list(self.watches.values()):
            watch.wake()
