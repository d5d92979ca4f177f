"""The lanes of a directory's writers in this process, and waking readers of new lines."""

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
    """Return lanes ordered by the start of their writers: by generation, then by id."""
    return sorted(lanes.items(), key=lambda pair: (pair[1].generation, pair[0]))


def newest_of(lanes: Mapping[str, WriterLines]) -> Position:
    """Return a position that contains only the newest of some writers."""
    newest = in_order(lanes)[-1:]
    return Position(
        {writer: Place() for writer, _ in newest}, sum(one.generation for _, one in newest)
    )


class Lanes:
    """All lanes of a directory, and the watches of the sessions with readers.

    ``lock`` guards the lanes, their indexes, and the watches. A line may be written under it, but
    nothing is synced, exported or called back.

    Attributes:
        by_writer: The lanes.
        version: Changes whenever a lane is added, removed or complete.
        own: The lane that this process writes, if it does.
        watches: The watches by session, while it has readers.
        scans: Finds chunks on disk that are not in memory.

    Args:
        directory: The journal's directory.
        max_readers: The maximum number of readers at a time.
        max_scans: The maximum number of disk scans at a time.

    Raises:
        ConfigurationError: If a limit is not a number of at least 1.
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
        # Dead writers whose streams are closed: a cache of what their ledgers state.
        self.acknowledged: set[str] = set()
        self._listed = -1
        # Held while one thread reads the files of other processes.
        self._refreshing = threading.Lock()

    def make_room(self) -> None:
        """Check that another reader is allowed.

        Raises:
            TooManyReadersError: If the maximum is reached.
        """
        with self.lock:
            if len(self._readers) < self._max_readers:
                return
            # A reader that has ended may still be referenced.
            for reader in [reader for reader in self._readers if reader.ended is not None]:
                self._readers.discard(reader)
            if len(self._readers) >= self._max_readers:
                raise TooManyReadersError(
                    f"cannot read a session of {self.directory}: there are {self._max_readers} readers "
                    "already. Close those that are not needed, or raise max_readers="
                )

    def add_reader(self, reader: Reader) -> None:
        """Count a reader until it has ended or is garbage-collected."""
        with self.lock:
            self._readers.add(reader)

    def watch(self, session_id: str) -> Watch:
        """Return the watch of a session, which a reader keeps."""
        with self.lock:
            watch = self.watches.get(session_id)
            if watch is None:
                watch = self.watches[session_id] = Watch()
            return watch

    def wake(self, session_id: str) -> None:
        """Wake the readers of a session. The caller holds the lock."""
        if (watch := self.watches.get(session_id)) is not None:
            watch.wake()

    def begin_own(self, folder: Path) -> WriterLines:
        """Begin the lane of this process's present writer. The caller holds the lock."""
        self.retire_own()
        lane = self.by_writer[folder.name] = self._watched(WriterLines(folder, own=True))
        self.own = lane
        self._changed()
        return lane

    def retire_own(self) -> None:
        """Note that this process's writer has ended. The caller holds the lock."""
        if self.own is not None:
            self.own.close()
            self.own.complete = True
            self.own = None
            self._changed()

    def list(self) -> None:
        """Add lanes for new folders, and remove those of deleted folders.

        Raises:
            JournalError: If the directory cannot be listed.
        """
        try:
            changed = os.stat(self.directory).st_mtime_ns
        except FileNotFoundError:
            return
        with self.lock:
            if changed == self._listed:
                return
            found = {path.name: path for path in folders(self.directory) if is_writer(path.name)}
            # A folder created in the same tick of the clock would not change the modification time
            # again.
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
        """Read what other processes have written.

        Args:
            owners: Whether to check which of them have ended.

        Returns:
            Whether one has ended since the last call.

        Raises:
            JournalError: If reading fails.
        """
        gone = False
        self.list()
        with self._refreshing:
            for lane in list(self.by_writer.values()):
                if lane.own or lane.complete:
                    continue
                free = owners and is_owned(lane.folder) is False
                with self.lock:
                    if not self.watches:  # no session has a reader
                        lane.catch_up()
                for news in lane.news():
                    with self.lock:
                        for session_id in lane.take(news, list(self.watches)):
                            self.wake(session_id)
                if free:  # it ended before the read above, so everything has been read
                    with self.lock:
                        lane.complete = gone = True
                        self._changed()
        return gone

    def close(self) -> None:
        """Remove everything, and end the readers."""
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
        """Reset in a forked child, which has no readers and may have inherited locked locks."""
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
