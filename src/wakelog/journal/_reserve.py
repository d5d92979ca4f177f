"""Some bytes on the disk that are given up when what frees others has to be written.

On a disk without one free byte, nothing can be deleted before the deletion is recorded, and nothing
may be deleted before the ledger says that it was delivered. Both take their few bytes from here, the
ledger only a part of them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from wakelog.journal._filesystem import FileSystem

NAME = "reserve"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BYTES = 32 * 1024
# What one small file takes, with the temporary one beside it.
_PORTION = 8 * 1024
# What is left for deletions, however often the ledger is written.
FOR_DELETIONS = 16 * 1024


def keep(root: Path, fs: FileSystem) -> bool:
    """Fill the reserve of a journal up, as far as there is room.

    Returns:
        Whether it is whole.
    """
    path = root / NAME
    missing = _BYTES - _size(path)
    if missing <= 0:
        return True
    try:
        fd = fs.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
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
    with segment.open("r+b", buffering=0) as file:
        file.write(os.urandom(size))
        file.truncate(size)
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
            Path(f"{path}.new").unlink(missing_ok=True)
            left = max(_size(root / NAME) - _PORTION, 0)
            if error.errno not in FULL or left < leave or not _size(root / NAME):
                raise
            os.truncate(root / NAME, left)
    if synced:
        fs.sync_directory(path.parent)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
