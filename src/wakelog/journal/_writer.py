"""The writer: lines into segments, in order, with a stated durability."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable

from wakelog.errors import JournalError
from wakelog.journal._durability import Durability
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._folder import Folder
from wakelog.journal._group import GroupCommit
from wakelog.journal._observer import MEASURED, Observer
from wakelog.journal._rotation import Rotation
from wakelog.journal._segments import BY_SIZE_ALONE, Segments, Unsynced, Written, close
from wakelog.record import Resource, seal

_LOOK_SECONDS = 1.0
# What a line is longer than its content, with room for a header.
_LINE_BYTES = 1024
_NO_LIMIT = 1 << 62
_BETWEEN = "a signal's handler came in between, while lines were saved from a file that failed"


class Writer(Segments):
    """Appends lines to the segments of one folder.

    ``_lock`` guards the order of lines: the sequence number, the checksum chain and the open
    segment. Under it nothing is encoded, synced or logged. Threads whose appends wait for the disk
    share their syncs, see ``GroupCommit``.

    A line is counted before it is written, with no call in between, so that a signal's handler that
    raises or records finds it counted and written, or neither, see ``Segments``.

    Args:
        folder: The folder to write into, owned.
        segment_bytes: The size at which a segment is ended and the next begun.
        rotation: What else ends a segment.
        grant: Asked, without any lock, for leave to write so many bytes; returns how many may be
            written before asking again, or raises.
        look: Called about once a second while records are written, and, with True, after each new
            segment; it has to return at once.
        clock: The time of day, in seconds since 1970.
        fs: The system calls; a test's own to record or fail them.
        observer: Told how long writing and syncing take.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        segment_bytes: int,
        rotation: Rotation = BY_SIZE_ALONE,
        grant: Callable[[int], int] | None = None,
        look: Callable[[bool], None] | None = None,
        clock: Callable[[], float] = time.time,
        fs: FileSystem = SYSTEM,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(folder, segment_bytes, rotation, clock, fs)
        self._grant, self._look = grant, look
        self._observer = observer
        # How many bytes may be written before the next grant.
        self._granted = _NO_LIMIT if grant is None else -1
        self._group = GroupCommit(self._sync_written, self._sync_beside, lambda: self._seq)
        self._saving = False
        self._look_at = 0.0

    @property
    def seq(self) -> int:
        """The sequence number of the last accepted record: how many there are."""
        return self._seq

    @property
    def ended(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    def write(
        self, record_id: str, content: bytes, resource: Resource, durability: Durability
    ) -> int:
        """Write one record, and note that it has to be synced, without waiting for that.

        Args:
            record_id: The record's id.
            content: What ``wakelog.record.encode`` returned.
            resource: The record's resource.
            durability: What will have to be done; for ``FSYNC``, ``commit`` has to follow.

        Returns:
            Its sequence number, or 0 when the writer has been closed and nothing was written.

        Raises:
            JournalError: When the operating system refused.
        """
        if self._written + len(content) > self._granted:
            self._get_leave(len(content))
        with self._lock:
            begun = -1
            while True:
                turn = self._turn
                if self._closed:
                    return 0
                if self._saving:
                    raise self._refused("write to", _BETWEEN)
                if (now := time.monotonic()) >= self._look_at:
                    self._look_around(now)
                if self._ends is not None and not self._began <= self._clock() < self._ends:
                    self._offset = self._segment_bytes
                if turn != begun and (
                    resource is not self._resource or self._offset >= self._segment_bytes
                ):
                    begun = self._begin_segment_for(resource, turn)
                    continue
                seq = self._seq + 1
                line, crc = seal(record_id, seq, content, self._crc)
                if durability is Durability.FSYNC or durability is Durability.PERIODIC:
                    self._sync_wanted = True
                measured = self._observer is not None and not seq % MEASURED
                began = time.perf_counter() if measured else 0.0
                size, offset, crc_before = len(line), self._offset, self._crc
                if turn == self._turn:
                    break
            self._turn = turn + 1
            self._seq = seq
            self._crc = crc
            self._offset = offset + size
            try:
                written = self._fs.write(self._fd, line)
                self._written += written
                if written != size:
                    self._write_rest(line, written)
                    self._offset = offset + size if self._turn == turn + 1 else self._offset
            except OSError as error:
                if self._turn == turn + 1:
                    self._seq, self._crc = seq - 1, crc_before
                    # A part of the line may stand there. The next record begins a new segment
                    # then, so that the part is never joined with it.
                    torn = self._offset != offset + size or error.errno == errno.EIO
                    self._offset = self._segment_bytes if torn else offset
                raise self._refused("write to", error) from error
            took = time.perf_counter() - began if measured else 0.0
            if durability is Durability.FSYNC:
                self._unsynced.append(Unsynced(record_id, seq, content, resource))
        if self._look_due is not None:
            rotated, self._look_due = self._look_due, None
            if self._look is not None:
                self._look(rotated)
        if took and self._observer is not None:
            self._observer.wrote(took)
        return seq

    def commit(self, seq: int) -> None:
        """Make everything up to a record durable.

        Args:
            seq: The record's sequence number.

        Raises:
            JournalError: When the disk refused.
        """
        self._group.wait(seq)

    def commit_written(self) -> None:
        """Make everything written so far durable.

        Raises:
            JournalError: When the disk refused.
        """
        self.commit(self._seq)

    def ask_again(self) -> None:
        """Have the next record ask for leave, because others may have written meanwhile."""
        if self._grant is not None:
            self._granted = -1

    def close(self) -> None:
        """Sync what has to be, end the segment and give the folder up. Twice is harmless.

        Raises:
            JournalError: When a sync that threads are waiting for failed.
        """
        with self._lock:
            self._closed = True
        try:
            if self.sync_is_due:
                self._group.wait(self._seq)
        finally:
            with self._lock:
                self._close_files()
            self.folder.release()

    def abandon(self) -> None:
        """Let go of the parent's files in a forked child, without touching the parent's lock."""
        # The locks may have been held by a thread that this process does not have.
        self._lock = threading.RLock()
        self._closed = True
        self._close_files()
        self.folder.abandon()

    def _sync_written(self) -> int:
        """Make everything written so far durable, one thread at a time, and return how far."""
        with self._lock:
            written = self._get_written()
            self._sync_wanted = False
        began, before = time.perf_counter(), self._group.synced
        reached, segment = written.seq, written.segment
        try:
            self._sync(written)
        except OSError as error:
            # A later sync of the same file would claim success for pages that the kernel has
            # dropped, so the file is never used again and the lines go into a new one.
            self._distrusted = True
            reached, segment = self._save(error)
        except BaseException:
            self._sync_wanted = True
            raise
        else:
            self._forget(written)
        self._named_segment = segment
        if self._observer is not None and written.files:
            self._observer.synced(time.perf_counter() - began)
            self._observer.committed(max(0, reached - before))
        return reached

    def _sync_beside(self) -> None:
        """Make everything written so far durable, whatever else is under way."""
        with self._lock:
            written = self._get_written()
        try:
            self._sync(written)
        except OSError as error:
            self._distrusted = True
            raise self._refused("sync", error) from error

    def _forget(self, written: Written) -> None:
        """Let go of what is on the disk."""
        with self._lock:
            ended = self._unsynced_files[: written.ended]
            self._turn += 1
            self._unsynced_files = self._unsynced_files[written.ended :]
            del self._unsynced[: written.lines]
            close(ended)

    def _save(self, error: OSError) -> tuple[int, int]:
        """Write the lines of a file whose sync failed into a new segment, and sync that."""
        with self._lock:
            # What was written since the sync began is in the same file.
            lines, reached = self._unsynced, self._seq
            self._close_files()
            self._sync_wanted = False
            self._offset = self._segment_bytes
            try:
                if not lines:
                    raise self._refused("sync", error) from error
                self._saving = True
                for line in lines:
                    self._seq = line.seq - 1
                    if line.resource != self._resource or self._fd < 0:
                        self._begin_segment(line.resource)
                    self._put(line)
            except JournalError:
                self._give_up()
                raise
            finally:
                self._seq = reached
                self._saving = False
            written = self._get_written()
            self._distrusted = False
        try:
            self._sync(written)
        except OSError as second:
            with self._lock:
                self._close_files()
                self._give_up()
            raise self._refused("sync", second) from second
        self._forget(written)
        return reached, written.segment

    def _give_up(self) -> None:
        """Leave lines out that could not be saved: those who wait for them are told."""
        self._offset = self._segment_bytes
        self._unsynced, self._distrusted = [], False

    def _put(self, line: Unsynced) -> None:
        """Write a line that is saved. Under the lock, and nobody else writes."""
        sealed, crc = seal(line.id, line.seq, line.content, self._crc)
        try:
            written = self._fs.write(self._fd, sealed)
            if written != len(sealed):
                self._write_rest(sealed, written)
        except OSError as error:
            self._offset = self._segment_bytes
            raise self._refused("write to", error) from error
        self._crc = crc
        self._offset += len(sealed)
        self._written += len(sealed)

    def _get_leave(self, size: int) -> None:
        """Ask for leave to write, without the lock: it may take waiting, or deleting something."""
        while not self._closed and self._written + size > self._granted:
            granted = self._written - _LINE_BYTES
            granted += self._grant(size + _LINE_BYTES) if self._grant else _NO_LIMIT
            self._granted = granted

    def _look_around(self, now: float) -> None:
        """Once a second, make sure that lines do not go into a file that somebody has deleted."""
        self._look_at = now + _LOOK_SECONDS
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:
            self._offset = self._segment_bytes
        self._look_due = False
