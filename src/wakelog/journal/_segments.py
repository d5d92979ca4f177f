"""The segments of a writer: the one that is written, and ended ones that have to be synced."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from wakelog.errors import JournalError
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._folder import Folder
from wakelog.journal._ledger import segment_name
from wakelog.journal._rotation import Rotation
from wakelog.record import Resource, seal_header
from wakelog.record._line import stated_crc

_FILE_MODE = 0o600
BY_SIZE_ALONE = Rotation()
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class File(NamedTuple):
    """A descriptor of a segment that has to be synced."""

    segment: int
    descriptor: int


class Written(NamedTuple):
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
    files: list[File]
    ended: int
    lines: int


class Unsynced(NamedTuple):
    """A record that somebody waits to see on the disk, kept in case its file cannot be trusted."""

    id: str
    seq: int
    content: bytes
    resource: Resource


class Segments:
    """What a ``Writer`` knows of its files, and how it goes on from one to the next.

    ``_lock`` guards it. Its holder may be interrupted at any call, by a signal's handler or a
    finalizer that records, which changes ``_turn``: what was prepared meanwhile is prepared anew. Or
    the handler raises: what belongs together is changed without a call in between, because CPython
    lets handlers run where a call returns, and where a function or another round of a loop begins.

    Args:
        folder: The folder to write into, owned.
        segment_bytes: The size at which a segment is ended and the next begun.
        rotation: What else ends a segment.
        clock: The time of day, in seconds since 1970.
        fs: The system calls; a test's own to record or fail them.
    """

    def __init__(
        self,
        folder: Folder,
        segment_bytes: int,
        rotation: Rotation = BY_SIZE_ALONE,
        clock: Callable[[], float] = time.time,
        fs: FileSystem = SYSTEM,
    ) -> None:
        self.folder = folder
        self.id = folder.writer
        self._segment_bytes = segment_bytes
        self._rotation, self._clock, self._fs = rotation, clock, fs
        self._lock = threading.RLock()
        self._turn = 0
        # How many bytes have been written.
        self._written = 0
        # Between which times the current segment may be written to.
        self._began = 0.0
        self._ends: float | None = None
        # The current segment; no descriptor between two of them.
        self._resource: Resource | None = None
        self._fd = -1
        self._segment = 0
        self._offset = 0
        # The last record's number, and the last line's checksum.
        self._seq = 0
        self._crc = 0
        # Whether the current segment holds a line that has to be synced, the ended segments that
        # do, and the lines that threads are waiting for: never more than there are threads.
        self._sync_wanted = False
        self._unsynced_files: list[File] = []
        self._unsynced: list[Unsynced] = []
        # Whether a sync beside the others has failed, after which none of them says anything.
        self._distrusted = False
        # The segment whose name the directory is known to keep through a power failure.
        self._named_segment = 0
        self._deleted_below = 0
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
    def sync_is_due(self) -> bool:
        """Whether lines have been written that ``PERIODIC`` or ``FSYNC`` wants on the disk."""
        return self._sync_wanted or bool(self._unsynced_files)

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
            if fd not in (-1, self._fd):
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
        self._began = self._clock()
        self._ends = self._rotation.ends_at(self._began)
        self._look_due = True
        return turn + 1 if found in (b"", line) else 0

    def _switch_to(
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
            unsynced = [*unsynced, File(self._segment, old)]
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

    def _get_written(self) -> Written:
        """Return what has to be synced; its files are the caller's to close. Under the lock."""
        while True:
            turn = self._turn
            ended, lines = self._unsynced_files, len(self._unsynced)
            files: list[File] = []
            try:
                for file in (*ended, File(self._segment, self._fd)):
                    if file.descriptor >= 0:  # those that were made are closed
                        files.append(File(file.segment, os.dup(file.descriptor)))  # noqa: PERF401
                written = Written(self._seq, self._segment, files, len(ended), lines)
            except BaseException as error:
                close(files)
                if isinstance(error, OSError) and turn != self._turn:
                    continue
                if isinstance(error, OSError):  # too many open files: all stays for the next sync
                    raise self._refused("sync", error) from error
                raise
            if turn == self._turn:
                return written
            close(files)

    def _sync(self, written: Written) -> None:
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
            close(written.files)

    def _close_files(self) -> None:
        files = [*self._unsynced_files, File(self._segment, self._fd)]
        none: list[File] = []
        self._turn += 1
        self._fd = -1
        self._unsynced_files = none
        close(files)

    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        return JournalError(
            operation,
            self.folder.path / segment_name(max(self._segment, 1)),
            getattr(error, "strerror", None) or error,
            "The event was not recorded; recording goes on by itself when the cause is gone",
        )


def close(files: Iterable[File]) -> None:
    """Close descriptors, leaving out those that are none."""
    for file in files:
        if file.descriptor >= 0:
            os.close(file.descriptor)
