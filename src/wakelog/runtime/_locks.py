"""Kernel locks (``flock``) on files and directories, which end with the process that holds them."""

from __future__ import annotations

import os
import time
import weakref
from typing import Self

from wakelog.runtime._filesystem import FileSystem
from wakelog.runtime._fork import ForkOrder, reset_in_child
from wakelog.runtime._opening import is_directory, open_directory, open_file
from wakelog.runtime._posix import fcntl

_POLL_SECONDS = 0.005
_FILE_MODE = 0o600


class FileLock:
    """An exclusive lock on a file or directory, held until ``release``.

    It depends neither on a clock nor on a process id. A forked child holds none of its parent's
    locks: it closes the inherited descriptor, which keeps the parent's lock, whereas unlocking
    would release that too.

    Args:
        descriptor: The descriptor of the locked file, which this object closes.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)

    @classmethod
    def take(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = False,
        timeout: float = 0.0,
        fs: FileSystem | None = None,
    ) -> Self | None:
        """Lock a file or a directory.

        Args:
            path: The file or directory to lock.
            create: Whether to create a missing file.
            timeout: Maximum wait for another holder, in seconds.
            fs: The file-system calls, if tests may replace those for this file.

        Returns:
            The lock, or None if another process holds it or the file was deleted in the meantime.

        Raises:
            ForeignFileError: When the path is a link or a special file, or belongs to another user.
            OSError: When it cannot be opened or locked for another reason than another holder.
        """
        if is_directory(path):
            descriptor = open_directory(path)
        else:
            flags = os.O_RDWR | os.O_CREAT if create else os.O_RDWR
            opened = open_file if fs is None else fs.open
            descriptor = opened(path, flags, _FILE_MODE)
        deadline = time.monotonic() + timeout
        try:
            while not _locked(descriptor, fcntl.LOCK_EX):
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return None
                time.sleep(_POLL_SECONDS)
            deleted = os.fstat(descriptor).st_nlink == 0
        except BaseException:
            os.close(descriptor)
            raise
        if deleted:
            os.close(descriptor)
            return None
        return cls(descriptor)

    @property
    def descriptor(self) -> int:
        """The descriptor of the locked file; -1 after ``release``."""
        return self._descriptor

    def release(self) -> None:
        """Release the lock. Twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        _held.discard(self)
        if descriptor >= 0:
            os.close(descriptor)


def is_locked(path: str | os.PathLike[str]) -> bool | None:
    """Return whether a process, perhaps this one, holds an exclusive lock.

    This only needs permission to read, so it works on a read-only file system too.

    Args:
        path: A file that is locked with ``FileLock``.

    Returns:
        None if that is unknown, because the file may not be read or the file system has no locks.
        False if there is no file.
    """
    try:
        descriptor = open_file(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    try:
        return not _locked(descriptor, fcntl.LOCK_SH)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    """Lock a descriptor without waiting; return False if another process holds a lock."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _release_inherited() -> None:
    for lock in list(_held):
        lock.release()


reset_in_child(_release_inherited, ForkOrder.LOCKS)
