"""A writer's folder and the kernel lock that says who owns it."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from wakelog.errors import JournalError
from wakelog.journal._owner import OWNER, Owner, generation_of, write_owner
from wakelog.runtime import (
    SYSTEM,
    FileLock,
    FileSystem,
    is_anothers,
    is_locked,
    open_root,
    regular_file,
)

LOCK = "lock"
# The file that says that spans without an end have been given one.
ENDED = "ended"
_DIRECTORY_MODE = 0o700


class Folder:
    """A writer's folder, held under a kernel lock until ``release``.

    Not a clock and not a process id decide who owns it: the kernel drops the lock when the last
    process that holds it is gone, however it went. A forked child owns none of its parent's.
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self.writer = path.name
        self._lock = lock

    @classmethod
    def create(
        cls, root: Path, writer: str, fs: FileSystem = SYSTEM, owner: Owner | None = None
    ) -> Self:
        """Make the folder of a new writer and own it.

        The folder gets its name only after it is locked and says whose it is, so that nobody can
        adopt it in between.

        Args:
            root: The journal's directory.
            writer: The writer's id.
            fs: The system calls.
            owner: Whose records it will hold.

        Raises:
            JournalError: When the root cannot be written.
        """
        hidden = root / f".{writer}.new"
        path = root / writer
        lock: FileLock | None = None
        made = False
        try:
            fs.mkdir(hidden, _DIRECTORY_MODE)
            made = True
            lock = FileLock.take(hidden / LOCK, create=True, fs=fs)
            if lock is None:
                raise OSError(errno.EAGAIN, "another process has locked it")  # noqa: TRY301 - one way out
            if owner is not None:
                write_owner(hidden, owner, fs)
            fs.rename(hidden, path)
        except OSError as error:
            if lock is not None:
                lock.release()
            if made:
                for file in (hidden / LOCK, hidden / OWNER):
                    with suppress(OSError):
                        fs.unlink(file)
                with suppress(OSError):
                    fs.rmdir(hidden)
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
            The folder, or None while another process owns it, when it is no writer's folder, and
            when this process may not lock it.
        """
        try:
            lock = FileLock.take(path / LOCK)
        except OSError:
            return None
        return None if lock is None else cls(path, lock)

    def release(self) -> None:
        """Give the folder up, so that others may adopt it. Doing so twice is harmless."""
        self._lock.release()

    def abandon(self) -> None:
        """Forget the folder in a forked child, which leaves the parent's lock alone."""
        self.release()


def lock_root(
    root: Path, timeout: float, file: str = "", *, purpose: str = "lock"
) -> FileLock | None:
    """Take a lock in a journal's directory: that of the directory itself is for cleaning it.

    Args:
        root: The directory.
        timeout: The longest wait, in seconds.
        file: The name of the file to lock in place of the directory; it is made.
        purpose: What it is taken for, for the error.

    Returns:
        The lock, None when another process has it for longer than the timeout.

    Raises:
        JournalError: When it cannot be opened or locked.
    """
    path = root / file
    try:
        return FileLock.take(path, create=bool(file), timeout=timeout)
    except OSError as error:
        raise JournalError(purpose, path, error.strerror or error) from error


def is_owned(path: Path) -> bool | None:
    """Tell whether some process, perhaps this one, owns a writer's folder now.

    Returns:
        None where that cannot be told: the folder's lock may not be read, or the file system has
        no locks.
    """
    return is_locked(path / LOCK)


def folder_names(root: Path, writer: str | None = None) -> list[str]:
    """List the names of the writers' folders: directories with a lock, of the root's own owner.

    What looks like one and is a link, or another user's, counts for nothing, which is said once.

    Args:
        root: The journal's directory.
        writer: Only this one's.

    Raises:
        OSError: When the directory cannot be listed.
    """
    names = []
    descriptor = open_root(root)
    try:
        owner = os.fstat(descriptor).st_uid
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.name[:1] == "." or writer not in (None, entry.name):
                    continue
                if is_writers(root, entry, owner):
                    names.append(entry.name)
    finally:
        os.close(descriptor)
    return names


def is_writers(root: Path, entry: os.DirEntry[str], owner: int) -> bool:
    """Tell whether an entry of a journal's directory is the folder of a writer.

    Args:
        root: The journal's directory.
        entry: The entry, with or without its directory's path.
        owner: The uid of the directory's owner.

    Raises:
        OSError: When it cannot be looked at.
    """
    path = os.path.join(root, entry.name)
    if not entry.is_dir(follow_symlinks=False):
        if entry.is_symlink() and os.path.isfile(os.path.join(path, LOCK)):
            _say_foreign(path, "it is a link")
        return False
    if regular_file(os.path.join(path, LOCK)) is None:
        return False
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # it was deleted in this moment
        return False
    if is_anothers(status, owner):
        _say_foreign(path, f"it belongs to uid {status.st_uid}, and the directory to uid {owner}")
        return False
    return True


def _say_foreign(path: str, why: str) -> None:
    if path not in _foreign:
        if len(_foreign) >= _MOST_FOREIGN:
            _foreign.clear()
        _foreign.add(path)
        _log.warning("%s is not read and not delivered: %s", path, why)


_log = logging.getLogger("wakelog")
_MOST_FOREIGN = 10_000
# What was said to be foreign.
_foreign: set[str] = set()


def folders(root: Path, writer: str | None = None) -> Iterator[Path]:
    """List the writers' folders of a journal, oldest writer first.

    Writers are ordered by their generation, those of format 1, which have none, before all others
    and by their ids. No clock has a say in it.

    Args:
        root: The journal's directory.
        writer: Only this writer's; no other folder is looked into.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    try:
        names = folder_names(root, writer)
    except OSError as error:
        raise JournalError(
            "list", root, error.strerror or error, "Name the directory that holds a journal"
        ) from error
    found = [root / name for name in names]
    yield from sorted(found, key=lambda path: (generation_of(path), path.name))
