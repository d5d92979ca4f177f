"""Between OpenTelemetry's log records and lines: ``content_of`` there, ``Rebuilder`` back.

What delivery exports is what the SDK would have exported, plus ``log.record.uid``,
``wakelog.writer.id`` and ``wakelog.seq``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, get_current
from opentelemetry.sdk._logs import Logger, LogRecordLimits, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import TraceFlags
from opentelemetry.util.types import AnyValue, Attributes

from wakelog.errors import EventTooLargeError
from wakelog.events import semconv as s
from wakelog.journal import Durability, Entry, Receipt
from wakelog.otel._content import ContentPolicy, without_content
from wakelog.record import Record, Resource, Scope, decode, encode, rfc3339, to_line, uuid7

_UNLIMITED = LogRecordLimits(
    max_attributes=LogRecordLimits.UNSET,
    max_attribute_length=LogRecordLimits.UNSET,
    max_log_record_attributes=LogRecordLimits.UNSET,
    max_log_record_attribute_length=LogRecordLimits.UNSET,
)
_SEVERITIES = {severity.value: severity for severity in SeverityNumber} | {None: None}
_TRUNCATED = b'"wakelog.truncated_bytes":'
# The encoder of the official exporters leaves out what is nested more than 32 maps deep, silently.
_LEVELS = 30
_CONTAINERS = frozenset({list, dict})
_NO_CONTEXT = Context()
_NO_FLAGS = TraceFlags(TraceFlags.DEFAULT)
_USUAL_FLAGS = (_NO_FLAGS, TraceFlags(TraceFlags.SAMPLED))
_LONGEST_ID = 200
# How the last scope stands on a line: mostly one scope emits many records in a row.
_scope: tuple[InstrumentationScope | None, bytes] = (None, b"")
_LONGEST_SCOPE = 16 * 1024


class EventLogRecord(LogRecord):
    """A log record of Wakelog's own front doors, which wait for an answer.

    It sets what ``LogRecord`` sets, from what is known already, instead of looking the current span
    up again; a test holds it to the fields of ``LogRecord``.

    Args:
        timestamp: When it happened, in nanoseconds since 1970.
        severity_number: OpenTelemetry's severity, if it is known.
        severity_text: Its name.
        attributes: The event's attributes.
        event_name: The event's name.
        span_context: Trace id, span id and trace flags of the span that it belongs to, if any.
        durability: What the journal has to do before it accepts the record.
        deferred: Whether waiting for the disk is left to ``settling``.
        content: Attributes for the journal alone, which no other processor may see.

    Attributes:
        answered: Whether a ``DurableLogRecordProcessor`` has taken it, or done with it what its
            buffer's policy says.
        receipt: What the journal answered, None while nobody has.
        settling: Waits until the receipt holds, when that is left to be done.
    """

    def __init__(
        self,
        *,
        timestamp: int,
        severity_number: SeverityNumber | None,
        severity_text: str,
        attributes: dict[str, Any],
        event_name: str,
        span_context: tuple[int, int, int] | None,
        durability: Durability | None,
        deferred: bool = False,
        content: dict[str, Any] | None = None,
    ) -> None:
        self.timestamp = self.observed_timestamp = timestamp
        self.context = get_current()
        if span_context is None:
            self.trace_id, self.span_id, self.trace_flags = 0, 0, _NO_FLAGS
        else:
            self.trace_id, self.span_id, flags = span_context
            self.trace_flags = TraceFlags(flags)
        self.severity_text = severity_text
        self.severity_number = severity_number
        self.body = None
        self.attributes = attributes
        self.event_name = event_name
        self.exception = None
        self.durability = durability
        self.deferred = deferred
        self.content = content
        self.answered = False
        self.receipt: Receipt | None = None
        self.settling: Callable[[], Awaitable[object]] | None = None


class _ReadLogRecord(LogRecord):
    """A log record that was read, which asks for no current span and no time.

    It has the fields of ``LogRecord``; a test holds it to them.
    """

    def __init__(self, source: Record, attributes: dict[str, Any]) -> None:
        timestamp, observed = _exportable(source.timestamp), source.observed_timestamp
        self.timestamp = timestamp
        observed = timestamp if observed is None else _exportable(observed)
        self.observed_timestamp = time.time_ns() if observed is None else observed
        self.context = _NO_CONTEXT
        self.trace_id = int(source.trace_id, 16) if source.trace_id else 0
        self.span_id = int(source.span_id, 16) if source.span_id else 0
        flags = source.trace_flags
        self.trace_flags = _USUAL_FLAGS[flags] if flags in (0, 1) else TraceFlags(flags)
        self.severity_text = source.severity_text
        self.severity_number = _SEVERITIES.get(source.severity_number)
        body = source.body
        if _is_deeper(body, _LEVELS):
            body = _as_the_sdk_has_it(body)
        self.body = cast("AnyValue", body)
        self.attributes = attributes
        self.event_name = source.event_name
        self.exception = None

    def __copy__(self) -> _ReadLogRecord:
        """Return itself: the batch processor copies what others may hold, and nobody holds this."""
        return self


class _PreparedLogRecord(ReadWriteLogRecord):
    """A log record whose attributes are already what OpenTelemetry takes, so it looks no further."""

    def __post_init__(self) -> None:
        """Leave the attributes as they are."""


def emit_prepared(logger: Logger, record: EventLogRecord) -> None:
    """Emit a record without having its attributes checked and copied again.

    Only for providers without limits, and for attributes that are a new dict of plain values.

    Args:
        logger: The SDK's logger.
        record: The record.
    """
    whole = _PreparedLogRecord(
        log_record=record,
        resource=logger.resource,
        instrumentation_scope=logger.instrumentation_scope,
        limits=_UNLIMITED,
    )
    # The SDK's logger takes either kind of record, the API's signature names the other one.
    logger.emit(whole)  # type: ignore[arg-type]


def content_of(log_record: ReadWriteLogRecord, max_line_bytes: int) -> tuple[str, bytes]:
    """Turn a log record into an id and the middle part of its line.

    Args:
        log_record: The record, as a processor gets it. It is not changed.
        max_line_bytes: The most bytes of the line.

    Returns:
        The record's ``log.record.uid`` where it has one, else a new id; and the encoded fields.

    Raises:
        EventTooLargeError: When it does not fit even with its texts cut.
    """
    record = log_record.log_record
    fields: dict[str, Any] = {}
    timestamp, observed = record.timestamp, record.observed_timestamp
    if timestamp is not None:
        fields["timestamp"] = rfc3339(timestamp)
    if observed != timestamp and observed is not None:
        fields["observed_timestamp"] = rfc3339(observed)
    if record.event_name:
        fields["event_name"] = record.event_name
    if record.severity_number is not None:
        # The codec would ask the enum for it, and crashes when a signal's handler raises meanwhile.
        fields["severity_number"] = record.severity_number.value
    if record.severity_text:
        fields["severity_text"] = record.severity_text
    if record.body is not None:
        fields["body"] = record.body
    record_id = ""
    bounded = record.attributes
    if isinstance(bounded, BoundedAttributes):
        # It answers key by key under a lock; its own copy is the fast way out.
        attributes = bounded.copy()
        if bounded.dropped:
            fields["dropped_attributes_count"] = bounded.dropped
    else:
        attributes = dict(bounded or {})
    if type(record) is EventLogRecord and record.content:
        attributes.update(record.content)
    if attributes:
        given = attributes.get(s.LOG_RECORD_UID)
        if isinstance(given, str) and given.isascii() and 0 < len(given) <= _LONGEST_ID:
            record_id = given
            del attributes[s.LOG_RECORD_UID]
        if attributes:
            fields["attributes"] = attributes
    if record.trace_id:
        fields["trace_id"] = f"{record.trace_id:032x}"
    if record.span_id:
        fields["span_id"] = f"{record.span_id:016x}"
    if record.trace_flags:
        fields["trace_flags"] = int(record.trace_flags)
    return record_id or uuid7(), encode(fields, max_line_bytes) + _scope_of(log_record)


def _scope_of(log_record: ReadWriteLogRecord) -> bytes:
    """Return the last field of a line, which says the instrumentation scope."""
    global _scope  # noqa: PLW0603 - a cache of one, replaced whole
    scope = log_record.instrumentation_scope
    known, text = _scope
    if known is not scope:
        text = encode({"scope": _scope_fields(scope)}, _LONGEST_SCOPE) if scope else b""
        _scope = (scope, text)
    return text


def _scope_fields(scope: InstrumentationScope) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": scope.name}
    if scope.version:
        fields["version"] = scope.version
    if scope.schema_url:
        fields["schema_url"] = scope.schema_url
    if scope.attributes:
        fields["attributes"] = dict(scope.attributes)
    return fields


def _exportable(nanoseconds: int | None) -> int | None:
    """Return a time that OTLP's unsigned 64 bits hold, or None: unknown, in place of impossible."""
    return nanoseconds if nanoseconds is not None and 0 <= nanoseconds < 2**64 else None


