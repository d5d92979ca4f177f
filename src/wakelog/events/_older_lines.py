"""Lines of earlier versions, converted to the current names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wakelog.events import semconv as s
from wakelog.events._mapping import EVENT_TYPES, USAGE, event_type_of
from wakelog.record import Record


def renewed(record: Record) -> Record:
    """Return a record of Wakelog with the current names and schema.

    Other records, and current ones, are returned unchanged. Token counts that earlier versions
    recorded in the rest of the payload become attributes.
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
    """Add the token counts in a payload to the attributes, and return the rest of it."""
    rest: dict[str, Any] = {}
    for key, value in payload.items():
        if key in USAGE and type(value) is int:
            attributes.setdefault(USAGE[key], value)
        else:
            rest[key] = value
    return rest
