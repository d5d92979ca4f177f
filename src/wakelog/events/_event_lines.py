"""The lines of events for sinks without OpenTelemetry, encoded without an intermediate dict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import orjson

from wakelog._native import native
from wakelog.events import semconv as s
from wakelog.events._event import AgentEvent
from wakelog.events._mapping import attributes_of, event_name_of, severity_of, type_of
from wakelog.record import is_json, rfc3339

_SCOPE = b"," + orjson.dumps({"scope": {"name": s.SCOPE_NAME, "schema_url": s.SCHEMA_URL}})[1:-1]
_MOST_HEADS = 256
# A cache of the encoded name and severity of each event type.
_heads: dict[str, bytes] = {}


# The fields that are attributes, in the order of `attributes_of`.
_FIELDS: Final = (
    ("tool_name", s.TOOL_NAME),
    ("call_id", s.TOOL_CALL_ID),
    ("provider", s.PROVIDER_NAME),
    ("model", s.REQUEST_MODEL),
    ("session_id", s.CONVERSATION_ID),
    ("agent_name", s.AGENT_NAME),
    ("workflow_name", s.WORKFLOW_NAME),
    ("parent_event_id", s.PARENT_ID),
    ("tenant_id", s.TENANT_ID),
    ("status", s.STATUS),
)
_NAMES: Final = SimpleNamespace(
    run_id=s.RUN_ID,
    event_key=s.EVENT_KEY,
    payload=s.PAYLOAD,
    risk=s.RISK,
    metadata=s.METADATA,
)
# A cache of what the compiled encoder needs of each event type.
_kinds: dict[str, tuple[bytes, tuple[str, ...], dict[str, tuple[str, Any]]]] = {}


def plain_content_of(event: AgentEvent, longest: int) -> bytes | None:
    """Return the middle part of an event's line, as ``encode`` does for ``fields_of``.

    Args:
        event: The event.
        longest: Maximum size in bytes.

    Returns:
        The part; None if it is longer or has values that JSON lacks.
    """
    if event_encoder is not None and (compiled := event_encoder.encode(event, longest)) is not None:
        content: bytes = compiled
        return content
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


def _kind_of(event: AgentEvent) -> tuple[bytes, tuple[str, ...], dict[str, tuple[str, Any]]]:
    kind = type_of(event)
    constant = orjson.dumps(dict(kind.constant))[:-1]
    head = b'%b,"attributes":%b' % (_heads.get(event.event_type) or _write_head(event), constant)
    payload = {key: (name, kind.wrap.get(key)) for key, name in kind.payload.items()}
    made = (head, tuple(kind.constant), payload)
    if len(_kinds) >= _MOST_HEADS:
        _kinds.clear()
    _kinds[event.event_type] = made
    return made


event_encoder: Final[Any] = (
    None
    if native is None
    else native.EventEncoder(AgentEvent, _kinds, _kind_of, _FIELDS, _NAMES, _SCOPE)
)
"""Encodes ordinary events as ``plain_content_of`` does; None without the compiled encoders."""
