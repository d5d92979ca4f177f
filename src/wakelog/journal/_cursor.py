"""The cursor: reads one writer's records from a mark on and skips damaged lines."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from zlib import crc32

from wakelog._native import native
from wakelog.errors import (
    CorruptLineError,
    JournalError,
    JournalFormatError,
)
from wakelog.journal import _deletions as deletions
from wakelog.journal._entry import Entry, EntryBatch, later_entry
from wakelog.journal._mark import Mark
from wakelog.record import (
    FORMAT,
    MARK,
    SPAN_START,
    SPANS,
    Header,
    Record,
    Resource,
    decode,
    is_next,
    read_header,
    salvage_resource,
    stated_crc,
    unread,
    verify,
)
from wakelog.runtime import SYSTEM, FileSystem, JournalErrors, open_file, open_to_read, regular_file
from wakelog.storage import (
    LONGEST_BLOCK,
    LONGEST_LINE,
    Blobs,
    end_of_lines,
    next_newline,
    read_again,
    segment_name,
    segments,
)

BLOCK = 256 * 1024
NO_RESOURCE = Resource({})
BEGINS_A_RECORD = b'{"id":"'


@cache
def _seed_field() -> re.Pattern[bytes]:
    return re.compile(rb'"last_crc":"([0-9a-f]{8})"')


@cache
def _format_field() -> re.Pattern[bytes]:
    return re.compile(rb'"format":[^,]*')


_SHOWN = 200


@cache
def _number() -> re.Pattern[bytes]:
    return re.compile(rb'","seq":(\d{1,18})[,}]')


_CRC_LENGTH = len(b',"crc":"00000000"}')
# What follows ``seq`` on the line of a span's start, whose ``seq`` is that of the record before it.
_START = b',"signal":"%b"' % SPAN_START.encode()
_LONGEST_BEGINNING = 160
_take_lines = None if native is None else native.take_lines


class Cursor:
    """Reads the records of one writer from a mark on.

    Args:
        folder: The writer's folder.
        mark: The position to begin at.
        complete: Whether the writer has ended, so that an incomplete last line stays incomplete.
        whole: Whether damaged lines are returned whole.
        blobs: Whether to read values that are stored in blobs.
        later: Whether to decode records only when they are read, see ``UnreadRecord``.
    """

    def __init__(
        self,
        folder: Path,
        mark: Mark,
        *,
        complete: bool = False,
        whole: bool = False,
        blobs: bool = True,
        later: bool = False,
    ) -> None:
        self.folder = folder
        self._writer = folder.name  # a cache: `Path.name` splits the path at each call
        self.mark = mark
        self._complete = complete
        self._kept = None if whole else _SHOWN
        self._reads_blobs = blobs
        self._decodes_later = later
        # Reads the blobs of the open segment.
        self._blobs: Blobs | None = None
        self._fd = -1
        self._open_segment = 0
        self._header: Header | None = None
        self._resource = NO_RESOURCE
        # The computed checksum of the last line, if it differs from the stated one.
        self._actual_crc: int | None = None
        # The mark before damaged lines that are not counted yet, and an estimate of their records.
        self._counted, self._uncounted = mark, 0
        # Whether the last damaged line had no end.
        self._broken_off = False

    def read(self, max_records: int, max_bytes: int) -> EntryBatch:
        """Read the records after the last chunk.

        Args:
            max_records: The maximum number of records to return.
            max_bytes: Bytes, including those of blobs, after which no further line is read.

        Returns:
            The chunk; without entries if there is nothing more for now.

        Raises:
            JournalError: When a file operation fails.
            JournalFormatError: When a newer Wakelog wrote the segment.
        """
        chunk = EntryBatch([], self.mark)
        size, ended = 0, False
        while len(chunk.entries) < max_records:
            # An empty chunk means that there is no more, so skipped lines alone must not end one.
            if size >= max_bytes and (chunk.entries or chunk.damaged):
                break
            if self._decodes_later and (taken := self._take_ordinary(chunk, max_records, max_bytes - size)):  # fmt: skip
                size += taken
                continue
            line = self._next_line() if self._fd >= 0 or self._open_next() else None
            if line is not None:
                before = self._blobs.taken if self._blobs is not None else 0
                size += len(line) + 1
                self._take(line, chunk)
                if self._blobs is not None:
                    size += self._blobs.taken - before
            elif self._fd < 0 or not self._end_segment():
                ended = True
                break
        if ended and self._complete:
            self.mark = self.end
            self._uncounted = 0
        chunk.mark = self._counted if self._uncounted else self.mark
        return chunk

    @property
    def end(self) -> Mark:
        """The mark, including an estimate of the records that damaged lines before it held.

        The number of the next good record corrects the estimate, so this must not be used to skip
        damage in a folder that is still being written.
        """
        return self._missing_up_to(self.mark, self.mark.seq + self._uncounted)

    def rewind(self, mark: Mark) -> None:
        """Go back to an earlier mark."""
        self.close()
        self.mark = self._counted = mark
        self._uncounted = 0

    def close(self) -> None:
        """Close the open segment. The next read opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._block, self._block_at = -1, b"", 0
        self._blobs = None  # it may have a file open
        self._header, self._actual_crc = None, None
        self._searched = self._left_out = 0

    def _open_next(self) -> bool:
        """Open the segment of the mark, or the first one after it."""
        index = self.mark.segment
        if regular_file(self.folder / segment_name(max(index, 1))) is None or index == 0:
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
            self._fd = open_file(path, os.O_RDONLY)
        except FileNotFoundError:
            return self._open_next()  # deleted in the meantime
        except OSError as error:
            raise JournalError("read", path, error) from error
        self._block, self._block_at, self._header = b"", 0, None
        self._searched = self._left_out = 0
        self._blobs = Blobs(path) if self._reads_blobs else None
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
            line = self._next_line()  # it may have been written in the meantime
        if line is None:
            self.mark = resume
            # The header is being written now, or a crash or a power failure has cut it off. With
            # later segments present it is the latter, and this segment had no synced lines.
            return self._complete or followed
        try:
            self._header = header_of(line, path)
            self._resource = self._header.resource
        except CorruptLineError:
            begin = line.find(BEGINS_A_RECORD, 1)
            line = line[: begin - 1] if begin > 0 else line
            self._header = None
            # No record is lost with a damaged header, and its resource often can be salvaged.
            self._resource = salvage_resource(line) or self._resource
        after = replace(self.mark, offset=len(line) + self._left_out + 1, crc=stated_crc(line))
        if self._header is None and resume.offset in (0, after.offset):
            # The first record is seeded with the header's stated checksum or with its computed one.
            self._actual_crc = adds_up_to(line, _stated_seed(line))
        if resume.offset:
            self.mark = resume
            return True
        if self._header is not None:
            after = self._missing_up_to(after, self._header.last_seq)
            self._uncounted = 0
        self.mark = after
        return True

    def _end_segment(self) -> bool:
        """Go on to the next segment, if there is one, and return whether to read on."""
        following = [i for i in segments(self.folder) if i > self.mark.segment]
        if not following:
            return False
        # The writer began the next segment after its last line here, so look once more.
        if self._next_line() is not None:
            return True
        self.close()
        # The next index and not the next file: segments in between may have been deleted.
        self.mark = replace(self.mark, segment=self.mark.segment + 1, offset=0)
        return True

    def _next_line(self) -> bytes | None:
        """Return the line at the mark without its newline, or None if it has no end yet.

        Of a line longer than any valid one it returns the beginning, and ``_left_out`` has the
        number of bytes that follow.
        """
        self._left_out = 0
        start = self.mark.offset - self._block_at
        if 0 <= start < len(self._block):
            end = self._block.find(b"\n", start)
            if end >= 0:
                return self._block[start:end]
        wanted = BLOCK
        while True:
            try:
                if self._searched:
                    return self._beginning_of_line(os.pread(self._fd, BLOCK, self.mark.offset))
                self._block = os.pread(self._fd, wanted, self.mark.offset)
            except OSError as error:
                path = self.folder / segment_name(self.mark.segment)
                raise JournalError("read", path, error) from error
            self._block_at = self.mark.offset
            end = self._block.find(b"\n")
            if end >= 0:
                return self._block[:end]
            if len(self._block) < wanted:
                return None
            if wanted > LONGEST_LINE:
                self._searched = self.mark.offset + len(self._block)
            wanted = min(wanted * 4, LONGEST_BLOCK)

    def _beginning_of_line(self, beginning: bytes) -> bytes | None:
        """Find the end of an overlong line, and return the line's first bytes."""
        self._block = b""
        size = os.fstat(self._fd).st_size
        end = next_newline(self._fd, self._searched)
        if end < 0:
            self._searched = max(size, self._searched)
            return None
        self._searched, self._left_out = 0, end - self.mark.offset - len(beginning)
        return beginning

    def _take_ordinary(self, chunk: EntryBatch, max_records: int, max_bytes: int) -> int:
        """Read intact lines of the current block, up to the first that needs ``_take``.

        Returns:
            The number of bytes that were read.
        """
        mark, block, begins = self.mark, self._block, self._block_at
        start, crc = mark.offset - begins, mark.crc
        if crc is None or self._actual_crc is not None or self._uncounted or start < 0:
            return 0
        entries, resource, writer, seq = chunk.entries, self._resource, self._writer, mark.seq
        taken = 0
        spans = self._header is None or self._header.signal == SPANS
        if _take_lines is not None:
            most = max_records - len(entries)
            seq, after, crc = _take_lines(
                block, start, crc, seq, spans, most, max(0, max_bytes),
                entries, later_entry, resource, writer, mark, begins,
            )  # fmt: skip
            taken, start = after - start, after
        while taken < max_bytes and len(entries) < max_records:
            end = block.find(b"\n", start)
            line = block[start:end]
            added = crc32(line[:-_CRC_LENGTH], crc)
            if end < 0 or line[-_CRC_LENGTH:] != b',"crc":"%08x"}' % added:
                break
            after = end + 1
            if not (spans and is_start(line)):
                if not is_next(line, seq + 1):
                    break
                if b"$" in line and MARK in line:  # searching for one byte first is twice as fast
                    break
                seq += 1
                entries.append(later_entry((line, resource, writer, mark, seq, begins + after)))
            taken += after - start
            start, crc = after, added
        if taken:
            self.mark = mark.after(begins + start, seq, crc)
        return taken

    def _take(self, line: bytes, chunk: EntryBatch) -> None:
        mark = self.mark
        offset = mark.offset + len(line) + self._left_out + 1
        if not line.strip():
            self.mark = replace(mark, offset=offset)
            return
        seeds = [crc for crc in (mark.crc, self._actual_crc) if crc is not None]
        stated = verify(line, *seeds) if seeds else stated_crc(line)
        if seeds and stated is None and not self._left_out:
            # Its content may just be being erased.
            path = self.folder / segment_name(mark.segment)
            line = read_again(path, self._fd, mark.offset, len(line))
            stated = verify(line, *seeds)
        fits = not seeds or stated is not None
        if not fits:
            # If a newline was damaged, two lines are joined: read the first by itself.
            begin = line.find(BEGINS_A_RECORD, 1)
            if begin > 0 and verify(line[: begin - 1], *seeds) is not None:
                line, fits = line[: begin - 1], True
                stated, offset = stated_crc(line), mark.offset + begin
        try:
            if not fits:
                message = "its checksum does not match"
                raise CorruptLineError(message)  # noqa: TRY301 - damaged in one way or another
            if is_start(line):
                self._actual_crc = None
                self.mark = replace(mark, offset=offset, crc=stated_crc(line))
                return
            record = self._decode(line)
        except CorruptLineError:
            chunk.damaged.append(line[: self._kept])
            if not self._uncounted:
                self._counted, self._broken_off = mark, False
            self._count_damaged(line)
            self._actual_crc = adds_up_to(line, mark.crc)
            self.mark = replace(mark, offset=offset, crc=stated_crc(line))
            return
        self._actual_crc = None
        self._uncounted = 0
        if record.seq <= mark.seq:
            # A second copy, written because the sync of its first file failed.
            self.mark = replace(mark, offset=offset, crc=stated_crc(line))
            return
        mark = self._missing_up_to(mark, record.seq - 1)
        self.mark = mark.after(offset, record.seq, stated)
        chunk.entries.append(Entry(record, self._resource, self._writer, self.mark))

    def _decode(self, line: bytes) -> Record:
        if self._decodes_later and MARK not in line and (record := unread(line)) is not None:
            return record
        return decode(line, self._blobs)

    def _count_damaged(self, line: bytes) -> None:
        """Estimate the records in a damaged line; the number of the next good record corrects it.

        Damage may have joined several lines into one. Or it has split one: then the first part has
        no end, and the second has no beginning.
        """
        if is_start(line) and len(_number().findall(line)) == 1:
            return  # not a record
        following = self.mark.seq + self._uncounted + 1
        numbers = [int(digits) for digits in _number().findall(line)]
        is_rest = self._broken_off and not line.startswith(BEGINS_A_RECORD)
        told = [n for n in numbers if following - is_rest <= n < following + len(numbers)]
        ends = stated_crc(line) is not None
        if told:
            self._uncounted = max(told) - self.mark.seq
        elif numbers or not is_rest or (not ends and len(line) > _CRC_LENGTH):
            self._uncounted += max(1, len(numbers))
        self._broken_off = not ends

    @staticmethod
    def _missing_up_to(mark: Mark, seq: int) -> Mark:
        """Count the records up to ``seq`` as corrupt, because they were not read."""
        missing = seq - mark.seq
        return mark if missing <= 0 else replace(mark, seq=seq, corrupt=mark.corrupt + missing)

    _block: bytes = b""
    _block_at: int = 0
    # The offset up to which an incomplete line was searched for its end, and the number of bytes
    # by which an overlong line exceeds the returned ones.
    _searched: int = 0
    _left_out: int = 0


