"""Conversion of lines back to OpenTelemetry's log records.

Delivery exports the records that the SDK would have exported, plus ``log.record.uid``,
``wakelog.writer.id`` and ``wakelog.seq``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import TraceFlags
from opentelemetry.util.types import AnyValue

from wakelog._native import native
from wakelog.events import renewed
from wakelog.events import semconv as s
from wakelog.journal import Entry, LaterEntry
from wakelog.otel._content import ContentPolicy, body_of, without_content
from wakelog.otel._line_records import LineLogRecord, PreparedRecord
from wakelog.otel._log_encoder import LogEncoder, is_ordinary
from wakelog.otel._origins import Origins
from wakelog.otel._records import USUAL_FLAGS
from wakelog.otel._substitutes import previewed, size_of
from wakelog.record import Record, UnreadRecord, to_line

_SEVERITIES = {severity.value: severity for severity in SeverityNumber} | {None: None}
# The encoder of the official exporters silently omits values nested more than 32 maps deep.
_LEVELS = 30
_CONTAINERS = frozenset({list, dict})
_NO_CONTEXT = Context()
# The maximum size of the second attempt with a record that was refused as too large.
_SMALL_RECORD = 16 * 1024


class _ReadLogRecord(LogRecord):
    """A log record that was read from a line, without looking up the current span or the time.

    A test compares its attributes with the fields of ``LogRecord``.
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
        self.trace_flags = USUAL_FLAGS[flags] if flags in USUAL_FLAGS else TraceFlags(flags)
        self.severity_text = source.severity_text
        self.severity_number = _SEVERITIES.get(source.severity_number)
        body = source.body
        if _is_deeper(body, _LEVELS):
            body = as_the_sdk_has_it(body)
        self.body = cast("AnyValue", body)
        self.attributes = attributes
        self.event_name = source.event_name
        self.exception = None

    def __copy__(self) -> _ReadLogRecord:
        """Return itself, not a copy: nobody else has this record and could change it."""
        return self


def _exportable(nanoseconds: int | None) -> int | None:
    """Return a time that fits into OTLP's unsigned 64 bits, else None, which means unknown."""
    return nanoseconds if nanoseconds is not None and 0 <= nanoseconds < 2**64 else None


def as_the_sdk_has_it(value: Any, levels: int = _LEVELS) -> Any:
    """Return a value with tuples for lists, and JSON text for values deeper than ``levels``."""
    if type(value) not in _CONTAINERS:
        return value
    if not levels:
        return orjson.dumps(to_line(value)).decode()
    if type(value) is dict:
        return {key: as_the_sdk_has_it(item, levels - 1) for key, item in value.items()}
    if _CONTAINERS.isdisjoint(map(type, value)):
        return tuple(value)
    return tuple(as_the_sdk_has_it(item, levels - 1) for item in value)


def _is_deeper(value: Any, levels: int) -> bool:
    if type(value) not in _CONTAINERS:
        return False
    items = value.values() if type(value) is dict else value
    return not levels or any(_is_deeper(item, levels - 1) for item in items)


