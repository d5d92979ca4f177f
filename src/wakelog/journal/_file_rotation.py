"""Rotation of a named file: when it is renamed, and how many rotated files are kept."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson

from wakelog.errors import ConfigurationError
from wakelog.journal._folder import one_at_a_time
from wakelog.journal._rotation import Rotation
from wakelog.record import parse_rfc3339
from wakelog.runtime import (
    SYSTEM,
    FileSystem,
    ForeignFileError,
    fcntl,
    is_directory,
    list_directory,
    list_regular,
    regular_file,
    size_of,
)
from wakelog.storage import SUFFIX, blob_bytes, blob_folder, delete_blobs

_STAMP = r"\d{8}T\d{6}\.\d{6}Z"
_LONGEST_FIRST_LINE = 64 * 1024


class FileRotation(Rotation):
    """When a file is rotated, and which rotated files are kept.

    ``events.jsonl`` becomes ``events.20261121T075022.123456Z.jsonl``, with the time in UTC at which
    it was rotated, in the same directory.

    Args:
        max_bytes: Maximum size of the file in bytes.
        max_age: Maximum age of the file in seconds, from its first line.
        at_midnight: Whether to rotate at midnight, local time.
        keep_files: Maximum number of rotated files.
        keep_bytes: Maximum size of the rotated files together, in bytes.
        keep_age: Maximum time to keep a rotated file, in seconds from its rotation.

    Raises:
        ConfigurationError: For a number that is not above 0 (``keep_files``: below 0), or for a
            ``keep_…`` argument while the file is never rotated.
    """

    def __init__(
        self,
        max_bytes: int | None = None,
        max_age: float | None = None,
        at_midnight: bool = False,  # noqa: FBT001, FBT002 - it is the value
        keep_files: int | None = None,
        keep_bytes: int | None = None,
        keep_age: float | None = None,
    ) -> None:
        super().__init__(max_bytes, max_age, at_midnight)
        self.keep_files, self.keep_bytes, self.keep_age = keep_files, keep_bytes, keep_age
        kept = {"keep_files": keep_files, "keep_bytes": keep_bytes, "keep_age": keep_age}
        given = {name: value for name, value in kept.items() if value is not None}
        for name, value in given.items():
            if value < 0 or (value == 0 and name != "keep_files"):
                message = f"{name}={value} is not allowed: use a number above 0 (keep_files: at least 0), or None"
                raise ConfigurationError(message)
        if given and not self.happens:
            message = (
                f"{' and '.join(given)}: there is nothing to keep, since no file is ever rotated. Set "
                "max_bytes, max_age or at_midnight as well"
            )
            raise ConfigurationError(message)

    @property
    def happens(self) -> bool:
        """Whether a file is ever rotated."""
        return self.max_bytes is not None or self.max_age is not None or self.at_midnight

    @property
    def keeps_less_than_all(self) -> bool:
        """Whether rotated files are ever deleted."""
        return not (self.keep_files is self.keep_bytes is self.keep_age is None)


def begun_at(fd: int) -> float:
    """Return the time of a file's first line, in seconds since 1970; now for an empty file.

    Args:
        fd: The file, open for reading.
    """
    first = os.pread(fd, _LONGEST_FIRST_LINE, 0).partition(b"\n")[0]
    if not first:
        return time.time()
    try:
        return parse_rfc3339(orjson.loads(first)["timestamp"]) / 1e9
    except (ValueError, KeyError, TypeError):  # a line of another program, or a very long one
        return os.fstat(fd).st_mtime


def identity(fd: int) -> tuple[int, int]:
    """Return a file's device and inode numbers."""
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def rotate(
    path: Path, file: tuple[int, int], fs: FileSystem = SYSTEM, *, synced: bool = False
) -> None:
    """Rename a file, unless another process has already done so.

    Args:
        path: The file.
        file: The identity of the file that was written. If ``path`` is another file by now, nothing
            is done.
        fs: The file-system calls.
        synced: Whether to sync the directory, because the file has lines that were synced.

    Raises:
        OSError: When a system call fails.
    """
    with one_at_a_time(path.parent):
        named = regular_file(path)
        if named is not None and (named.st_dev, named.st_ino) == file:
            _rename(path, _free_name(path, time.time), fs)
            if synced:
                fs.sync_directory(path.parent)


def _rename(path: Path, new: Path, fs: FileSystem) -> None:
    """Rename a file after its folder of blobs, see ``finish_rotation``."""
    if is_directory(blob_folder(path)):
        fs.rename(blob_folder(path), blob_folder(new))
    fs.rename(path, new)


def finish_rotation(path: Path, fs: FileSystem = SYSTEM) -> None:
    """Rename a file whose folder of blobs was renamed already before a crash.

    Args:
        path: The file.
        fs: The file-system calls.

    Raises:
        OSError: When a system call fails.
    """
    with one_at_a_time(path.parent):
        for name in list_directory(path.parent):
            new = path.with_name(name.removesuffix(SUFFIX))
            if name.endswith(SUFFIX) and _stamp_of(path, new.name) and not os.path.lexists(new):
                if regular_file(path) and not os.path.lexists(blob_folder(path)):
                    fs.rename(path, new)
                return


def delete_rotated(path: Path, rotation: FileRotation, fs: FileSystem = SYSTEM) -> None:
    """Delete the oldest rotated files that exceed the limits.

    A file that a process still has open for writing is kept for now.

    Args:
        path: The file's path, without a time stamp.
        rotation: The limits.
        fs: The file-system calls.

    Raises:
        OSError: When a system call fails.
    """
    if not rotation.keeps_less_than_all:
        return
    files, size = 0, 0
    for old, stamp in reversed(rotated_files(path)):
        if (
            status := regular_file(old)
        ) is None:  # another process has deleted it, or it is not a regular file
            continue
        size += size_of(status) + blob_bytes(old)
        files += 1
        if (
            (rotation.keep_files is not None and files > rotation.keep_files)
            or (rotation.keep_bytes is not None and size > rotation.keep_bytes)
            or (rotation.keep_age is not None and time.time() - stamp > rotation.keep_age)
        ):
            _delete_unless_open(old, fs)


def rotated_files(path: Path) -> list[tuple[Path, float]]:
    """Return the rotated files of a file, oldest first, with the times of their rotation."""
    found = []
    for name in list_regular(path.parent):
        if match := _stamp_of(path, name):
            stamp = datetime.strptime(match[1], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
            found.append((path.parent / name, stamp.timestamp()))
    return sorted(found)


def _stamp_of(path: Path, name: str) -> re.Match[str] | None:
    """Return the time in the name of a rotated file, None for any other name."""
    return re.fullmatch(rf"{re.escape(path.stem)}\.({_STAMP}){re.escape(path.suffix)}", name)


def share(fd: int) -> bool:
    """Take a shared kernel lock on a file that is written, so that no process deletes it.

    Returns:
        False if another process is deleting it.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks
        return True
    return True


def _delete_unless_open(path: Path, fs: FileSystem) -> None:
    try:
        fd = fs.open(path, os.O_RDONLY)
    except (FileNotFoundError, ForeignFileError):
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        delete_blobs(path, fs)
        fs.unlink(path)
    except (BlockingIOError, FileNotFoundError):
        return
    finally:
        os.close(fd)


def _free_name(path: Path, now: Callable[[], float]) -> Path:
    while True:
        stamp = datetime.fromtimestamp(now(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        name = path.with_name(f"{path.stem}.{stamp}{path.suffix}")
        if not os.path.lexists(name):  # else the rename would silently replace it
            return name
