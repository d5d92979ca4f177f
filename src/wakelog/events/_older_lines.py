"""Lines of earlier versions: the names that their events have today."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wakelog.events import semconv as s
from wakelog.events._mapping import EVENT_TYPES, USAGE, event_type_of
from wakelog.record import Record


def renewed(record: Record) -> Record:
    """Give one of Wakelog's own events the names and the schema of today.

    Records of others, and events that have them already, are returned as they are. What was counted as
    tokens and stood in the rest of the payload, for want of an attribute, gets the attribute.
    """
    scope = record.scope
    if scope is None or scope.name != s.SCOPE_NAME or scope.schema_url == s.SCHEMA_URL:
        return record
    attributes = {s.RENAMED.get(name, name): value for name, value in record.attributes.items()}
    kind = EVENT_TYPES.get(event_type_of(record.event_name or ""))
    payload = attributes.get(s.PAYLOAD)
    if kind is not None and type(payload) is dict and kind.payload.keys() & USAGE.keys():
        rest = _counted(payload, attributes)
        if rest:
            attributes[s.PAYLOAD] = rest
        else:
            del attributes[s.PAYLOAD]
    return replace(record, attributes=attributes, scope=scope._replace(schema_url=s.SCHEMA_URL))


def _counted(payload: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """Note the counts of tokens in a payload as attributes, and return what is left of it."""
    rest: dict[str, Any] = {}
    for key, value in payload.items():
        if key in USAGE and type(value) is int:
            attributes.setdefault(USAGE[key], value)
        else:
            rest[key] = value
    return rest