def is_start(line: bytes) -> bool:
    """Return whether a line is the start of a span, which is not a record of its own."""
    return line.find(_START, 0, _LONGEST_BEGINNING) > 0


def header_of(line: bytes, path: Path) -> Header:
    """Read a header, and tell a damaged format number from one of a newer Wakelog.

    Raises:
        JournalFormatError: When a newer Wakelog wrote it.
        CorruptLineError: When the bytes are not a header, or a damaged one.
    """
    try:
        return read_header(line, str(path))
    except JournalFormatError:
        for known in range(FORMAT, 0, -1):
            try:
                meant = _format_field().sub(b'"format":%d' % known, line, count=1)
                return read_header(meant, str(path))
            except CorruptLineError:
                continue
        raise


def _stated_seed(header: bytes) -> int | None:
    """Return the checksum of the line before it that a damaged header states."""
    found = _seed_field().search(header)
    return int(found[1], 16) if found else None


def adds_up_to(line: bytes, previous: int | None) -> int | None:
    """Return the checksum computed for a line, or None if that is not possible."""
    body, separator, _ = line.rpartition(b',"crc":"')
    return crc32(body, previous) if separator and previous is not None else None


def save_torn_tail(folder: Path, fs: FileSystem = SYSTEM) -> Path | None:
    """Copy the torn line at the end of an ended writer's records into a file of its own, once.

    The line was never accepted. It also stays in its segment, to which nothing is appended any
    more.

    Args:
        folder: The writer's folder, which this process owns.
        fs: The file-system calls.

    Returns:
        The new file, or None if there is no torn line or it has been copied before.

    Raises:
        JournalError: When a file operation fails.
    """
    found = segments(folder)
    if not found:
        return None
    path = folder / segment_name(found[-1])
    saved = path.with_suffix(".torn")
    with JournalErrors("save the torn end of", path):
        with open_to_read(path) as file:
            file.seek(end_of_lines(file.fileno()))
            tail = file.read(LONGEST_BLOCK + 1)
        # After an erasure it consists of spaces.
        if not tail.strip(b" ") or len(tail) > LONGEST_BLOCK or os.path.lexists(saved):
            return None  # a torn line is never longer than a block
        fs.write_whole(saved, tail)
    return saved
