"""Overwriting content on lines in place, so that it can be repeated after a crash.

The file ``erasing`` in the writer's folder says which bytes of which segment are being overwritten,
and with what. It is on disk before the first byte is overwritten, and is deleted afterwards. Who
finds a line damaged reads it again as ``read_again`` does, with these bytes overwritten: a crash or
a running erasure may have left it half overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import CorruptLineError
from wakelog.record import read_fields, seal_fields
from wakelog.runtime import SYSTEM, FileSystem, open_file, open_to_read
from wakelog.storage._append_file import write_whole_lines
from wakelog.storage._names import segment_index, segment_name, segments

ERASING = "erasing"
"""The name of the file."""
_BEFORE = b'"salted":[%d,'
_TRIES = 3


class Overwriting(NamedTuple):
    """Bytes that replace those at an offset."""

    offset: int
    data: bytes


def overwrite(path: Path, parts: Iterable[Overwriting], fs: FileSystem = SYSTEM) -> None:
    """Overwrite parts of a segment, and sync it. The caller holds the lock of the folder's seals.

    Args:
        path: The segment.
        parts: What is overwritten, of the same size as before.
        fs: The file-system calls.

    Raises:
        OSError: When a system call fails. Then ``finish`` completes it.
    """
    listed = [[part.offset, part.data.decode("ascii")] for part in parts]
    line, _ = seal_fields({"segment": segment_index(path.name), "parts": listed})
    fs.write_whole(path.parent / ERASING, line, synced=True)
    fs.sync_directory(path.parent)
    finish(path.parent, fs)


def finish(folder: Path, fs: FileSystem = SYSTEM) -> None:
    """Complete an overwriting that a crash has interrupted, if there is one.

    Args:
        folder: The writer's folder. The caller holds the lock of its seals.
        fs: The file-system calls.

    Raises:
        OSError: When a system call fails.
    """
    for path, parts in _overwritings(folder).items():
        with suppress(FileNotFoundError):  # the segment has been deleted
            _overwrite(path, parts, fs)
    with suppress(FileNotFoundError):
        fs.unlink(folder / ERASING)


def _overwrite(path: Path, parts: list[Overwriting], fs: FileSystem) -> None:
    fd = fs.open(path, os.O_WRONLY)
    reading = open_file(path, os.O_RDONLY)
    try:
        for offset, data in parts:
            before = _BEFORE % len(data)
            if offset < len(before):
                continue
            around = os.pread(reading, len(before) + len(data) + 1, offset - len(before))
            if not around.startswith(before) or around[len(before) + len(data) :] != b"]":
                continue  # the file names another place, so it was damaged or forged
            os.lseek(fd, offset, os.SEEK_SET)
            write_whole_lines(fs, fd, data)
        fs.fdatasync(fd)
    finally:
        os.close(reading)
        os.close(fd)


def overwritten(path: Path) -> list[Overwriting]:
    """Return which bytes of a segment are being overwritten, and with what; usually none."""
    if segment_index(path.name) is None:
        return []  # the folder is not a writer's
    return _overwritings(path.parent).get(path, [])


def _overwritings(folder: Path) -> dict[Path, list[Overwriting]]:
    try:
        with open_to_read(folder / ERASING) as file:
            if os.fstat(file.fileno()).st_size > _longest(folder):
                return {}  # it would be as large as memory
            fields = read_fields(file.read())
        parts = [Overwriting(int(at), text.encode("ascii")) for at, text in fields["parts"]]
        return {folder / segment_name(int(fields["segment"])): parts}
    except (OSError, CorruptLineError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # there is none, or it is damaged and can no longer be completed


def _longest(folder: Path) -> int:
    """Return the largest size of the file: its parts are in one segment, each with an offset."""
    longest = 0
    for index in segments(folder):
        with suppress(FileNotFoundError):  # it has just been deleted
            longest = max(longest, (folder / segment_name(index)).stat().st_size)
    return 2 * longest


def patched(parts: Iterable[Overwriting], offset: int, block: bytes) -> bytes:
    """Return a block of a segment, with the bytes that are being overwritten.

    Args:
        parts: The result of ``overwritten``.
        offset: The offset of the block.
        block: The block.
    """
    end = offset + len(block)
    for at, data in parts:
        if at < end and offset < at + len(data):
            begin, skipped = max(at - offset, 0), max(offset - at, 0)
            piece = data[skipped : end - at]
            block = block[:begin] + piece + block[begin + len(piece) :]
    return block


def read_again(path: Path, fd: int, offset: int, size: int) -> bytes:
    """Read bytes of a segment that seem damaged again, past an erasure that is running or crashed.

    Args:
        path: The segment.
        fd: The segment, open for reading.
        offset: The offset of the bytes.
        size: Their number.

    Raises:
        OSError: When the segment cannot be read.
    """
    for _ in range(_TRIES):
        parts = overwritten(path)
        # If there is no such file any more, its bytes have been written before these are read.
        data = patched(parts, offset, os.pread(fd, size, offset))
        if parts or not os.path.lexists(path.parent / ERASING):
            break
    return data


def line_again(path: Path, offset: int, line: bytes) -> bytes:
    """Read a line of a segment that seems damaged again, like ``read_again``.

    Returns:
        The line; the same one if the segment has been deleted in the meantime.
    """
    try:
        with open_to_read(path, buffering=0) as file:
            return read_again(path, file.fileno(), offset, len(line))
    except OSError:
        return line
