"""Opening, renaming and deleting files without following links, and opening only regular files.

A user who can write to a directory can create a link, a FIFO or a device in it. Therefore the
directory of a path is opened first, without following a link, and the file is opened relative to
it, also without following a link. The caller resolves the directories above once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from wakelog.errors import ConfigurationError

TRUST_VARIABLE: Final = "WAKELOG_TRUST_DIRECTORY"
"""The variable that allows, if true, directories and files that others own or can write."""

StrPath = str | os.PathLike[str]

# O_NONBLOCK keeps the opening of a FIFO from waiting, and has no effect on regular files.
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# With O_PATH, opening a directory on Linux needs no permission to list it.
_PLACE: Final = _DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
# Source: "Temporary Files Used By SQLite", sections 2.1 to 2.3.
_NAMES_OF_A_DATABASE: Final = ("", "-journal", "-wal", "-shm")
_SMALL: Final = 1024 * 1024
_SPARSE: Final = 1024 * 1024 * 1024


class ForeignFileError(OSError):
    """A path is a link, not a regular file, too large, or another user's file."""


def others_are_trusted() -> bool:
    """Return whether the environment declares other users trusted.

    Raises:
        ConfigurationError: For a value that is neither true nor false.
    """
    value = os.environ.get(TRUST_VARIABLE, "").strip().lower()
    if value not in ("", "true", "false"):
        raise ConfigurationError(f"{TRUST_VARIABLE}={value!r} is not known: use true or false")
    return value == "true"


def open_file(path: StrPath, flags: int, mode: int = 0o600) -> int:
    """Open a regular file, as ``os.open`` does, without following a link and without waiting.

    Args:
        path: The file.
        flags: As for ``os.open``.
        mode: The mode of a new file.

    Returns:
        The descriptor.

    Raises:
        ForeignFileError: When the path is a link or not a regular file, or, for writing, belongs to
            another user.
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        try:
            fd = os.open(name, flags | _SAFE, mode, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise ForeignFileError(error.errno, _UNUSABLE, os.fspath(path)) from error
            error.filename = os.fspath(path)
            raise
    try:
        _check(fd, path, flags)
    except BaseException:
        os.close(fd)
        raise
    return fd


_UNUSABLE: Final = "it is a link or not a regular file"


def _check(fd: int, path: StrPath, flags: int) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ForeignFileError(errno.EINVAL, _UNUSABLE, os.fspath(path))
    writes = flags & os.O_ACCMODE != os.O_RDONLY and not flags & os.O_EXCL
    if writes and status.st_uid != os.geteuid() and not others_are_trusted():
        cause = f"it belongs to the user with uid {status.st_uid}"
        raise ForeignFileError(errno.EPERM, cause, os.fspath(path))


def open_to_read(path: StrPath, *, buffering: int = -1) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        ForeignFileError: When the path is a link or not a regular file.
        OSError: When a system call fails.
    """
    fd = open_file(path, os.O_RDONLY)
    return os.fdopen(fd, "rb", buffering)


def read_small(path: StrPath, most: int = _SMALL) -> bytes:
    """Return the content of a small file.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Raises:
        ForeignFileError: When the path is a link or not a regular file, or the file is larger.
        OSError: When a system call fails.
    """
    with open_to_read(path, buffering=0) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ForeignFileError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
        return file.read(most)


def regular_file(path: StrPath) -> os.stat_result | None:
    """Return the status of a regular file, or None if the path is not one."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def check_for_sqlite(path: StrPath) -> None:
    """Check that the files of an SQLite database are regular files, if they exist.

    SQLite would follow a link, and would wait for the other end of a FIFO.

    Raises:
        ForeignFileError: When one of them is not.
    """
    for suffix in _NAMES_OF_A_DATABASE:
        name = f"{os.fspath(path)}{suffix}"
        # In one step: another process deletes its journal whenever a transaction ends.
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(name).st_mode):
                raise ForeignFileError(errno.EINVAL, _UNUSABLE, name)


def size_of(status: os.stat_result) -> int:
    """Return the size of a file in bytes; of a large sparse file, without its holes.

    The blocks are used only for large files, because some file systems update their number late.
    """
    size = status.st_size
    return size if size < _SPARSE else min(size, status.st_blocks * 512)


def is_directory(path: StrPath) -> bool:
    """Return whether a path is a directory, and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def open_directory(path: StrPath) -> int:
    """Open a directory, but not a link to one, for listing, locking or syncing it.

    Raises:
        OSError: When a system call fails.
    """
    return os.open(path, os.O_RDONLY | _DIRECTORY)


def list_directory(path: StrPath) -> list[str]:
    """Return the names in a directory, but not in a link to one.

    Raises:
        OSError: When a system call fails.
    """
    fd = open_directory(path)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def list_regular(path: StrPath) -> list[str]:
    """Return the names of the regular files in a directory, but not in a link to one.

    Raises:
        OSError: When a system call fails.
    """
    fd = open_directory(path)
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    finally:
        os.close(fd)


def open_device(path: StrPath, flags: int, mode: int = 0o600) -> int:
    """Open a file of any type in a directory that only root can write, such as ``/dev``.

    Raises:
        ForeignFileError: When other users can write the directory.
        OSError: When a system call fails.
    """
    status = os.stat(os.path.dirname(os.fspath(path)))
    if status.st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ForeignFileError(
            errno.EPERM, "other users can create files in its directory", os.fspath(path)
        )
    return os.open(path, flags | os.O_CLOEXEC, mode)


@contextmanager
def _place(path: StrPath) -> Iterator[tuple[int, str]]:
    folder, name = os.path.split(os.fspath(path))
    parent = os.open(folder or ".", _PLACE)
    try:
        yield parent, name
    finally:
        os.close(parent)


def make_directory(path: StrPath, mode: int = 0o700) -> None:
    """Create a directory as ``os.mkdir`` does, in a parent that is not a link.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.mkdir(name, mode, dir_fd=parent)


def make_directories(path: Path) -> list[Path]:
    """Create a directory and its missing parents, accessible to their owner only.

    Returns:
        The directories that were missing, innermost first.

    Raises:
        FileExistsError: When the path exists and is not a directory.
        OSError: When a system call fails.
    """
    missing: list[Path] = []
    for one in (path, *path.parents):
        try:
            status = os.stat(one)
        except FileNotFoundError:
            missing.append(one)
            continue
        if not stat.S_ISDIR(status.st_mode):
            # For a parent, `os.mkdir` raises the error.
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(one))
        break
    for one in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(one, 0o700)
    if missing and not os.path.isdir(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    return missing


def touch(path: StrPath) -> None:
    """Set the modification time of a file, or of a link itself, to now.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.utime(name, dir_fd=parent, follow_symlinks=False)


def rename(old: StrPath, new: StrPath) -> None:
    """Rename a file or directory as ``os.rename`` does, in parents that are not links.

    Raises:
        OSError: When a system call fails.
    """
    with _place(old) as (source, before):
        folder, after = os.path.split(os.fspath(new))
        if folder == os.path.dirname(os.fspath(old)):
            os.rename(before, after, src_dir_fd=source, dst_dir_fd=source)
            return
        with _place(new) as (target, _):
            os.rename(before, after, src_dir_fd=source, dst_dir_fd=target)


def unlink(path: StrPath) -> None:
    """Delete a file as ``os.unlink`` does, in a directory that is not a link.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.unlink(name, dir_fd=parent)


def rmdir(path: StrPath) -> None:
    """Delete an empty directory as ``os.rmdir`` does, in a parent that is not a link.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.rmdir(name, dir_fd=parent)
