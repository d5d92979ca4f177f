"""Opening, renaming and deleting without following a link, and nothing but regular files.

Whoever can create a name in a directory can make it a link, a FIFO or a device. So the directory of a
path is opened first, as a real directory, and its entry relative to that: neither of the two may be a
link. Directories above are the caller's, who resolves them once.
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
"""Set to true, directories and files may belong to others, or be writable by them."""

StrPath = str | os.PathLike[str]

# With O_NONBLOCK, opening a FIFO waits for nobody; a regular file does not mind it.
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Linux opens a directory as a place alone, which needs no right to list it.
_PLACE: Final = _DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
# Source: "Temporary Files Used By SQLite", sections 2.1 to 2.3.
_NAMES_OF_A_DATABASE: Final = ("", "-journal", "-wal", "-shm")
_SMALL: Final = 1024 * 1024
_SPARSE: Final = 1024 * 1024 * 1024


class ForeignFileError(OSError):
    """A name that is a link, no regular file, larger than it can be, or somebody else's to write."""


def others_are_trusted() -> bool:
    """Return whether this deployment says that whoever can write in a directory is trusted.

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
        mode: Of a file that is made.

    Returns:
        The descriptor.

    Raises:
        ForeignFileError: When the name is a link or no regular file; to write, also when the file
            belongs to another user.
        OSError: When a system call fails.
    """
    folder, name = os.path.split(os.fspath(path))
    parent = os.open(folder or ".", _PLACE)
    try:
        fd = os.open(name, flags | _SAFE, mode, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise ForeignFileError(error.errno, _UNUSABLE, os.fspath(path)) from error
        error.filename = os.fspath(path)
        raise
    finally:
        os.close(parent)
    try:
        _check(fd, path, flags)
    except BaseException:
        os.close(fd)
        raise
    return fd


_UNUSABLE: Final = "it is a link or no regular file"


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
        ForeignFileError: When the name is a link or no regular file.
        OSError: When a system call fails.
    """
    fd = open_file(path, os.O_RDONLY)
    return os.fdopen(fd, "rb", buffering)


def read_small(path: StrPath, most: int = _SMALL) -> bytes:
    """Return the content of a file that is always small.

    Args:
        path: The file.
        most: The most bytes that it may have.

    Raises:
        ForeignFileError: When the name is a link or no regular file, or the file is larger.
        OSError: When a system call fails.
    """
    with open_to_read(path, buffering=0) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ForeignFileError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
        return file.read(most)


def regular_file(path: StrPath) -> os.stat_result | None:
    """Return the status of a regular file, None where there is none by that name."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def check_for_sqlite(path: StrPath) -> None:
    """Refuse a database where a name that SQLite opens is taken by something else than a regular file.

    It would follow a link, and wait for the other end of a FIFO.

    Raises:
        ForeignFileError: When that is so.
    """
    for suffix in _NAMES_OF_A_DATABASE:
        name = f"{os.fspath(path)}{suffix}"
        if os.path.lexists(name) and regular_file(name) is None:
            raise ForeignFileError(errno.EINVAL, _UNUSABLE, name)


def size_of(status: os.stat_result) -> int:
    """Return the bytes that a file takes: of one that is large and sparse, without its holes.

    Only of a large one, since some file systems say late how many blocks a file has.
    """
    size = status.st_size
    return size if size < _SPARSE else min(size, status.st_blocks * 512)


def is_directory(path: StrPath) -> bool:
    """Return whether a name is that of a directory, and not of a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def open_directory(path: StrPath) -> int:
    """Open a directory, for listing, locking or syncing it; a link to one is refused.

    Raises:
        OSError: When a system call fails.
    """
    return os.open(path, os.O_RDONLY | _DIRECTORY)


def list_directory(path: StrPath) -> list[str]:
    """Return the names in a directory; a link to one is refused.

    Raises:
        OSError: When a system call fails.
    """
    fd = open_directory(path)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def list_regular(path: StrPath) -> list[str]:
    """Return the names of the regular files in a directory; a link to one is refused.

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
    """Open what stands in a directory where only root makes names, as ``/dev`` is, whatever it is.

    Raises:
        ForeignFileError: When others may make names there.
        OSError: When a system call fails.
    """
    status = os.stat(os.path.dirname(os.fspath(path)))
    if status.st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ForeignFileError(errno.EPERM, "others may make names there", os.fspath(path))
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
    """Make a directory in one that is no link, as ``os.mkdir`` does.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.mkdir(name, mode, dir_fd=parent)


def make_directories(path: Path) -> list[Path]:
    """Make a directory, and those above it that are missing, for their owner only.

    Returns:
        Those that were missing, the innermost first.

    Raises:
        FileExistsError: When the path is something else.
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
            # Of a part of the path, the operating system says so itself.
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(one))
        break
    for one in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(one, 0o700)
    if missing and not os.path.isdir(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    return missing


def touch(path: StrPath) -> None:
    """Set the time of a file to now; of a link, that of the link.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.utime(name, dir_fd=parent, follow_symlinks=False)


def rename(old: StrPath, new: StrPath) -> None:
    """Rename a file or a directory, in directories that are no links, as ``os.rename`` does.

    Raises:
        OSError: When a system call fails.
    """
    with _place(old) as (source, before), _place(new) as (target, after):
        os.rename(before, after, src_dir_fd=source, dst_dir_fd=target)


def unlink(path: StrPath) -> None:
    """Delete a file, in a directory that is no link, as ``os.unlink`` does.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.unlink(name, dir_fd=parent)


def rmdir(path: StrPath) -> None:
    """Delete an empty directory, in one that is no link, as ``os.rmdir`` does.

    Raises:
        OSError: When a system call fails.
    """
    with _place(path) as (parent, name):
        os.rmdir(name, dir_fd=parent)
