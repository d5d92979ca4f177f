"""The file-system calls that change a journal, in one place, so that tests can replace them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from wakelog.runtime import _opening

# macOS has no fdatasync.
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


UNFINISHED = ".new"
"""The suffix of an incomplete file's name, which begins with a dot and has a random part."""


class FileSystem:
    """The calls that change files. Each is like its namesake in ``os``, without following links.

    Args:
        instead: Other functions for some of the calls, by name.

    Raises:
        TypeError: If there is no call of that name; the message lists the names.
    """

    open: Callable[..., int] = staticmethod(_opening.open_file)
    write: Callable[[int, bytes], int] = staticmethod(os.write)
    fdatasync: Callable[[int], None] = staticmethod(_fdatasync)
    fsync: Callable[[int], None] = staticmethod(os.fsync)
    mkdir: Callable[..., None] = staticmethod(_opening.make_directory)
    rename: Callable[..., None] = staticmethod(_opening.rename)
    unlink: Callable[..., None] = staticmethod(_opening.unlink)
    rmdir: Callable[..., None] = staticmethod(_opening.rmdir)

    def __init__(self, **instead: Callable[..., Any]) -> None:
        if unknown := sorted(instead.keys() - _CALLS):
            known = ", ".join(sorted(_CALLS))
            message = f"FileSystem takes no {unknown[0]!r}; it takes {known}"
            raise TypeError(message)
        vars(self).update(instead)

    def write_whole(
        self, path: str | os.PathLike[str], data: bytes, *, synced: bool = False
    ) -> None:
        """Write a small file atomically, under a temporary name that is then changed.

        Args:
            path: The file.
            data: Its content.
            synced: Whether to sync the file before it is renamed.

        Raises:
            OSError: When a system call fails. Then the old file remains.
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
        """Sync a directory, so that names in it survive a power failure."""
        fd = _opening.open_directory(path)
        try:
            self.fsync(fd)
        finally:
            os.close(fd)


_CALLS = frozenset(FileSystem.__annotations__)
SYSTEM = FileSystem()
