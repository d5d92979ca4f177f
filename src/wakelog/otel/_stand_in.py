"""The small event that tells the backend which record is missing, and why."""

from __future__ import annotations

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LogRecordLimits, ReadableLogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog.events import semconv as s
from wakelog.journal import Entry

_LONGEST_REASON = 1000


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
