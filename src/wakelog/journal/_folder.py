"""A writer's folder and the kernel lock that determines its owner."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from wakelog.errors import JournalError
from wakelog.journal._owner import OWNER, Owner, generation_of, write_owner
from wakelog.runtime import (
    SYSTEM,
    FileLock,
    FileSystem,
    JournalErrors,
    fcntl,
    is_anothers,
    is_locked,
    open_directory,
    open_file,
    open_root,
    regular_file,
)

LOCK = "lock"
# The file which records that spans without an end have been given one.
ENDED = "ended"
# The file that forked children lock while they have spans of the folder that they may end.
INHERITED = "inherited"
_DIRECTORY_MODE = 0o700
# How long a forked child waits for a process that only looks whether there is such a child.
_SHARING_SECONDS = 0.1


class Folder:
    """A writer's folder, held under a kernel lock until ``release``.

    Ownership depends neither on a clock nor on a process id: the kernel releases the lock however
    the process ends. A forked child does not own its parent's folders.
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self.writer = path.name
        self._lock = lock

    @classmethod
    def create(
        cls, root: Path, writer: str, fs: FileSystem = SYSTEM, owner: Owner | None = None
    ) -> Self:
        """Create the folder of a new writer and lock it.

        The folder gets its final name only after it is locked and has its owner file, so that no
        process can adopt it in between.

        Args:
            root: The journal's directory.
            writer: The writer's id.
            fs: The file-system calls.
            owner: The service and pipeline whose records it will hold.

        Raises:
            JournalError: When the folder cannot be created.
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
                error,
                "Check that the directory exists, is writable and has space, or choose another "
                "with directory= or WAKELOG_DIR",
            ) from error
        return cls(path, lock)

    @classmethod
    def adopt(cls, path: Path) -> Self | None:
        """Lock the folder of a writer whose process has ended.

        Returns:
            The folder, or None if another process owns it, it is not a writer's folder, or this
            process may not lock it.
        """
        try:
            lock = FileLock.take(path / LOCK)
        except OSError:
            return None
        return None if lock is None else cls(path, lock)

    def release(self) -> None:
        """Release the lock, so that other processes may adopt the folder. Twice is harmless."""
        self._lock.release()

    def abandon(self) -> None:
        """Release the folder in a forked child, without releasing the parent's lock."""
        self.release()


def lock_root(
    root: Path, timeout: float, file: str = "", *, purpose: str = "lock"
) -> FileLock | None:
    """Lock a journal's directory, which is for cleaning, or a file in it.

    Args:
        root: The directory.
        timeout: The longest wait, in seconds.
        file: The name of the file to lock instead of the directory. It is created if missing.
        purpose: The operation that an error names.

    Returns:
        The lock, or None if another process holds it until the timeout.

    Raises:
        JournalError: When the file cannot be opened or locked.
    """
    path = root / file
    with JournalErrors(purpose, path):
        return FileLock.take(path, create=bool(file), timeout=timeout)


def is_owned(path: Path) -> bool | None:
    """Return whether a process, perhaps this one, owns a writer's folder now.

    Returns:
        None if that is unknown: the lock may not be read, or the file system has no locks.
    """
    return is_locked(path / LOCK)


def inherit(folder: Path) -> int:
    """Keep the spans of a folder without an end, in a forked child that may end them.

    Other processes do not end them until every child has closed its descriptor or has ended.

    Returns:
        The descriptor, which children of this process inherit; -1 if the folder cannot be locked.
    """
    descriptor = -1
    with suppress(OSError):
        descriptor = open_file(folder / INHERITED, os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + _SHARING_SECONDS
        while not (shared := _is_shared(descriptor)) and time.monotonic() < deadline:
            time.sleep(0.001)
        if shared:
            return descriptor
    if descriptor >= 0:
        os.close(descriptor)
    return -1  # the spans are ended as if there were no child


def _is_shared(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def are_inherited(folder: Path) -> bool:
    """Return whether a forked child may still end spans of a folder that have no end."""
    if regular_file(folder / ENDED) is not None:
        return False
    try:
        lock = FileLock.take(folder / INHERITED)
    except OSError:
        return False
    if lock is not None:
        lock.release()
    return lock is None


def may_end_spans(folder: Path) -> bool | None:
    """Return whether a process lives that may still end a folder's open spans; None if unknown."""
    owned = is_owned(folder)
    return are_inherited(folder) if owned is False else owned


def folder_names(root: Path, writer: str | None = None) -> list[str]:
    """List the names of the writers' folders: directories with a lock, owned by the root's user.

    Links and other users' directories are skipped, with one warning for each.

    Args:
        root: The journal's directory.
        writer: If given, only this writer's folder is listed.

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
    """Return whether an entry of a journal's directory is a writer's folder.

    Args:
        root: The journal's directory.
        entry: The directory entry.
        owner: The uid of the owner of the journal's directory.

    Raises:
        OSError: When ``stat`` fails.
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
    except FileNotFoundError:  # deleted in the meantime
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
# The paths of which a warning was logged.
_foreign: set[str] = set()


def folders(root: Path, writer: str | None = None) -> Iterator[Path]:
    """List the writers' folders of a journal, oldest writer first.

    Writers are ordered by their generation, independently of the clock. Those of format 1, which
    have none, come first, ordered by their ids.

    Args:
        root: The journal's directory.
        writer: If given, only this writer's folder is listed, and no other is opened.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    with JournalErrors("list", root, "Name the directory that holds a journal"):
        names = folder_names(root, writer)
    found = [root / name for name in names]
    yield from sorted(found, key=lambda path: (generation_of(path), path.name))


@contextmanager
def one_at_a_time(directory: Path) -> Iterator[None]:
    """Keep other processes from renaming in a directory at the same time."""
    fd = open_directory(directory)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
