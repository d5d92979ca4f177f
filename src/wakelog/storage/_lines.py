"""Finding whole lines in a file, in the memory of one line.

Other programs may have created the file. A part without a newline for ``LONGEST_LINE`` bytes is not
a line of Wakelog's, and the holes of a sparse file are skipped without reading them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from wakelog.runtime import UnlessMissing, open_to_read

LONGEST_LINE: Final = 64 * 1024 * 1024
"""Maximum size in bytes of a line that is read, and maximum of ``max_line_bytes``."""

LONGEST_BLOCK: Final = 2 * LONGEST_LINE
"""Maximum number of bytes that are searched for the end of one line, which exceeds its content."""

_SHOWN: Final = 4096
_BLOCK: Final = 4096
_GROWTH: Final = 16
_SCANNED: Final = 1024 * 1024
# On a file system that does not report holes, they are read.
_SEEK_DATA: Final[int | None] = getattr(os, "SEEK_DATA", None)
_SEEK_HOLE: Final[int | None] = getattr(os, "SEEK_HOLE", None)


def end_of_lines(descriptor: int, size: int | None = None) -> int:
    """Return the offset after the last newline of a file, or 0 without one.

    Bytes after it were never accepted.

    Args:
        descriptor: The file, open for reading.
        size: The offset at which to begin, searching backwards; by default the end of the file.

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
    """Return the line that ends at an offset.

    Args:
        descriptor: The file, open for reading.
        end: The offset after the line's newline.

    Returns:
        The offset of the line's first byte, and the line without its newline; only the end of an
        overlong line.

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
    """Return the item on a line of a JSON document, without the separator from the next item.

    Each new item overwrites the document's end. If a power failure has cut that off, a comma is
    before the old end.
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
    """Yield the content of a file from an offset on in blocks, without holes.

    Args:
        descriptor: The file, open for reading; its own position may change.
        start: The offset of the first byte.

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


def whole_lines(descriptor: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the complete lines of a file from an offset on, in blocks of about 1 MiB.

    A line that is longer than ``LONGEST_BLOCK`` is left out.

    Args:
        descriptor: The file, open for reading; its own position may change.
        start: The offset of the first line.

    Yields:
        The offset of a block, and the block, which ends with a newline.

    Raises:
        OSError: When the file cannot be read.
    """
    offset, wanted = start, _SCANNED
    while block := os.pread(descriptor, wanted, offset):
        if cut := block.rfind(b"\n") + 1:
            yield offset, block[:cut]
            offset += cut
        elif len(block) < wanted:
            return
        elif wanted < LONGEST_BLOCK:
            wanted *= 4
        elif (end := next_newline(descriptor, offset + wanted)) < 0:
            return
        else:
            offset, wanted = end + 1, _SCANNED


def next_newline(descriptor: int, start: int) -> int:
    """Return the offset of the first newline from an offset on, or -1 without one.

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
        file: The file, open for buffered reading, and not read by other code meanwhile.
        start: The offset of the first line.
        longest: Maximum size of a line in bytes; of a longer line only the first 4 KiB are yielded.

    Yields:
        The offset of a line, the line with its newline if it is complete, and the offset after it.

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


def lines_of(path: Path, longest: int = LONGEST_BLOCK) -> Iterator[tuple[int, bytes, int]]:
    """Yield the lines of a file as ``lines`` does; none if the file is missing.

    Raises:
        JournalError: When the file cannot be read.
    """
    with UnlessMissing("read", path), open_to_read(path) as file:
        yield from lines(file, longest=longest)


def _next_data(descriptor: int, offset: int) -> int:
    """Return the first offset outside a hole from an offset on, or -1 without one."""
    if _SEEK_DATA is None:
        return offset
    try:
        return os.lseek(descriptor, offset, _SEEK_DATA)
    except OSError as error:
        return -1 if error.errno == errno.ENXIO else offset


def _parts_with_data(descriptor: int, end: int) -> list[tuple[int, int]]:
    """Return the parts of a file, up to an offset, that are not holes."""
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