def _shortened(source: Record, attributes: dict[str, Any], max_bytes: int) -> Record:
    """Return a record with these attributes, its texts cut so that it is no larger than may be."""
    fields = {"body": source.body, "attributes": attributes}
    try:
        text = encode(fields, max_bytes)
    except EventTooLargeError:
        return replace(source, attributes=attributes)  # the next hop decides
    if _TRUNCATED not in text:
        return replace(source, attributes=attributes)
    cut = decode(b'{"id":""%b}' % text)
    return replace(source, body=cut.body, attributes=cut.attributes)


def _as_the_sdk_has_it(value: Any, levels: int = _LEVELS) -> Any:
    """Return a value with tuples for lists, and what is nested deeper than ``levels`` as JSON text."""
    if type(value) not in _CONTAINERS:
        return value
    if not levels:
        return orjson.dumps(to_line(value)).decode()
    if type(value) is dict:
        return {key: _as_the_sdk_has_it(item, levels - 1) for key, item in value.items()}
    if _CONTAINERS.isdisjoint(map(type, value)):
        return tuple(value)
    return tuple(_as_the_sdk_has_it(item, levels - 1) for item in value)


def _is_deeper(value: Any, levels: int) -> bool:
    if type(value) not in _CONTAINERS:
        return False
    items = value.values() if type(value) is dict else value
    return not levels or any(_is_deeper(item, levels - 1) for item in items)


