"""Conversion of OpenTelemetry's log records to lines; ``_rebuilder`` converts them back."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import TraceFlags

from wakelog._native import native
from wakelog.errors import EventTooLargeError
from wakelog.events import semconv as s
from wakelog.journal import Durability, Receipt, Writer, line_writer
from wakelog.otel._content import body_of
from wakelog.otel._fields import encoded_scopes, fields_of_record, scope_of
from wakelog.otel._others import current_context
from wakelog.otel._plain_lines import LONGEST_ID, compiled_content, compiled_lines, plain_content
from wakelog.record import (
    SEAL_BYTES,
    encode,
    uuid7,
)

if TYPE_CHECKING:
    from wakelog.otel._redactor import Redactor

# Sampled or not, and with a random trace id or not; others are created for each record.
USUAL_FLAGS = {number: TraceFlags(number) for number in range(4)}
_NO_FLAGS = USUAL_FLAGS[TraceFlags.DEFAULT]
_NOTHING: frozenset[str] = frozenset()
# Cache of the encoded last scope, because one scope usually emits many records in succession.
_scope: tuple[InstrumentationScope | None, bytes] = (None, b"")


class _DerivedBody:
    """The body of an agent event, derived from its name and attributes when it is first read.

    It has no ``__set__``, so that the record's own body takes precedence. A ``__getattr__`` of the
    record would make each read of its fields slower.
    """

    def __get__(self, record: EventLogRecord, _: type) -> Any:
        record.body = body = body_of(record.event_name or "", record.attributes or {})
        return body


class EventLogRecord(LogRecord):
    """A log record of one of Wakelog's own APIs, which waits for the result.

    It sets the attributes of ``LogRecord`` from known values, instead of looking up the current
    span again; a test compares them with the fields of ``LogRecord``.

    Args:
        timestamp: When it happened, in nanoseconds since 1970.
        severity_number: OpenTelemetry's severity, if it is known.
        severity_text: Its name.
        attributes: The event's attributes.
        event_name: The event's name.
        span_context: Trace id, span id and trace flags of the event's span, if it has one.
        durability: The durability with which the journal has to accept the record.
        deferred: Whether the caller waits for the sync by calling ``settling``.
        content: Attributes for the journal alone, which no other processor may see.
        derives_body: Whether its body is derived from the attributes when another processor reads
            it, and so not written to the journal.
        body: The body, if it is not derived.

    Attributes:
        derives_body: As above.
        answered: Whether a ``DurableLogRecordProcessor`` has accepted it, or has handled it as its
            buffer's policy says.
        receipt: The receipt of the journal, None before there is one.
        settling: Waits until the receipt's durability is reached, if the caller has to wait for it.
    """

    body: Any = _DerivedBody()
    answered = False
    receipt: Receipt | None = None
    settling: Callable[[], Awaitable[object]] | None = None

    def __init__(
        self,
        timestamp: int,
        severity_number: SeverityNumber | None,
        severity_text: str,
        attributes: dict[str, Any],
        event_name: str,
        span_context: tuple[int, int, int] | None,
        durability: Durability | None,
        deferred: bool = False,  # noqa: FBT001, FBT002 - passed on for every event
        content: dict[str, Any] | None = None,
        derives_body: bool = False,  # noqa: FBT001, FBT002 - passed on for every event
        body: Any = None,
    ) -> None:
        self.timestamp = self.observed_timestamp = timestamp
        self.context = current_context()
        if span_context is None:
            self.trace_id, self.span_id, self.trace_flags = 0, 0, _NO_FLAGS
        else:
            self.trace_id, self.span_id, flags = span_context
            self.trace_flags = USUAL_FLAGS[flags] if flags in USUAL_FLAGS else TraceFlags(flags)
        self.severity_text = severity_text
        self.severity_number = severity_number
        self.derives_body = derives_body
        if not derives_body:
            self.body = body
        self.attributes = attributes
        self.event_name = event_name
        self.exception = None
        self.durability = durability
        self.deferred = deferred
        self.content = content


def content_of(
    log_record: ReadWriteLogRecord,
    max_line_bytes: int,
    max_event_bytes: int = sys.maxsize,
    redactor: Redactor | None = None,
    erasable: bool = False,  # noqa: FBT001, FBT002 - passed on for every record
) -> tuple[str, bytes]:
    """Return the id and the encoded middle part of the line of a log record.

    Args:
        log_record: The record that a processor got. It is not changed.
        max_line_bytes: The maximum size of the line, in bytes.
        max_event_bytes: The maximum size of all fields, in bytes.
        redactor: Redacts records of other loggers. Wakelog's own loggers have already redacted
            theirs.
        erasable: Whether content is set apart on the line, so that it can be erased.

    Returns:
        The record's ``log.record.uid`` if it has one, else a new id; and the encoded fields.

    Raises:
        EventTooLargeError: If it is larger than ``max_event_bytes``; with the id and content of a
            stub.
        RedactionError: If a detector or a strategy of the user failed.
    """
    record, scope = log_record.log_record, log_record.instrumentation_scope
    known, ending = _scope
    if known is not scope:
        ending = _scope_field(log_record)
    content, derived_body = None, False
    if type(record) is EventLogRecord:
        # A derived body is derived again when the record is exported.
        content, derived_body = record.content, record.derives_body
        redactor = None
    apart = s.CONTENT if erasable else _NOTHING
    if redactor is None:
        longest, body = max_line_bytes - SEAL_BYTES, not derived_body
        if longest > max_event_bytes:  # noqa: PLR1730 - `min` would be one more call
            longest = max_event_bytes
        if longest < 0:  # noqa: PLR1730 - likewise
            longest = 0
        plain = None
        if compiled_content is not None:
            plain = compiled_content(record, content, body, ending, longest, apart)
        if plain is None:
            plain = plain_content(record, content, body, ending, longest, apart)
        if plain is not None:
            return plain
    fields, attributes = fields_of_record(record)
    record_id = ""
    if content:
        attributes.update(content)
    if derived_body:
        fields.pop("body", None)
    if attributes:
        given = attributes.get(s.LOG_RECORD_UID)
        if type(given) is str and given.isascii() and 0 < len(given) <= LONGEST_ID:
            record_id = given
            del attributes[s.LOG_RECORD_UID]
    if redactor is not None:
        attributes = redactor.record(fields, attributes)
    if attributes:
        fields["attributes"] = attributes
    record_id = record_id or uuid7()
    try:
        middle = encode(
            fields,
            max_line_bytes,
            max_event_bytes=max_event_bytes,
            staying=s.IDENTITY,
            apart=apart,
            ending=ending,
        )
    except EventTooLargeError as error:
        error.stub_id = record_id
        raise
    return record_id, middle


def _scope_field(log_record: ReadWriteLogRecord) -> bytes:
    """Return the last field of a line, the encoded instrumentation scope, and cache it."""
    global _scope  # noqa: PLW0603 - a cache of one, replaced whole
    text = scope_of(log_record)
    _scope = (log_record.instrumentation_scope, text)
    return text


compiled_record: Callable[..., tuple[str, Writer, int] | None] | None = (
    None
    if native is None
    else native.LogRecorder(
        compiled_lines, line_writer, EventLogRecord, encoded_scopes, scope_of
    ).record
)
"""The compiled form of ``content_of`` and ``Journal.put`` together, if there is one.

It takes the journal, the record, its resource as the SDK and as the journal has it, the maximum
size of the middle part of a line, the attributes that are set apart, and whether it may write
records of other loggers. It returns the record's id, writer and number, or None, with nothing
changed, if it is not an ordinary record that goes into the open segment.
"""
