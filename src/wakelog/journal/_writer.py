"""The writer: appends lines to segments, in order, with a given durability."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from wakelog._native import native
from wakelog.journal._durability import Durability
from wakelog.journal._folder import Folder
from wakelog.journal._mark import Mark
from wakelog.journal._owner import Owner
from wakelog.journal._rotation import Rotation
from wakelog.journal._segments import BY_SIZE_ALONE, NO_LIMIT, Segments
from wakelog.record import Blob, Resource, blobs_of, seal, seal_own
from wakelog.runtime import SYSTEM, FileSystem, is_refusal
from wakelog.storage import BETWEEN, Unsynced, put_blobs, segment_name

if TYPE_CHECKING:
    from wakelog.journal._listener import SegmentListener
    from wakelog.journal._observer import Observer

_TICK_SECONDS = 1.0
# One in this many writes is measured.
_MEASURED = 16
# Maximum number of bytes by which a line is longer than its content, including a segment's header.
_LINE_BYTES = 1024
# A cache: access to an enumeration's member takes four times as long as to a module's name.
_FSYNC, _PERIODIC = Durability.FSYNC, Durability.PERIODIC
_State: TypeAlias = tuple[int, int, int, int]
"""The epoch, the last number, the last checksum and the segment's size before a line."""

if TYPE_CHECKING or native is None:

    class _Fields:
        """The compiled writer keeps the fields of a line in a base class of its own."""

else:
    _Fields = native.WriterFields


