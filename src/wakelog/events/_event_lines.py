"""The lines of events for sinks without OpenTelemetry, encoded without an intermediate dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from wakelog.events import semconv as s
from wakelog.events._mapping import attributes_of, event_name_of, severity_of
from wakelog.record import is_json, rfc3339

if TYPE_CHECKING:
    from wakelog.events._event import AgentEvent

_SCOPE = b"," + orjson.dumps({"scope": {"name": s.SCOPE_NAME, "schema_url": s.SCHEMA_URL}})[1:-1]
_MOST_HEADS = 256
# A cache of the encoded name and severity of each event type.
_heads: dict[str, bytes] = {}


def plain_content_of(event: AgentEvent, longest: int) -> bytes | None:
    """Return the middle part of an event's line, as ``encode`` does for ``fields_of``.

    Args:
        event: The event.
        longest: Maximum size in bytes.

    Returns:
        The part; None if it is longer or has values that JSON lacks.
    """
    attributes = attributes_of(event)
    if not is_json(attributes, longest):
        return None
    trace = ""
    if event.span_context is not None:
        trace_id, span_id, trace_flags = event.span_context
        trace = f',"trace_id":"{trace_id:032x}","span_id":"{span_id:016x}"'
        if trace_flags:
            trace += f',"trace_flags":{trace_flags}'
    try:
        middle = b',"timestamp":"%b"%b,"attributes":%b%b%b' % (
            rfc3339(event.time_unix_nano).encode(),
            _heads.get(event.event_type) or _write_head(event),
            orjson.dumps(attributes),
            trace.encode(),
            _SCOPE,
        )
    except TypeError:  # lone surrogates and integers beyond 64 bit
        return None
    return middle if len(middle) <= longest else None


def _write_head(event: AgentEvent) -> bytes:
    number, text = severity_of(event)
    name = event_name_of(event.event_type)
    fields = {"event_name": name, "severity_number": number, "severity_text": text}
    head = b"," + orjson.dumps(fields)[1:-1]
    if len(_heads) >= _MOST_HEADS:
        _heads.clear()
    _heads[event.event_type] = head
    return head
