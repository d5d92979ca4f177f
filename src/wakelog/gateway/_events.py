"""Converting a caller's event to a plain dict, and finding the system prompts in it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from wakelog.events import AgentEvent, plain_fields, session_of
from wakelog.events import semconv as s
from wakelog.record import encode, fields_in, from_line, kept, opened, rfc3339, to_line, uuid7

_SCOPE: Final = {"name": s.SCOPE_NAME}
_PROMPT_ROLES: Final = frozenset({"system", "developer"})
# Lower-case keys without "_", "-" and ".".
_PROMPT_KEYS: Final = frozenset(
    {
        "systemprompt",
        "systemprompts",
        "systeminstruction",
        "systeminstructions",
        "systemmessage",
        "systemmessages",
        "developerprompt",
        "developermessage",
        s.SYSTEM_INSTRUCTIONS.replace("_", "").replace(".", ""),
    }
)
# Keys that contain a request's system prompt, but only if the other key exists, too.
_PROMPT_BESIDE: Final = {"system": "messages", "instructions": "input"}
_SYSTEM_EVENT: Final = "system_instruction"
_SAID: Final = ("content", "parts", "text")


class Origin(NamedTuple):
    """The origin of a forwarded event.

    Attributes:
        id: The id of its line, the same each time it is sent.
        session_id: Its session.
        timestamp: When it was logged, in nanoseconds since 1970.
        event_name: Its type, or None.
    """

    id: str
    session_id: str
    timestamp: int
    event_name: str | None


class ForwardedEvent(dict[str, Any]):
    """An event as a callback or transport receives it: the values of its line, as a dict.

    Every key is also an attribute: ``event["type"]`` is ``event.type``. Fields of ``Origin`` for
    which the event has no key are attributes, too, so ``event.session_id`` always exists. Names of
    dict methods are the methods, even if the event has keys with these names.

    Attributes:
        wakelog: The event's origin, which no key of the event hides.
    """

    __slots__ = ("wakelog",)

    def __init__(
        self,
        event: Mapping[str, Any],
        id: str,  # noqa: A002 - the line's name for it
        session_id: str,
        timestamp: int,
        event_name: str | None = None,
    ) -> None:
        super().__init__(event)
        self.wakelog = Origin(id, session_id, timestamp, event_name)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name in Origin._fields:
            return getattr(self.wakelog, name)
        raise AttributeError(f"the event has no {name!r}: it has {', '.join(map(str, self))}")


def as_forwarded(event: object) -> ForwardedEvent:
    """Return an event in the form that a transport receives.

    Args:
        event: A ``ForwardedEvent``, which is returned unchanged, or any event that a gateway
            accepts.
    """
    if isinstance(event, ForwardedEvent):
        return event
    plain = plain_event(event)
    name, _ = plain_fields(plain)
    return as_read_back(plain, uuid7(), session_of(plain) or "", time.time_ns(), name)


def encoded_line(
    plain: dict[str, Any],
    name: str | None,
    attributes: dict[str, Any],
    now: int,
    max_line_bytes: int,
    max_event_bytes: int,
) -> bytes:
    """Return the middle part of an event's line.

    Raises:
        EventTooLargeError: If it is larger than ``max_event_bytes``.
    """
    fields: dict[str, Any] = {"timestamp": rfc3339(now)}
    if name is not None:
        fields["event_name"] = name
    fields["event"] = plain
    fields["attributes"] = attributes
    fields["scope"] = _SCOPE
    return encode(fields, max_line_bytes, max_event_bytes=max_event_bytes, staying=s.IDENTITY)


def as_read_back(
    plain: dict[str, Any], record_id: str, session: str, now: int, name: str | None
) -> ForwardedEvent:
    """Return an event in the form in which it would be read back from a file."""
    event: Any = from_line(to_line(plain))
    return ForwardedEvent(event, record_id, session, now, name)


def plain_event(event: object) -> dict[str, Any]:
    """Return a copy of an event as a dict, which later changes to the event do not affect.

    Args:
        event: A mapping, a pydantic model, a dataclass, JSON as text or bytes, or any object.

    Returns:
        A new dict: the object's fields; ``{"message": text}`` for text that is not JSON; or
        ``{"value": ...}`` for an object without fields. The values may be of any immutable type.
    """
    kind = type(event)
    if issubclass(kind, AgentEvent):
        return event.to_dict()  # type: ignore[attr-defined, no-any-return] # an AgentEvent
    if kind is dict:
        return kept(event)  # type: ignore[no-any-return] # a dict
    held = opened(event) if issubclass(kind, str | bytes | bytearray) else None
    if type(held) is str or type(held) is bytes:
        return _of_text(held)
    return kept(fields_in(event))  # type: ignore[no-any-return] # kept() returns a dict for a dict


def _of_text(text: str | bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError:
        return {"message": text if isinstance(text, str) else text.decode(errors="replace")}
    return value if isinstance(value, dict) else {"value": value}


def without_system_prompts(event: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of an event without the system prompts in it.

    It removes: messages of the roles ``system`` and ``developer`` in lists; the values of keys like
    ``system_prompt`` and ``system_instructions``; ``system`` beside ``messages``; ``instructions``
    beside ``input``; and the text of an event that is itself such a message.
    """
    plain = from_line(to_line(event))
    if not isinstance(plain, dict):
        return {}
    kept = _without_in_map(plain)
    if _is_prompt(plain) or _SYSTEM_EVENT in (plain.get("event_type"), plain.get("type")):
        for key in (*_SAID, "payload", "message", "instruction", "body"):
            kept.pop(key, None)
    return kept


def _without_in_map(value: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, item in value.items():
        if _folded(key) in _PROMPT_KEYS or _PROMPT_BESIDE.get(key) in value:
            continue
        if isinstance(item, dict) and _is_prompt(item):
            continue
        if isinstance(item, str) and item.lstrip().startswith(("[", "{")):
            item = _without_in_json(item)  # noqa: PLW2901 - the same item without its prompts
        kept[key] = _without(item)
    return kept


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return _without_in_map(value)
    if isinstance(value, list):
        return [
            _without(item) for item in value if not (isinstance(item, dict) and _is_prompt(item))
        ]
    return value


def _without_in_json(text: str) -> str:
    """Return JSON text without the system prompts in it; other text is returned unchanged."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return text
    kept = _without(value)
    if isinstance(kept, dict) and _is_prompt(kept):
        return "{}"
    return text if kept == value else orjson.dumps(kept).decode()


def _is_prompt(item: dict[str, Any]) -> bool:
    role = item.get("role", item.get("type"))
    return (
        isinstance(role, str)
        and role.lower() in _PROMPT_ROLES
        and any(key in item for key in _SAID)
    )


def _folded(key: str) -> str:
    return key.replace("_", "").replace("-", "").replace(".", "").lower()
