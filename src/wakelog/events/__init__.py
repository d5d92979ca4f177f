"""Agent events: their types, and how each becomes a log record."""

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names
from wakelog.events._event import AgentEvent, register_event_type
from wakelog.events._mapping import (
    EVENT_TYPES,
    REPEATS,
    REQUEST,
    USAGE,
    EventType,
    attributes_of,
    event_name_of,
    event_type_of,
    fields_of,
    repeats,
    severity_of,
    span_attributes,
)
from wakelog.events._older_lines import renewed

if TYPE_CHECKING:
    from wakelog.events._event_lines import event_encoder, plain_content_of
    from wakelog.events._plain import SESSION_KEYS, described, plain_fields, session_of
    from wakelog.events._usage import usage_of

__all__ = [
    "EVENT_TYPES",
    "REPEATS",
    "REQUEST",
    "SESSION_KEYS",
    "USAGE",
    "AgentEvent",
    "EventType",
    "attributes_of",
    "described",
    "event_encoder",
    "event_name_of",
    "event_type_of",
    "fields_of",
    "plain_content_of",
    "plain_fields",
    "register_event_type",
    "renewed",
    "repeats",
    "session_of",
    "severity_of",
    "span_attributes",
    "usage_of",
]

# A processor needs none of these.
__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.events._event_lines": ["event_encoder", "plain_content_of"],
        "wakelog.events._plain": ["SESSION_KEYS", "described", "plain_fields", "session_of"],
        "wakelog.events._usage": ["usage_of"],
    },
)
