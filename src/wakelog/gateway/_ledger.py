"""How far each session's file has been forwarded, and which runs of the logger are alive.

Both are hints. Without them events are sent again, and none is left out: a line itself says
whether it is to be forwarded.
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
from wakelog.storage import Blobs, blocks, item_on, lines

PRIVATE = ".wakelog"
"""The directory, below the base directory, where running loggers hold their locks."""

_CHUNK = 64 * 1024
_MOST_LINE = 64 * 1024 * 1024
# So many bytes of large values are read at once.
_MOST_BESIDE = 3 * 1024 * 1024
_HEAD = 4096
# It becomes a part of a path, so nothing but what a writer's name has is taken for one.
_NAMES_ITS_WRITER = re.compile(rb'"writer":"(\w[\w.-]*)"')
_BEGINS_A_RECORD = b'{"id":'
_MARKED = b'"%b":true' % s.GATEWAY_FORWARD.encode()
_CRC_LENGTH = len(b',"crc":"00000000"}')
_ENDINGS = (".jsonl", ".json")


@dataclass(frozen=True, slots=True)
class FileMark:
    """A place in a file up to which its events have been dealt with.

    Attributes:
        offset: Bytes from its start.
        crc: The checksum of the line before, None where it is not known.
        failed: How many attempts to send the event that stands there have failed.
    """

    offset: int = 0
    crc: int | None = 0
    failed: int = 0


class Item(NamedTuple):
    """What was read: an event to forward, or None for a line to pass over, and the place after."""

    event: ForwardedEvent | None
    mark: FileMark
    corrupt: bool = False
    line: bytes = b""


def writer_of(path: Path) -> str | None:
    """Return the writer that a file names, None for a file that is not a gateway's."""
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
    """Return the run that a writer belongs to."""
    return writer.partition(".")[0]


def order_of(writer: str) -> tuple[str, int]:
    """Return what sorts writers by the time at which they began."""
    run, _, number = writer.partition(".")
    return run, int(number) if number.isdecimal() else 0


def candidates(folder: Path) -> list[Path]:
    """List the files of a session's directory that may hold events."""
    try:
        names = [name for name in list_regular(folder) if name.endswith(_ENDINGS)]
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".")]


def holds_marked(path: Path, after: int) -> bool:
    """Tell whether a file has a line, after a place, that is to be forwarded."""
    kept = b""
    with open_to_read(path) as file:
        for _, block in blocks(file.fileno(), after):
            if _MARKED in kept + block:
                return True
            kept = block[-len(_MARKED) :]
    return False


def count_marked(path: Path, after: int) -> int:
    """Count the lines of a file, after a place, that are to be forwarded."""
    found = 0
    with open_to_read(path) as file:
        for _, line, _ in lines(file, after):
            # What a user's event says stands before the attributes.
            found += (
                line.startswith(_BEGINS_A_RECORD)
                and line.endswith(b"\n")
                and line.rfind(_MARKED) > line.rfind(b',"attributes":{')
            )
    return found


def logged_at(path: Path, mark: FileMark) -> int:
    """Return when the next event to forward was logged, in nanoseconds since 1970, 0 if unknown."""
    return next((item.event.timestamp for item in read_items(path, mark) if item.event), 0)


def read_items(path: Path, mark: FileMark, *, most: int = 256) -> list[Item]:
    """Read on in a file.

    Args:
        path: The file.
        mark: Where to go on.
        most: The most items to return.

    Returns:
        What stands on the complete lines that come next; empty when there are none for now.

    Raises:
        OSError: When the file cannot be read.
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
        # The line after a damaged one may be seeded with what that one was.
        crc = _stated(line) if fits else None
        # A dead letter is made of the event itself where something stands beside its line.
        kept = line if event is not None and MARK not in line else b""
        items.append(Item(event, FileMark(at, crc), corrupt=not fits, line=kept))
    return items


def event_of(line: bytes, blobs: GetBlob | None = None) -> ForwardedEvent | None:
    """Return the event on a line, None when it is not to be forwarded.

    Args:
        line: The line.
        blobs: Returns what stands beside it.

    Raises:
        CorruptLineError: When the line does not hold what was written.
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
    """Read how far a file has been dealt with; from its beginning where nobody can say.

    A ledger of the first candidate has no checksum of its own, and the last line's in the same place.
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
    # In a document, the comma before the next event stands where the newline was.
    if len(before) != offset - begin or not (
        before.endswith(b"\n") or (before.endswith(b",") and after == b"\n")
    ):
        return FileMark()
    return FileMark(offset, _stated(before[:-1]) if known else None, failed)


def save(path: Path, writer: str, mark: FileMark) -> None:
    """Note how far a file has been dealt with, whole or not at all.

    Raises:
        OSError: When the file system refuses.
    """
    if regular_file(path) is None:
        return  # deleted, and its ledger with it
    ledger = _ledger_of(path)
    known = mark.crc is not None
    fields = {"writer": writer, "offset": mark.offset, "known": known, "failed": mark.failed}
    SYSTEM.write_whole(ledger, seal_fields(fields)[0])


def at_end(path: Path, mark: FileMark) -> FileMark:
    """Return the place at the end of a file to which nothing more is written."""
    status = regular_file(path)
    size = 0 if status is None else status.st_size
    return mark if size <= mark.offset else FileMark(size, mark.crc)


def _ledger_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.forwarded")
