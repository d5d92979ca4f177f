"""From lines to OTLP's request for log records, without the SDK's objects in between.

What is written is what the official encoder makes of the record that ``Rebuilder`` rebuilds; a test holds the two
to each other. Where a line is in any way out of the ordinary, nothing is written here, and its record is rebuilt.

Source: ``opentelemetry/proto/logs/v1/logs.proto`` and ``collector/logs/v1/logs_service.proto``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception class
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.events import semconv as s
from wakelog.otel._content import NAMES, body_of, without_content
from wakelog.otel._protobuf import FLAT, Attributes, any_value, field, sized, text_field, varint
from wakelog.otel._request import resource_message
from wakelog.record import attributes_on, from_line, parse_rfc3339

_TAGGED = b'"$wakelog"'
_UINT64, _UINT32 = Struct("<Q").pack, Struct("<I").pack
_TIME, _TIMES = Struct("<cQ").pack, Struct("<cQcQ").pack
_LATEST, _MOST_FLAGS = 2**64 - 1, 2**32 - 1
_MOST_SEVERE = 24
_ID_LENGTH = 36  # of a UUID
_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_ADDED = frozenset({s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ, s.REPLAYED})
# What a line that is not as Wakelog writes it may raise here.
_OUT_OF_THE_ORDINARY = (ValueError, TypeError, AttributeError, KeyError, StructError)
# What a body that is made of the attributes may add to the size of a line.
_MADE_BODY = 1024
_MOST_KEPT, _LONGEST_KEPT = 256, 256
# A text that is shorter has its length in one byte, and so has the value that it is.
_SHORT = len(FLAT) - 2


def _start_of(name: str, size: int) -> bytes:
    """Return the beginning of an attribute whose text has ``size`` bytes, with all lengths."""
    return sized(field(b"\x0a", name.encode()) + field(b"\x12", field(b"\x0a", bytes(size))))[:-size]  # fmt: skip


_UID = _start_of(s.LOG_RECORD_UID, _ID_LENGTH)
_SEQ = field(b"\x0a", s.SEQ.encode()) + b"\x12"
# The same attribute's beginning by the number of bytes that its number takes.
_SEQS = tuple(
    b"%b%b%b\x18" % (FLAT[len(_SEQ) + size + 2], _SEQ, FLAT[size + 1]) for size in range(11)
)
_REPLAYED = Attributes().sized({s.REPLAYED: True})[0]


class LogEncoder:
    """Writes log records as OTLP has them.

    One thread at a time encodes records; another one may put requests together meanwhile. It keeps the bytes
    of what comes again, in bounded tables.

    Args:
        events: Whether the content of Wakelog's own events leaves.
        max_record_bytes: The size beyond which a record is shortened, which is not done here.
    """

    def __init__(self, *, events: bool, max_record_bytes: int | None) -> None:
        self._events = events
        self._most = None if max_record_bytes is None else max_record_bytes - _MADE_BODY
        self._attributes = Attributes()
        self._writer = ("", b"")
        # Severities and names of events, whole fields.
        self._heads: dict[tuple[Any, Any, Any], bytes] = {}
        # Bodies of Wakelog's own events, and the last span.
        self._bodies: dict[tuple[Any, ...], bytes] = {}
        self._span: tuple[tuple[Any, Any, Any], bytes] = ((None, None, None), b"")

    # Long: it is the path of every record, where each call costs.
    def encode(
        self,
        data: Mapping[str, Any],
        line: bytes,
        seq: int,
        writer: str,
        own: bool,  # noqa: FBT001 - handed on for every record
        replayed: bool,  # noqa: FBT001 - likewise
    ) -> bytes | None:
        """Write the record of a line.

        Args:
            data: The line, as the JSON codec has read it.
            line: The line.
            seq: The record's number.
            writer: The id of the writer that recorded it.
            own: Whether it is one of Wakelog's own events.
            replayed: Whether to mark it as one that has waited for an outage to end.

        Returns:
            A ``log_records`` field of ``ScopeLogs``; None when the record has to be rebuilt.
        """
        get = data.get
        if self._most is not None and len(line) > self._most:
            return None
        if "dropped_attributes_count" in data or "event" in data:
            return None
        try:
            attributes: dict[str, Any] = get("attributes") or {}
            event_name, body = get("event_name"), get("body")
            if _TAGGED in line:
                attributes = {name: from_line(form) for name, form in attributes_on(data).items()}
                body = from_line(body)
            if not _ADDED.isdisjoint(attributes):
                return None
            if own and not self._events and not s.CONTENT.isdisjoint(attributes):
                attributes = without_content(attributes)

            head = get("severity_number"), get("severity_text"), event_name
            span = get("trace_id"), get("span_id"), get("trace_flags")
            if own and body is None and event_name:
                said = self._body_field(event_name, attributes)
            else:
                said = _body(body)
            if self._writer[0] != writer:
                self._writer = writer, self._attributes.sized({s.WRITER_ID: writer})[0]
            number, uid = varint(seq), data["id"].encode()
            written = self._attributes.sized(attributes)
            if len(uid) == _ID_LENGTH:
                written += (_UID + uid, self._writer[1], _SEQS[len(number)] + number)
            else:
                written += self._attributes.sized({s.LOG_RECORD_UID: data["id"]})
                written += (self._writer[1], _SEQS[len(number)] + number)
            if replayed:
                written.append(_REPLAYED)
            known = self._heads.get(head)
            message = b"".join(
                (
                    self._head(head) if known is None else known,
                    times_of(get("timestamp"), get("observed_timestamp")),
                    self._span[1] if span == self._span[0] else self._span_fields(span),
                    said,
                    b"\x32",
                    b"\x32".join(written),
                )
            )
            return b"".join((b"\x12", varint(len(message)), message))
        except _OUT_OF_THE_ORDINARY:
            return None

    def _body_field(self, event_name: str, attributes: Mapping[str, Any]) -> bytes:
        """Write the body of one of Wakelog's own events, and keep it by what it is made of."""
        names = event_name, *map(attributes.get, NAMES)
        known = self._bodies.get(names)
        if known is None:
            known = field(b"\x2a", any_value(body_of(event_name, attributes)))
            if sum(len(name) for name in names if type(name) is str) <= _LONGEST_KEPT:
                if len(self._bodies) >= _MOST_KEPT:
                    self._bodies.clear()
                self._bodies[names] = known
        return known

    def _span_fields(self, span: tuple[Any, Any, Any]) -> bytes:
        """Write to which span a record belongs, and keep it.

        Raises:
            ValueError: When these are no ids and flags.
        """
        trace_id, span_id, flags = span
        written = b""
        if trace_id is not None:
            written += _id_field(b"\x4a\x10", trace_id, _TRACE_DIGITS, _NO_TRACE)
        if span_id is not None:
            written += _id_field(b"\x52\x08", span_id, _SPAN_DIGITS, _NO_SPAN)
        if flags is not None:
            written += _flags_field(flags)
        self._span = span, written
        return written

    def _head(self, head: tuple[Any, Any, Any]) -> bytes:
        """Write severity and name, and keep them.

        Raises:
            ValueError: When a severity is none.
        """
        number, text, event_name = head
        written = severity_field(number) + text_field(b"\x1a", text) + text_field(b"\x62", event_name)  # fmt: skip
        if len(self._heads) >= _MOST_KEPT:
            self._heads.clear()
        if len(written) < _LONGEST_KEPT:
            self._heads[head] = written
        return written

    def request(self, batch: Sequence[ReadableLogRecord]) -> bytes | None:
        """Write the request for a batch, grouped by resource and scope.

        Args:
            batch: The records. Those that carry what ``encode`` has written, as ``encoded``, are
                not looked at.

        Returns:
            An ``ExportLogsServiceRequest``; None when one of them holds what cannot be written here.
        """
        groups: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        resource: Resource | None = None
        scope: InstrumentationScope | None = None
        records: list[bytes] = []
        try:
            for readable in batch:
                if not groups or readable.resource is not resource or readable.instrumentation_scope is not scope:  # fmt: skip
                    resource, scope = readable.resource, readable.instrumentation_scope
                    records = groups.setdefault(resource, {}).setdefault(scope or None, [])
                encoded: bytes | None = getattr(readable.log_record, "encoded", None)
                records.append(self.encode_sdk(readable) if encoded is None else encoded)
            return b"".join(
                field(b"\x0a", resource_message(self._attributes, resource, scopes))
                for resource, scopes in groups.items()
            )
        except _OUT_OF_THE_ORDINARY:
            return None

    def encode_sdk(self, readable: ReadableLogRecord) -> bytes:
        """Write a record of the SDK's, as a ``log_records`` field.

        Raises:
            TypeError: When a value in it is of a type that cannot be written here.
            ValueError: When a number is out of its range, or a text has lone surrogates.
        """
        record = readable.log_record
        severity = getattr(record.severity_number, "value", None)
        parts = [
            _time_field(b"\x09", record.timestamp),
            severity_field(severity),
            text_field(b"\x1a", record.severity_text),
            field(b"\x2a", any_value(record.body)),
            *self._fields(b"\x32", record.attributes),
            b"\x38" + varint(dropped) if (dropped := readable.dropped_attributes) else b"",
            _flags_field(int(record.trace_flags or 0)),
            field(b"\x4a", record.trace_id.to_bytes(16, "big")) if record.trace_id else b"",
            field(b"\x52", record.span_id.to_bytes(8, "big")) if record.span_id else b"",
            _time_field(b"\x59", record.observed_timestamp),
            text_field(b"\x62", record.event_name),
        ]
        return field(b"\x12", b"".join(parts))

    def _fields(self, tag: bytes, attributes: Mapping[str, Any] | None) -> list[bytes]:
        return [tag + one for one in self._attributes.sized(attributes or {})]


