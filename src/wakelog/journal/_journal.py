"""A journal directory, and this process's writers in it."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wakelog.errors import JournalError
from wakelog.journal._durability import Durability, Receipt
from wakelog.journal._folder import Folder, folders
from wakelog.journal._generation import next_generation, process_id
from wakelog.journal._inventory import contents_of
from wakelog.journal._ledger import load
from wakelog.journal._owner import Owner, Service
from wakelog.journal._quota import Quota, is_full
from wakelog.journal._root import prepare
from wakelog.journal._rotation import Rotation
from wakelog.journal._space import Space
from wakelog.journal._writer import Writer, write_line
from wakelog.record import DEFAULT_PIPELINE, LOGS, Resource, sha256, uuid7
from wakelog.runtime import (
    SYSTEM,
    FileSystem,
    ForkOrder,
    absolute,
    check_directory,
    is_directory,
    notice_fork,
    noticed,
    reset_in_child,
    resolved,
)
from wakelog.storage import Committer

if TYPE_CHECKING:
    from wakelog.journal._listener import SegmentListener
    from wakelog.journal._observer import Observer

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
_DEFAULT_SPACE = Space()

# A cache: access to an enumeration's member takes four times as long as to a module's name.
_FSYNC, _PERIODIC = Durability.FSYNC, Durability.PERIODIC


class _Open(NamedTuple):
    """A writer of this process and what syncs for it."""

    writer: Writer
    committer: Committer


class Journal:
    """A journal: a directory of writers' folders, and this process's writer for each service.

    A writer is created by the first append for its service, so that a program that records nothing
    leaves no folder. A forked child creates its own writers.

    ``_lock`` guards the set of open writers; nothing is written under it except a new writer's
    folder.

    Args:
        root: The directory. It is created if missing, accessible to its owner only.
        durability: The durability of appends that do not ask for a stronger one.
        sync_interval: Maximum time that ``PERIODIC`` leaves lines unsynced, in seconds.
        segment_bytes: Size in bytes at which the next segment begins, at most an eighth of the
            quota.
        segment_age: Maximum age of a segment in seconds, checked at the next write.
        rotate_at_midnight: Whether the first record of a day, in local time, begins a segment.
        space: The limits on disk space and age.
        local: Whether this process delivers nothing from the directory.
        clock: Returns the time in seconds since 1970.
        new_id: Returns ids for writers, ordered by time.
        fs: The file-system calls; a test may record them or make them fail.
        observer: Called with the durations of writes and syncs.
        pipeline: The pipeline that records are recorded for and that may deliver them.
        signal: The signal of the records.
        service: The service of the records, if it is known before the first record.
        destination: The destination of this process's delivery, in words; None if unknown.
        on_segment: Called, without a lock, in the thread whose write began a segment.
        listener: Called when segments begin, when writers end, and before segments are deleted. By
            default, deletions of sealed segments wait for the signature of the sealing process.

    Raises:
        JournalError: When the directory cannot be created or written.
        JournalFormatError: When a newer Wakelog has written the directory.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        durability: Durability = Durability.OS_BUFFERED,
        sync_interval: float = 0.1,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
        segment_age: float | None = None,
        rotate_at_midnight: bool = False,
        space: Space = _DEFAULT_SPACE,
        local: bool = False,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = uuid7,
        fs: FileSystem = SYSTEM,
        observer: Observer | None = None,
        pipeline: str = DEFAULT_PIPELINE,
        signal: str = LOGS,
        service: Service | None = None,
        destination: str | None = None,
        on_segment: Callable[[], None] | None = None,
        listener: SegmentListener | None = None,
    ) -> None:
        self.root = resolved(absolute(root))
        self.durability = durability
        self.pipeline, self.signal, self.destination = pipeline, signal, destination
        self.services: tuple[Service, ...] = () if service is None else (service,)
        """The services for which this process records, or will record, in the directory."""
        self._rotation = Rotation(segment_bytes, segment_age, rotate_at_midnight)
        self._clock = clock
        self._new_id = new_id
        self._fs = fs
        self._observer = observer
        self._sync_interval = sync_interval
        self._lock = threading.RLock()
        self._open: dict[Service, _Open] = {}
        # A cache of the writer of the last resource, because successive records mostly share one.
        self._current: tuple[Resource, _Open] | None = None
        self.writers: list[Writer] = []
        """Every writer of this process in the directory, oldest first, including ended ones."""
        prepare(self.root, fs)
        sha256()  # an import while something is recorded may coincide with a fork
        self._quota = Quota(self.root, space, fs, clock, local=local, listener=listener)
        self._listener = listener
        self._on_segment = on_segment
        reset_in_child(self._after_fork, ForkOrder.STORAGE)

    @property
    def writer(self) -> Writer | None:
        """This process's newest writer, or None before the first append."""
        opened = self.open_writers
        return opened[-1] if opened else None

    @property
    def open_writers(self) -> list[Writer]:
        """This process's writers, one for each service, in the order of their first records."""
        notice_fork()
        return [opened.writer for opened in list(self._open.values())]

    @property
    def disk_usage(self) -> int:
        """An estimate of the directory's size in bytes, without listing it again."""
        return self._quota.usage

    @property
    def disk_limit(self) -> int:
        """The quota in bytes."""
        return self._quota.limit

    @property
    def evicted(self) -> Counter[str]:
        """The number of undelivered records that this process has deleted, by reason."""
        return self._quota.evicted

    @property
    def evicted_from(self) -> Counter[tuple[Path, str]]:
        """The number of undelivered records that this process has deleted, by folder and reason."""
        return self._quota.evicted_from

    def append(
        self,
        record_id: str,
        content: bytes,
        resource: Resource,
        durability: Durability | None = None,
        *,
        counted: bool = True,
    ) -> Receipt:
        """Write one record.

        Args:
            record_id: The record's id.
            content: The record, encoded by ``wakelog.record.encode``.
            resource: The record's resource. Passing the same object for each record is fastest.
            durability: The durability before this returns, if stronger than the journal's.
            counted: Whether the line is a record of its own; see ``Writer.write``.

        Returns:
            The receipt.

        Raises:
            JournalError: When a system call fails. Then the record is not accepted.
        """
        level = self.durability if durability is None else self.durability.at_least(durability)
        writer, seq = self.put(record_id, content, resource, level, counted=counted)
        return Receipt(record_id, writer.id, seq, level)

    def put(
        self,
        record_id: str,
        content: bytes,
        resource: Resource,
        level: Durability,
        waits: bool = True,  # noqa: FBT001, FBT002 - positional for speed
        counted: bool = True,  # noqa: FBT001, FBT002 - likewise
    ) -> tuple[Writer, int]:
        """Write one record without creating a receipt.

        Args:
            record_id: As of ``append``.
            content: As of ``append``.
            resource: As of ``append``.
            level: The durability, at least the journal's own.
            waits: Whether to wait for a sync if ``level`` requires one; if not, call ``settle``.
            counted: As of ``append``.

        Returns:
            The record's writer and sequence number.

        Raises:
            JournalError: As of ``append``.
        """
        if not noticed[0]:
            notice_fork()
        tried_again = False
        while True:
            try:
                current = self._current
                if current is not None and current[0] is resource:
                    opened = current[1]
                else:
                    opened = self._writer_for(resource)
                writer = opened[0]
                seq = write_line(writer, record_id, content, resource, level, counted)
            except JournalError as error:
                if tried_again or not self.makes_room(error):
                    raise
                tried_again = True
                continue
            if seq:
                break
            self._forget(opened)  # it was closed, or its folder was deleted, in the meantime
        if level is _PERIODIC:
            opened.committer.sync_soon()
        elif level is _FSYNC and waits:
            if counted:
                writer.commit(seq)
            else:
                writer.sync()
        return writer, seq

    def write(
        self,
        record_id: str,
        content: bytes,
        resource: Resource,
        durability: Durability | None = None,
    ) -> Receipt:
        """Write one record without waiting for a sync, which ``settle`` does.

        Args:
            record_id: The record's id.
            content: The record, encoded by ``wakelog.record.encode``.
            resource: The record's resource.
            durability: The durability after ``settle``, if stronger than the journal's.

        Returns:
            The receipt, with the durability that the record has after ``settle``.

        Raises:
            JournalError: When a system call fails. Then the record is not accepted.
        """
        level = self.durability if durability is None else self.durability.at_least(durability)
        writer, seq = self.put(record_id, content, resource, level, waits=False)
        return Receipt(record_id, writer.id, seq, level)

    async def settle(self, receipt: Receipt) -> None:
        """Wait, without blocking the event loop, until a record of ``write`` has its durability.

        Tasks that wait at the same time share one sync.

        Raises:
            JournalError: When the sync fails. Then the record is not accepted.
        """
        notice_fork()
        if receipt.durability is not _FSYNC:
            return
        # If the writer was closed in the meantime, closing has synced it.
        for writer, committer in list(self._open.values()):
            if writer.id == receipt.writer:
                await committer.synced()
                writer.commit(receipt.seq)  # returns at once, or raises the sync's error

    def orphans(
        self,
        wanted: Callable[[Path], bool] | None = None,
        unfinished: Callable[[Path], bool] | None = None,
    ) -> Iterator[Folder]:
        """Adopt, one by one, the folders of ended writers that have pending records.

        Args:
            wanted: Returns whether to consider a folder; by default all are considered.
            unfinished: Returns whether a folder without pending records has other unfinished work.

        Yields:
            Folders that this process now owns and that the caller has to release.

        Raises:
            JournalError: When the directory cannot be listed.
        """
        notice_fork()
        for path in folders(self.root):
            if wanted is not None and not wanted(path):
                continue
            if (folder := Folder.adopt(path)) is not None:
                if _has_pending(path) or (unfinished is not None and unfinished(path)):
                    yield folder
                else:
                    folder.release()

    def makes_room(self, error: JournalError) -> bool:
        """Return whether, after a write failed on a full disk, room was made to try it again."""
        return is_full(error) and self._quota.room_on_disk()

    def clean_up(self) -> None:
        """Delete segments that need not be kept; this also runs automatically while recording.

        Segments without undelivered records are deleted when they exceed the retention limits or
        the directory exceeds its quota, and then folders of ended writers with nothing left to
        keep. Undelivered records are never deleted by this.

        Raises:
            JournalError: When a deletion fails. The others are still done.
        """
        notice_fork()
        self._quota.clean_up()

    def close(self) -> None:
        """End this process's writers. A later append begins a new one.

        Raises:
            JournalError: When a sync that threads are waiting for fails. All writers are ended
                anyway.
        """
        notice_fork()
        with self._lock:
            ended, self._open, self._current = list(self._open.values()), {}, None
        failure: JournalError | None = None
        for writer, committer in ended:
            try:
                writer.close(self._listener)
            except JournalError as error:
                failure = failure or error
            committer.stop()
        for writer, _ in ended:
            self._quota.end(writer)
        if failure is not None:
            raise failure

    def _forget(self, opened: _Open) -> None:
        with self._lock:
            known = [service for service, one in self._open.items() if one is opened]
            if not known:
                return
            del self._open[known[0]]
            self._current = None
        opened.writer.folder.release()
        opened.committer.stop()
        self._quota.forget(opened.writer)

    def _writer_for(self, resource: Resource) -> _Open:
        service = Service.of(resource)
        opened = self._open.get(service) or self._begin(service)
        self._current = (resource, opened)
        return opened

    def _begin(self, service: Service) -> _Open:
        with self._lock:
            if (opened := self._open.get(service)) is None:
                if is_directory(self.root):
                    check_directory(self.root)  # it may have been replaced
                else:
                    prepare(self.root, self._fs)  # it was deleted
                with next_generation(self.root) as generation:
                    owner = Owner(
                        service,
                        self.pipeline,
                        self.signal,
                        generation,
                        process_id(),
                        self.destination,
                    )
                    folder = Folder.create(self.root, self._new_id(), self._fs, owner)
                writer = Writer(
                    folder,
                    segment_bytes=self._segment_bytes(),
                    rotation=self._rotation,
                    grant=self._quota.grant,
                    tick=self._tick,
                    clock=self._clock,
                    fs=self._fs,
                    observer=self._observer,
                    owner=owner,
                )
                begun = _Open(writer, Committer(writer.commit_written, self._sync_interval))
                if (opened := self._open.get(service)) is not None:
                    folder.release()  # a signal handler has begun one in between
                    return opened
                self._open[service] = opened = begun
                if service not in self.services:
                    self.services = (*self.services, service)
                self.writers.append(writer)
                self._quota.begin(writer)
            return opened

    def _tick(self, rotated: bool) -> None:  # noqa: FBT001 - a callback's signature
        self._quota.tick(rotated)
        if rotated and self._on_segment is not None:
            self._on_segment()
        if rotated and self._listener is not None:
            self._listener.segment_begun()

    def _segment_bytes(self) -> int:
        """Return the maximum size of a segment, small enough to meet the quota by deleting some."""
        return min(
            self._rotation.max_bytes or DEFAULT_SEGMENT_BYTES, max(1, self._quota.limit // 8)
        )

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        inherited, self._open, self._current = list(self._open.values()), {}, None
        self.writers = []
        self._quota.after_fork()
        for opened in inherited:
            opened.writer.abandon()


def _has_pending(folder: Path) -> bool:
    """Return whether a folder has pending records or a torn line to save."""
    found = contents_of(folder)
    mark = load(folder, folder.name)
    return bool(found.segments) and not (
        mark.segment == found.segments[-1].index and mark.offset == found.segments[-1].size
    )
