"""Kernel locks on files and directories: ``flock``, which ends with the last process that holds it."""

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

    Not a clock and not a process id decide who holds it. A forked child holds none of its parent's:
    closing the inherited descriptor leaves the parent's lock alone, where unlocking would take it
    from the parent too.

    Args:
        descriptor: Of what is locked; the lock is its owner.
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
            path: What to lock.
            create: Make the file when it is missing.
            timeout: The longest wait for another holder, in seconds.
            fs: The system calls, where the file is one that tests may have fail.

        Returns:
            The lock, or None while another holds it, also where it was deleted in that moment.

        Raises:
            ForeignFileError: When the name is a link or something special, or somebody else's file.
            OSError: When it cannot be opened or locked, which says nothing about other holders.
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
        """The descriptor of what is locked, -1 after ``release``."""
        return self._descriptor

    def release(self) -> None:
        """Give the lock up. Doing so twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        _held.discard(self)
        if descriptor >= 0:
            os.close(descriptor)


def is_locked(path: str | os.PathLike[str]) -> bool | None:
    """Return whether some process, perhaps this one, holds an exclusive lock.

    Reading is enough for the question, so it is answered on a read-only file system as well.

    Args:
        path: A file that is locked with ``FileLock``.

    Returns:
        None where that cannot be told: the file may not be read, or the file system has no locks.
        False where there is no file.
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
    """Lock a descriptor without waiting, and return False while another lock is in the way."""
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
