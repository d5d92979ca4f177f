"""``JournalSessionLog``: conversations in the files of the Wakelog journal."""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from wakelog.audit import _thread_reading as reading
from wakelog.audit._archive import archive
from wakelog.audit._codec import content_of, id_of
from wakelog.audit._keys import ThreadKey, checked
from wakelog.audit._log import Logged, in_thread
from wakelog.audit._thread_folder import Sealable, ThreadFolder
from wakelog.errors import SessionLogBusyError
from wakelog.events import AgentEvent
from wakelog.journal import Durability
from wakelog.runtime import ForkOrder, absolute, notice_fork, noticed, reset_in_child, resolved
from wakelog.storage import FilesCommitter

_log = logging.getLogger("wakelog")
_OPEN_FOLDERS = 128
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")


class JournalSessionLog:
    """Stores each conversation in its own folder, in segments with the journal's format.

    The path is ``<root>/<tenant>/<thread>/00000001.jsonl``, and archived segments are compressed in
    ``archive/00000001.jsonl.gz`` beside it. Any number of threads, tasks and processes may append
    to the same conversation. A folder's name is the beginning of the id and its SHA-256, so that no
    two ids share a folder, whatever characters they have.

    ``_lock`` guards which folders are open; nothing is written under it. A signal handler that
    records may take it a second time.

    Args:
        root: The directory, which is created when needed.
        durability: What ``append`` waits for: ``OS_BUFFERED`` (survives ``kill -9``), ``FSYNC``
            (survives a power failure), or ``PERIODIC`` (survives it after at most
            ``sync_interval``).
        segment_bytes: The size at which a segment ends. Archiving moves whole segments.
        sync_interval: The longest time for which ``PERIODIC`` leaves lines unsynced, in seconds.

    Raises:
        ValueError: If the durability does not exist.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        durability: Durability | str = Durability.OS_BUFFERED,
        *,
        segment_bytes: int = 1024 * 1024,
        sync_interval: float = 0.1,
    ) -> None:
        self.root = resolved(absolute(root))
        self.durability = Durability(durability)
        self._synced = self.durability in (Durability.PERIODIC, Durability.FSYNC)
        self._segment_bytes = segment_bytes
        self._sync_interval = sync_interval
        self._folders: OrderedDict[ThreadKey, ThreadFolder] = OrderedDict()
        self._reset()
        reset_in_child(self._after_fork, ForkOrder.STORAGE)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._committer = FilesCommitter(self._sync_interval)

    def _after_fork(self) -> None:
        for folder in self._folders.values():
            folder.abandon()
        self._folders.clear()
        self._reset()

    def folder_of(self, key: ThreadKey) -> Path:
        """Return the folder of a thread, which may not exist yet."""
        key = checked(key)
        return self.root / _name_of(key.tenant_id) / _name_of(key.thread_id)

    def append_now(self, key: ThreadKey, events: Sequence[AgentEvent], timeout: float) -> int:
        """Append events in the calling thread, without waiting for the disk.

        When this returns, their lines are written but not synced. ``FSYNC`` is then treated as
        ``PERIODIC``.

        Args:
            key: The thread.
            events: The events.
            timeout: The longest wait for other appends to the same thread, in seconds.

        Returns:
            The highest ordinal.

        Raises:
            SessionLogBusyError: If other appends took longer.
            SinkError: If the events were not accepted.
        """
        folder = self._folder(checked(key))
        records = [Sealable(id_of(event), content_of(event)) for event in events]
        reached = folder.append(records, timeout)
        if self._synced:
            self._sync_soon(folder, reached)
        return reached

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        """Append events in order; see ``SessionLog``."""
        folder = self._folder(checked(key))
        records = [Sealable(id_of(event), content_of(event)) for event in events]
        if not records:
            return await in_thread(folder.last_ordinal)
        if self.durability is Durability.FSYNC:
            return await in_thread(lambda: _append_synced(folder, records))
        try:
            reached = folder.append(records, 0)
        except SessionLogBusyError:
            reached = await in_thread(lambda: folder.append(records, None))
        if self._synced:
            self._sync_soon(folder, reached)
        return reached

    async def load_since(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is not archived; see ``SessionLog``. Damaged lines are skipped."""
        path = self.folder_of(key)
        return await in_thread(lambda: reading.live(path, cursor, limit))

    async def load_archived(
        self, key: ThreadKey, cursor: int = 0, *, limit: int | None = None
    ) -> list[Logged]:
        """Read what is archived; see ``SessionLog``. Damaged lines are skipped."""
        path = self.folder_of(key)
        return await in_thread(lambda: reading.archived(path, cursor, limit))

    async def archive_before(self, key: ThreadKey, watermark: int) -> int:
        """Archive everything up to an ordinal; see ``SessionLog``.

        Segments that are archived completely are compressed. The archived part of another segment
        stays in place until the watermark has passed the segment's end, and is nevertheless read as
        archived.
        """
        folder = self._folder(checked(key))
        return await in_thread(lambda: archive(folder, watermark))

    async def watermark(self, key: ThreadKey) -> int:
        """Return the ordinal up to which everything is archived."""
        path = self.folder_of(key)
        return await in_thread(lambda: reading.watermark(path))

    def close(self) -> None:
        """Sync unsynced lines and close the files, which are opened again when needed.

        Raises:
            JournalError: If a sync failed.
        """
        notice_fork()
        with self._lock:
            committer, self._committer = self._committer, FilesCommitter(self._sync_interval)
            folders = list(self._folders.values())
        try:
            committer.sync_due()
        finally:
            committer.stop()
            for folder in folders:
                folder.close()

    def _folder(self, key: ThreadKey) -> ThreadFolder:
        if not noticed[0]:
            notice_fork()
        folder = self._folders.get(key)
        if folder is not None:
            return folder
        with self._lock:
            folder = self._folders.get(key)
            if folder is None:
                folder = self._folders[key] = ThreadFolder(
                    self.folder_of(key),
                    key,
                    segment_bytes=self._segment_bytes,
                    durability=self.durability,
                )
                self._close_others(folder)
            return folder

    def _close_others(self, newest: ThreadFolder) -> None:
        """Limit the number of open files: close those that have been open the longest."""
        for key, folder in list(self._folders.items()):
            if len(self._folders) <= _OPEN_FOLDERS:
                return
            if folder is not newest and folder.close():
                del self._folders[key]

    def sync_at_once(self) -> None:
        """Sync unsynced lines now, and later appends at once, because the program is exiting."""
        self._committer.stop()

    def _sync_soon(self, folder: ThreadFolder, ordinal: int) -> None:
        _unsynced.add(self)
        self._committer.file_soon(folder, ordinal)


@atexit.register
def _sync_at_exit() -> None:
    for log in list(_unsynced):
        log.sync_at_once()


_unsynced: weakref.WeakSet[JournalSessionLog] = weakref.WeakSet()


def _append_synced(folder: ThreadFolder, records: Sequence[Sealable]) -> int:
    reached = folder.append(records, None)
    folder.wait(reached)
    return reached


def _name_of(identifier: str) -> str:
    """Return a safe file name for an id: its readable part, and its unique digest."""
    shown = _NOT_IN_A_NAME.sub("-", identifier.lower())[:24].strip("-")
    digest = sha256(identifier.encode()).hexdigest()
    return f"{shown}.{digest}" if shown else digest
