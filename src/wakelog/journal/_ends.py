"""The end of a writer's records."""

from __future__ import annotations

from pathlib import Path

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal._cursor import Cursor, header_of
from wakelog.journal._mark import Mark
from wakelog.record import decode, stated_crc
from wakelog.runtime import ForeignFileError, open_to_read
from wakelog.storage import end_of_lines, line_before, segment_name, segments


def end_of(folder: Path) -> Mark | None:
    """Find the end of a writer's records without reading the records before it.

    Args:
        folder: The writer's folder.

    Returns:
        The mark after the last complete line, of whose counts only ``seq`` is set; None if there is
        no line yet or the last one is damaged.

    Raises:
        JournalError: When a file operation fails.
    """
    found = segments(folder)
    return end_of_segment(folder, found[-1]) if found else None


def end_of_segment(folder: Path, index: int) -> Mark | None:
    path = folder / segment_name(index)
    try:
        with open_to_read(path) as file:
            end = end_of_lines(file.fileno())
            if end == 0:
                return None
            begin, line = line_before(file.fileno(), end)
        if begin == 0:
            header = header_of(line, path)
            return Mark(index, end, header.last_seq, header.crc)
        return Mark(index, end, decode(line).seq, stated_crc(line))
    except (CorruptLineError, ForeignFileError):
        return None
    except OSError as error:
        raise JournalError("read", path, error) from error


def last_mark(folder: Path, after: Mark) -> Mark:
    """Find the end of a writer's records.

    Args:
        folder: The writer's folder.
        after: A mark to begin at; records before it are not read.

    Returns:
        The mark after the last line. Damaged lines at the end are counted by an estimate.
    """
    cursor = Cursor(folder, after, blobs=False)
    while (chunk := cursor.read(4096, 1 << 20)).entries or chunk.damaged:
        pass
    cursor.close()
    return cursor.end
