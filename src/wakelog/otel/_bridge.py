"""``EventToSpanEventBridge``: events become span events of the span that was running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord

from wakelog.otel._others import failures


class EventToSpanEventBridge(LogRecordProcessor):
    """Adds each emitted event to its span, if the span is recording.

    A record is bridged if, and only if, all of this holds: it has an event name; it has a valid
    trace id and span id; the current span of its context is recording; and that span has these
    ids. It then becomes one span event: name, attributes, and the timestamp or else the observed
    timestamp. Body and severity are not mapped. The record goes on through the pipeline whatever
    happens here; where the span raises, that is counted and said.

    Put it in front of a batching processor, or anywhere: it works in the caller's thread.

    Source: OpenTelemetry specification 1.60, logs SDK, "Event to span event bridge"; it defines no
    parameters.
    """

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Bridge one record, when it is an event of the span that is running."""
        record = log_record.log_record
        if not record.event_name or not record.trace_id or not record.span_id:
            return
        try:  # as in `asked`, but for a call in the path of every record
            span = trace.get_current_span(record.context)
            if not span.is_recording():
                return
            span_context = span.get_span_context()
            if span_context.trace_id != record.trace_id or span_context.span_id != record.span_id:
                return
            span.add_event(
                str(record.event_name),
                attributes=self.attributes_of(log_record),
                timestamp=record.timestamp or record.observed_timestamp,
            )
        except Exception as error:  # noqa: BLE001 - counted and said: it is somebody else's
            failures.note(error)

    def attributes_of(self, log_record: ReadWriteLogRecord) -> Mapping[str, Any]:
        """Return the attributes that the span event gets: all of the record's."""
        return log_record.log_record.attributes or {}

    def shutdown(self) -> None:
        """Do nothing: nothing is held here."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the interface's
        """Return True: nothing is held here."""
        return True