def resource_of(resource: SDKResource | None) -> Resource:
    """Return OpenTelemetry's resource as plain data."""
    if resource is None:
        return Resource({})
    return Resource(dict(resource.attributes), resource.schema_url or "")


class Rebuilder:
    """Makes log records from lines again.

    Args:
        policy: Where the content of Wakelog's own events may go.
        max_record_bytes: The size beyond which the texts of a record are cut, with
            ``wakelog.truncated_bytes`` set; None to leave records as they are. It is that of body
            and attributes as JSON.
    """

    def __init__(self, policy: ContentPolicy, *, max_record_bytes: float | None = None) -> None:
        self._policy = policy
        self._max_record_bytes = None if max_record_bytes is None else int(max_record_bytes)
        # Caches of the last resource and of scopes, so that the exporter's batches group by them.
        self._resource: tuple[Resource, SDKResource] | None = None
        self._scopes: dict[object, InstrumentationScope] = {}

    def rebuild(self, entry: Entry, *, replayed: bool = False) -> ReadWriteLogRecord:
        """Make the log record that the SDK's own processor would have exported.

        Args:
            entry: What was read.
            replayed: Whether to mark it as one that has waited for an outage to end.

        Returns:
            The record, with what identifies it among its attributes.
        """
        source = entry.record
        attributes = source.attributes
        scope = source.scope
        own = scope is not None and scope.name == s.SCOPE_NAME
        if own and not self._policy.events:
            attributes = without_content(attributes)
        if self._max_record_bytes is not None:
            source = _shortened(source, attributes, self._max_record_bytes)
            attributes = source.attributes
        attributes[s.LOG_RECORD_UID] = source.id
        attributes[s.WRITER_ID] = entry.writer
        attributes[s.SEQ] = source.seq
        if replayed:
            attributes[s.REPLAYED] = True
        # What containers are to the SDK; it takes five times as long for making sure of it.
        for name, value in attributes.items():
            if type(value) in _CONTAINERS:
                attributes[name] = _as_the_sdk_has_it(value)
        dropped = source.dropped_attributes_count
        kind = ReadWriteLogRecord if dropped else _PreparedLogRecord
        result = kind(
            log_record=_ReadLogRecord(source, attributes),
            resource=self._sdk_resource(entry.resource),
            instrumentation_scope=self._sdk_scope(scope),
            limits=_UNLIMITED,
        )
        bounded = result.log_record.attributes
        if dropped and isinstance(bounded, BoundedAttributes):
            bounded.dropped = dropped
        return result

    def _sdk_resource(self, resource: Resource) -> SDKResource:
        if self._resource is None or self._resource[0] is not resource:
            known = SDKResource(
                cast("Mapping[str, AnyValue]", resource.attributes), resource.schema_url
            )
            self._resource = (resource, known)
        return self._resource[1]

    def _sdk_scope(self, scope: Scope | None) -> InstrumentationScope | None:
        if scope is None:
            return None
        key = scope[:3] if scope.attributes is None else repr(scope)
        known = self._scopes.get(key)
        if known is None:
            known = InstrumentationScope(
                scope.name,
                scope.version,
                scope.schema_url,
                cast("Attributes | None", scope.attributes),
            )
            self._scopes[key] = known
        return known
