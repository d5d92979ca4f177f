"""Looking for whole lines in a file, in memory that one line needs.

A file may be anything, as long as others can put it there: what has no end of line for ``LONGEST_LINE``
bytes is no line of Wakelog's, and the holes of a sparse file are passed over without reading them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import BinaryIO, Final

LONGEST_LINE: Final = 64 * 1024 * 1024
"""The most bytes of a line that is read, and the most that ``max_line_bytes`` may be."""

LONGEST_BLOCK: Final = 2 * LONGEST_LINE
"""The most bytes that are looked through for the end of one line: a line has more than its content."""

_SHOWN: Final = 4096
_BLOCK: Final = 4096
_GROWTH: Final = 16
_SCANNED: Final = 1024 * 1024
# Where a file system tells of no holes, none are passed over.
_SEEK_DATA: Final[int | None] = getattr(os, "SEEK_DATA", None)
_SEEK_HOLE: Final[int | None] = getattr(os, "SEEK_HOLE", None)


def end_of_lines(descriptor: int, size: int | None = None) -> int:
    """Return the offset after the last newline of a file, 0 when it has none.

    What stands after it was never accepted.

    Args:
        descriptor: The file, open for reading.
        size: Up to where to look, in bytes; the whole file by default.

    Raises:
        OSError: When the file cannot be read.
    """
    whole = os.fstat(descriptor).st_size if size is None else size
    near = max(0, whole - LONGEST_LINE)
    found = _last_newline(descriptor, near, whole)
    if found < 0 and near:
        for begin, end in reversed(_parts_with_data(descriptor, near)):
            if (found := _last_newline(descriptor, begin, end)) >= 0:
                break
    return found + 1


def _last_newline(descriptor: int, start: int, end: int) -> int:
    wanted = _BLOCK
    while end > start:
        begin = max(start, end - wanted)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found
        end, wanted = begin, min(wanted * _GROWTH, _SCANNED)
    return -1


def line_before(descriptor: int, end: int) -> tuple[int, bytes]:
    """Return the line that ends at a place.

    Args:
        descriptor: The file, open for reading.
        end: The offset after the line's newline.

    Returns:
        The offset of the line's first byte, and the line without its newline; of what is too long to be a
        line, the end of it.

    Raises:
        OSError: When the file cannot be read.
    """
    wanted = _BLOCK
    while True:
        begin = max(0, end - 1 - wanted)
        block = os.pread(descriptor, end - 1 - begin, begin)
        cut = block.rfind(b"\n") + 1
        if cut or begin == 0 or wanted == LONGEST_BLOCK:
            return begin + cut, block[cut:]
        wanted = min(wanted * _GROWTH, LONGEST_BLOCK)


def item_on(line: bytes) -> bytes:
    """Return what stands on a line of a JSON document, without what separates it from the next item.

    A document's end is written over with each item. Where a power failure has cut that, a comma
    stands before the old end.
    """
    return line.removesuffix(b",]}").removesuffix(b",")


def ends_with_a_line(descriptor: int) -> bool:
    """Return whether a file is empty or its last byte is a newline.

    Raises:
        OSError: When the file cannot be read.
    """
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def blocks(descriptor: int, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield what stands in a file from an offset on, a block at a time, without the holes.

    Args:
        descriptor: The file, open for reading; its own position may change.
        start: The first byte.

    Yields:
        The offset of a block, and the block.

    Raises:
        OSError: When the file cannot be read.
    """
    offset = start
    while (offset := _next_data(descriptor, offset)) >= 0:
        if not (block := os.pread(descriptor, _SCANNED, offset)):
            return
        yield offset, block
        offset += len(block)


def next_newline(descriptor: int, start: int) -> int:
    """Return the offset of the first newline from an offset on, -1 when there is none.

    Raises:
        OSError: When the file cannot be read.
    """
    for offset, block in blocks(descriptor, start):
        if (found := block.find(b"\n")) >= 0:
            return offset + found
    return -1


def lines(
    file: BinaryIO, start: int = 0, longest: int = LONGEST_BLOCK
) -> Iterator[tuple[int, bytes, int]]:
    """Yield the lines of a file.

    Args:
        file: The file, open for reading with a buffer, and read by nobody else meanwhile.
        start: The offset of the first line.
        longest: The most bytes of a line; of a longer one the first 4 KiB are given.

    Yields:
        The offset of a line, the line with its newline unless it has none or is longer, and the offset
        after it.

    Raises:
        OSError: When the file cannot be read.
    """
    file.seek(start)
    offset = start
    first = min(longest, LONGEST_BLOCK)
    while line := file.readline(first):
        end = offset + len(line)
        if len(line) == first and not line.endswith(b"\n"):
            found = next_newline(file.fileno(), end)
            if found < 0:
                yield offset, line[:_SHOWN], end
                return
            file.seek(end)
            if found - offset < longest:
                line += file.readline(longest)
            else:
                line = line[:_SHOWN]
            end = found + 1
            file.seek(end)
        yield offset, line, end
        offset = end


def _next_data(descriptor: int, offset: int) -> int:
    """Return the first offset from one on that is in no hole, -1 after the last one."""
    if _SEEK_DATA is None:
        return offset
    try:
        return os.lseek(descriptor, offset, _SEEK_DATA)
    except OSError as error:
        return -1 if error.errno == errno.ENXIO else offset


def _parts_with_data(descriptor: int, end: int) -> list[tuple[int, int]]:
    """Return the parts of a file, up to an offset, that are no holes."""
    parts: list[tuple[int, int]] = []
    offset = 0
    while 0 <= (offset := _next_data(descriptor, offset)) < end:
        begin = offset
        try:
            offset = end if _SEEK_HOLE is None else os.lseek(descriptor, begin, _SEEK_HOLE)
        except OSError:
            offset = end
        offset = min(max(offset, begin + 1), end)
        parts.append((begin, offset))
    return parts
