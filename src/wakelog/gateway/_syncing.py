"""Syncing for asyncio: those who wait at the same time share one round, in a thread."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.gateway._files import SessionFile, SessionFiles

# macOS has none.
_fdatasync = getattr(os, "fdatasync", os.fsync)


class Syncer:
    """Makes what has been written to sessions' files durable, off the event loop.

    ``_lock`` guards which files wait; nothing is synced under it.

    Args:
        files: The files.
        interval: How long ``sync_soon`` may leave a file unsynced, in seconds.
    """

    def __init__(self, files: SessionFiles, interval: float = 0.1) -> None:
        self._files = files
        self._interval = interval
        self._lock = threading.Lock()
        self._due: set[SessionFile] = set()
        self._waiting: dict[SessionFile, list[asyncio.Future[None]]] = {}
        self._running = False
        self._timer: threading.Timer | None = None
        # Files whose names their directories are known to keep through a power failure.
        self._named: set[Path] = set()

    async def synced(self, file: SessionFile) -> None:
        """Wait, without blocking the event loop, until what was written to a file is on the disk.

        Raises:
            JournalError: When the disk refused. The file is not written to any more then.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting.setdefault(file, []).append(future)
            begin, self._running = not self._running, True
        if begin:
            thread = threading.Thread(target=self._run, name="wakelog-gateway-sync", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is exiting
                self._run()
        await future

    def sync_soon(self, file: SessionFile) -> None:
        """Have a file synced within the interval."""
        with self._lock:
            self._due.add(file)
            if self._timer is not None:
                return
            self._timer = threading.Timer(self._interval, self.sync_due)
            self._timer.daemon = True
            try:
                self._timer.start()
            except RuntimeError:  # the interpreter is exiting
                self._timer = None
            else:
                return
        self.sync_due()

    def sync_due(self) -> None:
        """Sync what ``sync_soon`` has left; a file that the disk refuses is not written any more."""
        with self._lock:
            due, self._due, self._timer = self._due, set(), None
        for file in due:
            self._sync(file)

    def _run(self) -> None:
        while True:
            with self._lock:
                waiting, self._waiting = self._waiting, {}
                if not waiting:
                    self._running = False
                    return
            for file, futures in waiting.items():
                error = self._sync(file)
                for future in futures:
                    loop = future.get_loop()
                    if not loop.is_closed():
                        loop.call_soon_threadsafe(_resolve, future, error)

    def _sync(self, file: SessionFile) -> JournalError | None:
        try:
            descriptor = self._files.duplicate(file)
            try:
                _fdatasync(descriptor)
            finally:
                os.close(descriptor)
            if file.path not in self._named:
                self._name(file)
        except OSError as error:
            self._files.retire(file)
            hint = "The event is not known to be on the disk; the next one goes into a new file"
            return JournalError("sync", file.path, error.strerror or error, hint)
        return None

    def _name(self, file: SessionFile) -> None:
        folder = file.path.parent
        while True:
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if folder in (self._files.base.parent, folder.parent):
                break
            folder = folder.parent
        if len(self._named) > 10_000:  # noqa: PLR2004 - a cache; what is forgotten is synced again
            self._named.clear()
        self._named.add(file.path)


def _resolve(future: asyncio.Future[None], error: JournalError | None) -> None:
    if future.done():  # its task was cancelled
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
