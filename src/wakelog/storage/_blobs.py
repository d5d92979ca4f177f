"""Blobs: values that are too large for their lines, each in a file named by its digest.

Each file of lines has one folder of blobs, which is renamed and deleted with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import orjson

from wakelog.record import MARK, SALTED, Blob, put_content_back, references, sha256, value_of
from wakelog.runtime import (
    SYSTEM,
    FileSystem,
    is_directory,
    list_directory,
    open_directory,
    open_file,
    size_of,
)
from wakelog.storage._append_file import write_whole_lines

SUFFIX = ".blobs"


@cache
def _digest() -> re.Pattern[str]:
    return re.compile(r"[0-9a-f]{64}")


@cache
def _unfinished() -> re.Pattern[str]:
    return re.compile(r"\.[0-9a-f]{16}\.[0-9a-f]{16}\.new")


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def blob_folder(path: Path) -> Path:
    """Return the folder of the blobs of a file of lines, whether or not it exists."""
    return path.with_name(path.name + SUFFIX)


def put_blobs(
    path: Path, blobs: Sequence[Blob], fs: FileSystem = SYSTEM, *, synced: bool = False
) -> int:
    """Write blobs beside a file of lines, before the line that refers to them.

    Args:
        path: The file of lines.
        blobs: The blobs. One that exists already is not written again.
        fs: The file-system calls.
        synced: Whether to sync the files and their directories.

    Returns:
        The number of bytes that were written.

    Raises:
        OSError: When a system call fails. Then written blobs have no line that refers to them, and
            are deleted with the folder.
    """
    folder = blob_folder(path)
    written = 0
    rest = list(blobs)
    while rest and rest[0].unique:
        try:
            written += _put_unique(folder, rest[0], fs, synced=synced)
        except FileNotFoundError:
            break  # the folder does not exist yet
        del rest[0]
    if rest:
        with suppress(FileExistsError):
            fs.mkdir(folder, 0o700)
        os.close(open_directory(folder))  # raises an error for a link or a file
        for blob in rest:
            put = _put_unique if blob.unique else _put
            written += put(folder, blob, fs, synced=synced)
    if synced:
        fs.sync_directory(folder)
        fs.sync_directory(folder.parent)
    return written


def _put_unique(folder: Path, blob: Blob, fs: FileSystem, *, synced: bool) -> int:
    """Write a unique blob without renaming: no line refers to it before it is complete."""
    fd = fs.open(folder / blob.sha256, _NEW, 0o600)
    try:
        _write(fd, blob.data, fs, synced=synced)
    except BaseException:
        with suppress(OSError):
            fs.unlink(folder / blob.sha256)
        raise
    finally:
        os.close(fd)
    return len(blob.data)


def _write(fd: int, data: bytes, fs: FileSystem, *, synced: bool) -> None:
    write_whole_lines(fs, fd, data)
    if synced:
        fs.fdatasync(fd)


def _put(folder: Path, blob: Blob, fs: FileSystem, *, synced: bool) -> int:
    target = folder / blob.sha256
    if (there := _open(target, len(blob.data))) >= 0:
        # After a failed sync a later one would report success for pages that the kernel has
        # dropped, so the file is replaced.
        if not synced:
            os.close(there)
        if not synced or _synced(there, fs):
            return 0
    # Another process may be writing the same blob, so a complete file is renamed.
    temporary = folder / f".{blob.sha256[:16]}.{os.urandom(8).hex()}.new"
    fd = fs.open(temporary, _NEW, 0o600)
    try:
        try:
            _write(fd, blob.data, fs, synced=synced)
        finally:
            os.close(fd)
        fs.rename(temporary, target)
    except BaseException:
        with suppress(OSError):
            fs.unlink(temporary)
        raise
    return len(blob.data)


def _synced(fd: int, fs: FileSystem) -> bool:
    """Sync a file and close it; return whether the sync succeeded."""
    try:
        fs.fdatasync(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _open(path: Path, size: int) -> int:
    """Open a regular file of a given size, or return -1 if there is none."""
    try:
        fd = open_file(path, os.O_RDONLY)
    except OSError:
        return -1
    if os.fstat(fd).st_size == size:
        return fd
    os.close(fd)
    return -1


class Blobs:
    """Reads the blobs of one file of lines.

    Args:
        path: The file of lines.

    Attributes:
        taken: The number of bytes read so far.
    """

    def __init__(self, path: Path) -> None:
        self._folder = blob_folder(path)
        self.taken = 0

    def __call__(self, digest: str, size: int) -> bytes | None:
        """Return the content of a blob, or None if it is missing or damaged.

        Args:
            digest: Its SHA-256, in hexadecimal.
            size: Its size in bytes.
        """
        if not _digest().fullmatch(digest) or (fd := _open(self._folder / digest, size)) < 0:
            return None
        try:
            with os.fdopen(fd, "rb") as file:
                data = file.read(size)
        except OSError:
            return None
        self.taken += len(data)
        return data if sha256(data).hexdigest() == digest else None


def blob_misfit(path: Path, line: bytes, erased: frozenset[str] = frozenset()) -> str | None:
    """Return a description of the first missing or damaged blob of a line, or None.

    Args:
        path: The file of lines.
        line: One of its lines, which can be decoded.
        erased: The digests of blobs that were erased on purpose.
    """
    if MARK not in line:
        return None
    get, data = Blobs(path), orjson.loads(line)
    if SALTED in data:
        put_content_back(data)
    for reference in references(data):
        digest, size = str(reference.get("sha256")), reference.get("bytes")
        if digest not in erased and value_of(reference, get) is None:
            return f"its blob {digest} of {size} bytes is missing or damaged"
    return None


def blob_bytes(path: Path) -> int:
    """Return the size in bytes of the blobs of a file of lines."""
    return folder_bytes(blob_folder(path))


def _is_ours(name: str) -> bool:
    """Return whether a file name in a folder of blobs is one of Wakelog's."""
    return bool(_digest().fullmatch(name) or _unfinished().fullmatch(name))


def folder_bytes(folder: str | os.PathLike[str]) -> int:
    """Return the size in bytes of Wakelog's files in a folder of blobs; 0 without one."""
    size = 0
    with suppress(OSError), os.scandir(folder) as scan:
        for entry in scan:
            with suppress(OSError):
                if _is_ours(entry.name) and entry.is_file(follow_symlinks=False):
                    size += size_of(entry.stat(follow_symlinks=False))
    return size


def delete_blobs(path: Path, fs: FileSystem = SYSTEM) -> None:
    """Delete the blobs of a file of lines, before the file itself.

    Raises:
        OSError: When a system call fails.
    """
    delete_blob_folder(blob_folder(path), fs)


def delete_blob_folder(folder: Path, fs: FileSystem = SYSTEM) -> None:
    """Delete a folder of blobs. Of a link, only the link itself is deleted.

    A folder that has files of other programs is kept, with these files.

    Raises:
        OSError: When a system call fails.
    """
    try:
        if not is_directory(folder):
            fs.unlink(folder)
            return
        names = list_directory(folder)
        ours = [name for name in names if _is_ours(name)]
        for name in ours:
            with suppress(FileNotFoundError):
                fs.unlink(folder / name)
        if len(ours) == len(names):
            fs.rmdir(folder)
    except FileNotFoundError:
        return
