"""The lines of ordinary log records, encoded in one pass over the fields.

Ordinary records are those of instrumentations and agents: fields of the API's types, and values
that are texts, numbers and containers of these. Other records go through ``fields_of_record`` and
``encode``, which give the same result for ordinary ones; a test compares the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import TraceFlags

from wakelog._native import native
from wakelog.events import semconv as s
from wakelog.record import TAG, is_json, salted_field, uuid7

LONGEST_ID = 200
_SECOND = 1_000_000_000
# The last nanosecond that RFC 3339 can express: the end of the year 9999.
_LATEST = 253_402_300_800 * _SECOND - 1
_PLAIN = frozenset({str, int, bool})
_FLAGS = frozenset({int, TraceFlags})
_MOST_FLAGS = 2**32 - 1
_MOST_HEADS, _LONGEST_HEAD = 256, 512
_dumps = orjson.dumps
compiled_lines: Any = (
    None
    if native is None
    else native.LineEncoder(BoundedAttributes, SeverityNumber, TraceFlags, s.LOG_RECORD_UID)
)
compiled_content: Callable[..., tuple[str, bytes] | None] | None = (
    None if compiled_lines is None else compiled_lines.encode
)
"""The compiled form of ``plain_content``, if there is one; it takes fewer records."""

# Caches, each replaced as a whole, so that threads need no lock: the last second, and the last
# span, whose ids are usually the same objects in the next record.
_second: tuple[int, bytes] = (-1, b"")
_span: tuple[Any, Any, Any, bytes | None] = (None, None, None, None)
# Cache of the encoded names and severities, which many records share.
_heads: dict[tuple[str | None, int, str | None], bytes] = {}


# Long: every record is encoded here, and each call costs time.
def plain_content(
    record: LogRecord,
    content: dict[str, Any] | None,
    body: bool,  # noqa: FBT001 - passed on for every record
    ending: bytes,
    longest: int,
    apart: frozenset[str] = frozenset(),
) -> tuple[str, bytes] | None:
    """Return the id and the encoded middle part of the line of an ordinary log record.

    Args:
        record: The record, which is not changed.
        content: More attributes, for the line alone.
        body: Whether to write the body.
        ending: The end of the middle part, already encoded.
        longest: The maximum size of the middle part, in bytes.
        apart: The attributes that are set apart on the line, together with the body, so that they
            can be erased.

    Returns:
        The result of ``content_of``; None if the record is not ordinary, or too long.
    """
    given: Any = record.attributes
    kind = type(given)
    if kind is dict or (kind is BoundedAttributes and not given.dropped):
        attributes: dict[str, Any] = given.copy()
    elif given is None:
        attributes = {}
    else:
        return None
    record_id = attributes.pop(s.LOG_RECORD_UID, None)
    if record_id is None:
        record_id = uuid7()
    elif (
        type(record_id) is not str
        or not record_id.isascii()
        or not 0 < len(record_id) <= LONGEST_ID
    ):
        return None
    if TAG in attributes or (
        not _PLAIN.issuperset(map(type, attributes.values())) and not is_json(attributes)
    ):
        return None
    leaving = None
    if content:
        # Content is checked by itself, because it usually holds all the containers of a record.
        if s.LOG_RECORD_UID in content or not is_json(content):
            return None
        if apart.issuperset(content):
            leaving = content
        else:
            attributes.update(content)
    # The usual cases of `_times_of` and `_head_of` are inlined: the last second, and a known name.
    times, head = None, None
    happened, seen, (second, text) = record.timestamp, record.observed_timestamp, _second
    if type(happened) is int and type(seen) is int and text:
        begin = second * _SECOND
        rest, seen_rest = happened - begin, seen - begin
        if happened == seen and 0 <= rest < _SECOND:
            times = b',"timestamp":"%b.%09dZ"' % (text, rest)
        elif 0 <= rest < _SECOND and 0 <= seen_rest < _SECOND:
            times = b',"timestamp":"%b.%09dZ","observed_timestamp":"%b.%09dZ"' % (
                text, rest, text, seen_rest,
            )  # fmt: skip
    name, severity, level = record.event_name, record.severity_number, record.severity_text
    if type(severity) is SeverityNumber and type(name) is str and type(level) is str:
        head = _heads.get((name, severity._value_, level))
    times, head = times or _times_of(record), head if head is not None else _head_of(record)
    known_trace, known_span, known_flags, span = _span
    trace_id, span_id, flags = record.trace_id, record.span_id, record.trace_flags
    if trace_id is not known_trace or span_id is not known_span or flags is not known_flags:
        span = _span_fields(trace_id, span_id, flags)
    if times is None or head is None or span is None:
        return None
    parts = [times, head]
    try:
        said = record.body if body else None
        if said is not None and type(said) is not str and not is_json(said):
            return None
        if apart:
            if not apart.isdisjoint(attributes):
                names = [*filter(apart.__contains__, attributes)]
                found = {name: attributes.pop(name) for name in names}
                leaving = {**found, **leaving} if leaving else found
            if leaving or said is not None:
                text = b'{"attributes":' + _dumps(leaving or {})
                text += b"}" if said is None else b',"body":%b}' % _dumps(said)
                parts = [salted_field(text), times, head]
        elif said is not None:
            parts += (b',"body":', _dumps(said))
        if attributes:
            parts += (span, b',"attributes":', _dumps(attributes))
        else:
            parts.append(span)
        parts.append(ending)
    except TypeError:  # lone surrogates, integers beyond 64 bits, and keys that are not text
        return None
    middle = b"".join(parts)
    return None if len(middle) > longest else (record_id, middle)


def _times_of(record: LogRecord) -> bytes | None:
    """Encode the times at which a record happened and was observed, as ``rfc3339`` does."""
    happened, seen = record.timestamp, record.observed_timestamp
    if type(seen) is not int or not 0 <= seen <= _LATEST:
        return None
    seen_second, seen_rest = divmod(seen, _SECOND)
    known, text = _second
    if seen_second != known:
        text = _text_of(seen_second)
    if happened is None:
        return b',"observed_timestamp":"%b.%09dZ"' % (text, seen_rest)
    if type(happened) is not int or not 0 <= happened <= _LATEST:
        return None
    if happened == seen:
        return b',"timestamp":"%b.%09dZ"' % (text, seen_rest)
    second, rest = divmod(happened, _SECOND)
    before = text if second == seen_second else _text_of(second)
    return b',"timestamp":"%b.%09dZ","observed_timestamp":"%b.%09dZ"' % (
        before, rest, text, seen_rest,
    )  # fmt: skip


def _text_of(second: int) -> bytes:
    global _second  # noqa: PLW0603 - see above
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
    _second = (second, text)
    return text


def _head_of(record: LogRecord) -> bytes | None:
    """Encode the name and the severity of a record."""
    name: Any = record.event_name
    text: Any = record.severity_text
    severity: Any = record.severity_number
    if severity is None:
        number = -1
    elif type(severity) is SeverityNumber:
        number = severity._value_  # takes a fifth of the time of ``value``
    else:
        return None
    if (type(name) is not str and name is not None) or (type(text) is not str and text is not None):
        return None
    head = _heads.get((name, number, text))
    return _write_head(name, number, text) if head is None else head


def _write_head(name: str | None, number: int, text: str | None) -> bytes | None:
    fields: dict[str, object] = {}
    if name:
        fields["event_name"] = name
    if number >= 0:
        fields["severity_number"] = number
    if text:
        fields["severity_text"] = text
    try:
        head = b"," + _dumps(fields)[1:-1] if fields else b""
    except TypeError:  # lone surrogates
        return None
    if len(head) <= _LONGEST_HEAD:
        if len(_heads) >= _MOST_HEADS:
            _heads.clear()
        _heads[name, number, text] = head
    return head


def _span_fields(trace_id: Any, span_id: Any, flags: Any) -> bytes | None:
    """Encode the trace context of a record, empty if it has none, and cache it."""
    global _span  # noqa: PLW0603 - see above
    if type(trace_id) is not int or type(span_id) is not int or type(flags) not in _FLAGS:
        return None
    if trace_id < 0 or trace_id >> 128 or span_id < 0 or span_id >> 64 or not 0 <= flags <= _MOST_FLAGS:  # fmt: skip
        return None
    text = b',"trace_id":"%032x"' % trace_id if trace_id else b""
    if span_id:
        text += b',"span_id":"%016x"' % span_id
    if flags:
        text += b',"trace_flags":%d' % flags
    _span = (trace_id, span_id, flags, text)
    return text
