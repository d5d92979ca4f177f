"""A writer's folder and the kernel lock that says who owns it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from wakelog.errors import JournalError
from wakelog.journal._filesystem import SYSTEM, FileSystem

_LOCK = "lock"
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
            lock = fs.open(hidden / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
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
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return None
        return cls(path, lock)

    def release(self) -> None:
        """Give the folder up, so that others may adopt it. Doing so twice is harmless."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def abandon(self) -> None:
        """Forget the folder in a forked child.

        Closing the inherited descriptor leaves the parent's lock alone, where unlocking would
        take it from the parent too.
        """
        self.release()


def is_owned(path: Path) -> bool:
    """Tell whether some process, perhaps this one, owns a writer's folder now."""
    folder = Folder.adopt(path)
    if folder is None:
        return (path / _LOCK).exists()
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
        if not name.startswith(".") and (root / name / _LOCK).exists():
            yield root / name
