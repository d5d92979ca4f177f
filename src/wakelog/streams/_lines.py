"""Chunks as lines of the journal, and finding those of one session without decoding all lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import orjson

from wakelog._arguments import max_event_bytes_of
from wakelog.errors import CorruptLineError
from wakelog.events import AgentEvent, fields_of
from wakelog.events import semconv as s
from wakelog.record import SEAL_BYTES, Record, decode, encode, rfc3339, to_line, verify
from wakelog.runtime import UnlessMissing, open_to_read
from wakelog.storage import (
    LONGEST_BLOCK,
    end_of_lines,
    line_before,
    segment_name,
    segments,
    whole_lines,
)
from wakelog.streams._places import BEGINNING, Place, key_of, split_key

MAX_LINE_BYTES = 1024 * 1024
LONGEST_TEXT = 64 * 1024
"""The most characters in one line; as each takes at most six bytes, no line is ever shortened."""

_LINE = 1024
_NAMES = {
    "chunk": s.EVENT_PREFIX + "stream_chunk",
    "start": s.EVENT_PREFIX + "stream_start",
    "end": s.EVENT_PREFIX + "stream_end",
    "reasoning_start": s.EVENT_PREFIX + "reasoning_start",
    "reasoning_stop": s.EVENT_PREFIX + "reasoning_stop",
}
_KINDS = {name: kind for kind, name in _NAMES.items()}
_SESSION = re.compile(b'"%s":("(?:[^"\\\\]|\\\\.)*")' % s.CONVERSATION_ID.encode())
_CRC = re.compile(rb'"crc":"([0-9a-f]{8})"\}\n')
_CRC_BYTES = len(b'"crc":"00000000"}\n')
_TEXT_LINE = b',"timestamp":"%%b","event_name":"%b","body":%%b,"attributes":%%b' % (
    _NAMES["chunk"].encode()
)
STARTS = f'"event_name":"{_NAMES["start"]}"'.encode()
ENDS = f'"event_name":"{_NAMES["end"]}"'.encode()


class Chunk(NamedTuple):
    """One chunk of a session's stream.

    Attributes:
        session_id: The session.
        text: The text; empty unless the kind is ``chunk``.
        kind: ``chunk``, or what begins or ends here: ``start``, ``end``, ``reasoning_start``,
            ``reasoning_stop``.
        timestamp: When it was written, in nanoseconds since 1970.
        stream_id: The id of its stream, or None.
        status: For an ``end``: ``success``, ``error``, ``interrupted`` or the caller's word.
        writer: The id of its writer; empty before it is written.
        place: The place after its line.
        part: For a text that is too long for one line, the number of this part, from 1.
        parts: The number of parts of that text.
    """

    session_id: str
    text: str
    kind: str
    timestamp: int
    stream_id: str | None
    status: str | None = None
    writer: str = ""
    place: Place = Place()
    part: int = 1
    parts: int = 1

    def at(self, writer: str, place: Place) -> Chunk:
        """Return the chunk with its position, faster than ``_replace``."""
        session_id, text, kind, timestamp, stream_id, status, _, _, part, parts = self
        return Chunk(
            session_id, text, kind, timestamp, stream_id, status, writer, place, part, parts
        )


def identity_of(session_id: str, stream_id: str) -> bytes:
    """Return the attributes of a stream's lines of text, encoded, for ``text_line``.

    Args:
        session_id: The session's id, by ``normal``.
        stream_id: The stream's id.
    """
    return orjson.dumps({s.CONVERSATION_ID: session_id, s.STREAM_ID: stream_id})


def text_line(chunk: Chunk, identity: bytes | None = None) -> bytes:
    """Return a chunk of text as the middle part of a line.

    Args:
        chunk: The chunk.
        identity: The result of ``identity_of`` for the chunk's stream, which saves encoding it for
            each chunk. The text is then a ``str``, of no subclass, and has one part.
    """
    if identity is not None:
        with suppress(TypeError):  # lone surrogates
            line = _TEXT_LINE % (
                rfc3339(chunk.timestamp).encode(),
                orjson.dumps(chunk.text),
                identity,
            )
            if len(line) <= MAX_LINE_BYTES - SEAL_BYTES:
                return line
    attributes: dict[str, object] = {s.CONVERSATION_ID: chunk.session_id}
    if chunk.stream_id is not None:
        attributes[s.STREAM_ID] = chunk.stream_id
    if chunk.parts > 1:
        attributes[s.STREAM_PART], attributes[s.STREAM_PARTS] = chunk.part, chunk.parts
    fields: dict[str, object] = {
        "timestamp": rfc3339(chunk.timestamp),
        "event_name": _NAMES["chunk"],
        "body": chunk.text,
        "attributes": attributes,
    }
    return encode(fields, MAX_LINE_BYTES, staying=s.IDENTITY)


def event_line(event: AgentEvent) -> bytes:
    """Return an event of a stream as the middle part of a line."""
    return encode(
        fields_of(event),
        MAX_LINE_BYTES,
        max_event_bytes=max_event_bytes_of(None),
        staying=s.IDENTITY,
    )


def needle(session_id: str) -> bytes:
    """Return bytes that are in every line of one session and in no other line.

    In other texts of a line, the quotation marks would be escaped.
    """
    return b'"%b":%b' % (s.CONVERSATION_ID.encode(), orjson.dumps(session_id))


def normal(session_id: str) -> str:
    """Return a session's id in the form that a line can hold."""
    if type(session_id) is str and session_id.isascii():
        return session_id
    return str(to_line(str(session_id)))


