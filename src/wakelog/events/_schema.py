"""The JSON Schema of the result of ``AgentEvent.to_dict``."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_MAYBE: dict[str, Any] = {"type": ["string", "null"]}
_NAME: dict[str, Any] = {"type": "string", "minLength": 1}
_OBJECT: dict[str, Any] = {"type": "object"}

# The schemas of the fields that ``to_dict`` always has, in the same order.
ALWAYS: dict[str, dict[str, Any]] = {
    "event_type": _NAME,
    "schema_version": {"const": "1.0"},
    "run_id": _NAME,
    "event_id": _NAME,
    "timestamp": {"type": "string", "format": "date-time"},
    "agent_name": _MAYBE,
    "workflow_name": _MAYBE,
    "parent_event_id": _MAYBE,
    "provider": _MAYBE,
    "model": _MAYBE,
    "tool_name": _MAYBE,
    "status": _MAYBE,
    "payload": _OBJECT,
    "risk": _OBJECT,
    "metadata": _OBJECT,
}
# The schemas of the fields that it has if they are set.
WHEN_SET: dict[str, dict[str, Any]] = {
    "session_id": _TEXT,
    "tenant_id": _TEXT,
    "call_id": _TEXT,
    "attributes": _OBJECT,
    "event_key": _TEXT,
}


def json_schema() -> dict[str, Any]:
    """Return the schema, by JSON Schema's draft 2020-12, as a new dict."""
    properties = {name: dict(says) for name, says in {**ALWAYS, **WHEN_SET}.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Wakelog AgentEvent",
        "description": "One thing that an AI agent did.",
        "type": "object",
        "properties": properties,
        "required": list(ALWAYS),
        "additionalProperties": False,
    }
