"""The ledger of each session's file: how far it has been forwarded.

The ledger is a hint. Without it, events are sent again, and none is left out, because the line
itself says whether it is to be forwarded.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from wakelog.errors import CorruptLineError
from wakelog.events import semconv as s
from wakelog.gateway._events import ForwardedEvent
from wakelog.record import MARK, GetBlob, decode, read_fields, seal_fields, verify
from wakelog.runtime import SYSTEM, list_regular, open_file, open_to_read, read_small, regular_file
from wakelog.storage import Blobs, item_on, lines

_CHUNK = 64 * 1024
_MOST_LINE = 64 * 1024 * 1024
# The most bytes of blobs that are read at a time.
_MOST_BESIDE = 3 * 1024 * 1024
_HEAD = 4096
# A writer's name becomes part of a path, so only its own characters match.
_NAMES_ITS_WRITER = re.compile(rb'"writer":"(\w[\w.-]*)"')
_BEGINS_A_RECORD = b'{"id":'
_MARKED = b'"%b":true' % s.GATEWAY_FORWARD.encode()
_CRC_LENGTH = len(b',"crc":"00000000"}')
_ENDINGS = (".jsonl", ".json")


@dataclass(frozen=True, slots=True)
class FileMark:
    """A position in a file up to which events have been forwarded or set aside.

    Attributes:
        offset: Bytes from the file's start.
        crc: The checksum of the line before; None if unknown.
        failed: The number of failed attempts to send the next event.
    """

    offset: int = 0
    crc: int | None = 0
    failed: int = 0


class Item(NamedTuple):
    """An event to forward, or None for a line to skip, with the position after it."""

    event: ForwardedEvent | None
    mark: FileMark
    corrupt: bool = False
    line: bytes = b""


def writer_of(path: Path) -> str | None:
    """Return the writer that a file names; None if the file is not a gateway's."""
    try:
        with open_to_read(path, buffering=0) as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if not head.startswith((_BEGINS_A_RECORD, b'{"writer":')):
        return None
    match = _NAMES_ITS_WRITER.search(head)
    return match[1].decode(errors="replace") if match else None


def run_of(writer: str) -> str:
    """Return the run of a writer."""
    return writer.partition(".")[0]


def order_of(writer: str) -> tuple[str, int]:
    """Return a key that sorts writers by their start."""
    run, _, number = writer.partition(".")
    return run, int(number) if number.isdecimal() else 0


def candidates(folder: Path) -> list[Path]:
    """List the files of a session's directory that may hold events."""
    try:
        names = [name for name in list_regular(folder) if name.endswith(_ENDINGS)]
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".")]


def count_marked(path: Path, after: int) -> int:
    """Count the lines of a file after an offset that are to be forwarded."""
    found = 0
    with open_to_read(path) as file:
        for _, line, _ in lines(file, after):
            # The user's event is before the attributes, and may contain the same text.
            found += (
                line.startswith(_BEGINS_A_RECORD)
                and line.endswith(b"\n")
                and line.rfind(_MARKED) > line.rfind(b',"attributes":{')
            )
    return found


def logged_at(path: Path, mark: FileMark) -> int:
    """Return when the next event to forward was logged, in nanoseconds since 1970; 0 if unknown."""
    return next((item.event.timestamp for item in read_items(path, mark) if item.event), 0)


def read_items(path: Path, mark: FileMark, *, most: int = 256) -> list[Item]:
    """Read the next lines of a file.

    Args:
        path: The file.
        mark: The position at which to continue.
        most: The maximum number of items.

    Returns:
        The items on the next complete lines; empty if there are none at present.

    Raises:
        OSError: If the file cannot be read.
    """
    descriptor = open_file(path, os.O_RDONLY)
    try:
        wanted = _CHUNK
        while True:
            block = os.pread(descriptor, wanted, mark.offset)
            items = _items(block, mark, most, Blobs(path))
            if items or len(block) < wanted or wanted > _MOST_LINE:
                return items
            wanted *= 4
    finally:
        os.close(descriptor)


