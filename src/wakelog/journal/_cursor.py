"""The cursor: reads one writer's records from a mark on, past anything damaged."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from wakelog.errors import (
    CorruptLineError,
    JournalError,
    JournalFormatError,
)
from wakelog.journal import _deletions as deletions
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._ledger import segment_name, segments
from wakelog.journal._mark import Mark
from wakelog.record import (
    FORMAT,
    Header,
    Record,
    Resource,
    decode,
    read_header,
    verify,
)
from wakelog.record._line import salvage_resource, stated_crc

BLOCK = 256 * 1024
NO_RESOURCE = Resource({})
BEGINS_A_RECORD = b'{"id":"'
_SEED_FIELD = re.compile(rb'"last_crc":"([0-9a-f]{8})"')
_FORMAT_FIELD = re.compile(rb'"format":[^,]*')
_SHOWN = 200


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
        damaged: The damaged lines that were passed over, cut to their first 200 bytes unless the
            cursor was asked for whole ones.
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
        whole: Whether damaged lines are returned whole.
    """

    def __init__(
        self, folder: Path, mark: Mark, *, complete: bool = False, whole: bool = False
    ) -> None:
        self.folder = folder
        self._writer = folder.name  # a path takes it apart each time
        self.mark = mark
        self._complete = complete
        self._kept = None if whole else _SHOWN
        self._fd = -1
        self._open_segment = 0
        self._header: Header | None = None
        self._resource = NO_RESOURCE
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
        while len(chunk.entries) < max_records:
            # A chunk with nothing in it says that there is no more, however much was passed over.
            if size >= max_bytes and (chunk.entries or chunk.damaged):
                break
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
            if index < (deletion := deletions.load(self.folder)).segment:
                mark = deletion.pass_over(self.mark, deletion.seq)
                self.mark = replace(mark, segment=deletion.segment, offset=0, crc=None)
                return self._open_next()
            later = [i for i in segments(self.folder) if i >= max(index, 1)]
            if not later:
                return False
            if later[0] != index:
                self.mark = replace(self.mark, segment=later[0], offset=0)
        path = self.folder / segment_name(self.mark.segment)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._open_next()  # it was deleted in this moment
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
        followed = line is None and any(i > self.mark.segment for i in segments(self.folder))
        if followed:
            line = self._next_line()  # it may have been written since
        if line is None:
            self.mark = resume
            # Its header is being written now, a process died before it was whole, or a power
            # failure took it: that of a segment without synced lines, while later ones are there.
            return self._complete or followed
        try:
            self._header = header_of(line, path)
            self._resource = self._header.resource
        except CorruptLineError:
            begin = line.find(BEGINS_A_RECORD, 1)
            line = line[: begin - 1] if begin > 0 else line
            self._header = None
            # A damaged header costs no record, and its resource only where nothing can be read.
            self._resource = salvage_resource(line) or self._resource
        after = replace(self.mark, offset=len(line) + 1, crc=stated_crc(line))
        if self._header is None and resume.offset in (0, after.offset):
            # The first record is seeded with what the header states, or with what it adds up to.
            self._actual_crc = adds_up_to(line, _stated_seed(line))
        if resume.offset:
            self.mark = resume
            return True
        if self._header is not None:
            after = self._missing_up_to(after, self._header.last_seq)
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
        # The next index and not the next file: what is missing in between may have been deleted.
        self.mark = replace(self.mark, segment=self.mark.segment + 1, offset=0)
        return True

    def _next_line(self) -> bytes | None:
        """Return the line at the mark without its newline, or None when it has no end yet."""
        start = self.mark.offset - self._block_at
        if 0 <= start < len(self._block):
            end = self._block.find(b"\n", start)
            if end >= 0:
                return self._block[start:end]
        wanted = BLOCK
        while True:
            try:
                self._block = os.pread(self._fd, wanted, self.mark.offset)
            except OSError as error:
                path = self.folder / segment_name(self.mark.segment)
                raise JournalError("read", path, error.strerror or error) from error
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
        if not line.strip():
            self.mark = replace(mark, offset=offset)
            return
        seeds = [crc for crc in (mark.crc, self._actual_crc) if crc is not None]
        stated = verify(line, *seeds) if seeds else stated_crc(line)
        fits = not seeds or stated is not None
        if not fits:
            # Where the end of a line was damaged, two lines stand as one: take the first by itself.
            begin = line.find(BEGINS_A_RECORD, 1)
            if begin > 0 and verify(line[: begin - 1], *seeds) is not None:
                line, fits = line[: begin - 1], True
                stated, offset = stated_crc(line), mark.offset + begin
        try:
            if not fits:
                message = "its checksum does not fit"
                raise CorruptLineError(message)  # noqa: TRY301 - damaged in one way or another
            record = decode(line)
        except CorruptLineError:
            chunk.damaged.append(line[: self._kept])
            self._actual_crc = adds_up_to(line, mark.crc)
            self.mark = replace(mark, offset=offset, crc=stated_crc(line))
            return
        self._actual_crc = None
        if record.seq <= mark.seq:
            # It stands here a second time, because the sync of its first file failed.
            self.mark = replace(mark, offset=offset, crc=stated_crc(line))
            return
        mark = self._missing_up_to(mark, record.seq - 1)
        self.mark = mark.after(offset, record.seq, stated)
        chunk.entries.append(Entry(record, self._resource, self._writer, self.mark))

    @staticmethod
    def _missing_up_to(mark: Mark, seq: int) -> Mark:
        """Count the records that the numbering says were there and that could not be read."""
        missing = seq - mark.seq
        return mark if missing <= 0 else replace(mark, seq=seq, corrupt=mark.corrupt + missing)

    _block: bytes = b""
    _block_at: int = 0


def header_of(line: bytes, path: Path) -> Header:
    """Read a header; one in which the format itself is damaged is no newer Wakelog's.

    Raises:
        JournalFormatError: When a newer Wakelog wrote it.
        CorruptLineError: When the bytes are no header, or a damaged one.
    """
    try:
        return read_header(line, str(path))
    except JournalFormatError:
        try:
            return read_header(_FORMAT_FIELD.sub(b'"format":%d' % FORMAT, line, count=1), str(path))
        except CorruptLineError:
            pass
        raise


def _stated_seed(header: bytes) -> int | None:
    """Return the checksum that a damaged header says the line before it has."""
    found = _SEED_FIELD.search(header)
    return int(found[1], 16) if found else None


def adds_up_to(line: bytes, previous: int | None) -> int | None:
    """Return the checksum that a line should state, None when that cannot be told."""
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
                file.seek(max(0, size - len(tail) - BLOCK))
                tail = file.read()
        tail = tail.rpartition(b"\n")[2]
        if not tail or aside.exists():
            return None
        fs.write_whole(aside, tail)
    except OSError as error:
        raise JournalError("set aside the end of", path, error.strerror or error) from error
    return aside
