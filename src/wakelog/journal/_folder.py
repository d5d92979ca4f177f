"""A writer's folder and the kernel lock that says who owns it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from wakelog.errors import JournalError
from wakelog.journal._filesystem import SYSTEM, FileSystem

LOCK = "lock"
_POLL_SECONDS = 0.005
_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600


class Folder:
    """A writer's folder, held under ``flock`` until ``release``.

    Not a clock and not a process id decide who owns it: the kernel drops the lock when the last
    process that holds it is gone, however it went.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.writer = path.name
        self._lock: int | None = lock
        _held.add(self)

    @classmethod
    def create(cls, root: Path, writer: str, fs: FileSystem = SYSTEM) -> Self:
        """Make the folder of a new writer and own it.

        The folder gets its name only after it is locked, so that nobody can adopt it in between.

        Raises:
            JournalError: When the root cannot be written.
        """
        hidden = root / f".{writer}.new"
        path = root / writer
        try:
            fs.mkdir(hidden, _DIRECTORY_MODE)
            lock = fs.open(hidden / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fs.rename(hidden, path)
        except OSError as error:
            shutil.rmtree(hidden, ignore_errors=True)
            raise JournalError(
                "make a writer's folder in",
                root,
                error.strerror or error,
                "Check that the directory exists, is writable and has space, or choose another "
                "with directory= or WAKELOG_DIR",
            ) from error
        return cls(path, lock)

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """Own the folder of a writer that is gone.

        Returns:
            The folder, or None while somebody else owns it or when it is no writer's folder.
        """
        try:
            lock = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        if os.fstat(lock).st_nlink == 0:  # whoever had it has just deleted the folder
            os.close(lock)
            return None
        return cls(path, lock)

    def release(self) -> None:
        """Give the folder up, so that others may adopt it. Doing so twice is harmless."""
        lock, self._lock = self._lock, None
        _held.discard(self)
        if lock is not None:
            os.close(lock)

    def abandon(self) -> None:
        """Forget the folder in a forked child.

        Closing the inherited descriptor leaves the parent's lock alone, where unlocking would
        take it from the parent too.
        """
        self.release()


class RootLock:
    """The lock of whoever cleans a journal's directory, held until ``release``.

    It is the kernel's, on the directory itself, so that a process that dies leaves it free.
    """

    def __init__(self, lock: int) -> None:
        self._lock: int | None = lock
        _held.add(self)

    @classmethod
    def take(cls, root: Path, timeout: float) -> Self | None:
        """Take the lock, and return None when somebody else has it for longer than the timeout.

        Raises:
            JournalError: When the directory cannot be opened.
        """
        deadline = time.monotonic() + timeout
        try:
            lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise JournalError("clean up", root, error.strerror or error) from error
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() >= deadline:
                    os.close(lock)
                    return None
                time.sleep(_POLL_SECONDS)
            else:
                return cls(lock)

    def release(self) -> None:
        """Give the lock up. Doing so twice is harmless."""
        lock, self._lock = self._lock, None
        _held.discard(self)
        if lock is not None:
            os.close(lock)


# A forked child has to let go of every lock that another thread held at that moment, or the folder
# would be locked for as long as the child lives.
_held: weakref.WeakSet[Folder | RootLock] = weakref.WeakSet()


def _abandon_all() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_abandon_all)


def is_owned(path: Path) -> bool:
    """Tell whether some process, perhaps this one, owns a writer's folder now."""
    folder = Folder.adopt(path)
    if folder is None:
        return (path / LOCK).exists()
    folder.release()
    return False


def folders(root: Path) -> Iterator[Path]:
    """List the writers' folders of a journal, oldest writer first.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    try:
        entries = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError as error:
        raise JournalError(
            "list", root, error.strerror or error, "Name the directory that holds a journal"
        ) from error
    for name in entries:
        if not name.startswith(".") and (root / name / LOCK).exists():
            yield root / name
