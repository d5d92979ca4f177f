"""Reading a journal: from a place, in order, in constant memory, past anything damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._folder import folders
from wakelog.journal._ledger import Mark, segment_name, segments
from wakelog.record import Header, Record, Resource, decode, read_header, verify
from wakelog.record._line import salvage_resource, stated_crc

_BLOCK = 256 * 1024
_NO_RESOURCE = Resource({})
_BEGINS_A_RECORD = b'{"id":"'


class Entry(NamedTuple):
    """A record, the resource and the writer that it belongs to, and the place after it."""

    record: Record
    resource: Resource
    writer: str
    mark: Mark


@dataclass(slots=True)
class Chunk:
    """Some records in order.

    Attributes:
        entries: The records.
        mark: The place after the last line that was read, damaged lines included.
        damaged: The damaged lines that were passed over, cut to their first 200 bytes.
    """

    entries: list[Entry]
    mark: Mark
    damaged: list[bytes] = field(default_factory=list)


class Cursor:
    """Reads the records of one writer from a mark on.

    Args:
        folder: The writer's folder.
        mark: Where to begin.
        complete: Whether the writer is gone, so that what has no end of line yet never gets one.
    """

    def __init__(self, folder: Path, mark: Mark, *, complete: bool = False) -> None:
        self.folder = folder
        self.mark = mark
        self._complete = complete
        self._fd = -1
        self._open_segment = 0
        self._header: Header | None = None
        self._resource = _NO_RESOURCE
        # The checksum that the last line adds up to, where that is not the one it states.
        self._actual_crc: int | None = None

    def read(self, max_records: int, max_bytes: int) -> Chunk:
        """Read on from where the last chunk ended.

        Args:
            max_records: The most records to return.
            max_bytes: The number of bytes after which no further line is taken.

        Returns:
            The chunk; without entries when there is nothing more for now.

        Raises:
            JournalError: When the file system refuses.
            JournalFormatError: When a newer Wakelog wrote the segment.
        """
        chunk = Chunk([], self.mark)
        size = 0
        while len(chunk.entries) < max_records and size < max_bytes:
            if self._fd < 0 and not self._open_next():
                break
            line = self._next_line()
            if line is None:
                if not self._end_segment():
                    break
                continue
            size += len(line) + 1
            self._take(line, chunk)
        chunk.mark = self.mark
        return chunk

    def rewind(self, mark: Mark) -> None:
        """Go back to an earlier mark."""
        self.close()
        self.mark = mark

    def close(self) -> None:
        """Close the open segment. Reading opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._block, self._block_at = -1, b"", 0
        self._header, self._actual_crc = None, None

    def _open_next(self) -> bool:
        """Open the segment of the mark, or the first one after it."""
        index = self.mark.segment
        if not (self.folder / segment_name(max(index, 1))).exists() or index == 0:
            later = [i for i in segments(self.folder) if i >= max(index, 1)]
            if not later:
                return False
            if later[0] != index:
                self.mark = replace(self.mark, segment=later[0], offset=0)
        path = self.folder / segment_name(self.mark.segment)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise JournalError("read", path, error.strerror or error) from error
        self._block, self._block_at, self._header = b"", 0, None
        if not self._read_header(path):
            self.close()
            return False
        return True

    def _read_header(self, path: Path) -> bool:
        resume = self.mark
        self.mark = replace(resume, offset=0)
        line = self._next_line()
        if line is None:
            self.mark = resume
            # A process died before its header was whole, or it is being written now.
            return self._complete
        try:
            self._header = read_header(line, str(path))
            self._resource = self._header.resource
        except CorruptLineError:
            begin = line.find(_BEGINS_A_RECORD, 1)
            line = line[: begin - 1] if begin > 0 else line
            self._header = None
            # A damaged header costs no record, and its resource only where nothing can be read.
            self._resource = salvage_resource(line) or self._resource
        if resume.offset:
            self.mark = resume
            return True
        after = replace(self.mark, offset=len(line) + 1, crc=None)
        if self._header is not None:
            after = replace(self._missing_up_to(after, self._header.last_seq), crc=self._header.crc)
        self.mark = after
        return True

    def _end_segment(self) -> bool:
        """At the end of a segment, go on to the next one where there is one."""
        following = [i for i in segments(self.folder) if i > self.mark.segment]
        if not following:
            return False
        # The writer began the next segment after its last line here, so look once more.
        if self._next_line() is not None:
            return True
        self.close()
        self.mark = replace(self.mark, segment=following[0], offset=0)
        return True

    def _next_line(self) -> bytes | None:
        """Return the line at the mark without its newline, or None when it has no end yet."""
        start = self.mark.offset - self._block_at
        if 0 <= start < len(self._block):
            end = self._block.find(b"\n", start)
            if end >= 0:
                return self._block[start:end]
        wanted = _BLOCK
        while True:
            self._block = os.pread(self._fd, wanted, self.mark.offset)
            self._block_at = self.mark.offset
            end = self._block.find(b"\n")
            if end >= 0:
                return self._block[:end]
            if len(self._block) < wanted:
                return None
            wanted *= 4

    def _take(self, line: bytes, chunk: Chunk) -> None:
        mark = self.mark
        offset = mark.offset + len(line) + 1
        seeds = {crc for crc in (mark.crc, self._actual_crc) if crc is not None}
        if seeds and verify(line, *seeds) is None:
            # Where the end of a line was damaged, two lines stand as one: take the first by itself.
            begin = line.find(_BEGINS_A_RECORD, 1)
            if begin > 0 and verify(line[: begin - 1], *seeds) is not None:
                line = line[: begin - 1]
                offset = mark.offset + begin
        try:
            if seeds and verify(line, *seeds) is None:
                message = "its checksum does not fit"
                raise CorruptLineError(message)  # noqa: TRY301 - damaged in one way or another
            record = decode(line)
        except CorruptLineError:
            chunk.damaged.append(line[:200])
            self._actual_crc = _adds_up_to(line, mark.crc)
            self.mark = replace(mark, offset=offset, crc=stated_crc(line))
            return
        self._actual_crc = None
        if record.seq <= mark.seq:
            # It stands here a second time, because the sync of its first file failed.
            self.mark = replace(mark, offset=offset, crc=stated_crc(line))
            return
        mark = self._missing_up_to(mark, record.seq - 1)
        self.mark = replace(mark, offset=offset, seq=record.seq, crc=stated_crc(line))
        chunk.entries.append(Entry(record, self._resource, self.folder.name, self.mark))

    @staticmethod
    def _missing_up_to(mark: Mark, seq: int) -> Mark:
        """Count the records that the numbering says were there and that could not be read."""
        missing = seq - mark.seq
        return mark if missing <= 0 else replace(mark, seq=seq, corrupt=mark.corrupt + missing)

    _block: bytes = b""
    _block_at: int = 0