def segment_paths(folder: Path) -> list[tuple[int, Path]]:
    """List a writer's segments, in order; none if the folder does not exist."""
    return [(index, folder / segment_name(index)) for index in segments(folder, missing_ok=True)]


def end_of(folder: Path) -> int:
    """Return the key of the place after the last complete line in a folder."""
    found = segment_paths(folder)
    if not found:
        return BEGINNING
    index, path = found[-1]
    end = 0
    with UnlessMissing("read", path), open_to_read(path, buffering=0) as file:
        end = end_of_lines(file.fileno())
    return key_of(index, end)


def last_line(folder: Path) -> Line | None:
    """Return the last record of a folder; None if there is none, or it is damaged."""
    for index, path in reversed(segment_paths(folder)):
        with UnlessMissing("read", path), open_to_read(path, buffering=0) as file:
            end = end_of_lines(file.fileno())
            begin, _ = line_before(file.fileno(), end) if end else (0, b"")
            if begin:  # otherwise, there is only a header, or nothing
                return read_line(file.fileno(), index, begin)
    return None


class Line(NamedTuple):
    """A complete line that contains the wanted bytes."""

    record: Record
    begin: int
    end: int


def scan(folder: Path, begin: int, end: int, *wanted: bytes) -> Iterator[Line | int]:
    """Find the lines that contain any of some bytes, without decoding the others.

    Args:
        folder: The writer's folder.
        begin: The key of the place at which to begin.
        end: The key of the place at which to end.
        wanted: The bytes to find.

    Yields:
        The lines, in order, and after each block the key of the place that was reached, so that the
        caller can stop there.

    Raises:
        JournalError: If reading fails.
    """
    pattern = re.compile(b"|".join(map(re.escape, wanted)))
    first, start = split_key(begin)
    last, stop = split_key(end)
    for segment, path in segment_paths(folder):
        if first <= segment <= last:
            limit = stop if segment == last else None
            yield from _scan_segment(
                path, segment, start if segment == first else 0, limit, pattern
            )