def _body(value: Any) -> bytes:
    """Write the body of a record.

    Raises:
        TypeError: As ``any_value``.
        UnicodeEncodeError: As ``any_value``.
    """
    if type(value) is not str:
        return field(b"\x2a", any_value(value))
    text = value.encode()
    size = len(text)
    if size < _SHORT:
        return b"".join((b"\x2a", FLAT[size + 2], b"\x0a", FLAT[size], text))
    return field(b"\x2a", field(b"\x0a", text))


def is_ordinary(data: Mapping[str, Any], line: bytes) -> bool:
    """Tell whether a line can be decoded and its record rebuilt, without doing it.

    It is so of every line that Wakelog writes but for those with values that JSON lacks, of which this is
    not told here.

    Args:
        data: The line, as the JSON codec has read it.
        line: The line.
    """
    if _TAGGED in line:
        return False
    try:
        times_of(data.get("timestamp"), data.get("observed_timestamp"))
        severity_field(data.get("severity_number"))
        _flags_field(data.get("trace_flags", 0))
        for name, digits in (("trace_id", _TRACE_DIGITS), ("span_id", _SPAN_DIGITS)):
            if (text := data.get(name)) is not None:
                _id_field(b"", text, digits, b"")
    except _OUT_OF_THE_ORDINARY:
        return False
    return (
        type(data.get("attributes", {})) is dict
        and type(data.get("event_name", "")) is str
        and type(data.get("severity_text", "")) is str
        and "dropped_attributes_count" not in data
        and "event" not in data
    )


