"""Spans of a folder that have started and not ended."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import CorruptLineError
from wakelog.journal._cursor import NO_RESOURCE, header_of
from wakelog.journal._folder import ENDED, LOCK
from wakelog.record import Record, Resource, decode, seal_fields, stated_crc, verify
from wakelog.runtime import SYSTEM, FileSystem, JournalErrors, regular_file, touch
from wakelog.storage import (
    Blobs,
    line_again,
    lines_of,
    overwritten,
    patched,
    segment_name,
    segments,
)


@cache
def _span_line() -> re.Pattern[bytes]:
    return re.compile(rb'\{"id":"([0-9a-f]{32}-[0-9a-f]{16})","seq":\d+,"signal":"span(_start)?"')


_BEGINS_A_HEADER = b'{"writer":'


class Start(NamedTuple):
    """The start of a span: its record and its resource."""

    record: Record
    resource: Resource


class OpenSpans(NamedTuple):
    """The starts of a folder's spans that have no end.

    Attributes:
        starts: The starts by the ids of their lines, in the order of their beginning.
        last_time: The time of the folder's last line, in nanoseconds since 1970; 0 without one.
    """

    starts: dict[str, Start]
    last_time: int


def open_spans(folder: Path, *, thorough: bool = True) -> OpenSpans:
    """Find the spans of a folder that have started and have no end in it.

    Args:
        folder: The folder of a writer of spans.
        thorough: Whether to read all segments. The last two suffice unless they are damaged,
            because each segment begins with the starts of the spans that were open then.

    Returns:
        The spans. If the line of a span's end is damaged, the span counts as one without an end.

    Raises:
        JournalError: When a file operation fails.
    """
    begun: dict[str, tuple[Path, bytes, Resource]] = {}
    ended: set[str] = set()
    last = b""
    for segment in _paths(folder)[0 if thorough else -2 :]:
        resource, before = NO_RESOURCE, None
        for offset, line in _lines_at(segment):
            stated = stated_crc(line)
            if line.startswith(_BEGINS_A_HEADER):
                resource = _resource_of(line, segment)
            elif (found := _span_line().match(line)) and (
                (whole := _intact(segment, offset, line, before)) is not None
            ):
                last = whole
                record_id = found[1].decode()
                if found[2] is None:
                    begun.pop(record_id, None)
                    ended.add(record_id)
                elif record_id not in ended:
                    # A later segment repeats the starts of spans that are open when it begins.
                    begun[record_id] = segment, line, resource
            before = stated
    starts: dict[str, Start] = {}
    for record_id, (segment, line, resource) in begun.items():
        try:
            starts[record_id] = Start(decode(line, Blobs(segment)), resource)
        except CorruptLineError:
            continue
    return OpenSpans(starts, _time_of(last))


def ends_among(folder: Path, ids: Collection[str]) -> set[str]:
    """Return which of some spans have an end in a folder.

    Args:
        folder: The folder of a writer of spans.
        ids: The ids of their lines.

    Raises:
        JournalError: When a file operation fails.
    """
    return {
        record_id
        for segment in _paths(folder)
        for line in _lines(segment)
        if (found := _span_line().match(line)) is not None
        and found[2] is None
        and (record_id := found[1].decode()) in ids
    }


def ends_with(folder: Path, text: bytes, most_bytes: int) -> tuple[list[Record], int]:
    """Find the ended spans whose lines contain a text, in the newest segments of a folder.

    Args:
        folder: The folder of a writer of spans.
        text: The text in the form that lines have it.
        most_bytes: Maximum number of bytes to read, rounded up to whole segments.

    Returns:
        The records, newest first, and the number of bytes that may still be read.

    Raises:
        JournalError: When a file operation fails.
    """
    found: list[Record] = []
    for segment in reversed(_paths(folder)):
        if most_bytes <= 0:
            break
        matching: list[bytes] = []
        for line in _lines(segment):
            most_bytes -= len(line)
            if text in line and (named := _span_line().match(line)) is not None and not named[2]:
                matching.append(line)
        for line in reversed(matching):
            with suppress(CorruptLineError):
                found.append(decode(line, Blobs(segment)))
    return found, max(0, most_bytes)


def are_ended(folder: Path) -> bool:
    """Return whether the spans of a folder without an end have been given one."""
    return regular_file(folder / ENDED) is not None


def note_ended(folder: Path, count: int, fs: FileSystem = SYSTEM) -> None:
    """Record that the spans of a folder without an end have been given one.

    Raises:
        JournalError: When a file operation fails.
    """
    with JournalErrors("write", folder / ENDED):
        fs.write_whole(folder / ENDED, seal_fields({"spans": count})[0])


def show_sign_of_life(folder: Path) -> None:
    """Update a folder's heartbeat, which is done now and then while spans are open."""
    with suppress(OSError):  # a hint; readers otherwise use the time of the last line
        touch(folder / LOCK)


def last_sign_of_life(folder: Path) -> int:
    """Return the time of a folder's last heartbeat, in nanoseconds since 1970; 0 without one."""
    try:
        return os.stat(folder / LOCK).st_mtime_ns
    except OSError:
        return 0


def _time_of(line: bytes) -> int:
    try:
        return decode(line).timestamp or 0
    except CorruptLineError:
        return 0


def _paths(folder: Path) -> list[Path]:
    return [folder / segment_name(index) for index in segments(folder)]


def _resource_of(line: bytes, path: Path) -> Resource:
    try:
        return header_of(line, path).resource
    except CorruptLineError:
        return NO_RESOURCE


def _intact(path: Path, offset: int, line: bytes, before: int | None) -> bytes | None:
    """Return a line if its checksum is right, or that of the line before is unknown."""
    if before is None or verify(line, before) is not None:
        return line
    again = line_again(path, offset, line)
    return again if verify(again, before) is not None else None


def _lines(path: Path) -> Iterator[bytes]:
    return (line for _, line in _lines_at(path))


def _lines_at(path: Path) -> Iterator[tuple[int, bytes]]:
    parts = overwritten(path)
    for offset, line, _ in lines_of(path):
        if line.endswith(b"\n"):
            yield offset, patched(parts, offset, line[:-1])
