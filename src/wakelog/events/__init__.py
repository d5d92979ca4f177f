"""What agents do: the events, their types, and how each becomes a log record."""

from wakelog.events._event import AgentEvent, register_event_type
from wakelog.events._mapping import EVENT_TYPES, EventType, fields_of
from wakelog.events._plain import described, plain_fields, session_of

__all__ = [
    "EVENT_TYPES",
    "AgentEvent",
    "EventType",
    "described",
    "fields_of",
    "plain_fields",
    "register_event_type",
    "session_of",
]
