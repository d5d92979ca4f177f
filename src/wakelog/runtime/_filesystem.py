"""The system calls that change a journal, in one place, so that tests can fail and record them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from wakelog.runtime import _opening

# macOS has none.
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


UNFINISHED = ".new"
"""How the name ends of a file that is not whole yet; it begins with a dot, and has chance in it."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What changes files, each as the function of ``os`` of its name does, but without following links."""

    open: Callable[..., int] = _opening.open_file
    write: Callable[[int, bytes], int] = os.write
    fdatasync: Callable[[int], None] = _fdatasync
    fsync: Callable[[int], None] = os.fsync
    mkdir: Callable[..., None] = _opening.make_directory
    rename: Callable[..., None] = _opening.rename
    unlink: Callable[..., None] = _opening.unlink
    rmdir: Callable[..., None] = _opening.rmdir

    def write_whole(
        self, path: str | os.PathLike[str], data: bytes, *, synced: bool = False
    ) -> None:
        """Write a small file under a new name and give it its own, so that it is never half there.

        Args:
            path: The file.
            data: What shall be in it.
            synced: Whether it shall not be empty after a power failure either.

        Raises:
            OSError: When a system call fails; the old file is still there.
        """
        folder, name = os.path.split(os.fspath(path))
        temporary = os.path.join(folder, f".{name}.{os.urandom(8).hex()}{UNFINISHED}")
        fd = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            try:
                if self.write(fd, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if synced:
                    self.fsync(fd)
            finally:
                os.close(fd)
            self.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                _opening.unlink(temporary)
            raise

    def sync_directory(self, path: str | os.PathLike[str]) -> None:
        """Make the names in a directory durable."""
        fd = _opening.open_directory(path)
        try:
            self.fsync(fd)
        finally:
            os.close(fd)


SYSTEM = FileSystem()
