"""The writer: lines into segments, in order, with a stated durability."""

from __future__ import annotations

import enum
import errno
import os
import threading
from collections.abc import Callable
from typing import NamedTuple

from wakelog.errors import JournalError
from wakelog.journal._folder import Folder
from wakelog.journal._ledger import segment_name
from wakelog.record import Resource, seal, seal_header

_FILE_MODE = 0o600
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


class Durability(enum.StrEnum):
    """What has happened to an event's bytes when the call that recorded it returns."""

    OS_BUFFERED = "os_buffered"
    """The kernel has them: they survive ``kill -9``, and not a power failure."""
    FLUSH = "flush"
    """The same as ``OS_BUFFERED``, since no bytes are ever held in the process."""
    FSYNC = "fsync"
    """The disk has them, by ``fdatasync``: they survive a power failure."""

    def at_least(self, other: Durability | None) -> Durability:
        """Return the stronger of two levels; None asks for nothing."""
        return Durability.FSYNC if other is Durability.FSYNC else self


class Receipt(NamedTuple):
    """What the journal promises about one record.

    Attributes:
        id: The record's id, exported as ``log.record.uid``.
        writer: The writer that holds it.
        seq: Its sequence number there, from 1, without gaps.
        durability: What had been done when the receipt was given.
    """

    id: str
    writer: str
    seq: int
    durability: Durability


