"""Reading a journal from a position, in order, in constant memory, skipping damaged lines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import BinaryIO

from wakelog.errors import ConfigurationError, CorruptLineError, JournalError
from wakelog.journal._cursor import (
    BEGINS_A_RECORD,
    BLOCK,
    NO_RESOURCE,
    Cursor,
    adds_up_to,
    header_of,
    is_start,
)
from wakelog.journal._entry import Entry
from wakelog.journal._folder import folders
from wakelog.journal._mark import Mark
from wakelog.journal._owner import signal_of
from wakelog.record import (
    LOGS,
    Record,
    decode_loose,
    from_line,
    stated_crc,
    to_line,
    verify,
)
from wakelog.runtime import JournalErrors, absolute, open_to_read
from wakelog.storage import Blobs, item_on, lines, overwritten, patched, segments

_BEGINS_A_HEADER = b'{"writer":'


@cache
def _names_its_writer() -> re.Pattern[bytes]:
    # The beginning of a line with a writer, by which unwanted lines are skipped without decoding.
    return re.compile(rb'\{"id":"[^"\\]*","seq":\d+,"writer":"([^"\\]*)"')


@cache
def _numbered() -> re.Pattern[bytes]:
    return re.compile(rb'(\{"id":"[^"\\]*","seq":)(\d+)')


# Damaged newlines join few lines. A line that looks like more than this was made to look so.
_MOST_PARTS = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING = object()


@dataclass(slots=True)
class Chain:
    """The checksum chain of one writer's lines in a file that several writers share.

    Lines may be missing because the file was rotated or filtered. The first line after a gap in the
    numbering cannot be checked and is accepted.

    Attributes:
        writer: The writer's id; empty if the lines do not have it.
        seq: The sequence number of the last line.
        seeds: The possible checksums of the last line: the stated one, and the computed one if it
            differs.
    """

    writer: str
    seq: int | None = None
    seeds: tuple[int, ...] = ()

    def fits(self, line: bytes) -> bool:
        """Return whether a line's checksum continues the chain."""
        return bool(self.seeds) and verify(line, *self.seeds) is not None

    def takes(self, line: bytes) -> bool:
        """Advance to the next line, and return whether it is intact."""
        stated, numbered = stated_crc(line), _numbered().match(line)
        seq = int(numbered[2]) if numbered else None
        good = self.fits(line) or stated is None  # a line without a checksum is not Wakelog's
        if not good and seq is not None and self._skips_to(seq):
            # Lines are missing before it, unless only its number is damaged.
            numbers = (self.seq + 1, self.seq + 2) if self.seq is not None else ()
            good = not any(self.fits(_numbered().sub(rb"\g<1>%d" % n, line, 1)) for n in numbers)
        added = {adds_up_to(line, seed) for seed in self.seeds} if not good else set()
        seeds = {crc for crc in (stated, *added) if crc is not None}
        self.seeds = tuple(seeds)
        if good:
            self.seq = seq
        elif self.seq is not None:
            self.seq += 1
        return good

    def _skips_to(self, seq: int) -> bool:
        return self.seq is None or not self.seeds or seq > self.seq + 1


def read(
    path: str | os.PathLike[str],
    *,
    after: Mapping[str, Mark] | None = None,
    writer: str | None = None,
    event_name: str | None = None,
    since: datetime | int | None = None,
    until: datetime | int | None = None,
    where: Mapping[str, object] | None = None,
    signal: str | None = LOGS,
) -> Iterator[Entry]:
    """Read the records of a journal directory, a writer's folder or a single file.

    Reads once, in constant memory, whatever the size, and skips damaged lines. The time filters
    look only at the records' own times, not at those of files or writers.

    Args:
        path: The journal's directory, a writer's folder, or a file.
        after: The mark of the last entry already read, for each writer. Other writers are read from
            their beginning.
        writer: Only the records of this writer. No other folder is opened.
        event_name: Only records of this name.
        since: Only records from this time on: nanoseconds since 1970, or a datetime with a time
            zone. A record's time is its timestamp, else its observed timestamp. Records with
            neither are left out if ``since`` or ``until`` is given.
        until: Only records before this time, in the same form.
        where: Only records with all of these attributes and equal values.
        signal: The writers of a journal directory to read: ``logs`` for those of log records,
            ``spans`` for those of spans, None for both. It does not apply to a single folder or
            file.

    Returns:
        The records, writer by writer in the order of their start. A file that several writers share
        is read in the order of its lines.

    Raises:
        ConfigurationError: For a datetime without a time zone; raised by the call itself.
        JournalError: When a file operation fails, or the path does not exist; raised while reading.
        JournalFormatError: When a newer Wakelog wrote a segment; raised while reading.
    """
    wanted = _filter(event_name, _nanoseconds("since", since), _nanoseconds("until", until), where)
    entries = _read(Path(os.path.realpath(absolute(path))), after or {}, writer, signal)
    return entries if wanted is None else _filtered(entries, wanted)