def _adds_up_to(line: bytes, previous: int | None) -> int | None:
    body, separator, _ = line.rpartition(b',"crc":"')
    return crc32(body, previous) if separator and previous is not None else None


def set_aside_torn_tail(folder: Path, fs: FileSystem = SYSTEM) -> Path | None:
    """Copy what a dead writer left after its last line into a file of its own, once.

    Nobody was told that it is recorded, and nothing is ever appended to that segment, so it stays
    where it is too.

    Args:
        folder: The writer's folder, owned.
        fs: The system calls.

    Returns:
        The new file, or None when there is nothing, or it has been done before.

    Raises:
        JournalError: When the file system refuses.
    """
    found = segments(folder)
    if not found:
        return None
    path = folder / segment_name(found[-1])
    aside = path.with_suffix(".torn")
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            tail = b""
            while b"\n" not in tail and len(tail) < size:
                file.seek(max(0, size - len(tail) - _BLOCK))
                tail = file.read()
        tail = tail.rpartition(b"\n")[2]
        if not tail or aside.exists():
            return None
        fs.write_whole(aside, tail)
    except OSError as error:
        raise JournalError("set aside the end of", path, error.strerror or error) from error
    return aside


def read(path: str | os.PathLike[str]) -> Iterator[Entry]:
    """Read every record of a journal directory, a writer's folder or a single file.

    Args:
        path: What to read.

    Yields:
        The records, writer by writer in the order in which they were started. Damaged lines are
        passed over.

    Raises:
        JournalError: When the file system refuses, or there is nothing to read.
    """
    path = Path(path)
    if path.is_file():
        yield from _read_file(path)
        return
    if not path.is_dir():
        hint = "Name a journal directory or a JSONL file"
        raise JournalError("read", path, "there is no such file or directory", hint)
    owned = [path] if segments(path) else list(folders(path))
    for folder in owned:
        cursor = Cursor(folder, Mark())
        while (chunk := cursor.read(512, _BLOCK)).entries or chunk.damaged:
            yield from chunk.entries
        cursor.close()


def _read_file(path: Path) -> Iterator[Entry]:
    """Read a file of lines by itself, with or without a header, of any number of writers."""
    resource = _NO_RESOURCE
    mark = Mark(segment=1)
    try:
        with path.open("rb") as file:
            for line in file:
                mark = replace(mark, offset=mark.offset + len(line))
                if line.startswith(b'{"writer":'):
                    try:
                        resource = read_header(line.rstrip(b"\n"), str(path)).resource
                    except CorruptLineError:
                        continue
                    continue
                try:
                    record = decode(line)
                    yield Entry(record, resource, record.writer or "", mark)
                except CorruptLineError:
                    continue
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error