class Writer:
    """Appends lines to the segments of one folder.

    ``_lock`` guards the order of lines: the sequence number, the checksum chain and the open
    segment. Under it nothing is encoded, synced or logged. ``_sync_lock`` is held by the one
    thread that is syncing; the others wait for it and mostly find their lines synced already, so
    that concurrent ``FSYNC`` appends share one ``fdatasync``.

    Args:
        folder: The folder to write into, owned.
        segment_bytes: The size at which a segment is ended and the next begun.
        write: Puts bytes into a descriptor and returns how many; ``os.write``, or a test's.
        sync: Makes a descriptor's bytes durable; ``os.fdatasync``, or a test's.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        segment_bytes: int,
        write: Callable[[int, bytes], int] = os.write,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.folder = folder
        self.id = folder.writer
        self._segment_bytes = segment_bytes
        self._write, self._sync = write, sync
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._resource: Resource | None = None
        self._fd = -1
        self._segment = 0
        self._offset = 0
        self._seq = 0
        self._crc = 0
        self._synced_seq = 0
        # Whether the current segment holds a line that a thread is about to sync, and the ended
        # segments that do.
        self._sync_wanted = False
        self._unsynced: list[int] = []
        # The segment whose name the directory is known to keep through a power failure.
        self._named_segment = 0
        # Lines up to this one were in a file when its sync failed: their fate is unknown.
        self._failed_seq = 0
        self._closed = False

    @property
    def seq(self) -> int:
        """The sequence number of the last accepted record: how many there are."""
        return self._seq

    def append(
        self, record_id: str, content: bytes, resource: Resource, durability: Durability
    ) -> Receipt | None:
        """Write one record and, for ``FSYNC``, wait until the disk has it.

        Args:
            record_id: The record's id.
            content: What ``wakelog.record.encode`` returned.
            resource: The record's resource. Another one than before begins a new segment.
            durability: What has to be done before this returns.

        Returns:
            The receipt, or None when the writer has been closed and nothing was written.

        Raises:
            JournalError: When the operating system refused. The record is not accepted then.
        """
        with self._lock:
            if self._closed:
                return None
            if resource is not self._resource or self._offset >= self._segment_bytes:
                self._begin_segment_for(resource)
            seq = self._seq + 1
            line, crc = seal(record_id, seq, content, self._crc)
            self._put(line)
            self._seq, self._crc = seq, crc
            if durability is Durability.FSYNC:
                self._sync_wanted = True
        if durability is Durability.FSYNC:
            self.commit(seq)
        return Receipt(record_id, self.id, seq, durability)

    def commit(self, seq: int) -> None:
        """Make everything up to a record durable.

        Args:
            seq: The record's sequence number.

        Raises:
            JournalError: When the disk refused.
        """
        with self._sync_lock:
            if self._failed_seq >= seq > self._synced_seq:
                message = "an earlier sync of the same file failed"
                raise self._refused("sync", OSError(message))
            if self._synced_seq >= seq:
                return  # another thread's sync has covered this line
            self._sync_written()

    def close(self) -> None:
        """End the segment and give the folder up. Doing so twice is harmless.

        Raises:
            JournalError: When a sync that threads are waiting for failed.
        """
        with self._sync_lock:
            with self._lock:
                self._closed = True
                waited_for = bool(self._unsynced) or self._sync_wanted
            try:
                if waited_for:
                    self._sync_written()
            finally:
                self._close_files()
                self.folder.release()

    def abandon(self) -> None:
        """Let go of the parent's files in a forked child, without touching the parent's lock."""
        # The locks may have been held by a thread that this process does not have.
        self._lock, self._sync_lock = threading.Lock(), threading.Lock()
        self._closed = True
        self._close_files()
        self.folder.abandon()

    def _sync_written(self) -> None:
        """Make everything written so far durable. Only for the holder of the sync lock."""
        with self._lock:
            reached, segment = self._seq, self._segment
            descriptors = [*self._unsynced, *([os.dup(self._fd)] if self._fd >= 0 else [])]
            self._unsynced, self._sync_wanted = [], False
        try:
            for descriptor in descriptors:
                self._sync(descriptor)
            if self._named_segment != segment:
                self._sync_directories()
        except OSError as error:
            self._distrust_file()
            raise self._refused("sync", error) from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._synced_seq, self._named_segment = reached, segment

    def _close_files(self) -> None:
        for descriptor in (*self._unsynced, self._fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd, self._unsynced = -1, []

    def _begin_segment_for(self, resource: Resource) -> None:
        full = self._offset >= self._segment_bytes
        if full or resource != self._resource or self._fd < 0:
            self._begin_segment(resource)
        self._resource = resource

    def _begin_segment(self, resource: Resource) -> None:
        index = self._segment + 1
        path = self.folder.path / segment_name(index)
        line, header = seal_header(self.id, index, self._seq, self._crc, resource)
        fd = -1
        try:
            fd = os.open(path, _FLAGS, _FILE_MODE)
            if self._write(fd, line) != len(line):
                message = "the disk took only a part of the header"
                raise OSError(message)  # noqa: TRY301 - one way out for a segment that did not begin
        except OSError as error:
            if fd >= 0:
                os.close(fd)
                path.unlink(missing_ok=True)  # it holds no record yet
            raise self._refused("begin a segment in", error) from error
        if self._sync_wanted:
            self._unsynced.append(self._fd)
            self._sync_wanted = False
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd, self._segment, self._offset, self._crc = fd, index, len(line), header.crc

    def _put(self, line: bytes) -> None:
        written = 0
        try:
            written = self._write(self._fd, line)
            while written < len(line):  # a short write: the disk is nearly full
                written += self._write(self._fd, line[written:])
        except OSError as error:
            if written or error.errno == errno.EIO:
                # A part of the line may stand there. The next record begins a new segment, so
                # that the part is never joined with it.
                self._offset = self._segment_bytes
            raise self._refused("write to", error) from error
        self._offset += written

    def _distrust_file(self) -> None:
        """Never use the current file again: after a failed sync, a later one may claim success."""
        with self._lock:
            self._failed_seq = self._seq
            self._close_files()
            self._sync_wanted = False
            self._offset = self._segment_bytes

    def _sync_directories(self) -> None:
        for directory in (self.folder.path, self.folder.path.parent):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _refused(self, operation: str, error: OSError) -> JournalError:
        return JournalError(
            operation,
            self.folder.path / segment_name(max(self._segment, 1)),
            error.strerror or error,
            "The event was not recorded; recording goes on by itself when the cause is gone",
        )
