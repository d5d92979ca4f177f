"""What is delivered in place of a record that is too large or that the next hop refuses.

It is the record with previews of its large values, or a small event that tells the backend which
record is missing, and why.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordLimits, ReadableLogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.events import semconv as s
from wakelog.journal import Entry
from wakelog.record import Record, sha256, to_line

# A smaller value is probably an id, a name or a number, and shortening it saves little.
_SMALLEST = 256
_PREVIEW = 256
_NOTE_BYTES = 160
_LONGEST_REASON = 1000
_KEPT = s.IDENTITY | {s.WRITER_ID, s.SEQ, s.TRUNCATED_BYTES}


def size_of(record: Record) -> int:
    """Return the size of body and attributes of a record as JSON, in bytes."""
    return len(orjson.dumps(to_line({"body": record.body, "attributes": record.attributes})))


def previewed(source: Record, attributes: dict[str, Any], max_bytes: int) -> Record:
    """Return a record with previews in place of its largest values, as many as needed.

    Args:
        source: The record. It is not changed.
        attributes: The attributes of the returned record, before shortening.
        max_bytes: The target size of body and attributes as JSON. The result is larger if nothing
            is left that may be shortened.

    Returns:
        The record, with ``wakelog.truncated_bytes`` among its attributes if anything was shortened.
    """
    units: list[tuple[int, str | None, bytes]] = []
    for name, value in ((None, source.body), *attributes.items()):
        text = orjson.dumps(to_line(value))
        units.append((len(text), name, text))
    size = whole = sum(len(name or "body") + length + 4 for length, name, _ in units)
    if size <= max_bytes:
        return replace(source, attributes=attributes)
    body, smaller = source.body, dict(attributes)
    smaller[s.TRUNCATED_BYTES] = whole
    size += len(s.TRUNCATED_BYTES) + 12
    for length, name, text in sorted(units, key=lambda unit: -unit[0]):
        if size <= max_bytes or length <= _SMALLEST + _NOTE_BYTES:
            break
        if name in _KEPT:
            continue
        value = body if name is None else attributes[name]
        preview = _preview(value, text, size - max_bytes)
        size += len(orjson.dumps(preview)) - length
        if name is None:
            body = preview
        else:
            smaller[name] = preview
    smaller[s.TRUNCATED_BYTES] = whole - size
    if size >= whole:
        return replace(source, attributes=attributes)
    return replace(source, body=body, attributes=smaller)


def _preview(value: object, text: bytes, excess: int) -> str:
    """Return the beginning of a value, at least ``excess`` bytes shorter, with size and digest."""
    if type(value) is bytes:
        data, shown = value, ""
    elif type(value) is str:
        data = value.encode(errors="replace")
        # Characters that JSON escapes take more bytes, so the ratio differs from text to text.
        kept = len(value) * (len(text) - excess - _NOTE_BYTES) // len(text)
        shown = value[: max(_PREVIEW, kept)]
    else:
        data, shown = text, text[:_PREVIEW].decode(errors="ignore")
    digest = sha256(data).hexdigest()
    return f"{shown}[wakelog: {len(data)} bytes in the journal, sha256 {digest}]"


def stand_in(
    entry: Entry, readable: ReadableLogRecord, outcome: str, reason: str, size: int
) -> ReadableLogRecord:
    """Return the stand-in for a dead letter.

    Its id is derived from the record's, so that a second copy is recognized as the same one.

    Args:
        entry: The entry with the line.
        readable: The rebuilt record.
        outcome: The outcome, in a word.
        reason: The reason, in the next hop's words.
        size: The length of its line in bytes.
    """
    record = entry.record
    attributes: dict[str, str | int] = {
        s.LOG_RECORD_UID: f"{record.id}.dead_letter",
        s.WRITER_ID: entry.writer,
        s.SEQ: record.seq,
        s.DEAD_LETTER_UID: record.id,
        s.DEAD_LETTER_EVENT_NAME: record.event_name or "",
        s.DEAD_LETTER_OUTCOME: outcome,
        s.DEAD_LETTER_REASON: reason[:_LONGEST_REASON],
        s.DEAD_LETTER_SIZE: size,
    }
    original = readable.log_record
    made = LogRecord(
        timestamp=original.timestamp,
        observed_timestamp=original.observed_timestamp,
        severity_number=SeverityNumber.WARN,
        severity_text="WARN",
        event_name=s.DEAD_LETTER_EVENT,
        attributes=attributes,
    )
    made.trace_id, made.span_id = original.trace_id, original.span_id
    made.trace_flags = original.trace_flags
    # As for every record of a batch: the current context suppresses recording, and exporters that
    # pickle records could not pickle it.
    made.context = Context()
    return ReadableLogRecord(
        log_record=made,
        resource=readable.resource,
        instrumentation_scope=InstrumentationScope(s.SCOPE_NAME),
        limits=LogRecordLimits(),
    )
