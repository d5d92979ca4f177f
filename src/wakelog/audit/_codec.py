"""An event as every backend keeps it: a line's content, whole, and the way back.

The content is that of a journal's line, so ``wakelog show`` and the Collector read it: time, name,
severity, trace context and attributes as OpenTelemetry has them, and the whole event as the body, from
which it is made again. What is content stands in the body alone. Unlike in the journal nothing is
cut, because a conversation with holes cannot be replayed.
"""

from __future__ import annotations

import sys

import orjson

from wakelog.errors import CorruptLineError, EventTooLargeError
from wakelog.events import EVENT_TYPES, AgentEvent, attributes_of, event_name_of
from wakelog.record import Record, decode, encode, rfc3339, to_line

MAX_EVENT_BYTES = 16 * 1024 * 1024
_OTHER = EVENT_TYPES["custom"]
# What stands in the body, where it says something; id and time stand beside it.
_FIELDS = (
    "event_type",
    "agent_name",
    "workflow_name",
    "parent_event_id",
    "provider",
    "model",
    "tool_name",
    "status",
    "session_id",
    "tenant_id",
    "call_id",
    "attributes",
    "event_key",
)
_DICTS = ("payload", "risk", "metadata")


def content_of(event: AgentEvent) -> bytes:
    """Return the content of an event's line, ready for ``wakelog.record.seal``.

    Raises:
        EventTooLargeError: When it has more than 16 MiB.
    """
    number, text = EVENT_TYPES.get(event.event_type, _OTHER).severity
    body = {name: value for name in _FIELDS if (value := getattr(event, name)) is not None}
    body.update({name: value for name in _DICTS if (value := getattr(event, name))})
    if event.run_id != event.event_id:
        body["run_id"] = event.run_id
    if event.schema_version != AgentEvent.CURRENT_SCHEMA_VERSION:
        body["schema_version"] = event.schema_version
    fields: dict[str, object] = {
        "timestamp": rfc3339(event.time_unix_nano),
        "event_name": event_name_of(event.event_type),
        "severity_number": number,
        "severity_text": text,
        "attributes": attributes_of(event, {}),
        "body": body,
    }
    if event.span_context is not None:
        trace_id, span_id, trace_flags = event.span_context
        fields["trace_id"] = f"{trace_id:032x}"
        fields["span_id"] = f"{span_id:016x}"
        if trace_flags:
            fields["trace_flags"] = int(trace_flags)
    content = encode(fields, sys.maxsize)
    if len(content) > MAX_EVENT_BYTES:
        raise EventTooLargeError(
            f"{event!r} has {len(content)} bytes, and a session log takes {MAX_EVENT_BYTES}. Keep "
            "large content elsewhere, and its address in the event"
        )
    return content


def id_of(event: AgentEvent) -> str:
    """Return an event's id as it can stand on a line."""
    return str(to_line(event.event_id))


def document_of(event: AgentEvent) -> str:
    """Return an event as one JSON object, for backends whose rows hold it."""
    return (b'{"id":%b%b}' % (orjson.dumps(id_of(event)), content_of(event))).decode()


def event_of(record: Record) -> AgentEvent:
    """Make an event of the record that holds it.

    Raises:
        CorruptLineError: When the record holds no event.
    """
    try:
        event = AgentEvent(
            event_id=record.id,
            time_unix_nano=record.timestamp,
            allow_custom_event_types=True,
            **record.body,  # type: ignore[arg-type] # what is no dict is caught below
        )
        if record.trace_id and record.span_id:
            ids = int(record.trace_id, 16), int(record.span_id, 16)
            event.span_context = (*ids, record.trace_flags)
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptLineError(f"record {record.id} holds no event: {error}") from error
    return event


def event_in(document: str | bytes) -> AgentEvent:
    """Make an event of what ``document_of`` returned.

    Raises:
        CorruptLineError: When the document holds no event.
    """
    return event_of(decode(document.encode() if isinstance(document, str) else document))
