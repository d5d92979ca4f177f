"""The segments of a writer: the open one, and ended ones that have to be synced."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress

from wakelog.errors import JournalError
from wakelog.journal._folder import Folder
from wakelog.journal._owner import Owner
from wakelog.journal._rotation import Rotation
from wakelog.record import Header, Resource, seal_header, stated_crc
from wakelog.runtime import SYSTEM, FileSystem, ForeignFileError, is_refusal, read_small
from wakelog.storage import AppendFile, File, close, segment_name

_FILE_MODE = 0o600
BY_SIZE_ALONE = Rotation()
NO_LIMIT = 1 << 62
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class Segments(AppendFile):
    """The files of a ``Writer``, and the change from one segment to the next.

    Args:
        folder: The folder to write into, which this process owns.
        segment_bytes: Size in bytes at which a segment ends.
        rotation: Further limits of a segment.
        clock: Returns the time in seconds since 1970.
        fs: The file-system calls; a test may record them or make them fail.
        owner: The owner, whose fields headers repeat.
    """

    def __init__(
        self,
        folder: Folder,
        segment_bytes: int,
        rotation: Rotation = BY_SIZE_ALONE,
        clock: Callable[[], float] = time.time,
        fs: FileSystem = SYSTEM,
        owner: Owner | None = None,
    ) -> None:
        super().__init__(fs)
        self.folder = folder
        self.owner = owner
        self.id = folder.writer
        self._segment_bytes = min(segment_bytes, NO_LIMIT)
        self._rotation, self._clock = rotation, clock
        # The number of bytes that have been written.
        self._written = 0
        # The times between which the current segment may be written.
        self._began = 0.0
        self._ends: float | None = None
        # The resource of the current segment, and its size.
        self._resource: Resource | None = None
        self._offset = 0
        # The bytes of its blobs.
        self._beside = 0
        self._deleted_below = 0
        # The argument of a `tick` call that is due, or None: True if a segment was begun.
        self._tick_due: bool | None = None
        self._closed = False

    @property
    def bytes_written(self) -> int:
        """The number of bytes that this writer has written to segments."""
        return self._written

    @property
    def open_segment(self) -> int | None:
        """The index of the open segment, or None."""
        return self._segment if self._fd >= 0 else None

    def end_segment(self) -> None:
        """End the current segment, so that the next record begins a new one."""
        with self._lock:
            while not self._switch_to(
                self._epoch, -1, self._segment, self._segment_bytes, self._crc, self._resource
            ):
                pass

    def deleting_below(self, segment: int) -> None:
        """Handle the deletion of the segments below an index, which need no sync any more."""
        self._deleted_below = segment

    def _begin_segment_for(self, resource: Resource, epoch: int) -> int:
        """Begin a new segment if a record needs one, and return the new epoch."""
        size = self._offset + self._beside
        if size < self._segment_bytes and resource == self._resource and self._fd >= 0:
            if epoch == self._epoch:
                self._resource = resource
            return epoch
        return self._begin_segment(resource)

    def _begin_segment(self, resource: Resource) -> int:
        """Begin a new segment and return the new epoch, or 0 if a signal handler intervened."""
        epoch, fd, index = self._epoch, -1, self._segment
        try:
            while fd < 0:
                index += 1
                path = self.folder.path / segment_name(index)
                line, header = self._seal_header(index, resource)
                size, crc, found = len(line), header.crc, b""
                try:
                    fd = self._fs.open(path, _FLAGS | os.O_EXCL, _FILE_MODE)
                except FileExistsError:
                    # An earlier attempt to begin it was interrupted, so it has no record.
                    try:
                        found = read_small(path)
                        fd = self._fs.open(path, _FLAGS, _FILE_MODE) if found[-1:] == b"\n" else -1
                    except ForeignFileError:
                        found = b""
            if found and found != line:  # the header of another resource
                size, crc, resource = self._segment_bytes, stated_crc(found[:-1]) or 0, Resource({})
            if epoch == self._epoch and not found and self._fs.write(fd, line) != size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - one way out
            begun = self._switch_to(epoch, fd, index, size, crc, resource)
        except BaseException as error:
            if unused := fd not in (-1, self._fd):
                os.close(fd)
            if not is_refusal(error):
                raise
            if unused:
                with suppress(FileNotFoundError):
                    self._fs.unlink(path)  # it has no record yet
            if error.errno == errno.ENOENT:
                self._closed = True  # the folder was deleted, which ends this writer
            raise self._refused("begin a segment in", error) from error
        if not begun:
            os.close(fd)
            return 0
        self._written += size
        self._began = self._clock()
        self._ends = self._rotation.ends_at(self._began)
        self._tick_due = True
        return epoch + 1 if found in (b"", line) else 0

    def _seal_header(self, index: int, resource: Resource) -> tuple[bytes, Header]:
        place = self.id, index, self._seq, self._crc, resource
        if (owner := self.owner) is None:
            return seal_header(*place)
        return seal_header(
            *place, generation=owner.generation, pipeline=owner.pipeline, signal=owner.signal
        )

    def _switch_to(
        self,
        epoch: int,
        fd: int,
        segment: int,
        offset: int,
        crc: int,
        resource: Resource | None,
    ) -> bool:
        """Switch to another file or to none, unless a signal handler has come in between."""
        kept, unsynced = self._sync_wanted, self._unsynced_files
        ended = File(self._segment, self._fd)
        if kept and ended.descriptor >= 0:
            unsynced = [*unsynced, ended]
        if epoch != self._epoch:
            return False
        self._epoch = epoch + 1
        self._fd = fd
        self._segment = segment
        self._offset = offset
        self._beside = 0
        self._crc = crc
        self._resource = resource
        self._unsynced_files = unsynced
        self._sync_wanted = False
        if not kept:
            close([ended])
        return True

    def _write_rest(self, line: bytes, written: int) -> None:
        """Write the rest of a line after a short write on a nearly full disk."""
        self._offset = self._segment_bytes  # no line may follow before this one is whole
        while written < len(line):
            more = self._fs.write(self._fd, line[written:])
            written += more
            self._written += more

    def _sync_names(self) -> None:
        self._fs.sync_directory(self.folder.path)
        self._fs.sync_directory(self.folder.path.parent)

    def _is_lost(self, file: File) -> bool:
        return os.fstat(file.descriptor).st_nlink == 0 and file.segment >= self._deleted_below

    def _distrust(self) -> None:
        self._close_files()
        self._offset = self._segment_bytes

    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        return JournalError(
            operation,
            self.folder.path / segment_name(max(self._segment, 1)),
            error,
            "The event was not recorded; recording goes on by itself when the cause is gone",
        )
