"""A journal directory, and this process's writers in it."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import JournalError
from wakelog.journal._durability import Durability, Receipt
from wakelog.journal._folder import Folder, folders
from wakelog.journal._generation import next_generation, process_id
from wakelog.journal._inventory import contents_of
from wakelog.journal._ledger import load
from wakelog.journal._listener import SegmentListener
from wakelog.journal._observer import Observer
from wakelog.journal._owner import Owner, Service
from wakelog.journal._quota import Quota, is_full
from wakelog.journal._root import prepare
from wakelog.journal._rotation import Rotation
from wakelog.journal._space import Space
from wakelog.journal._writer import Writer
from wakelog.record import DEFAULT_PIPELINE, LOGS, Resource, uuid7
from wakelog.runtime import (
    SYSTEM,
    FileSystem,
    ForkOrder,
    absolute,
    check_directory,
    is_directory,
    notice_fork,
    reset_in_child,
    resolved,
)
from wakelog.storage import Committer

DEFAULT_SEGMENT_BYTES = 16 * 1024 * 1024
_DEFAULT_SPACE = Space()

# A look into an enumeration takes four times what one at a module does.
_FSYNC, _PERIODIC = Durability.FSYNC, Durability.PERIODIC


class _Open(NamedTuple):
    """A writer of this process and what syncs for it."""

    writer: Writer
    committer: Committer


class Journal:
    """A directory of writers' folders, with one writer of this process for each service in it.

    A writer is made by the first append of a service's record, so that a program that records nothing
    leaves nothing. A forked child makes writers of its own.

    ``_lock`` guards which writers are open; nothing is written under it except a new writer's folder.

    Args:
        root: The directory. It is made when it is missing, for its owner only.
        durability: What an append waits for unless it says otherwise.
        sync_interval: How long ``PERIODIC`` may leave lines unsynced, in seconds.
        segment_bytes: The size at which the next segment begins, at most an eighth of the quota.
        segment_age: The seconds after which a segment is ended by the next record.
        rotate_at_midnight: Whether a segment is ended by the first record of a new day in the local
            time zone.
        space: How much of the disk the directory may take, and for how long.
        local: Whether this process delivers nothing of it.
        clock: The time of day, in seconds since 1970.
        new_id: Makes writers' ids, in the order of time.
        fs: The system calls; a test's own to record or fail them.
        observer: Told how long writing and syncing take.
        pipeline: The pipeline that records are recorded for, which says who may deliver them.
        signal: What the records are.
        service: A service whose records will come, where that is known before the first one does.
        destination: Where this process delivers to, in words; None when that is not known.
        on_segment: Called, without a lock, in the thread whose write began a segment.
        listener: Told when segments begin and when writers end, asked before segments are deleted. By
            default what somebody has sealed is deleted when whoever seals it has signed for that.

    Raises:
        JournalError: When the directory cannot be made or written.
        JournalFormatError: When a newer Wakelog has written there.
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
        """The services whose records this process has in the directory, or will have."""
        self._rotation = Rotation(segment_bytes, segment_age, rotate_at_midnight)
        self._clock = clock
        self._new_id = new_id
        self._fs = fs
        self._observer = observer
        self._sync_interval = sync_interval
        self._lock = threading.RLock()
        self._open: dict[Service, _Open] = {}
        # A cache of the writer for the last resource, which is mostly the same object.
        self._current: tuple[Resource, _Open] | None = None
        self.writers: list[Writer] = []
        """Every writer of this process in the directory, oldest first; the last may be ended too."""
        prepare(self.root, fs)
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
        """The bytes in the directory, as far as it is known without looking there again."""
        return self._quota.usage

    @property
    def disk_limit(self) -> int:
        """The most bytes that the directory may hold."""
        return self._quota.limit

    @property
    def evicted(self) -> Counter[str]:
        """How many undelivered records this process has deleted, by reason."""
        return self._quota.evicted

    @property
    def evicted_from(self) -> Counter[tuple[Path, str]]:
        """The same by the writer's folder and the reason."""
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
            content: What ``wakelog.record.encode`` returned.
            resource: The record's resource; the same object for the same resource is fastest.
            durability: What has to be done before this returns, when it is more than the journal's.
            counted: Whether it is a record of its own; see ``Writer.write``.

        Returns:
            The receipt.

        Raises:
            JournalError: When the operating system refused. The record is not accepted then.
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
        *,
        counted: bool = True,
        waits: bool = True,
    ) -> tuple[Writer, int]:
        """Write one record, for callers who want no receipt.

        Args:
            record_id: As of ``append``.
            content: As of ``append``.
            resource: As of ``append``.
            level: What has to be done, at least the journal's own durability.
            counted: As of ``append``.
            waits: Whether to wait for the disk where ``level`` says so; else that is left to ``settle``.

        Returns:
            The writer that has it, and its sequence number.

        Raises:
            JournalError: As of ``append``.
        """
        notice_fork()
        tried_again = False
        while True:
            try:
                current = self._current
                if current is not None and current[0] is resource:
                    opened = current[1]
                else:
                    opened = self._writer_for(resource)
                writer = opened.writer
                seq = writer.write(record_id, content, resource, level, counted)
            except JournalError as error:
                if tried_again or not is_full(error) or not self._quota.room_on_disk():
                    raise
                tried_again = True
                continue
            if seq:
                break
            self._forget(opened)  # it was closed in between, or its folder is gone
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
        """Write one record and leave waiting for the disk to ``settle``.

        Args:
            record_id: The record's id.
            content: What ``wakelog.record.encode`` returned.
            resource: The record's resource.
            durability: What has to be done in the end, when it is more than the journal's own.

        Returns:
            The receipt; its durability is what has to be done in the end.

        Raises:
            JournalError: When the operating system refused. The record is not accepted then.
        """
        level = self.durability if durability is None else self.durability.at_least(durability)
        writer, seq = self.put(record_id, content, resource, level, waits=False)
        return Receipt(record_id, writer.id, seq, level)

    async def settle(self, receipt: Receipt) -> None:
        """Wait until what a receipt of ``write`` promises is so, without blocking the event loop.

        Tasks that wait at the same time share one sync.

        Raises:
            JournalError: When the disk refused. The record is not accepted then.
        """
        notice_fork()
        if receipt.durability is not _FSYNC:
            return
        # A writer that has been closed since has synced everything that was waited for.
        for writer, committer in list(self._open.values()):
            if writer.id == receipt.writer:
                await committer.synced()
                writer.commit(receipt.seq)  # it is synced, or its sync has failed before

    def orphans(
        self,
        wanted: Callable[[Path], bool] | None = None,
        unfinished: Callable[[Path], bool] | None = None,
    ) -> Iterator[Folder]:
        """Adopt, one by one, the folders of writers that are gone and left something to deal with.

        Args:
            wanted: Says of a folder whether it is asked for; all are by default.
            unfinished: Says of a folder that has nothing to deliver whether there is something else
                to do in it.

        Yields:
            Folders that this process now owns; whoever takes one has to release it.

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

    def clean_up(self) -> None:
        """Delete what need not be kept any more; called by itself now and then while recording.

        Segments that have been dealt with go when they are past their time or more than may be kept,
        and when the directory is over its quota; then folders of writers that are gone and that
        hold nothing else. Undelivered records are never deleted by this.

        Raises:
            JournalError: When something could not be deleted. The rest is cleaned all the same.
        """
        notice_fork()
        self._quota.clean_up()

    def close(self) -> None:
        """End this process's writers. A later append begins another.

        Raises:
            JournalError: When a sync that threads are waiting for failed. All are ended all the same.
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
                    check_directory(self.root)  # somebody may have put another in its place
                else:
                    prepare(self.root, self._fs)  # somebody has deleted it
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
                    folder.release()  # a signal's handler was faster
                    return opened
                self._open[service] = opened = begun
                if service not in self.services:
                    self.services = (*self.services, service)
                self.writers.append(writer)
                self._quota.begin(writer)
            return opened

    def _tick(self, rotated: bool) -> None:  # noqa: FBT001 - the writer's answer
        self._quota.tick(rotated)
        if rotated and self._on_segment is not None:
            self._on_segment()
        if rotated and self._listener is not None:
            self._listener.segment_begun()

    def _segment_bytes(self) -> int:
        """Return the size of a segment: small enough that the quota can be kept by deleting some."""
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
    """Tell whether there is anything to deliver in a folder, or a torn line to save."""
    found = contents_of(folder)
    mark = load(folder, folder.name)
    return bool(found.segments) and not (
        mark.segment == found.segments[-1].index and mark.offset == found.segments[-1].size
    )
