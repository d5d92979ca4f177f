"""Events that are plain dicts of an application, and the usual names of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from wakelog.events import semconv as s
from wakelog.events._mapping import EVENT_TYPES, event_name_of
from wakelog.events._older_lines import renewed
from wakelog.record import Record, opened, text_of

SESSION_KEYS: Final = ("user_session_id", "session_id")
"""The keys of an event for the session's id; the first that is present is used."""

_TYPE_KEYS: Final = ("event_type", "type", "event_name")
_NAMES: Final = (
    ("agent_name", s.AGENT_NAME),
    ("run_id", s.RUN_ID),
    ("parent_event_id", s.PARENT_ID),
    ("tool_name", s.TOOL_NAME),
    ("call_id", s.TOOL_CALL_ID),
    ("provider", s.PROVIDER_NAME),
    ("model", s.REQUEST_MODEL),
    ("tenant_id", s.TENANT_ID),
    ("status", s.STATUS),
)
_LONGEST = 200


def session_of(event: Mapping[str, Any]) -> str | None:
    """Return the session id of an event, or None without one."""
    for key in SESSION_KEYS:
        value = event.get(key)
        if value is None or type(value) is bool:
            continue
        held = value if type(value) is str else opened(value)  # an id may be an enum or a UUID
        if type(held) in (dict, list, tuple) or held == "":
            continue
        return held if type(held) is str else text_of(held)
    return None


def plain_fields(event: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the event name and the attributes of a plain event.

    Args:
        event: The event.

    Returns:
        The name, or None if the event has no type, and the attributes, all of them text.
    """
    attributes: dict[str, Any] = {}
    if (session := session_of(event)) is not None:
        attributes[s.CONVERSATION_ID] = session
    for key, attribute in _NAMES:
        value = event.get(key)
        if type(value) is str and value and len(value) <= _LONGEST:
            attributes[attribute] = value
    if attributes.get(s.RUN_ID) == event.get("event_id"):
        attributes.pop(s.RUN_ID, None)  # an event outside any run has its own id there
    for key in _TYPE_KEYS:
        kind = event.get(key)
        if type(kind) is str and kind:
            return event_name_of(kind) if kind in EVENT_TYPES else kind[:_LONGEST], attributes
    return None, attributes


def described(record: Record) -> Record:
    """Return a record whose body is a plain event with the name and the attributes of that event.

    A record that has an event name keeps it. An event of an earlier version gets the current names.
    """
    record = renewed(record)
    if record.event_name is not None or not isinstance(record.body, dict):
        return record
    name, attributes = plain_fields(record.body)
    return replace(record, event_name=name, attributes={**attributes, **record.attributes})
