"""The writer: lines into segments, in order, with a stated durability."""

from __future__ import annotations

import enum
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from wakelog.errors import JournalError
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._folder import Folder
from wakelog.journal._group import GroupCommit
from wakelog.journal._ledger import segment_name
from wakelog.journal._observer import MEASURED, Observer
from wakelog.journal._rotation import Rotation
from wakelog.record import Resource, seal, seal_header
from wakelog.record._line import stated_crc

_FILE_MODE = 0o600
_LOOK_SECONDS = 1.0
# What a line is longer than its content, with room for a header.
_LINE_BYTES = 1024
_NO_LIMIT = 1 << 62
_BY_SIZE_ALONE = Rotation()
_BETWEEN = "a signal's handler came in between, while lines were saved from a file that failed"
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Durability(enum.StrEnum):
    """What has happened to an event's bytes when the call that recorded it returns."""

    OS_BUFFERED = "os_buffered"
    """The kernel has them: they survive ``kill -9``, and not a power failure."""
    FLUSH = "flush"
    """The same as ``OS_BUFFERED``, since no bytes are ever held in the process."""
    PERIODIC = "periodic"
    """The kernel has them, and the disk will after ``sync_interval`` at the latest."""
    FSYNC = "fsync"
    """The disk has them, by ``fdatasync``: they survive a power failure."""

    def at_least(self, other: Durability | None) -> Durability:
        """Return the stronger of two levels; None asks for nothing."""
        if other is None or _STRENGTH[other] <= _STRENGTH[self]:
            return self
        return other


_STRENGTH = {level: strength for strength, level in enumerate(Durability)}


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


class _Unsynced(NamedTuple):
    """A record that somebody waits to see on the disk, kept in case its file cannot be trusted."""

    id: str
    seq: int
    content: bytes
    resource: Resource


class _File(NamedTuple):
    """A descriptor of a segment that has to be synced."""

    segment: int
    descriptor: int


class _Written(NamedTuple):
    """What had been written at some moment, and has to be synced.

    Attributes:
        seq: The last record.
        segment: Its segment.
        files: The files, with descriptors of their own.
        ended: How many of them are ended segments.
        lines: How many lines somebody waits for.
    """

    seq: int
    segment: int
    files: list[_File]
    ended: int
    lines: int


