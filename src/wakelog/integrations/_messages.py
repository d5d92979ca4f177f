"""Conversion of messages of clients and frameworks to the form of OpenTelemetry's conventions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

_PLAIN: Final = frozenset({dict, str, list, tuple, int, float, bool, type(None)})
_TEXTS: Final = ("text", "input_text", "output_text")

Part = dict[str, Any]
Message = dict[str, Any]


def plain(value: Any) -> Any:
    """Return a pydantic model as a dict, and any other value unchanged."""
    if type(value) in _PLAIN:
        return value
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True, warnings=False) if callable(dump) else value


def arguments_of(text: Any) -> Any:
    """Return the arguments of a tool call as a value, parsed if they are JSON text."""
    if type(text) is not str:
        return text
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return text


def text_part(text: Any) -> Part:
    """Return a text part."""
    return {"type": "text", "content": text}


def call_part(call_id: Any, name: Any, arguments: Any) -> Part:
    """Return a part for a tool call."""
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments_of(arguments)}


def answer_part(call_id: Any, result: Any) -> Part:
    """Return a part for the response of a tool."""
    return {"type": "tool_call_response", "id": call_id, "response": result}


def message(role: Any, parts: list[Part], finish_reason: Any = None) -> Message:
    """Return a message."""
    said: Message = {"role": role, "parts": parts}
    if finish_reason is not None:
        said["finish_reason"] = finish_reason
    return said


def parts_of(content: Any) -> list[Part]:
    """Return the parts of a content: text, or blocks in the form of OpenAI and Anthropic."""
    if content is None:
        return []
    if type(content) is str:
        return [text_part(content)]
    if type(content) is not list and (
        isinstance(content, str | Mapping) or not isinstance(content, Iterable)
    ):
        content = [content]
    return [_part(block) for block in content]


def _part(block: Any) -> Part:
    block = plain(block)
    if isinstance(block, str):
        return text_part(block)
    if type(block) is not dict and not isinstance(block, Mapping):
        return {"type": "unknown", "content": block}
    kind = block.get("type")
    if kind in _TEXTS:
        return text_part(block.get("text"))
    if kind == "refusal":
        return text_part(block.get("refusal"))
    if kind == "tool_use":
        return call_part(block.get("id"), block.get("name"), block.get("input"))
    if kind == "tool_result":
        return answer_part(block.get("tool_use_id"), block.get("content"))
    if kind in ("thinking", "reasoning"):
        said = block.get("thinking") or block.get("reasoning")
        return {"type": "reasoning", "content": said or _reasoning_of(block)}
    return dict(block)


def _reasoning_of(item: Mapping[str, Any]) -> str:
    """Return the texts of an item of OpenAI's that is reasoning: its summary, or else all of it."""
    texts = (plain(one).get("text") for one in item.get("summary") or item.get("content") or ())
    return "\n".join(text for text in texts if text)


def of_chat(messages: Any) -> Any:
    """Return messages of OpenAI's chat completions, or of Anthropic's, in the conventions' form."""
    if isinstance(messages, str):
        return messages
    return [_of_chat(plain(one)) for one in messages or ()]


def _of_chat(one: Any, finish_reason: Any = None) -> Message:
    if type(one) is not dict and not isinstance(one, Mapping):
        return message("user", parts_of(one))
    role, content = one.get("role"), one.get("content")
    if role == "tool":
        return message(role, [answer_part(one.get("tool_call_id"), content)])
    parts = parts_of(content) if content else []
    if refusal := one.get("refusal"):
        parts.append(text_part(refusal))
    for call in map(plain, one.get("tool_calls") or ()):
        asked = plain(call.get("function") or call.get("custom") or {})
        arguments = asked.get("arguments", asked.get("input"))
        parts.append(call_part(call.get("id"), asked.get("name"), arguments))
    return message(role, parts, finish_reason)


def of_choices(choices: Any) -> list[Message]:
    """Return the choices of a chat completion as messages."""
    return [
        _of_chat(choice.get("message") or {}, choice.get("finish_reason"))
        for choice in (plain(one) for one in choices or ())
        if isinstance(choice, Mapping)
    ]


def of_items(items: Any) -> Any:
    """Return input or output items of OpenAI's responses API as messages."""
    if isinstance(items, str):
        return items
    return [_of_item(plain(item)) for item in items or ()]


def _of_item(item: Any) -> Message:
    if type(item) is not dict and not isinstance(item, Mapping):
        return message("user", parts_of(item))
    kind = item.get("type", "message")
    if kind == "message":
        return message(item.get("role", "user"), parts_of(item.get("content")))
    if kind in ("function_call", "custom_tool_call"):
        arguments = item.get("arguments", item.get("input"))
        part = call_part(item.get("call_id"), item.get("name"), arguments)
        return message("assistant", [part])
    if kind in ("function_call_output", "custom_tool_call_output"):
        return message("tool", [answer_part(item.get("call_id"), item.get("output"))])
    if kind == "reasoning":
        return message("assistant", [{"type": "reasoning", "content": _reasoning_of(item)}])
    return message("assistant", [dict(item)])
