"""What was set apart of a file's lines, so that it can be erased: one file, with a value on each line.

It stands in the folder of the blobs, so that it is renamed and deleted with them. A line of the file of lines
says where its value begins, how long it is and what its digest is; whoever erases it puts spaces in its place, so
that all others stay where they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from weakref import finalize

from wakelog.runtime import SYSTEM, FileSystem, open_directory, open_file, open_to_read

APART = "apart"
"""The file's name in the folder of the blobs."""
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_BLOCK = 64 * 1024


def open_apart(folder: Path, fs: FileSystem, *, synced: bool) -> int:
    """Open the file to append to, and make it and its folder where they are missing.

    Args:
        folder: The folder of the blobs.
        fs: The file-system calls.
        synced: Whether their names shall outlive a power failure.

    Raises:
        OSError: When a system call fails.
    """
    with suppress(FileExistsError):
        fs.mkdir(folder, 0o700)
    os.close(open_directory(folder))  # a link or a file by its name is refused
    fd = fs.open(folder / APART, _FLAGS, 0o600)
    try:
        if synced:
            name_apart(folder, fs)
    except BaseException:
        os.close(fd)
        raise
    return fd


def name_apart(folder: Path, fs: FileSystem) -> None:
    """Have the names of the file and of its folder outlive a power failure.

    Raises:
        OSError: When a system call fails.
    """
    fs.sync_directory(folder)
    fs.sync_directory(folder.parent)


def sync_apart(folder: Path, fs: FileSystem) -> None:
    """Have what stands in the file on the disk, if there is one.

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
    """Reads the values of one such file.

    Args:
        folder: The folder of the blobs.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / APART
        self._fd = -1
        self._begin, self._block = 0, b""
        # Where values stand that are not where their line says, and how much was looked through for them.
        self._places: dict[str, int] = {}
        self._found_to = 0

    def find(self, digest: str, size: int, offset: int) -> tuple[int, bytes] | None:
        """Return where a value stands and what it is, None when it is missing, damaged or erased.

        Args:
            digest: Its SHA-256, in hexadecimal.
            size: Its bytes.
            offset: Where its line says that it begins. It may be wrong where a signal's handler has
                recorded in the middle of recording: then it is looked for.
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
            return None  # there is none, or nobody of us has written what the line says
        return (place, data) if sha256(data).hexdigest() == digest else None

    def place(self, digest: str, size: int, offset: int) -> tuple[int, int] | None:
        """Return where something stands that has to go when a value is erased, damaged or not.

        Args:
            digest: As for ``find``.
            size: As for ``find``.
            offset: As for ``find``.

        Returns:
            Its place and its bytes, None when nothing is left of it.
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
        """Read a value, and what comes after it, which is mostly asked for next."""
        at = offset - self._begin
        if at < 0 or at + size > len(self._block):
            if self._fd < 0:
                self._fd = open_file(self._path, os.O_RDONLY)
                finalize(self, os.close, self._fd)
            most = max(0, os.fstat(self._fd).st_size - offset)  # whatever the line says
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
    """Put spaces in the place of values, and have that on the disk.

    Args:
        folder: The folder of the blobs.
        places: Where each begins, and its bytes with its newline, which stays.
        fs: The file-system calls.

    Raises:
        OSError: When a system call fails.
    """
    fd = fs.open(folder / APART, os.O_WRONLY)
    try:
        for offset, size in places:
            os.lseek(fd, offset, os.SEEK_SET)
            rest = b" " * (size - 1) + b"\n"
            while rest:
                rest = rest[fs.write(fd, rest) :]
        fs.fdatasync(fd)
    finally:
        os.close(fd)


def values_apart(path: Path) -> Iterator[bytes]:
    """Yield the values of such a file as they stand there.

    Raises:
        OSError: When it cannot be read.
    """
    with open_to_read(path) as file:
        yield from (line for line in file if line.strip())
