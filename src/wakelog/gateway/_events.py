"""Whatever a caller hands in, as a plain event; and what of it is a system prompt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import orjson

from wakelog.errors import EventTooLargeError, SerializationError
from wakelog.events import semconv as s
from wakelog.record import encode, from_line, rfc3339, to_line

_SCOPE: Final = {"name": s.SCOPE_NAME}
_PROMPT_ROLES: Final = frozenset({"system", "developer"})
# Without case, "_", "-" and ".".
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
# Keys that hold the system prompt of a request only beside what makes it one.
_PROMPT_BESIDE: Final = {"system": "messages", "instructions": "input"}
_SYSTEM_EVENT: Final = "system_instruction"
_SAID: Final = ("content", "parts", "text")


class ForwardedEvent(dict[str, Any]):
    """An event on its way to a transport: what its line says, as a dict.

    Attributes:
        id: The id of its line, the same each time that it is sent.
        session_id: The session that it belongs to.
        timestamp: When it was logged, in nanoseconds since 1970.
        event_name: Its type, where it has one.
    """

    __slots__ = ("event_name", "id", "session_id", "timestamp")

    def __init__(
        self,
        event: Mapping[str, Any],
        id: str,  # noqa: A002 - the line's name for it
        session_id: str,
        timestamp: int,
        event_name: str | None = None,
    ) -> None:
        super().__init__(event)
        self.id = id
        self.session_id = session_id
        self.timestamp = timestamp
        self.event_name = event_name


def encoded_line(
    plain: dict[str, Any],
    name: str | None,
    attributes: dict[str, Any],
    now: int,
    max_line_bytes: int,
) -> bytes:
    """Return the middle part of an event's line.

    Raises:
        SerializationError: When it is too large.
    """
    fields: dict[str, Any] = {"timestamp": rfc3339(now)}
    if name is not None:
        fields["event_name"] = name
    fields["event"] = plain
    fields["attributes"] = attributes
    fields["scope"] = _SCOPE
    try:
        return encode(fields, max_line_bytes)
    except EventTooLargeError as error:
        raise SerializationError(str(error)) from error


def as_read_back(
    plain: dict[str, Any], record_id: str, session: str, now: int, name: str | None
) -> ForwardedEvent:
    """Return an event in the form in which it would be read back from a file."""
    event: Any = from_line(to_line(plain))
    return ForwardedEvent(event, record_id, session, now, name)


def plain_event(event: object) -> dict[str, Any]:
    """Return an event as a dict; what is in it may be of any type still.

    Args:
        event: A mapping, a pydantic model, a dataclass, JSON as text or bytes, or any object.

    Returns:
        A new dict: the object's fields; ``{"message": text}`` for text that is no JSON, and
        ``{"value": ...}`` for what has no fields.
    """
    if isinstance(event, Mapping):
        return dict(event)
    if isinstance(event, str | bytes | bytearray):
        return _of_text(event)
    if not isinstance(event, type):
        for method in ("model_dump", "to_dict", "_asdict", "dict"):
            dump = getattr(event, method, None)
            if callable(dump) and isinstance(fields := _dumped(dump), Mapping):
                return dict(fields)
        if dataclasses.is_dataclass(event):
            return {f.name: getattr(event, f.name, None) for f in dataclasses.fields(event)}
        if fields := getattr(event, "__dict__", None):
            return {name: value for name, value in fields.items() if not name.startswith("_")}
    return {"value": from_line(to_line(event))}


def _dumped(dump: Any) -> object:
    try:
        return dump()
    except Exception:  # noqa: BLE001 - what cannot dump itself still has fields, or a text
        return None


def _of_text(text: str | bytes | bytearray) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except ValueError:
        shown = text if isinstance(text, str) else bytes(text).decode(errors="replace")
        return {"message": shown}
    return value if isinstance(value, dict) else {"value": value}


def without_system_prompts(event: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of an event without the system prompts in it.

    Left out are: messages of the roles ``system`` and ``developer`` in lists; what keys like
    ``system_prompt`` and ``system_instructions`` hold; ``system`` beside ``messages`` and
    ``instructions`` beside ``input``; and what an event that is such a message says itself.
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
    """Take the prompts out of JSON inside a text; the text stays as it is without any."""
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