class Rebuilder:
    """Rebuilds log records from lines.

    Args:
        policy: Where the content of Wakelog's own events may go.
        max_record_bytes: The size of body and attributes as JSON above which the largest values of
            a record are previews, with ``wakelog.truncated_bytes``; None for no limit.
    """

    def __init__(self, policy: ContentPolicy, *, max_record_bytes: float | None = None) -> None:
        self._policy = policy
        self._max_record_bytes = None if max_record_bytes is None else int(max_record_bytes)
        self.encodes = False
        """Whether ``prepare`` encodes records, for an exporter that accepts encoded ones."""
        self._rebuilds_first = False
        # Bound once, because binding it for each record takes time.
        self._later = self._rebuild_later
        self._encoder = LogEncoder(events=policy.events, max_record_bytes=self._max_record_bytes)
        self._origins = Origins()
        self._compiled: Callable[..., list[ReadWriteLogRecord]] | None = None
        if native is not None:
            self._compiled = native.RecordPreparer(
                self._encoder.compiled,
                max(0, self._encoder.longest),
                LaterEntry,
                LineLogRecord,
                PreparedRecord,
            ).prepare
        # Cache of the last scope, whether it is Wakelog's own, and whether its semantic conventions
        # are older.
        self._scope: tuple[InstrumentationScope | None, bool, bool] = (None, False, False)

    def prepare(self, entry: Entry, replayed: bool = False) -> ReadWriteLogRecord:  # noqa: FBT001, FBT002 - given for every record
        """Return a log record that is rebuilt only when a field is read.

        Args:
            entry: The entry with the line.
            replayed: As in ``rebuild``.

        Returns:
            The record. If its line is unusual, it has already been rebuilt.
        """
        line: bytes
        if type(entry) is LaterEntry:
            line, seq = entry.line, entry.seq
        elif type(record := entry.record) is UnreadRecord:
            line, seq = record.line, record.seq
        else:
            return self.rebuild(entry, replayed=replayed)
        if self._rebuilds_first:
            return self.rebuild(entry, replayed=replayed)
        scope, own, older = self._scope_on(line)
        if older:
            return self.rebuild(entry, replayed=replayed)
        encoded = None
        if self.encodes:
            encoded = self._encoder.encode(line, seq, entry.writer, own, replayed)
        if (encoded is None) if self.encodes else not is_ordinary(line):
            return self.rebuild(entry, replayed=replayed)
        log_record = LineLogRecord(self._later, entry, replayed, encoded)
        resource = self._origins.resource(entry.resource)
        return PreparedRecord(log_record, resource, scope)

    def prepare_some(
        self,
        entries: Sequence[Entry],
        start: int,
        most: int,
        replayed: bool,  # noqa: FBT001 - one of two
    ) -> Sequence[ReadWriteLogRecord]:
        """Prepare ordinary entries in compiled code; ``prepare`` serves for each of the others.

        Args:
            entries: The entries.
            start: The number of the first to prepare, from 0.
            most: The maximum number to prepare.
            replayed: As in ``rebuild``.

        Returns:
            The records of the first entries that are ordinary and have the same scope and resource;
            none if the first entry is not ordinary, or if there is no compiled code.
        """
        entry, compiled = entries[start], self._compiled
        if compiled is None or type(entry) is not LaterEntry or self._rebuilds_first:
            return ()
        scope, own, older = self._scope_on(entry.line)
        if older:
            return ()
        ending, resource = self._origins.ending, self._origins.resource(entry.resource)
        return compiled(
            entries, start, most, replayed, self.encodes, own, ending, scope, resource, self._later
        )

    def _scope_on(self, line: bytes) -> tuple[InstrumentationScope | None, bool, bool]:
        """Return a line's scope, whether it is Wakelog's own, and whether that is an older one."""
        scope = self._origins.scope_on(line)
        if scope is not self._scope[0]:
            own = scope is not None and scope.name == s.SCOPE_NAME
            older = own and scope is not None and scope.schema_url != s.SCHEMA_URL
            self._scope = (scope, own, older)
        return self._scope

    def _rebuild_later(self, entry: Entry, replayed: bool) -> ReadWriteLogRecord:  # noqa: FBT001 - one of two
        try:
            return self.rebuild(entry, replayed=replayed)
        except Exception:
            # Inside an export the exception keeps the whole batch pending; before it, one record.
            self._rebuilds_first = True
            raise

    def request(self, batch: Sequence[ReadableLogRecord]) -> bytes | None:
        """Encode the OTLP request for a batch of records from ``prepare`` and ``rebuild``.

        Returns:
            The message, None if a record has a value that only the official encoder may know.
        """
        return self._encoder.request(batch)

    def rebuild(
        self, entry: Entry, *, replayed: bool = False, max_bytes: int | None = None
    ) -> ReadWriteLogRecord:
        """Return the log record that the SDK's own processor would have exported.

        Args:
            entry: The entry with the line.
            replayed: Whether to mark it as one that has waited for an outage to end.
            max_bytes: The size above which its largest values are previews, in place of
                ``max_record_bytes``.

        Returns:
            The record, with its identity among its attributes.
        """
        source = renewed(entry.record)
        attributes = source.attributes
        scope = source.scope
        own = scope is not None and scope.name == s.SCOPE_NAME
        if own and not self._policy.events:
            attributes = without_content(attributes)
        if own and source.body is None and source.event_name:
            source = replace(source, body=body_of(source.event_name, attributes))
        most = self._max_record_bytes if max_bytes is None else max_bytes
        if most is not None:
            source = previewed(source, attributes, most)
            attributes = source.attributes
        for name, time_ in (
            ("timestamp", source.timestamp),
            # Missing on the line if it equals the timestamp.
            ("observed_timestamp", source.observed_timestamp or source.timestamp),
        ):
            if time_ is not None and _exportable(time_) is None:
                attributes[s.GIVEN + name] = str(time_)
        attributes[s.LOG_RECORD_UID] = source.id
        attributes[s.WRITER_ID] = entry.writer
        attributes[s.SEQ] = source.seq
        if replayed:
            attributes[s.REPLAYED] = True
        # The SDK's own conversion of containers takes five times as long, because it checks them.
        for name, value in attributes.items():
            if type(value) in _CONTAINERS:
                attributes[name] = as_the_sdk_has_it(value)
        record = _ReadLogRecord(source, attributes)
        if source.dropped_attributes_count:
            bounded = BoundedAttributes(attributes=record.attributes, immutable=False)
            bounded.dropped = source.dropped_attributes_count
            record.attributes = bounded
        return PreparedRecord(
            record, self._origins.resource(entry.resource), self._origins.scope(scope)
        )

    def smaller(self, entry: Entry, replayed: bool) -> ReadableLogRecord | None:  # noqa: FBT001 - one of two
        """Return a copy with previews of large values, for a next hop that refuses its size.

        Args:
            entry: The entry with the line.
            replayed: Whether to mark it as one that has waited for an outage to end.

        Returns:
            The record, None if no value can be shortened.
        """
        limit = min(_SMALL_RECORD, size_of(entry.record) // 4)
        whole = self.rebuild(entry, replayed=replayed, max_bytes=limit)
        if s.TRUNCATED_BYTES not in (whole.log_record.attributes or {}):
            return None
        return ReadableLogRecord(
            whole.log_record,
            whole.resource or SDKResource({}),
            whole.instrumentation_scope,
            whole.limits,
        )
