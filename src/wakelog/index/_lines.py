"""Reading single lines of a journal by their positions."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import CorruptLineError, JournalFormatError
from wakelog.index._event import offset_of, segment_of
from wakelog.index._sources import Held, sources_of
from wakelog.record import Record, Resource, decode, decode_loose, read_header, verify
from wakelog.runtime import open_file
from wakelog.storage import Blobs, item_on, read_again

_BLOCK = 256 * 1024
_SEAL_END = len(b'00000000"}\n')
_NO_RESOURCE = Resource({})
_LONGEST_HEADER = 1 << 20


class ReadLine(NamedTuple):
    """A record that was read from its line, with its resource and writer."""

    record: Record
    resource: Resource
    writer: str
    folder: Path | None


class _OpenFile(NamedTuple):
    """An open file."""

    fd: int
    path: Path
    folder: Path | None
    resource: Resource
    blobs: Blobs


class LineReader:
    """Reads lines, with one file open at a time.

    Args:
        connection: The index of the positions.
        held: What the index is of.

    Attributes:
        unread: The number of lines that could not be read.
    """

    def __init__(self, connection: sqlite3.Connection, held: Held) -> None:
        self._connection = connection
        self._held = held
        self._number = -1
        self._segment: _OpenFile | None = None
        self._block, self._block_at = b"", 0
        self.unread = 0

    def close(self) -> None:
        """Close the open file."""
        if self._segment is not None:
            os.close(self._segment.fd)
        self._number, self._segment, self._block = -1, None, b""

    def read(self, position: int, length: int) -> ReadLine | None:
        """Return the record on a line; None if it is deleted or has changed since it was indexed.

        Args:
            position: The position of the line.
            length: The line's length in the index; negative if its checksum cannot be verified
                alone.
        """
        number, offset = segment_of(position), offset_of(position)
        if number != self._number:
            self.close()
            self._number, self._segment = number, self._open(number)
        segment = self._segment
        if segment is None:
            self.unread += 1
            return None
        before = _SEAL_END if length > 0 else 0
        data = self._bytes(segment.fd, offset - before, abs(length) + before)
        seed, data = data[:before], data[before:]
        try:
            if length > 0 and verify(data, int(seed[:8], 16)) is None:
                data = read_again(segment.path, segment.fd, offset, length)
                if verify(data, int(seed[:8], 16)) is None:
                    raise CorruptLineError("its checksum does not match")  # noqa: TRY301 - one way out
            if segment.folder is None:
                record_id = f"{segment.path.name}:{offset + abs(length) + 1}"
                record = decode_loose(item_on(data), record_id, segment.blobs)
            else:
                record = decode(data, segment.blobs)
        except (CorruptLineError, ValueError):
            self.unread += 1
            return None
        writer = segment.folder.name if segment.folder is not None else record.writer or ""
        return ReadLine(record, segment.resource, writer, segment.folder)

    def _bytes(self, fd: int, offset: int, length: int) -> bytes:
        """Return a part of the open file, usually from the block that was read last."""
        begin = offset - self._block_at
        if begin < 0 or begin + length > len(self._block):
            at = max(0, offset - _SEAL_END)
            self._block = os.pread(fd, max(_BLOCK, length + _SEAL_END), at)
            self._block_at, begin = at, offset - at
        return self._block[begin : begin + length]

    def _open(self, number: int) -> _OpenFile | None:
        path, folder = self._path_of(number)
        if path is None:
            return None
        try:
            fd = open_file(path, os.O_RDONLY)
        except OSError:
            return None  # it has been deleted
        resource = _NO_RESOURCE
        if folder is not None:
            try:
                line = os.pread(fd, _LONGEST_HEADER, 0).partition(b"\n")[0]
                resource = read_header(line, str(path)).resource
            except (CorruptLineError, JournalFormatError, OSError):
                resource = _NO_RESOURCE
        return _OpenFile(fd, path, folder, resource, Blobs(path))

    def _path_of(self, number: int) -> tuple[Path | None, Path | None]:
        found = self._connection.execute(
            "SELECT path, number FROM segments WHERE id = ?", (number,)
        ).fetchone()
        if found is None:
            return None, None
        if self._held.is_journal:
            path = self._held.root / found[0]
            return path, path.parent
        for source in sources_of(self._held):
            if source.number == found[1]:
                return source.path, None
        return None, None
