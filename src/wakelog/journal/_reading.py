"""Reading a journal: from a place, in order, in constant memory, past anything damaged."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from wakelog.errors import (
    ConfigurationError,
    CorruptLineError,
    JournalError,
    JournalFormatError,
)
from wakelog.journal import _deletions as deletions
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._folder import folders
from wakelog.journal._ledger import segment_name, segments
from wakelog.journal._mark import Mark
from wakelog.record import (
    FORMAT,
    Header,
    Record,
    Resource,
    decode,
    from_line,
    read_header,
    to_line,
    verify,
)
from wakelog.record._line import salvage_resource, stated_crc

_BLOCK = 256 * 1024
_NO_RESOURCE = Resource({})
_BEGINS_A_RECORD = b'{"id":"'
_BEGINS_A_HEADER = b'{"writer":'
_FORMAT_FIELD = re.compile(rb'"format":[^,]*')
# What stands on a line of ours before its writer; the writer tells whether to read the rest.
_NAMES_ITS_WRITER = re.compile(rb'\{"id":"[^"\\]*","seq":\d+,"writer":"([^"\\]*)"')
# A file may be anything: what has no end of line for so long is no line.
_LONGEST_LINE = 64 * 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING = object()
_SHOWN = 200
_TOO_DEEP = "nested deeper than any line of ours"


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
        self.mark = mark
        self._complete = complete
        self._kept = None if whole else _SHOWN
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
        if not line.strip():
            self.mark = replace(mark, offset=offset)
            return
        seeds = {crc for crc in (mark.crc, self._actual_crc) if crc is not None}
        fits = not seeds or verify(line, *seeds) is not None
        if not fits:
            # Where the end of a line was damaged, two lines stand as one: take the first by itself.
            begin = line.find(_BEGINS_A_RECORD, 1)
            if begin > 0 and verify(line[: begin - 1], *seeds) is not None:
                line, fits = line[: begin - 1], True
                offset = mark.offset + begin
        try:
            if not fits:
                message = "its checksum does not fit"
                raise CorruptLineError(message)  # noqa: TRY301 - damaged in one way or another
            record = _decode(line)
        except CorruptLineError:
            chunk.damaged.append(line[: self._kept])
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


def header_of(line: bytes, path: Path) -> Header:
    """Read a header; one in which the format itself is damaged is no newer Wakelog's.

    Raises:
        JournalFormatError: When a newer Wakelog wrote it.
        CorruptLineError: When the bytes are no header, or a damaged one.
    """
    try:
        return read_header(line, str(path))
    except RecursionError as error:
        raise CorruptLineError(_TOO_DEEP) from error
    except JournalFormatError:
        try:
            return read_header(_FORMAT_FIELD.sub(b'"format":%d' % FORMAT, line, count=1), str(path))
        except CorruptLineError:
            pass
        raise


def _decode(line: bytes) -> Record:
    try:
        return decode(line)
    except RecursionError as error:
        raise CorruptLineError(_TOO_DEEP) from error


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


def read(
    path: str | os.PathLike[str],
    *,
    after: Mapping[str, Mark] | None = None,
    writer: str | None = None,
    event_name: str | None = None,
    since: datetime | int | None = None,
    until: datetime | int | None = None,
    where: Mapping[str, object] | None = None,
) -> Iterator[Entry]:
    """Read the records of a journal directory, a writer's folder or a single file.

    One pass in constant memory, whatever the size. Damaged lines are passed over. Nothing is left
    out because of when a file or a writer began: a record's time is what its program said.

    Args:
        path: What to read.
        after: Where to go on: for each writer, the mark of the last entry that was seen of it.
            Writers that are not named are read from their beginning.
        writer: Only the records of this writer; no other folder is opened.
        event_name: Only records of this name.
        since: Only records from this time on: nanoseconds since 1970, or a datetime with a time
            zone. A record's time is its timestamp, else its observed timestamp; one with neither
            has no place in time, and is left out where a time is asked for.
        until: Only records before this time, in the same way.
        where: Only records with all of these attributes, each equal to what was recorded.

    Returns:
        The records, writer by writer in the order in which they were started. A file that writers
        share is read in the order of its lines.

    Raises:
        ConfigurationError: For a datetime without a time zone, at once.
        JournalError: When the file system refuses, or there is nothing to read; while reading.
        JournalFormatError: When a newer Wakelog wrote a segment; while reading.
    """
    wanted = _filter(event_name, _nanoseconds("since", since), _nanoseconds("until", until), where)
    entries = _read(Path(path), after or {}, writer)
    return entries if wanted is None else _filtered(entries, wanted)


def _filter(
    event_name: str | None, since: int | None, until: int | None, where: Mapping[str, object] | None
) -> Callable[[Record], bool] | None:
    """Make the test that a record has to pass, None when all do."""
    if event_name is None and since is None and until is None and not where:
        return None
    # What was recorded comes back in the form that a line can hold, so the question takes it too.
    attributes = [(name, from_line(to_line(value))) for name, value in (where or {}).items()]

    def wanted(record: Record) -> bool:
        if event_name is not None and record.event_name != event_name:
            return False
        if since is not None or until is not None:
            time = record.timestamp
            time = record.observed_timestamp if time is None else time
            if (
                time is None
                or (since is not None and time < since)
                or (until is not None and time >= until)
            ):
                return False
        return all(record.attributes.get(name, _MISSING) == value for name, value in attributes)

    return wanted


def _filtered(entries: Iterator[Entry], wanted: Callable[[Record], bool]) -> Iterator[Entry]:
    return (entry for entry in entries if wanted(entry.record))


def _nanoseconds(name: str, time: datetime | int | None) -> int | None:
    if not isinstance(time, datetime):
        return time
    if time.utcoffset() is None:
        message = f"{name}={time!r} has no time zone. Add one, as in datetime.now(UTC)"
        raise ConfigurationError(message)
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _read(path: Path, after: Mapping[str, Mark], writer: str | None) -> Iterator[Entry]:
    if path.is_file():
        yield from _read_file(path, after, writer)
        return
    if not path.is_dir():
        hint = "Name a journal directory or a JSONL file"
        raise JournalError("read", path, "there is no such file or directory", hint)
    path = path.absolute()
    for folder in [path] if segments(path) else folders(path):
        if writer in (None, folder.name):
            yield from _read_folder(folder, after.get(folder.name, Mark()))


def _read_folder(folder: Path, mark: Mark) -> Iterator[Entry]:
    cursor = Cursor(folder, mark)
    try:
        while (chunk := cursor.read(512, _BLOCK)).entries or chunk.damaged:
            yield from chunk.entries
    finally:
        cursor.close()


def _read_file(path: Path, after: Mapping[str, Mark], only: str | None) -> Iterator[Entry]:
    """Read a file of lines by itself, with or without a header, of any number of writers."""
    header_writer, segment, resource = "", 1, _NO_RESOURCE

    def is_wanted(writer: str, end: int) -> bool:
        reached = after.get(writer)
        is_ahead = reached is None or (segment, end) > (reached.segment, reached.offset)
        return is_ahead and only in (None, writer)

    try:
        with path.open("rb") as file:
            for line, end in _lines(file):
                try:
                    if line.startswith(_BEGINS_A_HEADER):
                        header = header_of(line, path)
                        header_writer, segment = header.writer, header.segment
                        resource = header.resource
                        continue
                    # What is not wanted is not decoded where the line's beginning tells.
                    named = _NAMES_ITS_WRITER.match(line)
                    if named and not is_wanted(named[1].decode(errors="replace"), end):
                        continue
                    record = _decode(line)
                except CorruptLineError:
                    continue
                writer = str(record.writer or header_writer)
                if is_wanted(writer, end):
                    mark = Mark(segment, end, record.seq, stated_crc(line))
                    yield Entry(record, resource, writer, mark)
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error


def _lines(file: BufferedReader) -> Iterator[tuple[bytes, int]]:
    """Yield a file's lines without their newlines, and for each the offset after it."""
    end = 0
    whole = True
    while line := file.readline(_LONGEST_LINE):
        end += len(line)
        begins, whole = whole, line.endswith(b"\n")
        if begins and (whole or len(line) < _LONGEST_LINE):
            yield line.removesuffix(b"\n"), end