def times_of(timestamp: str | None, observed: str | None) -> bytes:
    """Write when a record happened and was observed, from the texts on its line.

    Raises:
        ValueError: When that is no time, or none that 64 bits hold.
    """
    happened = None if timestamp is None else parse_rfc3339(timestamp)
    seen = happened if observed is None else parse_rfc3339(observed)
    if seen is None:
        seen = time.time_ns()
    if seen and happened:
        return _TIMES(b"\x09", happened, b"\x59", seen)
    if seen and happened is None:
        return _TIME(b"\x59", seen)
    return _time_field(b"\x09", happened) + _time_field(b"\x59", seen)


def _time_field(tag: bytes, nanoseconds: int | None) -> bytes:
    return tag + _UINT64(nanoseconds) if nanoseconds else b""


def severity_field(number: Any) -> bytes:
    """Write a severity.

    Raises:
        ValueError: When it is none.
    """
    if number is None:
        return b""
    if type(number) is not int or not 0 <= number <= _MOST_SEVERE:
        message = f"no severity: {number!r}"
        raise ValueError(message)
    return b"\x10" + FLAT[number] if number else b""


def _flags_field(flags: Any) -> bytes:
    if type(flags) is not int or not 0 <= flags <= _MOST_FLAGS:
        message = f"no trace flags: {flags!r}"
        raise ValueError(message)
    return b"\x45" + _UINT32(flags) if flags else b""


def _id_field(tag: bytes, text: str, digits: int, none: bytes) -> bytes:
    if len(text) != digits or len(data := bytes.fromhex(text)) != digits // 2:
        message = f"no id: {text!r}"
        raise ValueError(message)
    return b"" if data == none else tag + data