def _items(block: bytes, mark: FileMark, most: int, blobs: Blobs) -> list[Item]:
    items: list[Item] = []
    crc = mark.crc
    start = 0
    while (
        len(items) < most and blobs.taken < _MOST_BESIDE and (end := block.find(b"\n", start)) >= 0
    ):
        line = item_on(block[start:end])
        start, at = end + 1, mark.offset + end + 1
        if not line.startswith(_BEGINS_A_RECORD):
            continue
        fits = crc is None or verify(line, crc) is not None
        event: ForwardedEvent | None = None
        if fits:
            try:
                event = event_of(line, blobs)
            except (CorruptLineError, RecursionError):
                fits = False
        # The checksum of the line after a damaged one depends on that line, so it cannot be
        # checked.
        crc = _stated(line) if fits else None
        # If an event has blobs, its dead letter is made from the event and not from its line.
        kept = line if event is not None and MARK not in line else b""
        items.append(Item(event, FileMark(at, crc), corrupt=not fits, line=kept))
    return items


def event_of(line: bytes, blobs: GetBlob | None = None) -> ForwardedEvent | None:
    """Return the event on a line; None if it is not to be forwarded.

    Args:
        line: The line.
        blobs: Returns the values that are stored beside the line.

    Raises:
        CorruptLineError: If the line is damaged.
    """
    record = decode(line, blobs)
    if not record.attributes.get(s.GATEWAY_FORWARD):
        return None
    body = record.body if isinstance(record.body, dict) else {"value": record.body}
    session = str(record.attributes.get(s.CONVERSATION_ID, ""))
    return ForwardedEvent(body, record.id, session, record.timestamp or 0, record.event_name)


def _stated(line: bytes) -> int | None:
    try:
        return int(line[-_CRC_LENGTH:].partition(b'"crc":"')[2][:8], 16)
    except ValueError:
        return None


def load(path: Path, writer: str) -> FileMark:
    """Return the saved position of a file; its beginning if there is no valid ledger.

    A ledger of the first release candidate has, in place of its own checksum, that of the last
    line.
    """
    try:
        text = read_small(_ledger_of(path))
        data = orjson.loads(text)
        known = data["crc"] is not None
        if isinstance(data["crc"], str):
            data = read_fields(text)
            known = bool(data["known"])
        offset = int(data["offset"])
        failed = max(0, int(data.get("failed", 0)))
        if data["writer"] != writer or offset < 0:
            return FileMark()
        if offset == 0:
            return FileMark(failed=failed)
        with open_to_read(path) as file:
            begin = max(0, offset - _CRC_LENGTH - 1)
            file.seek(begin)
            around = file.read(offset - begin + 1)
    except (OSError, ValueError, KeyError, TypeError):
        return FileMark()
    before, after = around[: offset - begin], around[offset - begin :]
    # In a JSON document, a comma has replaced the newline if another event followed.
    if len(before) != offset - begin or not (
        before.endswith(b"\n") or (before.endswith(b",") and after == b"\n")
    ):
        return FileMark()
    return FileMark(offset, _stated(before[:-1]) if known else None, failed)


def save(path: Path, writer: str, mark: FileMark) -> None:
    """Save the position of a file atomically.

    Raises:
        OSError: If writing fails.
    """
    if regular_file(path) is None:
        return  # the file was deleted, and its ledger with it
    ledger = _ledger_of(path)
    known = mark.crc is not None
    fields = {"writer": writer, "offset": mark.offset, "known": known, "failed": mark.failed}
    SYSTEM.write_whole(ledger, seal_fields(fields)[0])


def at_end(path: Path, mark: FileMark) -> FileMark:
    """Return the position at the end of a file that is no longer written."""
    status = regular_file(path)
    size = 0 if status is None else status.st_size
    return mark if size <= mark.offset else FileMark(size, mark.crc)


def _ledger_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.forwarded")