class Writer(Segments, _Fields):
    """Appends lines to the segments of one folder.

    ``_lock`` guards the order of lines: the sequence number, the checksum chain and the open
    segment. Under it nothing is encoded, synced or logged. Threads that wait for a sync share it,
    see ``AppendFile.wait``.

    A line is counted before it is written, with no call in between, so that for a signal handler
    that raises or records, the line is both counted and written, or neither.

    Args:
        folder: The folder to write into, which this process owns.
        segment_bytes: Size in bytes at which a segment ends.
        rotation: Further limits of a segment.
        grant: Called, without a lock, with the bytes to be written. Returns how many may be written
            before the next call, or raises an error.
        tick: Called about once a second while records are written, and, with True, after each new
            segment. It has to return at once.
        clock: Returns the time in seconds since 1970.
        fs: The file-system calls; a test may record them or make them fail.
        observer: Called with the durations of writes and syncs.
        owner: The owner, whose fields the headers of segments repeat.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        segment_bytes: int,
        rotation: Rotation = BY_SIZE_ALONE,
        grant: Callable[[int], int] | None = None,
        tick: Callable[[bool], None] | None = None,
        clock: Callable[[], float] = time.time,
        fs: FileSystem = SYSTEM,
        observer: Observer | None = None,
        owner: Owner | None = None,
    ) -> None:
        super().__init__(folder, segment_bytes, rotation, clock, fs, owner)
        self._grant, self._tick = grant, tick
        self._observer = observer
        # The value of `_written` at which the next grant is needed.
        self._granted = NO_LIMIT if grant is None else -1
        # Whether uncounted lines have been written since the last sync.
        self._sync_alone = False
        self._tick_at = 0.0

    @property
    def seq(self) -> int:
        """The sequence number of the last accepted record, which is the number of records."""
        return self._seq

    def is_at_end(self, mark: Mark) -> bool:
        """Return whether a mark is after the last record, without reading the segment.

        The offset alone does not tell: bytes that another process has appended are not counted in
        it, so a mark may be there and still be before the last record.
        """
        return (
            mark.offset == self._offset and mark.segment == self._segment and mark.seq == self._seq
        )

    @property
    def ended(self) -> bool:
        """Whether the writer is closed."""
        return self._closed

    # Long: every record takes this path, and each call costs time.
    def write(
        self,
        record_id: str,
        content: bytes,
        resource: Resource,
        durability: Durability,
        counted: bool = True,  # noqa: FBT001, FBT002 - positional for speed
    ) -> int:
        """Write one record, without waiting for a sync.

        Args:
            record_id: The record's id.
            content: The record, encoded by ``wakelog.record.encode``.
            resource: The record's resource.
            durability: The durability; for ``FSYNC``, the caller has to call ``commit``, or
                ``sync`` for an uncounted line.
            counted: Whether it is a record of its own. An uncounted line has the number of the
                record before it, so that readers of records skip it.

        Returns:
            Its sequence number; -1 for an uncounted line before the first record; 0 if the writer
            is closed and nothing was written.

        Raises:
            JournalError: When a system call fails.
        """
        size, put = len(content), 0
        blobs = () if type(content) is bytes else blobs_of(content)
        if blobs:
            size += sum(len(blob.data) for blob in blobs)
        if self._written + size > self._granted:
            self._get_leave(size)
        if blobs:
            put = self._place(blobs, resource, durability)
        with self._lock:
            begun = -1
            while True:
                epoch = self._epoch
                if self._closed:
                    return 0
                if self._saving:
                    raise self._refused("write to", BETWEEN)
                if (now := time.monotonic()) >= self._tick_at:
                    self._check_names(now)
                if self._ends is not None and not self._began <= self._clock() < self._ends:
                    self._offset = self._segment_bytes
                if epoch != begun and (
                    resource is not self._resource
                    # Blobs that were just written for this line do not end the segment.
                    or self._offset + (self._beside if put != self._segment else 0)
                    >= self._segment_bytes
                ):
                    begun = self._begin_segment_for(resource, epoch)
                    continue
                if blobs and put != self._segment:  # another segment was begun meanwhile
                    put = self._put_blobs(self._segment, blobs, durability)
                    continue
                seq = self._seq + counted
                line, crc = seal_own(record_id, seq, content, self._crc)
                if durability is _FSYNC or durability is _PERIODIC:
                    self._sync_wanted = True
                measured = self._observer is not None and not seq % _MEASURED
                began = time.perf_counter() if measured else 0.0
                size, offset, crc_before = len(line), self._offset, self._crc
                saves = self._saves
                if epoch == self._epoch:
                    break
            self._epoch = epoch + 1
            self._seq = seq
            self._crc = crc
            self._offset = offset + size
            try:
                written = self._fs.write(self._fd, line)
                self._written += written
            except OSError as error:
                self._complete(line, 0, (epoch, seq - counted, crc_before, offset), error)
            else:
                if written != size:
                    self._complete(line, written, (epoch, seq - counted, crc_before, offset))
            took = time.perf_counter() - began if measured else 0.0
            if durability is _FSYNC and counted:
                self._keep_until_synced(Unsynced(record_id, seq, content, resource), saves)
            if not counted:
                self._sync_alone = True
        if self._tick_due is not None:
            rotated, self._tick_due = self._tick_due, None
            if self._tick is not None:
                self._tick(rotated)
        if took and self._observer is not None:
            self._observer.wrote(took)
        return seq or -1

    def _complete(
        self, line: bytes, written: int, before: _State, failure: OSError | None = None
    ) -> None:
        """Write the rest of a line after a short write, or take it back after an error.

        Args:
            line: The line.
            written: The number of its bytes that were written.
            before: The state before it.
            failure: The error of the write.

        Raises:
            JournalError: When the line could not be written.
        """
        epoch, seq, crc, offset = before
        end = offset + len(line)
        try:
            if failure is not None:
                raise failure
            self._write_rest(line, written)
            self._offset = end if self._epoch == epoch + 1 else self._offset
        except OSError as error:
            if not is_refusal(error):
                raise
            if self._epoch == epoch + 1:
                self._seq, self._crc = seq, crc
                # If a part of the line may be in the file, the next record begins a new
                # segment, so that the part is never joined with it.
                torn = self._offset != end or error.errno == errno.EIO
                self._offset = self._segment_bytes if torn else offset
            raise self._refused("write to", error) from error

    def _place(self, blobs: tuple[Blob, ...], resource: Resource, durability: Durability) -> int:
        """Write blobs for the segment that will probably have the next line, without the lock.

        Returns:
            The segment's index, or 0 if the blobs have to be written under the lock.
        """
        with self._lock:
            begun = -1
            while True:
                epoch = self._epoch
                if self._closed or self._saving:
                    return 0
                if epoch != begun and (
                    resource is not self._resource
                    or self._offset + self._beside >= self._segment_bytes
                ):
                    begun = self._begin_segment_for(resource, epoch)
                    continue
                segment = self._segment
                if epoch == self._epoch:
                    break
        return self._put_blobs(segment, blobs, durability)

    def _put_blobs(self, segment: int, blobs: tuple[Blob, ...], durability: Durability) -> int:
        """Write blobs beside a segment, and sync them if the line will be synced."""
        synced = durability is _FSYNC or durability is _PERIODIC
        path = self.folder.path / segment_name(segment)
        try:
            size = put_blobs(path, blobs, self._fs, synced=synced)
        except OSError as error:
            if not is_refusal(error):
                raise
            raise self._refused("write a large value beside", error) from error
        with self._lock:
            self._written += size
            if segment == self._segment:
                self._beside += size
        return segment

    def commit(self, seq: int) -> None:
        """Sync all lines up to a record.

        Args:
            seq: The record's sequence number.

        Raises:
            JournalError: When the sync fails.
        """
        self.wait(seq)

    def sync(self) -> None:
        """Sync all lines written so far, including uncounted ones.

        Raises:
            JournalError: When the sync fails.
        """
        self._sync_alone = False
        self._sync_beside()

    def commit_written(self) -> None:
        """Sync all lines written so far.

        Raises:
            JournalError: When the sync fails.
        """
        self.commit(self._seq)
        if self._sync_alone and self._sync_wanted:
            self.sync()

    def ask_again(self) -> None:
        """Make the next record ask for a grant, because other processes may have written."""
        if self._grant is not None:
            self._granted = -1

    def close(self, listener: SegmentListener | None = None) -> None:
        """Sync if a sync is due, end the segment and release the folder. Twice is harmless.

        Args:
            listener: Called at the end, while the folder is still locked.

        Raises:
            JournalError: When a sync that threads are waiting for fails.
        """
        with self._lock:
            self._closed = True
        try:
            if self.sync_is_due:
                self.commit_written()
        finally:
            with self._lock:
                self._close_files()
            try:
                if listener is not None:
                    listener.writer_ended(self.folder.path)
            finally:
                self.folder.release()

    def abandon(self) -> None:
        """Close the parent's files in a forked child, without releasing the parent's lock."""
        # A thread that does not exist in the child may have held the lock.
        self._lock = threading.RLock()
        self._closed = True
        self._close_files()
        self.folder.abandon()

    def _sync_written(self) -> int:
        alone, self._sync_alone = self._sync_alone, False
        try:
            return super()._sync_written()
        except BaseException:
            self._sync_alone |= alone
            raise

    def _note_synced(self, seconds: float, reached: int) -> None:
        if self._observer is not None:
            self._observer.synced(seconds)
            before = 0 if self._group is None else self._group.synced
            self._observer.committed(max(0, reached - before))

    def _write_again(self, lines: list[Unsynced], error: OSError) -> None:
        del error
        for line in lines:
            self._seq = line.seq - 1
            if line.context != self._resource or self._fd < 0:
                self._begin_segment(line.context)
            self._put(line)

    def _put(self, line: Unsynced) -> None:
        """Write a line again. The caller holds the lock, and no other thread writes."""
        content = line.content
        if blobs := blobs_of(content):
            self._put_blobs(self._segment, blobs, Durability.FSYNC)
        sealed, crc = seal(line.id, line.seq, content, self._crc)
        try:
            written = self._fs.write(self._fd, sealed)
            if written != len(sealed):
                self._write_rest(sealed, written)
        except OSError as error:
            if not is_refusal(error):
                raise
            self._offset = self._segment_bytes
            raise self._refused("write to", error) from error
        self._crc = crc
        self._offset += len(sealed)
        self._written += len(sealed)

    def _get_leave(self, size: int) -> None:
        """Ask for a grant, without the lock, because it may have to wait or to delete segments."""
        while not self._closed and self._written + size > self._granted:
            granted = self._written - _LINE_BYTES
            granted += self._grant(size + _LINE_BYTES) if self._grant else NO_LIMIT
            self._granted = granted

    def _check_names(self, now: float) -> None:
        """Once a second, check that the open file was not deleted."""
        self._tick_at = now + _TICK_SECONDS
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
            self._offset = self._segment_bytes
        if self._tick_due is None:  # keeps a True, which says that a segment was begun
            self._tick_due = False


line_writer: Any = (
    None
    if native is None
    else native.LineWriter(Writer.write, _FSYNC, _PERIODIC, _MEASURED, time.monotonic, Unsynced)
)
write_line: Callable[[Writer, str, bytes, Resource, Durability, bool], int] = (
    Writer.write if line_writer is None else line_writer.write
)
"""``Writer.write``, which the compiled form calls unless a line goes into the open segment with
nothing else due."""
