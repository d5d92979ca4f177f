"""The reserve: bytes on the disk that are released to write the small files that free others.

A segment may be deleted only after the ledger says that it was delivered and the deletion is
recorded. On a full disk, these two writes take their space from the reserve, the ledger only from a
part of it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from wakelog.runtime import FileSystem, open_file, regular_file

NAME = "reserve"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BYTES = 32 * 1024
# Space for one small file and its temporary copy.
_PORTION = 8 * 1024
# The part that is kept for deletions and that the ledger does not use.
FOR_DELETIONS = 16 * 1024


def keep(root: Path, fs: FileSystem, *, make: bool = False) -> bool:
    """Fill the reserve of a journal, as far as there is room.

    Args:
        root: The journal's directory.
        fs: The file-system calls.
        make: Whether to create a missing reserve. Cleaning does not: the directory is probably
            being deleted, and a new file in it would make its deletion fail.

    Returns:
        Whether it is full.
    """
    path = root / NAME
    missing = _BYTES - _size(path)
    if missing <= 0:
        return True
    flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT if make else 0)
    try:
        fd = fs.open(path, flags, 0o600)
        try:
            # Random bytes, because some file systems store zeros without using space.
            return fs.write(fd, os.urandom(missing)) == missing
        finally:
            os.close(fd)
    except OSError:
        return False  # the disk is full; the next cleaning tries again


def fill_with(root: Path, segment: Path, fs: FileSystem) -> None:
    """Turn a segment to be deleted into the reserve, so that no other program takes its space.

    Raises:
        OSError: When a system call fails.
    """
    size = min(_BYTES, _size(segment))
    fd = open_file(segment, os.O_WRONLY)
    try:
        if os.fstat(fd).st_nlink != 1:  # the content of a hard link stays unchanged
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
    """Write a small file atomically, with space of the reserve if necessary.

    Args:
        root: The journal's directory.
        path: The file.
        data: Its content.
        fs: The file-system calls.
        synced: Whether to sync the file and its directory.
        leave: The bytes of the reserve that must not be used.

    Raises:
        OSError: When the write fails even so. Then the old file remains.
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
