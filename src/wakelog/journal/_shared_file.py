"""One named file of lines, to which several processes may append at once."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.journal._durability import Durability, Receipt
from wakelog.journal._file_rotation import (
    FileRotation,
    begun_at,
    delete_rotated,
    finish_rotation,
    identity,
    rotate,
    share,
)
from wakelog.journal._folder import one_at_a_time
from wakelog.journal._shared_lines import SharedFileFields, ShortWriteError, is_torn
from wakelog.record import Content, seal, sha256, uuid7
from wakelog.runtime import (
    SYSTEM,
    FileSystem,
    ForkOrder,
    absolute,
    is_refusal,
    make_directories,
    notice_fork,
    open_device,
    reset_in_child,
)
from wakelog.storage import (
    BETWEEN,
    AppendFile,
    Committer,
    File,
    Unsynced,
    Written,
    put_blobs,
    sync_made,
)

_log = logging.getLogger("wakelog")

_FOLLOW_SECONDS = 1.0
_RETRY_SECONDS = 1.0
_OPENS = 100
_GROUP_BYTES = 1024 * 1024
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
_DEVICES = Path("/dev")
_SYNCED = frozenset({Durability.PERIODIC, Durability.FSYNC})


class SharedFile(AppendFile, SharedFileFields):
    """Appends whole lines to exactly one file.

    Every line is one ``write`` to a descriptor opened for appending, which the kernel does not
    interleave with others. Each line names its writer; ``seq`` and ``crc`` form a chain per writer.

    ``_lock`` guards the order of this process's lines; nothing is encoded or synced under it.
    Threads that wait for a sync share it, see ``AppendFile.wait``.

    A file that is large or old enough is rotated, which renames it. Other processes that write it
    switch to the new file within a second. Until then they append to the old one, which is not
    deleted while a process has it open for writing.

    Args:
        path: The file. Missing parent directories are created.
        rotation: When to rotate it, and how many rotated files to keep.
        sync_interval: Maximum time that ``PERIODIC`` leaves lines unsynced, in seconds.
        new_id: Returns ids for writers.
        fs: The file-system calls; a test may record them or make them fail.

    Raises:
        JournalError: When the file cannot be opened for writing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rotation: FileRotation | None = None,
        sync_interval: float = 0.1,
        new_id: Callable[[], str] = uuid7,
        fs: FileSystem = SYSTEM,
    ) -> None:
        super().__init__(fs)
        sha256()  # an import while something is recorded may coincide with a fork
        self.path = absolute(path)
        self._sync_interval = sync_interval
        self._new_id = new_id
        self._rotation = rotation if rotation is not None and rotation.happens else None
        self._torn = self._placing = self._is_regular = self._is_device = self._closed = False
        self._check_at = 0.0
        # Directories that were created, and the identity of a file whose sync has failed.
        self._made: list[Path] = []
        self._failed: tuple[int, int] | None = None
        # The file's size, the time of its rotation by age, and the time of the next attempt.
        self._size, self._due_at, self._rotate_after = 0, float("inf"), 0.0
        self._reset()
        self._open()
        if self._rotation is not None:
            self._delete_old()
        reset_in_child(self._reset, ForkOrder.STORAGE)

    def _reset(self) -> None:
        """Begin a writer, at first and in each forked child."""
        self._lock = threading.RLock()
        self._writer, self._seq, self._crc = self._new_id(), 0, 0
        self._unsynced, self._distrusted, self._saving = [], False, False
        self._group = None
        self._committer = Committer(self.commit_written, self._sync_interval)

    @property
    def takes_blobs(self) -> bool:
        """Whether the file can have blobs, which a device or a pipe cannot."""
        return self._is_regular

    def append(self, record_id: str, content: bytes, durability: Durability) -> Receipt:
        """Write one line and, for ``FSYNC``, wait until it is synced.

        Raises:
            JournalError: When a system call fails, or the file is closed.
        """
        receipt = self.write(record_id, content, durability)
        if durability is Durability.FSYNC:
            self.wait(receipt.seq)
        return receipt

    def write(self, record_id: str, content: bytes, durability: Durability) -> Receipt:
        """Write one line without waiting for a sync, which ``settle`` does.

        Raises:
            JournalError: When a system call fails, or the file is closed.
        """
        notice_fork()
        with self._lock:
            while True:
                self._be_ready()
                epoch, seq, saves = self._epoch, self._seq + 1, self._saves
                line, crc = seal(record_id, seq, content, self._crc, self._writer)
                if self._rotation is not None:
                    self._rotate_if_due(len(line))
                if durability is Durability.FSYNC or durability is Durability.PERIODIC:
                    self._sync_wanted = True
                if type(content) is Content:
                    if self._put_with_blobs(line, content, epoch, seq, crc, durability):
                        break
                elif self._put(line, epoch, seq, crc):
                    break
            writer = self._writer
            if durability is Durability.FSYNC:
                self._keep(record_id, seq, line, content, saves)
        if durability is Durability.PERIODIC:
            self._committer.sync_soon()
        return Receipt(record_id, writer, seq, durability)

    def append_many(
        self, records: Sequence[tuple[str, bytes]], durability: Durability
    ) -> tuple[list[Receipt], JournalError | None]:
        """Write lines with few system calls and, for ``FSYNC``, wait once until they are synced.

        Args:
            records: The id and the encoded content of each record, in order.
            durability: The durability of the records.

        Returns:
            The receipts of the accepted records, from the first on, and the error of the others.
        """
        notice_fork()
        receipts: list[Receipt] = []
        error: JournalError | None = None
        with self._lock:
            try:
                self._be_ready()
                self._sync_wanted |= durability in _SYNCED
                while len(receipts) < len(records):
                    self._put_group(records, receipts, durability)
            except JournalError as failure:
                error = failure
        if receipts and durability is Durability.PERIODIC:
            self._committer.sync_soon()
        elif receipts and durability is Durability.FSYNC:
            try:
                self.wait(receipts[-1].seq)
            except JournalError as failure:
                return [], failure
        return receipts, error

    def _put_group(
        self, records: Sequence[tuple[str, bytes]], receipts: list[Receipt], durability: Durability
    ) -> None:
        """Write as many of the remaining records as fit into one ``write``."""
        record_id, content = records[len(receipts)]
        if type(content) is Content:
            receipts.append(self.write(record_id, content, durability))
            return
        epoch, first, crc, saves = self._epoch, self._seq, self._crc, self._saves
        lines: list[tuple[bytes, int]] = []
        size = 0
        for record_id, content in records[len(receipts) :]:
            sealed = seal(record_id, first + len(lines) + 1, content, crc, self._writer)
            size += len(sealed[0])
            if lines and (size > _GROUP_BYTES or type(content) is Content):
                break
            if self._rotation is not None and self._is_due(size):
                if lines:
                    break
                self._rotate_if_due(size)
            lines.append(sealed)
            crc = sealed[1]
        taken = 0
        try:
            whole = b"".join([line for line, _ in lines])
            if self._put(whole, epoch, first + len(lines), crc):
                taken = len(lines)
                if durability is Durability.FSYNC:
                    self._keep(record_id, first + taken, whole, b"", saves)
        except ShortWriteError as short:
            left = short.written
            while taken < len(lines) and left >= len(lines[taken][0]):
                left -= len(lines[taken][0])
                taken += 1
            if taken:
                self._seq, self._crc = first + taken, lines[taken - 1][1]
            self._torn = left > 0
            raise
        finally:
            for seq in range(first + 1, first + taken + 1):
                record_id = records[len(receipts)][0]
                receipts.append(Receipt(record_id, self._writer, seq, durability))

    def _keep(self, record_id: str, seq: int, lines: bytes, content: bytes, saves: int) -> None:
        """Keep lines until they are synced, to write them again if the sync fails."""
        blobs = content.blobs if type(content) is Content else ()
        self._keep_until_synced(Unsynced(record_id, seq, lines, blobs), saves)

    async def settle(self, seq: int) -> None:
        """Wait, without blocking the event loop, until the line ``seq`` of ``write`` is synced.

        Raises:
            JournalError: When the sync fails.
        """
        notice_fork()
        await self._committer.synced()
        self.wait(seq)  # returns at once, or raises the error of an earlier sync

    def sync_soon(self) -> None:
        """Schedule a sync of the lines written so far, as ``PERIODIC`` requires."""
        self._committer.sync_soon()

    def commit_written(self) -> None:
        """Sync all lines that this process has written so far.

        Raises:
            JournalError: When the sync fails.
        """
        notice_fork()
        self.wait(self._seq)

    def close(self) -> None:
        """Sync if a sync is due, and close the file. Twice is harmless."""
        notice_fork()
        self._committer.stop()
        with self._lock:
            self._closed = True
            self._close_files()

    def _sync_names(self) -> None:
        self._fs.sync_directory(self.path.parent)
        made = list(self._made)
        sync_made(self._fs, made)
        del self._made[: len(made)]

    def _get_written(self) -> Written:
        if self._closed:
            raise self._refused("sync", "the sink is closed")
        return super()._get_written()

    def _distrust(self) -> None:
        if self._fd >= 0 and self._is_regular:
            self._failed = identity(self._fd)
            self._close_files()

    def _write_again(self, lines: list[Unsynced], error: OSError) -> None:
        """Rotate the file and begin a new one with the lines that wait for a sync."""
        if self._fd >= 0:  # a device or a pipe
            raise self._refused("sync", error) from error
        self._begin_anew()
        try:
            for line in lines:
                if line.context:
                    put_blobs(self.path, line.context, self._fs, synced=True)
            data = b"\n" * self._torn + b"".join([line.content for line in lines])
            self._torn = True
            if self._fs.write(self._fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - one way out
            self._torn = False
        except OSError as second:
            raise self._refused("write to", second) from second

    def _begin_anew(self) -> None:
        """Rotate a file whose sync has failed, and open a new one under its name."""
        try:
            if self._failed is not None:
                rotate(self.path, self._failed, self._fs, synced=True)
        except OSError as error:
            raise self._refused("rotate after a failed sync", error) from error
        self._open()
        self._failed = None

    def _be_ready(self) -> None:
        """Make sure that the file of the path is open."""
        if self._closed:
            raise self._refused("write to", "the sink is closed")
        if self._saving:
            raise self._refused("write to", BETWEEN)
        if self._fd < 0:
            self._begin_anew()
        if (now := time.monotonic()) >= self._check_at:
            self._check_name(now)

    def _is_due(self, more: int) -> bool:
        """Return whether the file has to be rotated before ``more`` bytes are written."""
        rotation = self._rotation
        assert rotation is not None  # noqa: S101 - the callers have checked this
        too_large = rotation.max_bytes is not None and self._size + more > rotation.max_bytes
        return too_large or time.time() >= self._due_at

    def _rotate_if_due(self, more: int) -> None:
        if not self._is_due(more) or time.monotonic() < self._rotate_after:
            return
        if self._size == 0:  # too old, and empty: nothing to rotate
            self._note_age()
            return
        # A signal handler that records must not rotate too, and a failure is not retried at once.
        self._rotate_after = time.monotonic() + _RETRY_SECONDS
        try:
            synced = self._sync_wanted or self._named_segment == self._segment
            rotate(self.path, identity(self._fd), self._fs, synced=synced)
            self._open()
        except (OSError, JournalError) as error:
            # The event must not be lost because of this: the file grows, and the error is logged.
            _log.error("cannot rotate %s, it grows on: %s", self.path, error)
            return
        self._delete_old()
        self._rotate_after = 0.0

    def _delete_old(self) -> None:
        assert self._rotation is not None  # noqa: S101 - the callers have checked this
        try:
            delete_rotated(self.path, self._rotation, self._fs)
        except OSError as error:
            _log.error("cannot delete old files beside %s: %s", self.path, error)

    def _note_age(self) -> None:
        if self._rotation is not None:
            self._due_at = self._rotation.ends_at(begun_at(self._fd)) or float("inf")

    def _open(self) -> None:
        """Open the file of the path, and replace the one that was open."""
        fd = -1
        try:
            self._made += make_directories(self.path.parent)
            if (self._rotation is not None or self._failed is not None) and not self._placing:
                finish_rotation(self.path, self._fs)
            for _ in range(_OPENS):
                fd = self._open_named()
                status = os.fstat(fd)
                size, self._is_regular = status.st_size, stat.S_ISREG(status.st_mode)
                if share(fd) and os.fstat(fd).st_nlink:
                    break
                os.close(fd)  # it is being deleted
                fd = -1
            torn = is_torn(fd)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            hint = "Name a file in a directory that can be written"
            raise JournalError("open", self.path, error, hint) from error
        self._go_on_with(fd, size, torn=torn)
        self._note_age()

    def _open_named(self) -> int:
        """Open the file; in ``/dev`` it may be a device or a link, such as ``/dev/stdout``."""
        self._is_device = self.path.parent == _DEVICES
        opened = open_device if self._is_device else self._fs.open
        return opened(self.path, _FLAGS, 0o600)

    def _go_on_with(self, fd: int, size: int, *, torn: bool) -> None:
        old, unsynced = self._fd, self._unsynced_files
        if kept := self._sync_wanted and old >= 0:
            unsynced = [*unsynced, File(self._segment, old)]
        self._epoch += 1
        self._fd = fd
        self._size = size
        self._torn = torn
        self._segment += 1
        self._unsynced_files = unsynced
        if old >= 0 and not kept:
            os.close(old)

    def _check_name(self, now: float) -> None:
        """Once a second, reopen the path if the file was rotated or deleted."""
        self._check_at = now + _FOLLOW_SECONDS
        mine = os.fstat(self._fd)
        with suppress(FileNotFoundError):
            named = os.stat(self.path, follow_symlinks=self._is_device)
            if (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino):
                return
        self._open()

    def _put(self, lines: bytes, epoch: int, seq: int, crc: int) -> bool:
        """Write lines, counted beforehand so that a signal handler's lines follow them.

        Args:
            lines: The lines.
            epoch: The epoch in which they were encoded.
            seq: The sequence number of the last one.
            crc: The checksum of the last one.

        Returns:
            Whether it was still that epoch; if not, nothing was written.
        """
        before = torn, _, _ = self._torn, self._seq, self._crc
        whole = b"\n" + lines if torn else lines
        if epoch != self._epoch:
            return False
        self._epoch = epoch + 1
        self._seq, self._crc = seq, crc
        self._torn = False
        try:
            written = self._fs.write(self._fd, whole)
        except OSError as error:
            self._take_back(0, before, error)
        else:
            if written != len(whole):
                self._take_back(written, before)
        if self._rotation is not None:
            self._size = os.lseek(self._fd, 0, os.SEEK_CUR)
        return True

    def _take_back(
        self, written: int, before: tuple[bool, int, int], failure: OSError | None = None
    ) -> None:
        """Take back lines of which only ``written`` bytes were written, and raise an error.

        ``before`` says whether the line before them is torn, and has its number and checksum.
        """
        if failure is not None and not is_refusal(failure):
            raise failure
        torn, self._seq, self._crc = before
        if failure is not None:
            self._torn = torn
            raise self._refused("write to", failure) from failure
        # A second write of the rest could follow another process's line.
        self._torn = True
        cause, hint = "the disk took only a part of the line", "The event was not recorded"
        raise ShortWriteError(written - torn, "write to", self.path, cause, hint)

    def _put_with_blobs(
        self, line: bytes, content: Content, epoch: int, seq: int, crc: int, durability: Durability
    ) -> bool:
        """Write a line's blobs beside the file, and then the line.

        Returns:
            Whether the line was still the next one; if not, it was not written.
        """
        # In a signal handler that came in between, the directory is locked already.
        with nullcontext() if self._placing else one_at_a_time(self.path.parent):
            before, self._placing = self._placing, True
            try:
                self._check_name(time.monotonic())
                if epoch != self._epoch:
                    return False  # another process has rotated the file
                synced = durability in _SYNCED
                put_blobs(self.path, content.blobs, self._fs, synced=synced)
                return self._put(line, epoch, seq, crc)
            except OSError as error:
                raise self._refused("write a large value beside", error) from error
            finally:
                self._placing = before

    def _refused(self, operation: str, error: OSError | str) -> JournalError:
        return JournalError(operation, self.path, error, "The event was not recorded")
