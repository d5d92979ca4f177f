"""Reading the lines of a segment from a position on, quickly, and past damaged lines.

The lines of an intact segment follow each other, and each checksum is seeded by the line before. If
one does not match, the journal's own cursor continues, which can tell what is damaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from wakelog.errors import CorruptLineError, JournalFormatError
from wakelog.journal import Cursor, Mark
from wakelog.record import decode, read_header
from wakelog.runtime import open_file
from wakelog.storage import Blobs, end_of_lines, line_before, overwritten, patched, read_again

_BLOCK = 1 << 16
_HEADER = b'{"writer":'
_SEAL = b',"crc":"'
_SEAL_LENGTH = len(b',"crc":"00000000"}')
_TAG_KEY = "$wakelog"
_TAG = b'"$wakelog"'
_MORE = "more_attributes"
_AT_ONCE = 256


@dataclass(slots=True)
class ScanPlace:
    """The position up to which a segment has been read.

    Attributes:
        offset: The offset of the next line.
        crc: The checksum of the line before; None if unknown.
        seq: The number of the writer's last record so far.
        damaged: The number of damaged lines so far.
    """

    offset: int = 0
    crc: int | None = None
    seq: int = 0
    damaged: int = 0


class Scan:
    """Reads a segment from a position on.

    Args:
        folder: The writer's folder.
        number: The segment's number.
        path: The segment's file.
        place: The position, which is advanced.
        end: The offset up to which to read: the file's size when it was listed.
    """

    def __init__(self, folder: Path, number: int, path: Path, place: ScanPlace, end: int) -> None:
        self._folder, self._number, self._path = folder, number, path
        self.place = place
        self._end = end
        self.ended = False

    def read(self) -> list[tuple[dict[str, Any], int, int]]:
        """Return the records of the next block: plain data, the line's offset, and its length.

        The length is negative if the line's checksum is not seeded by the line before it.

        Raises:
            OSError: If the file cannot be read.
            JournalError: If the cursor cannot read it.
            JournalFormatError: If a newer Wakelog wrote the segment.
        """
        fd = open_file(self._path, os.O_RDONLY)
        try:
            return self._read(fd)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> list[tuple[dict[str, Any], int, int]]:
        place = self.place
        wanted = _BLOCK
        while b"\n" not in (block := os.pread(fd, wanted, place.offset)):
            if len(block) < wanted:
                self.ended = True
                return []
            wanted *= 4
        block = patched(overwritten(self._path), place.offset, block)
        lines = block[: block.rfind(b"\n")].split(b"\n")
        if place.offset == 0:
            if not self._begin(lines[0]):
                return list(self._slow(fd))
            place.offset = len(lines.pop(0)) + 1
        found: list[tuple[dict[str, Any], int, int]] = []
        loads, take = orjson.loads, found.append
        offset, crc, last = place.offset, place.crc, place.seq
        for line in lines:
            if crc is None or line[-_SEAL_LENGTH:-10] != _SEAL:
                break
            actual = crc32(line[:-_SEAL_LENGTH], crc)
            try:
                if int(line[-10:-2], 16) != actual:
                    break
                data = loads(line)
                seq = data["seq"]
                fresh = seq > last
            except (ValueError, KeyError, TypeError):
                break
            crc, length = actual, len(line)
            # A record may be written a second time with the same number, after a failed sync.
            if fresh:
                last = seq
                take((data if _TAG not in line else self._whole(data, line), offset, length))
            offset += length + 1
        else:
            place.offset, place.crc, place.seq = offset, crc, last
            self.ended = offset >= self._end
            return found
        place.offset, place.crc, place.seq = offset, crc, last
        found.extend(self._slow(fd))
        return found

    def _begin(self, line: bytes) -> bool:
        """Read a segment's first line, and tell whether it is a valid header."""
        if not line.startswith(_HEADER):
            return False
        try:
            header = read_header(line, str(self._path))
        except (CorruptLineError, JournalFormatError):
            return False  # the cursor determines whether it is damaged or newer
        self.place.crc = header.crc
        return True

    def _slow(self, fd: int) -> Iterator[tuple[dict[str, Any], int, int]]:
        """Read the rest of the segment with the journal's cursor."""
        place = self.place
        end = end_of_lines(fd, max(self._end, place.offset))
        cursor = Cursor(
            self._folder, Mark(self._number, place.offset, place.seq, place.crc), blobs=False
        )
        before = place.offset
        try:
            while place.offset < end:
                chunk = cursor.read(_AT_ONCE, _BLOCK)
                here = [entry for entry in chunk.entries if entry.mark.segment == self._number]
                for entry in here:
                    after = entry.mark.offset
                    begin, line = line_before(fd, after)
                    # Its content may just be being erased.
                    line = read_again(self._path, fd, begin, len(line))
                    if begin < before:  # a damaged newline has joined two lines
                        begin, line = before, line[before - begin :]
                    place.damaged += begin > before
                    before = after
                    place.offset, place.crc, place.seq = after, entry.mark.crc, entry.record.seq
                    try:
                        data = orjson.loads(line)
                    except ValueError:
                        continue
                    yield self._whole(data, line), begin, -len(line)
                if len(here) < len(chunk.entries) or not (chunk.entries or chunk.damaged):
                    break
        finally:
            cursor.close()
        self.ended = True

    def _whole(self, data: dict[str, Any], line: bytes) -> dict[str, Any]:
        """Return a record with all attributes, if some are not on the line or are encoded."""
        attributes = data.get("attributes")
        if _MORE not in data and not (isinstance(attributes, dict) and _TAG_KEY in attributes):
            return data
        try:
            record = decode(line, Blobs(self._path))
        except CorruptLineError:
            return data
        return {**data, "attributes": record.attributes}