def _filter(
    event_name: str | None, since: int | None, until: int | None, where: Mapping[str, object] | None
) -> Callable[[Record], bool] | None:
    """Return a predicate for the filters, or None without filters."""
    if event_name is None and since is None and until is None and not where:
        return None
    # Recorded values come back in the form of a line, so the given ones are converted to it too.
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


def _read(
    path: Path, after: Mapping[str, Mark], writer: str | None, signal: str | None
) -> Iterator[Entry]:
    if path.is_file():
        yield from _read_file(path, after, writer)
        return
    if not path.is_dir():
        hint = "Name a journal directory or a JSONL file"
        raise JournalError("read", path, "there is no such file or directory", hint)
    named = bool(segments(path))
    for folder in [path] if named else folders(path, writer):
        if writer in (None, folder.name) and (named or signal in (None, signal_of(folder))):
            yield from _read_folder(folder, after.get(folder.name, Mark()))


def _read_folder(folder: Path, mark: Mark) -> Iterator[Entry]:
    cursor = Cursor(folder, mark)
    try:
        while (chunk := cursor.read(512, BLOCK)).entries or chunk.damaged:
            yield from chunk.entries
    finally:
        cursor.close()


def _read_file(path: Path, after: Mapping[str, Mark], only: str | None) -> Iterator[Entry]:
    """Read a single file of lines of any number of writers, with or without a header."""
    header_writer, segment, resource = "", 1, NO_RESOURCE
    chains: dict[str, Chain] = {}
    blobs = Blobs(path)

    def is_wanted(writer: str, end: int) -> bool:
        reached = after.get(writer)
        is_ahead = reached is None or (segment, end) > (reached.segment, reached.offset)
        return is_ahead and only in (None, writer)

    def chain_of(line: bytes) -> Chain:
        named = _names_its_writer().match(line)
        writer = named[1].decode(errors="replace") if named else header_writer
        if writer not in chains:
            # In a file that names its writers, the first line of each is seeded with 0.
            chains[writer] = Chain(writer, 0, (0,)) if named else Chain(writer)
        return chains[writer]

    with JournalErrors("read", path), open_to_read(path) as file:
        for given, whole_end in _lines(path, file):
            whole = item_on(given)
            if whole.startswith(_BEGINS_A_HEADER):
                try:
                    header = header_of(whole, path)
                except CorruptLineError:
                    continue
                header_writer, segment = header.writer, header.segment
                resource = header.resource
                chains[header_writer] = Chain(header_writer, header.last_seq, (header.crc,))
                continue
            for line, end in _parted(whole, whole_end, chain_of):
                chain = chain_of(line)
                # An unwanted line is not decoded if its beginning names its writer.
                if not chain.takes(line) or (chain.writer and not is_wanted(chain.writer, end)):
                    continue
                if is_start(line):
                    continue
                try:
                    record = decode_loose(line, f"{path.name}:{end}", blobs)
                except CorruptLineError:
                    continue
                writer = str(record.writer or header_writer)
                if is_wanted(writer, end):
                    mark = Mark(segment, end, record.seq, stated_crc(line))
                    yield Entry(record, resource, writer, mark)


def _parted(line: bytes, end: int, chain_of: Callable[[bytes], Chain]) -> list[tuple[bytes, int]]:
    """Split lines that are joined because a newline is damaged or was never written."""
    begin = line.find(BEGINS_A_RECORD, 1)
    if begin < 0 or chain_of(line).fits(line) or line.count(BEGINS_A_RECORD) > _MOST_PARTS:
        return [(line, end)]
    rest = line[begin:]
    first = [(line[:length], end - len(rest) - 1) for length in (begin - 1, begin)]
    good = [part for part in first if chain_of(part[0]).fits(part[0])]
    if good or stated_crc(line[:begin]) is None:
        parts = _parted(rest, end, chain_of)
        if good or chain_of(rest).fits(rest):
            return [*good[:1], *parts]
    return [(line, end)]


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield a file's lines without their newlines, and for each the offset after it."""
    parts = overwritten(path)
    for offset, line, end in lines(file):
        if offset + len(line) == end:  # a longer line is not Wakelog's
            yield patched(parts, offset, line.removesuffix(b"\n")), end
