"""The writers of a directory as this process knows them, and whom to wake when one has news."""

from __future__ import annotations

import os
import threading
import time
import weakref
from pathlib import Path

from wakelog.journal import folders, is_owned
from wakelog.streams._lane import Lane
from wakelog.streams._places import is_writer
from wakelog.streams._watch import Watch

_TICK_NANOSECONDS = 1_000_000_000


class Lanes:
    """All lanes of a directory, and the watches of the sessions that somebody reads.

    ``lock`` guards the lanes, what they know, and the watches. Under it a line may be written, and
    nothing is synced, exported or called back.

    Attributes:
        by_writer: The lanes.
        version: Changes whenever a lane comes, goes or is complete.
        own: The one that this process writes to, once it does.
        watches: By session, as long as somebody reads it.

    Args:
        directory: The journal's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._begin()

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self.by_writer: dict[str, Lane] = {}
        self.version = 0
        self.own: Lane | None = None
        self.watches: weakref.WeakValueDictionary[str, Watch] = weakref.WeakValueDictionary()
        # Writers that are gone and whose streams are closed: a cache of what their ledgers say.
        self.dealt_with: set[str] = set()
        self._listed = -1
        # Held by the one who takes in what others write, while he reads their files.
        self._looking = threading.Lock()

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

    def begin_own(self, folder: Path) -> Lane:
        """Take up the writer that this process writes to now. Whoever calls holds the lock."""
        self.retire_own()
        lane = self.by_writer[folder.name] = self._watched(Lane(folder, own=True))
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
                lane = self._watched(Lane(found[writer], own=False))
                lane.complete = not is_owned(lane.folder)
                if lane.complete:
                    lane.catch_up()
                self.by_writer[writer] = lane
            for writer in before - found.keys():
                if not self.by_writer[writer].own:
                    del self.by_writer[writer]
            if before != self.by_writer.keys():
                self._changed()

    def look_around(self, *, owners: bool) -> bool:
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
        with self._looking:
            for lane in list(self.by_writer.values()):
                if lane.own or lane.complete:
                    continue
                free = owners and not is_owned(lane.folder)
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

    def forget_in_child(self) -> None:
        """Begin anew in a forked child, where nobody reads yet and locks may be held for ever."""
        if self.own is not None:
            self.own.close()
        self._begin()

    def _watched(self, lane: Lane) -> Lane:
        for session_id in list(self.watches):
            lane.recent(session_id)
        return lane

    def _changed(self) -> None:
        self.version += 1
        for watch in list(self.watches.values()):
            watch.wake()
