"""Separate values: content in a file of its own so that it can be erased, a value on each line.

Their file is in the folder of the blobs, so that it is renamed and deleted with them. The original
line has the offset, the size and the digest of its value. Erasing overwrites a value with spaces,
so that the offsets of the others do not change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from weakref import finalize

from wakelog.runtime import SYSTEM, FileSystem, open_directory, open_file, open_to_read
from wakelog.storage._append_file import write_whole_lines

APART = "apart"
"""The file's name in the folder of the blobs."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_BLOCK = 64 * 1024


def open_apart(folder: Path, fs: FileSystem, *, synced: bool) -> int:
    """Open the file for appending, and create it and its folder if they are missing.

    Args:
        folder: The folder of the blobs.
        fs: The file-system calls.
        synced: Whether to sync their directories.

    Raises:
        OSError: When a system call fails.
    """
    with suppress(FileExistsError):
        fs.mkdir(folder, 0o700)
    os.close(open_directory(folder))  # raises an error for a link or a file
    fd = fs.open(folder / APART, _FLAGS, 0o600)
    try:
        if synced:
            name_apart(folder, fs)
    except BaseException:
        os.close(fd)
        raise
    return fd


def name_apart(folder: Path, fs: FileSystem) -> None:
    """Sync the directories of the file and of its folder.

    Raises:
        OSError: When a system call fails.
    """
    fs.sync_directory(folder)
    fs.sync_directory(folder.parent)


def sync_apart(folder: Path, fs: FileSystem) -> None:
    """Sync the file and its directories, if it exists.

    Raises:
        OSError: When a system call fails.
    """
    try:
        fd = open_file(folder / APART, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fs.fdatasync(fd)
        name_apart(folder, fs)
    finally:
        os.close(fd)


class Apart:
    """Reads the separate values of one file of lines.

    Args:
        folder: The folder of the blobs.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / APART
        self._fd = -1
        self._begin, self._block = 0, b""
        # Offsets of values that are not where their line says, and how far the file was searched
        # for them.
        self._places: dict[str, int] = {}
        self._found_to = 0

    def find(self, digest: str, size: int, offset: int) -> tuple[int, bytes] | None:
        """Return the offset and the content of a value; None if it is missing, damaged or erased.

        Args:
            digest: Its SHA-256, in hexadecimal.
            size: Its size in bytes.
            offset: Its offset according to its line. It may be wrong after a signal handler
                recorded in the middle of a recording; then the value is searched for.
        """
        try:
            at = offset - self._begin
            if 0 <= at <= len(self._block) - size:
                data = self._block[at : at + size]
            else:
                data = self._read(offset, size)
            if sha256(data).hexdigest() == digest:
                return offset, data
            if len(data) == size and not data.strip(b" \n"):
                return None
            if digest not in self._places:
                self._find_places()
            if (place := self._places.get(digest)) is None:
                return None
            data = self._read(place, size)
        except (OSError, OverflowError, ValueError):
            return None  # there is no such file, or the line has invalid figures
        return (place, data) if sha256(data).hexdigest() == digest else None

    def place(self, digest: str, size: int, offset: int) -> tuple[int, int] | None:
        """Return the place to overwrite when a value is erased, even if it is damaged.

        Args:
            digest: As for ``find``.
            size: As for ``find``.
            offset: As for ``find``.

        Returns:
            The offset and the size, or None if nothing is left of the value.
        """
        if (found := self.find(digest, size, offset)) is not None:
            return found[0], size
        before = min(1, offset)
        try:
            around = self._read(offset - before, before + size)
        except (OSError, OverflowError, ValueError):
            return None
        line = around[before:]
        whole = around[:before] in (b"", b"\n") and line.find(b"\n") == size - 1
        return (offset, size) if whole and line.strip() else None

    def _read(self, offset: int, size: int) -> bytes:
        """Read a value, and the following ones, which are usually needed next."""
        at = offset - self._begin
        if at < 0 or at + size > len(self._block):
            if self._fd < 0:
                self._fd = open_file(self._path, os.O_RDONLY)
                finalize(self, os.close, self._fd)
            most = max(0, os.fstat(self._fd).st_size - offset)  # the line's size may be wrong
            self._block = os.pread(self._fd, min(max(size, _BLOCK), most), offset)
            self._begin, at = offset, 0
        return self._block[at : at + size]

    def _find_places(self) -> None:
        with open_to_read(self._path) as file:
            file.seek(self._found_to)
            for line in file:
                if line.endswith(b"\n"):
                    self._places[sha256(line).hexdigest()] = self._found_to
                    self._found_to += len(line)


def erase_apart(folder: Path, places: Iterable[tuple[int, int]], fs: FileSystem = SYSTEM) -> None:
    """Overwrite values with spaces, and sync the file.

    Args:
        folder: The folder of the blobs.
        places: The offset of each, and its size with its newline, which is kept.
        fs: The file-system calls.

    Raises:
        OSError: When a system call fails.
    """
    fd = fs.open(folder / APART, os.O_WRONLY)
    try:
        for offset, size in places:
            os.lseek(fd, offset, os.SEEK_SET)
            write_whole_lines(fs, fd, b" " * (size - 1) + b"\n")
        fs.fdatasync(fd)
    finally:
        os.close(fd)


def values_apart(path: Path) -> Iterator[bytes]:
    """Yield the values in a file of separate values, each with its salt and newline.

    Raises:
        OSError: When the file cannot be read.
    """
    with open_to_read(path) as file:
        yield from (line for line in file if line.strip())
