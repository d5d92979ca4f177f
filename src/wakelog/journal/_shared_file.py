"""One named file of lines, which several processes may append to at once."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.journal._filesystem import SYSTEM
from wakelog.journal._writer import Durability, Receipt
from wakelog.record import seal, uuid7

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class SharedFile:
    """Appends whole lines to exactly one file.

    Every line is one ``write`` to a descriptor opened for appending, which the kernel does not
    interleave with others'. Each names its writer, and ``seq`` and ``crc`` chain per writer.

    ``_lock`` guards the order of this process's lines; nothing is encoded or synced under it.

    Args:
        path: The file. Missing parent directories are made.
        new_id: Makes writers' ids.

    Raises:
        JournalError: When the file cannot be opened for writing.
    """

    def __init__(self, path: str | os.PathLike[str], *, new_id: Callable[[], str] = uuid7) -> None:
        self.path = Path(path)
        self._new_id = new_id
        self._lock = threading.Lock()
        self._fd = -1
        self._torn = False
        self._writer, self._seq, self._crc = new_id(), 0, 0
        self._open()
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def append(self, record_id: str, content: bytes, durability: Durability) -> Receipt:
        """Write one line and, for ``FSYNC``, wait until the disk has it.

        Raises:
            JournalError: When the operating system refused, or the file is closed.
        """
        with self._lock:
            if self._fd < 0:
                raise JournalError("write to", self.path, "the sink is closed")
            seq = self._seq + 1
            line, crc = seal(record_id, seq, content, self._crc, self._writer)
            self._put(line)
            self._seq, self._crc = seq, crc
            writer, fd = self._writer, os.dup(self._fd) if durability is Durability.FSYNC else -1
        if fd >= 0:
            self._sync(fd)
        return Receipt(record_id, writer, seq, durability)

    def close(self) -> None:
        """Close the file. Doing so twice is harmless."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self.path, _FLAGS, 0o600)
            size = os.fstat(self._fd).st_size
            # A line that a crash cut off must not swallow the first one of ours.
            self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
        except OSError as error:
            hint = "Name a file in a directory that can be written"
            raise JournalError("open", self.path, error.strerror or error, hint) from error

    def _put(self, line: bytes) -> None:
        whole = b"\n" + line if self._torn else line
        try:
            written = os.write(self._fd, whole)
        except OSError as error:
            raise self._refused(error.strerror or error) from error
        if written != len(whole):
            # Finishing it with a second write could land after another process's line.
            self._torn = True
            raise self._refused("the disk took only a part of the line")
        self._torn = False

    def _sync(self, fd: int) -> None:
        try:
            SYSTEM.fdatasync(fd)
        except OSError as error:
            raise self._refused(error.strerror or error) from error
        finally:
            os.close(fd)

    def _refused(self, cause: object) -> JournalError:
        return JournalError("write to", self.path, cause, "The event was not recorded")

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._writer, self._seq, self._crc = self._new_id(), 0, 0