class Writer:
    """Appends lines to the segments of one folder.

    ``_lock`` guards the order of lines: the sequence number, the checksum chain and the open
    segment. Under it nothing is encoded, synced or logged. Threads whose appends wait for the disk
    share their syncs, see ``GroupCommit``.

    A handler of a signal, or a finalizer, may come in between at any call, within the lock too. It
    may record, which changes ``_turn``, so that what was prepared meanwhile is prepared anew. Or it
    may raise: what has been written is counted before it is written, and from there to the system
    call nothing can come between, because CPython lets them run where a call returns, and where a
    function or another round of a loop begins.

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
        rotation: Rotation = _BY_SIZE_ALONE,
        grant: Callable[[int], int] | None = None,
        look: Callable[[bool], None] | None = None,
        clock: Callable[[], float] = time.time,
        fs: FileSystem = SYSTEM,
        observer: Observer | None = None,
    ) -> None:
        self.folder = folder
        self.id = folder.writer
        self._segment_bytes = segment_bytes
        self._rotation, self._clock = rotation, clock
        self._grant, self._look = grant, look
        self._fs = fs
        self._observer = observer
        self._lock = threading.RLock()
        self._turn = 0
        # How many bytes have been written, and how many may be before the next grant.
        self._written = 0
        self._granted = _NO_LIMIT if grant is None else -1
        # Between which times the current segment may be written to.
        self._began = 0.0
        self._ends: float | None = None
        self._group = GroupCommit(self._sync_written, self._sync_beside, lambda: self._seq)
        self._resource: Resource | None = None
        self._fd = -1
        self._segment = 0
        self._offset = 0
        self._seq = 0
        self._crc = 0
        # Whether the current segment holds a line that has to be synced, the ended segments that
        # do, and the lines that threads are waiting for: never more than there are threads.
        self._sync_wanted = False
        self._unsynced_files: list[_File] = []
        self._unsynced: list[_Unsynced] = []
        # Whether a sync beside the others has failed, after which none of them says anything.
        self._distrusted = False
        self._saving = False
        # The segment whose name the directory is known to keep through a power failure.
        self._named_segment = 0
        self._deleted_below = 0
        self._look_at = 0.0
        # What there is to tell: None nothing, True that a segment was begun.
        self._look_due: bool | None = None
        self._closed = False

    @property
    def bytes_written(self) -> int:
        """How many bytes of segments this writer has written."""
        return self._written

    @property
    def open_segment(self) -> int | None:
        """The index of the segment that is being written, None between two of them."""
        return self._segment if self._fd >= 0 else None

    @property
    def seq(self) -> int:
        """The sequence number of the last accepted record: how many there are."""
        return self._seq

    @property
    def ended(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    @property
    def sync_is_due(self) -> bool:
        """Whether lines have been written that ``PERIODIC`` or ``FSYNC`` wants on the disk."""
        return self._sync_wanted or bool(self._unsynced_files)

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
                self._unsynced.append(_Unsynced(record_id, seq, content, resource))
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

    def end_segment(self) -> None:
        """End the current segment, so that the next record begins another."""
        with self._lock:
            while not self._switch_to(
                self._turn, -1, self._segment, self._segment_bytes, self._crc, self._resource
            ):
                pass

    def deleting_below(self, segment: int) -> None:
        """Learn that segments below an index are deleted on purpose, and need no sync any more."""
        self._deleted_below = segment

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

    def _get_written(self) -> _Written:
        """Return what has to be synced; its files are the caller's to close. Under the lock."""
        while True:
            turn = self._turn
            ended, lines = self._unsynced_files, len(self._unsynced)
            files: list[_File] = []
            try:
                for file in (*ended, _File(self._segment, self._fd)):
                    if file.descriptor >= 0:
                        files.append(_File(file.segment, os.dup(file.descriptor)))
                written = _Written(self._seq, self._segment, files, len(ended), lines)
            except BaseException as error:
                _close(files)
                if isinstance(error, OSError):  # too many open files: all stays for the next sync
                    raise self._refused("sync", error) from error
                raise
            if turn == self._turn:
                return written
            _close(files)

    def _sync(self, written: _Written) -> None:
        try:
            for index, descriptor in written.files:
                self._fs.fdatasync(descriptor)
                if os.fstat(descriptor).st_nlink == 0 and index >= self._deleted_below:
                    raise FileNotFoundError(errno.ENOENT, "the file has been deleted")
            if self._named_segment != written.segment:
                self._fs.sync_directory(self.folder.path)
                self._fs.sync_directory(self.folder.path.parent)
            if self._distrusted:
                raise OSError(errno.EIO, "an earlier sync failed")
        finally:
            _close(written.files)

    def _forget(self, written: _Written) -> None:
        """Let go of what is on the disk."""
        with self._lock:
            ended = self._unsynced_files[: written.ended]
            self._turn += 1
            self._unsynced_files = self._unsynced_files[written.ended :]
            del self._unsynced[: written.lines]
            _close(ended)

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

    def _put(self, line: _Unsynced) -> None:
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

    def _close_files(self) -> None:
        files = [*self._unsynced_files, _File(self._segment, self._fd)]
        none: list[_File] = []
        self._turn += 1
        self._fd = -1
        self._unsynced_files = none
        _close(files)

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

    def _begin_segment_for(self, resource: Resource, turn: int) -> int:
        """Begin another segment where a record needs one, and return the turn that it is then."""
        if self._offset < self._segment_bytes and resource == self._resource and self._fd >= 0:
            if turn == self._turn:
                self._resource = resource
            return turn
        return self._begin_segment(resource)

    def _begin_segment(self, resource: Resource) -> int:
        """Begin another segment and return the turn that it is then, 0 if something came between."""
        turn, fd, index = self._turn, -1, self._segment
        try:
            while fd < 0:
                index += 1
                path = self.folder.path / segment_name(index)
                line, header = seal_header(self.id, index, self._seq, self._crc, resource)
                size, crc, found = len(line), header.crc, b""
                try:
                    fd = self._fs.open(path, _FLAGS | os.O_EXCL, _FILE_MODE)
                except FileExistsError:
                    # Something came in between when it was begun before; it has no record.
                    found = path.read_bytes()
                    fd = self._fs.open(path, _FLAGS, _FILE_MODE) if found[-1:] == b"\n" else -1
            if found and found != line:  # the header of another resource
                size, crc, resource = self._segment_bytes, stated_crc(found[:-1]) or 0, Resource({})
            if turn == self._turn and not found and self._fs.write(fd, line) != size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - one way out
            begun = self._switch_to(turn, fd, index, size, crc, resource)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
                path.unlink(missing_ok=True)  # it holds no record yet
            if error.errno == errno.ENOENT:
                self._closed = True  # the folder is gone, and this writer with it
            raise self._refused("begin a segment in", error) from error
        except BaseException:
            if fd not in (-1, self._fd):
                os.close(fd)
            raise
        if not begun:
            os.close(fd)
            return 0
        self._written += size
        if self._rotation is not _BY_SIZE_ALONE:
            self._began = self._clock()
            self._ends = self._rotation.ends_at(self._began)
        self._look_due = True
        return turn + 1 if found in (b"", line) else 0

    def _switch_to(  # noqa: PLR0913 - what the current file is
        self,
        turn: int,
        fd: int,
        segment: int,
        offset: int,
        crc: int,
        resource: Resource | None,
    ) -> bool:
        """Go on with another file, or without one, unless something has come between."""
        old, kept, unsynced = self._fd, self._sync_wanted, self._unsynced_files
        if kept and old >= 0:
            unsynced = [*unsynced, _File(self._segment, old)]
        if turn != self._turn:
            return False
        self._turn = turn + 1
        self._fd = fd
        self._segment = segment
        self._offset = offset
        self._crc = crc
        self._resource = resource
        self._unsynced_files = unsynced
        self._sync_wanted = False
        if old >= 0 and not kept:
            os.close(old)
        return True

    def _write_rest(self, line: bytes, written: int) -> None:
        """Write what is left of a line after a short write: the disk is nearly full."""
        self._offset = self._segment_bytes  # until the line is whole, nothing may follow it
        while written < len(line):
            more = self._fs.write(self._fd, line[written:])
            written += more
            self._written += more

    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        return JournalError(
            operation,
            self.folder.path / segment_name(max(self._segment, 1)),
            getattr(error, "strerror", None) or error,
            "The event was not recorded; recording goes on by itself when the cause is gone",
        )


def _close(files: Iterable[_File]) -> None:
    for file in files:
        if file.descriptor >= 0:
            os.close(file.descriptor)