def _scan_segment(
    path: Path, segment: int, offset: int, limit: int | None, pattern: re.Pattern[bytes]
) -> Iterator[Line | int]:
    with UnlessMissing("read", path), open_to_read(path, buffering=0) as file:
        for start, block in whole_lines(file.fileno(), offset):
            if limit is not None and start >= limit:
                return
            # The first line is verified with the checksum of the line before it.
            first = min(start, _CRC_BYTES)
            known = os.pread(file.fileno(), first, start - first) + block
            for begin, end in _hits(known, first, len(known), pattern):
                at = start - first + begin
                if limit is not None and at >= limit:
                    break
                if (record := _checked(known, begin, end)) is not None:
                    yield Line(record, key_of(segment, at), key_of(segment, at + end - begin))
            yield key_of(segment, start + len(block))


def _hits(
    block: bytes, start: int, stop: int, pattern: re.Pattern[bytes]
) -> Iterator[tuple[int, int]]:
    while (match := pattern.search(block, start, stop)) is not None:
        begin = block.rfind(b"\n", start, match.start()) + 1 or start
        start = block.index(b"\n", match.end()) + 1
        yield begin, start


def _checked(block: bytes, begin: int, end: int) -> Record | None:
    """Decode a line if its checksum is right, given the line before, which may be damaged."""
    line = block[begin : end - 1]
    stated = _CRC.fullmatch(block, max(0, begin - _CRC_BYTES), begin)
    if stated is not None and verify(line, int(stated[1], 16)) is None:
        before = block.rfind(b"\n", 0, max(0, begin - 1)) + 1
        seed = _CRC.fullmatch(block, max(0, before - _CRC_BYTES), before)
        body = block[before : begin - _CRC_BYTES - 1]
        if seed is None or verify(line, crc32(body, int(seed[1], 16))) is None:
            return None
    try:
        return decode(line)
    except CorruptLineError:
        return None


def sessions_in(block: bytes) -> Iterator[tuple[str, int]]:
    """Yield each session id in a block, with the offset of its line."""
    for match in _SESSION.finditer(block):
        try:
            session_id = orjson.loads(match[1])
        except orjson.JSONDecodeError:
            continue  # a damaged line
        yield session_id, block.rfind(b"\n", 0, match.start()) + 1


def session_hashes_in(block: bytes) -> set[int]:
    """Return the hashes of the session ids in a block, in their encoded form."""
    return set(map(hash, _SESSION.findall(block)))


def read_line(fd: int, segment: int, offset: int) -> Line | None:
    """Read one line at a known offset; None if it is damaged or incomplete."""
    before = min(offset, _CRC_BYTES)
    wanted = _LINE
    while True:
        block = os.pread(fd, wanted, offset - before)
        end = block.find(b"\n", before) + 1
        if end:
            break
        if len(block) < wanted or wanted == LONGEST_BLOCK:
            return None
        wanted = min(wanted * 16, LONGEST_BLOCK)
    record = _checked(block, before, end)
    at = key_of(segment, offset)
    return None if record is None else Line(record, at, at + end - before)


def chunk_of(line: Line, writer: str) -> Chunk | None:
    """Return the chunk on a line; None if the line is something else."""
    record = line.record
    kind = _KINDS.get(record.event_name or "")
    if kind is None:
        return None
    attributes = record.attributes
    body = record.body
    return Chunk(
        str(attributes.get(s.CONVERSATION_ID, "")),
        body if kind == "chunk" and isinstance(body, str) else "",
        kind,
        record.timestamp or 0,
        attributes.get(s.STREAM_ID),
        attributes.get(s.STATUS),
        writer,
        Place(line.end, record.seq),
        *_part_of(attributes.get(s.STREAM_PART), attributes.get(s.STREAM_PARTS)),
    )


def _part_of(part: object, parts: object) -> tuple[int, int]:
    """Return the part and the number of parts that a line states; 1 and 1 if it states none."""
    if isinstance(part, int) and isinstance(parts, int) and 1 <= part <= parts:
        return part, parts
    return 1, 1
