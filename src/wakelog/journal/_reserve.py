"""Some bytes on the disk that are given up when what frees others has to be written.

On a disk without one free byte, nothing can be deleted before the deletion is recorded, and nothing
may be deleted before the ledger says that it was delivered. Both take their few bytes from here, the
ledger only a part of them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from wakelog.runtime import FileSystem, open_file, regular_file

NAME = "reserve"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BYTES = 32 * 1024
# What one small file takes, with the temporary one beside it.
_PORTION = 8 * 1024
# What is left for deletions, however often the ledger is written.
FOR_DELETIONS = 16 * 1024


def keep(root: Path, fs: FileSystem, *, make: bool = False) -> bool:
    """Fill the reserve of a journal up, as far as there is room.

    Args:
        root: The journal's directory.
        fs: The system calls.
        make: Whether to make a reserve that is missing. Cleaning does not: where there was one, somebody
            is deleting the directory, and a new name in it would fail his last step.

    Returns:
        Whether it is whole.
    """
    path = root / NAME
    missing = _BYTES - _size(path)
    if missing <= 0:
        return True
    flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT if make else 0)
    try:
        fd = fs.open(path, flags, 0o600)
        try:
            # Bytes by chance, because zeros take no room on some file systems.
            return fs.write(fd, os.urandom(missing)) == missing
        finally:
            os.close(fd)
    except OSError:
        return False  # the disk is full now; whoever cleans next tries again


def fill_with(root: Path, segment: Path, fs: FileSystem) -> None:
    """Make a segment that is to be deleted the reserve, so that nobody else gets its room.

    Raises:
        OSError: When the operating system refuses.
    """
    size = min(_BYTES, _size(segment))
    fd = open_file(segment, os.O_WRONLY)
    try:
        if os.fstat(fd).st_nlink != 1:  # what somebody else has linked keeps its content
            fs.unlink(segment)
            return
        os.pwrite(fd, os.urandom(size), 0)
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    fs.rename(segment, root / NAME)


def write(
    root: Path,
    path: Path,
    data: bytes,
    fs: FileSystem,
    *,
    synced: bool = False,
    leave: int = 0,
) -> None:
    """Write a small file, whole or not at all, and give up some of the reserve for it if need be.

    Args:
        root: The journal's directory.
        path: The file.
        data: What shall be in it.
        fs: The system calls.
        synced: Whether it and its name shall be on the disk.
        leave: The bytes of the reserve that are not for this.

    Raises:
        OSError: When the file system refuses all the same; the old file is still there.
    """
    while True:
        try:
            fs.write_whole(path, data, synced=synced)
            break
        except OSError as error:
            left = max(_size(root / NAME) - _PORTION, 0)
            if error.errno not in FULL or left < leave or not _size(root / NAME):
                raise
            fd = open_file(root / NAME, os.O_WRONLY)
            try:
                os.ftruncate(fd, left)
            finally:
                os.close(fd)
    if synced:
        fs.sync_directory(path.parent)


def _size(path: Path) -> int:
    status = regular_file(path)
    return 0 if status is None else status.st_size
