"""One line: encoding, sealing with ``seq`` and ``crc``, and decoding.

A line is created in two steps, because only the second depends on the line before it: ``encode``
turns fields into bytes (slow, without a lock), and ``seal`` adds id, sequence number and checksum
(fast, under the writer's lock).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any
from zlib import crc32

import orjson

from wakelog._native import native
from wakelog.errors import CorruptLineError, EventTooLargeError, JournalFormatError
from wakelog.record._blobs import (
    MARK,
    Blob,
    GetBlob,
    attributes_on,
    content_with,
    part,
    resolve,
    stub,
)
from wakelog.record._identity import parse_rfc3339
from wakelog.record._parts import DEFAULT_PIPELINE, LOGS, Header, Record, Resource, Scope
from wakelog.record._salted import (
    SALTED,
    SALTED_BYTES,
    digest_on,
    middle_of,
    put_content_back,
)
from wakelog.record._values import TAG, from_line, is_json, to_line

FORMAT = 2
"""The version of the line format that this package writes. It reads all versions up to it."""

_PLAIN = frozenset({str, int, bool})
_CRC_FIELD = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
SEAL_BYTES = 512
"""An upper limit of the bytes that ``seal`` and the scope add to a line."""
# Exceptions of parsing bytes of other programs; the last one is for deep nesting.
_NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_CRC_LENGTH = len(b',"crc":"00000000"}')


def encode(
    fields: dict[str, object],
    max_line_bytes: int,
    *,
    max_event_bytes: int = sys.maxsize,
    staying: frozenset[str] = frozenset(),
    apart: frozenset[str] = frozenset(),
    ending: bytes = b"",
) -> bytes:
    """Encode the fields of a record as the middle part of a line.

    Args:
        fields: The fields by the names of the line format, in their order on the line, without
            ``id``, ``seq`` and ``crc``. Values may be any Python objects.
        max_line_bytes: Maximum size of the whole line in bytes. Beyond it the largest values are
            moved out of the line, see ``Content``; names and ids never are.
        max_event_bytes: Maximum size of the fields in bytes.
        staying: The attributes that are never moved, because they say what the event is part of.
        apart: The attributes that are set apart on the line, together with the body, so that they
            can be erased. By default neither is.
        ending: A further part of the line, already encoded.

    Returns:
        ``,"name":value,...``, ready for ``seal``; a ``Content`` if values were moved out of the
        line.

    Raises:
        EventTooLargeError: When the event is larger than ``max_event_bytes``. The error has the
            content of a stub, to be recorded in place of the event.
    """
    if not fields:
        return ending
    text: bytes = b""
    if _dumps is not None:
        text = _dumps(fields, max_line_bytes) or b""
    if not text and (_is_plain(fields) or is_json(fields)):
        with suppress(TypeError):  # lone surrogates and integers beyond 64 bit
            text = orjson.dumps(fields)
    if not text:
        fields = {name: to_line(value) for name, value in fields.items()}
        text = orjson.dumps(fields)
    if len(text) > max_event_bytes:
        raise _too_large(fields, len(text), max_event_bytes, staying, ending)
    longest = max_line_bytes - SEAL_BYTES - len(ending) - (SALTED_BYTES if apart else 0)
    blobs: tuple[Blob, ...] = ()
    if apart or len(text) > longest:
        line = orjson.loads(text)
        if len(text) > longest:
            line, blobs = part(line, longest, staying, apart)
        content = middle_of(line, apart, ending)
    else:
        content = b",%b%b" % (text[1:-1], ending) if text != b"{}" else ending
    if len(text) > longest:
        decode(b'{"id":"","seq":0%b}' % content)  # an undecodable line must not count as recorded
    return content_with(content, blobs)


def _too_large(
    line: dict[str, Any], size: int, most: int, staying: frozenset[str], ending: bytes
) -> EventTooLargeError:
    left = b",%b%b" % (orjson.dumps(stub(line, size, staying))[1:-1], ending)
    message = (
        f"an event of {size:,} bytes is larger than max_event_bytes={most:,} "
        "(WAKELOG_MAX_EVENT_BYTES). A stub with its size, digest and identity is recorded in its "
        "place. Record less in one event, or raise the limit"
    )
    return EventTooLargeError(message, stub=left)


def _is_plain(fields: dict[str, object]) -> bool:
    """Return whether body and attributes have only texts, integers and booleans."""
    body, attributes = fields.get("body"), fields.get("attributes")
    return ("event" not in fields and (body is None or type(body) is str)) and (
        attributes is None
        or (
            type(attributes) is dict
            and TAG not in attributes  # would be read as a tagged form
            and _PLAIN.issuperset(map(type, attributes.values()))
        )
    )


_seal = None if native is None else native.seal
# Writes ordinary values as the JSON codec does, after the checks of `is_json`.
_dumps = None if native is None else native.dumps


@cache
def _beginning() -> re.Pattern[bytes]:
    return re.compile(rb'\{"id":"(?:[^"\\]|\\.)*","seq":\d+')


def seal(
    record_id: str, seq: int, content: bytes, previous_crc: int, writer: str = ""
) -> tuple[bytes, int]:
    """Complete a line.

    Args:
        record_id: The record's id, text without lone surrogates.
        seq: Its sequence number in its writer.
        content: The record, encoded by ``encode``.
        previous_crc: The checksum of the line before.
        writer: The writer's id, for files that several writers share; left out if empty.

    Returns:
        The line with its newline, and its checksum.
    """
    if writer:
        content = b',"writer":%b%b' % (orjson.dumps(writer), content)
    if _seal is not None:
        sealed: tuple[bytes, int] = _seal(record_id, seq, content, previous_crc)
        return sealed
    body = b'{"id":%b,"seq":%d%b' % (orjson.dumps(record_id), seq, content)
    crc = crc32(body, previous_crc)
    return b'%b,"crc":"%08x"}\n' % (body, crc), crc


seal_own: Callable[[str, int, bytes, int], tuple[bytes, int]] = seal if _seal is None else _seal
"""``seal`` for files that one writer has, called for every record."""


def content_on(line: bytes) -> bytes:
    """Return the content of a sealed line, as ``encode`` returned it, to seal it again.

    Args:
        line: The line without its newline, from a file whose lines do not name writers.
    """
    match = _beginning().match(line)
    return line[match.end() if match else 0 : -_CRC_LENGTH]


def verify(line: bytes, *previous: int) -> int | None:
    """Check the checksum of a line.

    Args:
        line: The line without its newline.
        previous: The possible checksums of the line before. If that line is damaged there are two:
            the stated one and the computed one.

    Returns:
        The line's checksum, or None if it matches none of them.
    """
    stated = stated_crc(line)
    if stated is None:
        return None
    body = line[:-_CRC_LENGTH]
    for seed in previous:  # a generator would cost as much as the checksum
        if crc32(body, seed) == stated:
            return stated
    return None


def stated_crc(line: bytes) -> int | None:
    """Return the checksum that a line states, correct or not, or None without one."""
    # Matching at an offset into a long line is slower than matching its last bytes.
    match = _CRC_FIELD.fullmatch(line[-_CRC_LENGTH:]) if len(line) > _CRC_LENGTH else None
    return int(match[1], 16) if match else None


def decode(line: bytes, blobs: GetBlob | None = None) -> Record:
    """Decode a line.

    Args:
        line: The line, with or without its newline.
        blobs: Returns the values that were moved out of the line. An unavailable value is replaced
            by its preview and a note.

    Returns:
        The record, with values in their recorded form. ``event`` is another name for ``body``,
        which the gateway's files use.

    Raises:
        CorruptLineError: When the bytes are not a record.
    """
    try:
        data = orjson.loads(line)
        digest = ""
        if SALTED in data:
            digest = digest_on(line)
            if not put_content_back(data):
                message = "its salted part has no known form"
                raise ValueError(message)
        if MARK in line:
            resolve(data, blobs)
        attributes = data.get("attributes")
        if attributes and TAG in attributes:
            attributes = attributes_on(data)
        timestamp, observed = data.get("timestamp"), data.get("observed_timestamp")
        return Record(
            id=str(data["id"]),
            seq=int(data.get("seq", 0)),
            timestamp=None if timestamp is None else parse_rfc3339(timestamp),
            observed_timestamp=None if observed is None else parse_rfc3339(observed),
            event_name=data.get("event_name"),
            severity_number=data.get("severity_number"),
            severity_text=data.get("severity_text"),
            body=from_line(data["body"] if "body" in data else data.get("event")),
            attributes={k: v if type(v) is str else from_line(v) for k, v in attributes.items()}
            if attributes
            else {},
            dropped_attributes_count=int(data.get("dropped_attributes_count", 0)),
            trace_id=data.get("trace_id"),
            span_id=data.get("span_id"),
            trace_flags=int(data.get("trace_flags", 0)),
            scope=_scope(data.get("scope")),
            writer=data.get("writer"),
            signal=data.get("signal", ""),
            span=data.get("span"),
            content_sha256=digest,
        )
    except _NOT_OURS as error:
        shown = bytes(line[:80])
        message = f"not a record: {shown!r} ({error})"
        raise CorruptLineError(message) from error


def _scope(data: dict[str, Any] | None) -> Scope | None:
    if data is None:
        return None
    attributes = data.get("attributes")
    return Scope(
        name=data.get("name", ""),
        version=data.get("version"),
        schema_url=data.get("schema_url"),
        attributes={k: from_line(v) for k, v in attributes.items()} if attributes else None,
    )


def seal_fields(fields: dict[str, object], previous_crc: int = 0) -> tuple[bytes, int]:
    """Encode plain data as a line that is not a record.

    Returns:
        The line with its newline, and its checksum, which ``verify`` checks.
    """
    body = orjson.dumps(fields)[:-1]
    crc = crc32(body, previous_crc)
    return b'%b,"crc":"%08x"}\n' % (body, crc), crc


def read_fields(line: bytes) -> dict[str, Any]:
    """Decode a line of ``seal_fields``, or one of an earlier version without a checksum.

    Args:
        line: The line, with or without its newline.

    Returns:
        The data, without the checksum.

    Raises:
        CorruptLineError: When the line is not an object, or its checksum does not match.
    """
    line = line.removesuffix(b"\n")
    try:
        data = orjson.loads(line)
        whole = isinstance(data, dict) and ("crc" not in data or verify(line, 0) is not None)
    except ValueError as error:
        message = f"not an object: {line[:80]!r}"
        raise CorruptLineError(message) from error
    if not whole:
        message = f"no object, or one whose checksum does not match: {line[:80]!r}"
        raise CorruptLineError(message)
    data.pop("crc", None)
    fields: dict[str, Any] = data
    return fields


def seal_header(
    writer: str,
    segment: int,
    last_seq: int,
    last_crc: int,
    resource: Resource,
    *,
    generation: int = 0,
    pipeline: str = DEFAULT_PIPELINE,
    signal: str = LOGS,
) -> tuple[bytes, Header]:
    """Encode the first line of a segment.

    The writer's id and the index come first, so that tools which identify files by their first
    bytes can distinguish segments. Defaults of ``Header`` are left out.

    Returns:
        The line with its newline, and its header.
    """
    fields: dict[str, object] = {
        "writer": writer,
        "segment": segment,
        "format": FORMAT,
        "last_seq": last_seq,
        "last_crc": f"{last_crc:08x}",
    }
    if generation:
        fields["generation"] = generation
    if pipeline != DEFAULT_PIPELINE:
        fields["pipeline"] = pipeline
    if signal != LOGS:
        fields["signal"] = signal
    fields["resource"] = {
        "attributes": to_line(resource.attributes),
        "schema_url": to_line(resource.schema_url),
    }
    line, crc = seal_fields(fields, last_crc)
    return line, Header(
        writer, segment, last_seq, last_crc, resource, crc, generation, pipeline, signal
    )


def salvage_resource(line: bytes) -> Resource | None:
    """Return the resource of a damaged header, or None if it cannot be parsed."""
    try:
        data = orjson.loads(line)["resource"]
        attributes = {str(key): from_line(value) for key, value in data["attributes"].items()}
        return Resource(attributes, str(data["schema_url"]))
    except _NOT_OURS:
        return None


def read_header(line: bytes, path: str) -> Header:
    """Decode the first line of a segment.

    Args:
        line: The line without its newline.
        path: The file, for errors.

    Returns:
        The header.

    Raises:
        JournalFormatError: When a newer Wakelog wrote it.
        CorruptLineError: When the bytes are not a header, or a damaged one.
    """
    try:
        data = orjson.loads(line)
        version = data["format"]
        if version > FORMAT:
            raise JournalFormatError(
                "read",
                path,
                f"its line format is {version}, and this Wakelog knows {FORMAT}",
                "Install the newer Wakelog, or give this one a directory of its own",
            )
        last_crc = int(data["last_crc"], 16)
        crc = verify(line, last_crc)
        if crc is None:
            message = f"the header of {path} is damaged: its checksum does not match"
            raise CorruptLineError(message)
        resource = Resource(
            {k: from_line(v) for k, v in data["resource"]["attributes"].items()},
            data["resource"]["schema_url"],
        )
        return Header(
            data["writer"],
            data["segment"],
            data["last_seq"],
            last_crc,
            resource,
            crc,
            int(data.get("generation", 0)),
            str(data.get("pipeline", DEFAULT_PIPELINE)),
            str(data.get("signal", LOGS)),
        )
    except _NOT_OURS as error:
        if isinstance(error, CorruptLineError):
            raise
        message = f"{path} does not begin with a header: {bytes(line[:80])!r}"
        raise CorruptLineError(message) from error
