"""The system calls that change a journal, in one place, so that tests can fail and record them.

With ``WAKELOG_FAULT`` set when this module is imported, the process is killed, or a call fails, at
a chosen point: ``before:write:3`` kills it with SIGKILL before the third write, ``after:rename:1``
after the first rename, and ``error:fdatasync:2:EIO`` has the second fdatasync fail. It is how the
tests ask what a crash between any two system calls leaves behind.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from wakelog.errors import ConfigurationError

# macOS has none.
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
VARIABLE = "WAKELOG_FAULT"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What the journal asks of the operating system, each as the function of ``os`` of its name."""

    open: Callable[..., int] = os.open
    write: Callable[[int, bytes], int] = os.write
    fdatasync: Callable[[int], None] = _fdatasync
    fsync: Callable[[int], None] = os.fsync
    mkdir: Callable[..., None] = os.mkdir
    rename: Callable[..., None] = os.rename
    unlink: Callable[..., None] = os.unlink
    rmdir: Callable[..., None] = os.rmdir

    def write_whole(
        self, path: str | os.PathLike[str], data: bytes, *, synced: bool = False
    ) -> None:
        """Write a small file under a new name and give it its own, so that it is never half there.

        Args:
            path: The file; only one process at a time may write it.
            data: What shall be in it.
            synced: Whether it shall not be empty after a power failure either.

        Raises:
            OSError: When the operating system refuses; the old file is still there.
        """
        temporary = f"{os.fspath(path)}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = self.open(temporary, flags, 0o600)
        try:
            if self.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if synced:
                self.fsync(fd)
        finally:
            os.close(fd)
        self.rename(temporary, path)

    def sync_directory(self, path: str | os.PathLike[str]) -> None:
        """Make the names in a directory durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            os.close(fd)


def with_fault(real: FileSystem, fault: str) -> FileSystem:
    """Return a file system that fails once, as ``WAKELOG_FAULT`` says.

    Raises:
        ConfigurationError: When the fault is not written as this module's text shows.
    """
    when, _, rest = fault.partition(":")
    operation, _, rest = rest.partition(":")
    count, _, code = rest.partition(":")
    known = {field.name for field in fields(FileSystem)}
    number = getattr(errno, code, None)
    if operation not in known or not count.isdecimal() or (when == "error") == (number is None):
        message = f"{VARIABLE}={fault!r} is no fault: write it as in before:write:3"
        raise ConfigurationError(message)
    call = getattr(real, operation)
    calls = itertools.count(1)

    def failing(*arguments: Any, **named: Any) -> Any:
        here = next(calls) == int(count)
        if here and when == "error":
            raise OSError(number, os.strerror(number or 0))
        if here and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **named)
        if here and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return replace(real, **{operation: failing})


SYSTEM = FileSystem()
if fault := os.environ.get(VARIABLE):
    SYSTEM = with_fault(SYSTEM, fault)
