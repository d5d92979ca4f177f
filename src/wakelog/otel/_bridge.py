"""``EventToSpanEventBridge``: adds events to the current span as span events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord

from wakelog.otel._others import failures, span_of
from wakelog.otel._span_event import add_event


class EventToSpanEventBridge(LogRecordProcessor):
    """Adds each emitted event to its span, if the span is recording.

    A record is bridged if, and only if, all of this holds: it has an event name; it has a valid
    trace id and span id; the current span of its context is recording; and that span has these
    ids. It then becomes one span event: name, attributes, and the timestamp or else the observed
    timestamp. Body and severity are not mapped. The record always continues through the pipeline;
    an exception that the span raises is counted and logged.

    The bridge may be at any place in the pipeline, because it works in the caller's thread.

    Source: OpenTelemetry specification 1.60, logs SDK, "Event to span event bridge"; it defines no
    parameters.
    """

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Bridge one record, if it is an event of the current span."""
        record = log_record.log_record
        if not record.event_name or not record.trace_id or not record.span_id:
            return
        try:  # inlined from `asked`, because every record comes through here
            span, ids = span_of(record.context)
            if ids is None or ids[0] != record.trace_id or ids[1] != record.span_id:
                return
            if not span.is_recording():
                return
            add_event(
                span,
                str(record.event_name),
                self.attributes_of(log_record),
                record.timestamp or record.observed_timestamp,
            )
        except Exception as error:  # noqa: BLE001 - counted and logged: the span is the user's
            failures.note(error)

    def attributes_of(self, log_record: ReadWriteLogRecord) -> Mapping[str, Any]:
        """Return the attributes that the span event gets: all of the record's."""
        return log_record.log_record.attributes or {}

    def shutdown(self) -> None:
        """Do nothing: the bridge holds no records."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the interface's
        """Return True: the bridge holds no records."""
        return True
