"""Converting events of a conversation to messages for a model, with each tool call once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from wakelog.events import AgentEvent

Message = dict[str, Any]

# OpenTelemetry's name first, then those in the providers' own messages.
_CALLS: Final = {"tool_call", "tool_use", "function_call"}
_ANSWERS: Final = {"tool_call_response", "tool_result", "function_call_output"}
_LISTS: Final = ("parts", "content", "tool_calls")
_CALL_IDS: Final = ("call_id", "id")
_ANSWER_IDS: Final = ("tool_use_id", "tool_call_id", "call_id", "id")


def messages_of(events: Iterable[AgentEvent]) -> list[Message]:
    """Return a conversation as messages in OpenTelemetry's form.

    If both an assistant's message and a ``tool_call`` event contain a call, by its id, the message
    keeps it, because it may have more text, or several calls. If the call was answered before the
    message, the message loses its copy, because an answer has to follow its call. Of several
    answers to a call the first one is kept.

    Args:
        events: The events, in order.

    Returns:
        The messages.
    """
    said: list[Message | None] = []
    called: dict[str, int | None] = {}  # index of a tool_call message that can go
    answered: set[str] = set()
    for event in events:
        is_call = event.event_type == "tool_call"
        for message in _said_by(event):
            known = {id_ for id_ in _ids(message, _CALLS, _CALL_IDS) if id_ in called}
            taken = set()
            for id_ in known:
                at = called[id_]
                if is_call or at is None or id_ in answered:
                    taken.add(id_)
                else:
                    said[at] = None
            again = answered.intersection(_ids(message, _ANSWERS, _ANSWER_IDS))
            left = _without(message, taken, again)
            if left is None:
                continue
            for id_ in _ids(left, _CALLS, _CALL_IDS):
                called[id_] = len(said) if is_call else None
            answered.update(_ids(left, _ANSWERS, _ANSWER_IDS))
            said.append(left)
    return [message for message in said if message is not None]


def _said_by(event: AgentEvent) -> list[Message]:
    payload = event.payload
    match event.event_type:
        case "user_message":
            return _said("user", payload.get("message"))
        case "assistant_message":
            return _said("assistant", payload.get("message"))
        case "model_response":
            return _said("assistant", payload.get("output_messages"))
        case "system_instruction":
            return _said("system", payload.get("instruction"))
        case "tool_call":
            call = {"type": "tool_call", "id": event.call_id, "name": event.tool_name}
            return [{"role": "assistant", "parts": [{**call, "arguments": payload.get("args")}]}]
        case "tool_result":
            answer = {"type": "tool_call_response", "id": event.call_id}
            return [{"role": "tool", "parts": [{**answer, "response": payload.get("result")}]}]
    return []


def _said(role: str, content: Any) -> list[Message]:
    if content is None:
        return []
    if isinstance(content, dict) and "role" in content:
        return [content]
    if isinstance(content, list) and all(isinstance(m, dict) and "role" in m for m in content):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and "type" in p for p in content):
        return [{"role": role, "parts": content}]
    return [{"role": role, "parts": [{"type": "text", "content": content}]}]


def _ids(message: Message, types: set[str], names: tuple[str, ...]) -> list[str]:
    """Return the ids of the calls, or of the answers, that a message has."""
    found = [
        id_
        for name in _LISTS
        if isinstance(parts := message.get(name), list)
        for part in parts
        if (id_ := _id(name, part, types, names)) is not None
    ]
    if types is _ANSWERS and message.get("role") == "tool":
        id_ = message.get("tool_call_id")
        if isinstance(id_, str):
            found.append(id_)
    return found


def _id(where: str, part: Any, types: set[str], names: tuple[str, ...]) -> str | None:
    if not isinstance(part, dict):
        return None
    is_one = types is _CALLS if where == "tool_calls" else part.get("type") in types
    ids = (part[name] for name in names if isinstance(part.get(name), str)) if is_one else iter(())
    return next(ids, None)


def _without(message: Message, calls: set[str], answers: set[str]) -> Message | None:
    """Return a message without these calls and answers; None if nothing else is in it."""
    if not calls and not answers:
        return message
    if message.get("tool_call_id") in answers:
        return None
    left = dict(message)
    for name in _LISTS:
        if not isinstance(parts := message.get(name), list):
            continue
        left[name] = [
            part
            for part in parts
            if _id(name, part, _CALLS, _CALL_IDS) not in calls
            and _id(name, part, _ANSWERS, _ANSWER_IDS) not in answers
        ]
        if not left[name] and parts:
            del left[name]
    return left if any(left.get(name) for name in _LISTS) else None
