"""The encoding of an event in every backend, as the content of a journal line.

``wakelog show`` and the Collector can therefore read it: time, name, severity, trace context and
attributes are as in OpenTelemetry, and the body is the whole event, from which it is decoded. Text
of messages and tool calls is only in the body. Unlike in the journal nothing is shortened, because
a conversation with gaps cannot be replayed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from operator import attrgetter
from typing import Any

import orjson

from wakelog._native import native
from wakelog.errors import CorruptLineError, EventTooLargeError
from wakelog.events import EVENT_TYPES, AgentEvent, attributes_of, event_name_of
from wakelog.record import Record, decode, encode, is_json, rfc3339, to_line
from wakelog.runtime import let_through

MAX_EVENT_BYTES = 16 * 1024 * 1024
_OTHER = EVENT_TYPES["custom"]
# The fields in the body, except empty ones. Id and time are fields of the line.
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
_values_of = attrgetter(*_FIELDS, "schema_version")  # one call for all
_PLAIN = frozenset({str, int, bool, type(None)})


def content_of(event: AgentEvent) -> bytes:
    """Return the content of an event's line, ready for ``wakelog.record.seal``.

    Raises:
        EventTooLargeError: If it is larger than 16 MiB.
    """
    number, text = EVENT_TYPES.get(event.event_type, _OTHER).severity
    values = _values_of(event)
    payload, risk, metadata = event.payload, event.risk, event.metadata
    body: dict[str, object] = {
        name: value for name, value in zip(_FIELDS, values, strict=False) if value is not None
    }
    if payload:
        body["payload"] = payload
    if risk:
        body["risk"] = risk
    if metadata:
        body["metadata"] = metadata
    if event.run_id != event.event_id:
        body["run_id"] = event.run_id
    if event.schema_version != AgentEvent.CURRENT_SCHEMA_VERSION:
        body["schema_version"] = event.schema_version
    attributes = attributes_of(event, {})
    fields: dict[str, object] = {
        "timestamp": rfc3339(event.time_unix_nano),
        "event_name": event_name_of(event.event_type),
        "severity_number": number,
        "severity_text": text,
        "attributes": attributes,
        "body": body,
    }
    if event.span_context is not None:
        trace_id, span_id, trace_flags = event.span_context
        fields["trace_id"] = f"{trace_id:032x}"
        fields["span_id"] = f"{span_id:016x}"
        if trace_flags:
            fields["trace_flags"] = int(trace_flags)
    content = b""
    # `encode` would check all fields; the others are from here.
    if native is None and _is_json(values, attributes, payload):
        with suppress(TypeError):  # lone surrogates and integers beyond 64 bit
            content = b",%b" % orjson.dumps(fields)[1:-1]
    content = content or encode(fields, sys.maxsize)
    if len(content) > MAX_EVENT_BYTES:
        raise EventTooLargeError(
            f"{event!r} has {len(content)} bytes, and a session log accepts {MAX_EVENT_BYTES}. Store "
            "large content elsewhere, and its address in the event"
        )
    return content


def _is_json(values: Iterable[object], attributes: dict[str, Any], payload: object) -> bool:
    """Return whether an event's values are JSON, if all except the payload's are plain."""
    try:
        return (
            _PLAIN.issuperset(map(type, values))
            and _PLAIN.issuperset(map(type, attributes.values()))
            and is_json(payload)
        )
    except Exception as error:  # noqa: BLE001 - a metaclass may raise when its class is hashed
        let_through(error)
        return False


def id_of(event: AgentEvent) -> str:
    """Return an event's id in the form that a line can hold."""
    event_id = event.event_id
    if type(event_id) is str and event_id.isascii():  # the usual case
        return event_id
    return str(to_line(event_id))


def document_of(event: AgentEvent) -> str:
    """Return an event as a JSON object, for a column of a database."""
    return (b'{"id":%b%b}' % (orjson.dumps(id_of(event)), content_of(event))).decode()


def event_of(record: Record) -> AgentEvent:
    """Return the event in a record.

    Raises:
        CorruptLineError: If the record has no event.
    """
    try:
        event = AgentEvent(
            event_id=record.id,
            time_unix_nano=record.timestamp,
            allow_custom_event_types=True,
            **record.body,  # type: ignore[arg-type] # a body that is not a dict is caught below
        )
        if record.trace_id and record.span_id:
            ids = int(record.trace_id, 16), int(record.span_id, 16)
            event.span_context = (*ids, record.trace_flags)
    except (ValueError, TypeError, AttributeError) as error:
        raise CorruptLineError(f"record {record.id} has no event: {error}") from error
    return event


def event_in(document: str | bytes) -> AgentEvent:
    """Return the event in a result of ``document_of``.

    Raises:
        CorruptLineError: If the document has no event.
    """
    return event_of(decode(document.encode() if isinstance(document, str) else document))
