"""Encoding of lines as OTLP requests for log records, without the SDK's objects in between.

The bytes equal those of the official encoder for the record that ``Rebuilder`` rebuilds; a test
compares the two. Lines that are unusual in any way are not encoded here: their records are rebuilt.

Source: ``opentelemetry/proto/logs/v1/logs.proto`` and ``collector/logs/v1/logs_service.proto``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception class
from typing import Any

import orjson
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog._native import native
from wakelog.events import semconv as s
from wakelog.otel._content import NAMES, body_of, without_content
from wakelog.otel._protobuf import (
    FLAT,
    Attributes,
    any_value,
    field,
    resource_message,
    sized,
    text_field,
    varint,
)
from wakelog.record import (
    SALTED,
    attributes_on,
    from_line,
    is_salted_part,
    parse_rfc3339,
    put_content_back,
)

_TAGGED = b'"$wakelog"'
_UINT64, _UINT32 = Struct("<Q").pack, Struct("<I").pack
_TIME, _TIMES = Struct("<cQ").pack, Struct("<cQcQ").pack
_LATEST, _MOST_FLAGS = 2**64 - 1, 2**32 - 1
_MOST_SEVERE = 24
_ID_LENGTH = 36  # of a UUID
_ITEMS = 3  # of a salted part: its size, the salt and the content
_TRACE_DIGITS, _SPAN_DIGITS = 32, 16
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_ADDED = frozenset({s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ, s.REPLAYED})
# Exceptions that a line in a form other than Wakelog's may raise here.
_OUT_OF_THE_ORDINARY = (ValueError, TypeError, AttributeError, KeyError, StructError)
# The largest size that a body made from attributes adds to a line.
_MADE_BODY = 1024
_MOST_KEPT, _LONGEST_KEPT = 256, 256
# The length of a shorter text takes one byte, and so does that of the value around it.
_SHORT = len(FLAT) - 2


def _start_of(name: str, size: int) -> bytes:
    """Return the encoded beginning, with lengths, of an attribute whose text has ``size`` bytes."""
    return sized(field(b"\x0a", name.encode()) + field(b"\x12", field(b"\x0a", bytes(size))))[:-size]  # fmt: skip


_UID = _start_of(s.LOG_RECORD_UID, _ID_LENGTH)
_SEQ = field(b"\x0a", s.SEQ.encode()) + b"\x12"
# The beginning of that attribute, by the number of bytes that its value takes.
_SEQS = tuple(
    b"%b%b%b\x18" % (FLAT[len(_SEQ) + size + 2], _SEQ, FLAT[size + 1]) for size in range(11)
)
_REPLAYED = Attributes().sized({s.REPLAYED: True})[0]


class LogEncoder:
    """Encodes log records for OTLP.

    One thread at a time encodes records; another one may assemble requests meanwhile. Encoded parts
    that repeat are cached in bounded tables.

    Args:
        events: Whether the content of Wakelog's own events is exported.
        max_record_bytes: The size above which a record is shortened, and so not encoded here.
    """

    def __init__(self, *, events: bool, max_record_bytes: int | None) -> None:
        self._events = events
        self.longest = sys.maxsize if max_record_bytes is None else max_record_bytes - _MADE_BODY
        """The size of a line above which its record may have to be shortened, in bytes."""
        self._attributes = Attributes()
        self._writer = ("", b"")
        # Cache of the encoded severities and event names.
        self._heads: dict[tuple[Any, Any, Any], bytes] = {}
        # Caches of the bodies of Wakelog's own events, and of the last span.
        self._bodies: dict[tuple[Any, ...], bytes] = {}
        self._span: tuple[tuple[Any, Any, Any], bytes] = ((None, None, None), b"")
        self.compiled = None if native is None else _native_encoder(events=events)
        """The compiled encoder, None without one."""
        self._native = None if self.compiled is None else self.compiled.encode

    # Long: every record is encoded here, and each call costs time.
    def encode(
        self,
        line: bytes,
        seq: int,
        writer: str,
        own: bool,  # noqa: FBT001 - passed on for every record
        replayed: bool,  # noqa: FBT001 - likewise
    ) -> bytes | None:
        """Encode the record of a line, with the compiled encoder if there is one.

        Args:
            line: The line.
            seq: The record's number.
            writer: The id of the writer that recorded it.
            own: Whether it is one of Wakelog's own events.
            replayed: Whether to mark it as one that has waited for an outage to end.

        Returns:
            A ``log_records`` field of ``ScopeLogs``; None if the record has to be rebuilt.

        Raises:
            ValueError: If the line is not JSON.
        """
        if len(line) > self.longest:
            return None
        if self._native is not None:
            encoded: bytes | None = self._native(line, seq, writer, own, replayed)
            if encoded is not None:
                return encoded
        data = orjson.loads(line)
        get = data.get
        if SALTED in data:
            if own and not self._events and _has_attributes_only(data[SALTED]):
                del data[SALTED]  # it would only be taken out again
            elif not put_content_back(data):
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
        """Encode the body of one of Wakelog's own events, cached by the names that it contains."""
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
        """Encode the trace context of a record, and cache it.

        Raises:
            ValueError: If the ids or flags are invalid.
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
        """Encode severity and event name, and cache them.

        Raises:
            ValueError: If the severity is invalid.
        """
        number, text, event_name = head
        written = severity_field(number) + text_field(b"\x1a", text) + text_field(b"\x62", event_name)  # fmt: skip
        if len(self._heads) >= _MOST_KEPT:
            self._heads.clear()
        if len(written) < _LONGEST_KEPT:
            self._heads[head] = written
        return written

    def request(self, batch: Sequence[ReadableLogRecord]) -> bytes | None:
        """Encode the request for a batch, grouped by resource and scope.

        Args:
            batch: The records. Those with the result of ``encode`` as ``encoded`` are not encoded
                again.

        Returns:
            An ``ExportLogsServiceRequest``; None if a record cannot be encoded here.
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
        """Encode a record of the SDK, as a ``log_records`` field.

        Raises:
            TypeError: If it has a value of a type that cannot be encoded here.
            ValueError: If a number is out of range, or a text has lone surrogates.
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


def _native_encoder(*, events: bool) -> Any:
    """Return the compiled form of ``LogEncoder``."""
    return native.LogEncoder(
        events,
        set(s.CONTENT),
        s.LOG_RECORD_UID,
        s.WRITER_ID,
        s.SEQ,
        s.REPLAYED,
        list(NAMES),
        body_of,
    )


def _body(value: Any) -> bytes:
    """Encode the body of a record.

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


def _has_attributes_only(part: Any) -> bool:
    """Return whether a parsed salted part has content, which is attributes and nothing else."""
    if type(part) is not list or len(part) != _ITEMS:
        return False
    content = part[-1]
    return type(content) is dict and len(content) == 1 and "attributes" in content


# Finds most of the lines for which `is_ordinary` is True.
_surely_ordinary: Callable[[bytes], bool] | None = None if native is None else native.is_ordinary


def is_ordinary(line: bytes) -> bool:
    """Return whether a line can certainly be decoded and its record rebuilt, without doing so.

    It is True for every line that Wakelog writes, except for those with values that JSON lacks.

    Args:
        line: The line.

    Raises:
        ValueError: If the line is not JSON.
    """
    if _surely_ordinary is not None and _surely_ordinary(line):
        return True
    data = orjson.loads(line)
    if _TAGGED in line or (SALTED in data and not is_salted_part(data[SALTED])):
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
    """Encode the times at which a record happened and was observed, from the texts on its line.

    Raises:
        ValueError: If a text is not a time, or the time does not fit into 64 bits.
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
    """Encode a severity.

    Raises:
        ValueError: If it is invalid.
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
