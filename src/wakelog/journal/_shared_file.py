"""One named file of lines, which several processes may append to at once."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.journal._committer import Committer
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._group import GroupCommit
from wakelog.journal._writer import Durability, Receipt
from wakelog.record import seal, uuid7

_SYNCED = frozenset({Durability.PERIODIC, Durability.FSYNC})
_LOOKS, _LOOK_SECONDS = 5, 0.002
_FOLLOW_SECONDS = 1.0
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class SharedFile:
    """Appends whole lines to exactly one file.

    Every line is one ``write`` to a descriptor opened for appending, which the kernel does not
    interleave with others'. Each names its writer, and ``seq`` and ``crc`` chain per writer.

    ``_lock`` guards the order of this process's lines; nothing is encoded or synced under it.
    Threads whose appends wait for the disk share their syncs, see ``GroupCommit``.

    Args:
        path: The file. Missing parent directories are made.
        sync_interval: How long ``PERIODIC`` may leave lines unsynced, in seconds.
        new_id: Makes writers' ids.
        fs: The system calls; a test's own to record or fail them.

    Raises:
        JournalError: When the file cannot be opened for writing.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync_interval: float = 0.1,
        new_id: Callable[[], str] = uuid7,
        fs: FileSystem = SYSTEM,
    ) -> None:
        self.path = Path(path)
        self._sync_interval = sync_interval
        self._new_id = new_id
        self._fs = fs
        self._fd = -1
        self._torn = False
        self._look_at = 0.0
        # Whether the directory may not yet keep the file's name through a power failure, and the
        # files that were written before this one and hold lines that have not been synced.
        self._unnamed = True
        self._unsynced: list[int] = []
        self._begin()
        self._open()
        after_fork = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _begin(self) -> None:
        """Begin a writer: at first, and again in a forked child."""
        self._lock = threading.Lock()
        self._writer, self._seq, self._crc = self._new_id(), 0, 0
        # Whether any line was written that has to be synced at some time.
        self._sync_wanted = False
        for fd in self._unsynced:  # a forked child has written nothing into its parent's files
            os.close(fd)
        self._unsynced = []
        self._group = GroupCommit(self._sync_written, lambda: self._seq)
        self._committer = Committer(self.commit_written, self._sync_interval)

    def append(self, record_id: str, content: bytes, durability: Durability) -> Receipt:
        """Write one line and, for ``FSYNC``, wait until the disk has it.

        Raises:
            JournalError: When the operating system refused, or the file is closed.
        """
        receipt = self.write(record_id, content, durability)
        if durability is Durability.FSYNC:
            self._group.wait(receipt.seq)
        return receipt

    def write(self, record_id: str, content: bytes, durability: Durability) -> Receipt:
        """Write one line and leave waiting for the disk to ``settle``.

        Raises:
            JournalError: When the operating system refused, or the file is closed.
        """
        with self._lock:
            if self._fd < 0:
                raise JournalError("write to", self.path, "the sink is closed")
            if (now := time.monotonic()) >= self._look_at:
                self._look_where_the_file_is(now)
            seq = self._seq + 1
            line, crc = seal(record_id, seq, content, self._crc, self._writer)
            self._put(line)
            self._seq, self._crc = seq, crc
            self._sync_wanted = self._sync_wanted or durability in _SYNCED
            writer = self._writer
        if durability is Durability.PERIODIC:
            self._committer.sync_soon()
        return Receipt(record_id, writer, seq, durability)

    async def settle(self) -> None:
        """Wait, without blocking the event loop, until what has been written is on the disk.

        Raises:
            JournalError: When the disk refused.
        """
        await self._committer.synced()

    def commit_written(self) -> None:
        """Make everything that this process has written so far durable.

        Raises:
            JournalError: When the disk refused.
        """
        self._group.wait(self._seq)

    def close(self) -> None:
        """Sync what is due and close the file. Doing so twice is harmless."""
        self._committer.stop()
        with self._lock:
            for fd in (*self._unsynced, self._fd):
                if fd >= 0:
                    os.close(fd)
            self._unsynced, self._fd = [], -1

    def _sync_written(self) -> int:
        """Make everything written so far durable, one thread at a time, and return how far."""
        with self._lock:
            if self._fd < 0:
                raise JournalError("sync", self.path, "the sink is closed")
            descriptors = self._unsynced
            try:
                descriptors = [*descriptors, os.dup(self._fd)]
            except OSError as error:  # too many open files
                raise self._refused("sync", error.strerror or error) from error
            reached, self._unsynced = self._seq, []
            unnamed, self._unnamed = self._unnamed, False
        try:
            for fd in descriptors:
                self._fs.fdatasync(fd)
            if unnamed:
                self._fs.sync_directory(self.path.parent)
        except OSError as error:
            self._unnamed = self._unnamed or unnamed
            raise self._refused("sync", error.strerror or error) from error
        finally:
            for fd in descriptors:
                os.close(fd)
        return reached

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = self._fs.open(self.path, _FLAGS, 0o600)
            # A line that a crash cut off must not swallow the first one of ours. One that another
            # process is writing just now looks the same, for a moment.
            for _ in range(_LOOKS):
                self._torn = not self._ends_with_a_line()
                if not self._torn:
                    break
                time.sleep(_LOOK_SECONDS)
        except OSError as error:
            hint = "Name a file in a directory that can be written"
            raise JournalError("open", self.path, error.strerror or error, hint) from error

    def _look_where_the_file_is(self, now: float) -> None:
        """Once a second, follow the name: the file may have been rotated away, or deleted."""
        self._look_at = now + _FOLLOW_SECONDS
        mine = os.fstat(self._fd)
        try:
            named = self.path.stat()
            if (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino):
                return
        except FileNotFoundError:
            pass
        old = self._fd
        self._open()
        self._unnamed = True
        if self._seq > self._group.synced and self._sync_wanted:
            self._unsynced.append(old)  # somebody may be waiting for its lines
        else:
            os.close(old)

    def _ends_with_a_line(self) -> bool:
        size = os.fstat(self._fd).st_size
        return size == 0 or os.pread(self._fd, 1, size - 1) == b"\n"

    def _put(self, line: bytes) -> None:
        whole = b"\n" + line if self._torn else line
        try:
            written = self._fs.write(self._fd, whole)
        except OSError as error:
            raise self._refused("write to", error.strerror or error) from error
        if written != len(whole):
            # Finishing it with a second write could land after another process's line.
            self._torn = True
            raise self._refused("write to", "the disk took only a part of the line")
        self._torn = False

    def _refused(self, operation: str, cause: object) -> JournalError:
        return JournalError(operation, self.path, cause, "The event was not recorded")
