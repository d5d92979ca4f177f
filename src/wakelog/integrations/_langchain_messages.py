"""Conversion of LangChain's and LangGraph's objects to the form of OpenTelemetry's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wakelog.integrations._messages import (
    Message,
    answer_part,
    call_part,
    message,
    parts_of,
)

_ROLES: Final = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_DECISIONS: Final = {"approve": "approved", "accept": "approved", "edit": "edited"}


def respond(block: Any, response: Any) -> None:
    """Set the response of a model, an ``LLMResult``, on a block."""
    generations = response.generations[0] if response.generations else ()
    messages = [getattr(one, "message", None) for one in generations]
    said = [one for one in messages if one is not None]
    about = getattr(said[0], "response_metadata", None) or {} if said else {}
    output = response.llm_output or {}
    finish = about.get("finish_reason") or about.get("stop_reason")
    block.respond(
        of_messages(said)
        if said
        else [message("assistant", parts_of(g.text)) for g in generations],
        usage=(getattr(said[0], "usage_metadata", None) if said else None)
        or output.get("token_usage")
        or output.get("usage"),
        finish_reasons=[finish] if finish else None,
        response_id=about.get("id") or (getattr(said[0], "id", None) if said else None),
        response_model=about.get("model_name") or about.get("model"),
    )


def of_messages(messages: Any) -> list[Message]:
    """Return messages in the conventions' form."""
    return [_message(one) for one in messages]


def _message(one: Any) -> Message:
    kind = getattr(one, "type", "user")
    if kind == "tool":
        return message("tool", [answer_part(one.tool_call_id, one.content)])
    parts = parts_of(one.content) if getattr(one, "content", None) else []
    known = {part.get("id") for part in parts if part.get("type") == "tool_call"}
    for call in getattr(one, "tool_calls", None) or ():
        if call.get("id") not in known:
            parts.append(call_part(call.get("id"), call.get("name"), call.get("args")))
    return message(_ROLES.get(kind, kind), parts)


def content_of(value: Any) -> Any:
    """Return a value with its messages in the conventions' form."""
    if hasattr(value, "tool_call_id") and hasattr(value, "content"):
        return value.content
    if hasattr(value, "content") and hasattr(value, "type"):
        return _message(value)
    if isinstance(value, Mapping):
        return {key: content_of(one) for key, one in value.items() if key != "__interrupt__"}
    if isinstance(value, list | tuple):
        return [content_of(one) for one in value]
    if (resume := getattr(value, "resume", None)) is not None:
        return {"resume": resume}
    if hasattr(value, "page_content"):
        return {"content": value.page_content, "metadata": getattr(value, "metadata", None)}
    return value


def goto(error: BaseException) -> list[str]:
    """Return the destinations of a ``ParentCommand``."""
    to = getattr(error.args[0] if error.args else None, "goto", ())
    return [
        str(getattr(one, "node", one))
        for one in ([to] if isinstance(to, str) or hasattr(to, "node") else to or ())
    ]


def requests_of(value: Any) -> list[dict[str, Any]]:
    """Return the tool calls for which an interrupt requests approval, in LangChain's two forms."""
    if isinstance(value, list):
        return [request for one in value for request in requests_of(one)]
    if not isinstance(value, Mapping):
        return []
    asked = value.get("action_requests") or value.get("action_request")
    return [dict(one) for one in (asked if isinstance(asked, list) else [asked]) if one]


def decisions_of(resume: Any) -> list[str]:
    """Return a person's decisions about these requests."""
    if isinstance(resume, Mapping):
        if "decisions" in resume:
            resume = resume["decisions"]
        elif "type" in resume:
            resume = [resume]
        else:
            resume = list(resume.values())  # by the ids of interrupts
    if not isinstance(resume, list):
        resume = [resume]
    found: list[str] = []
    for one in resume:
        if isinstance(one, Mapping) and "decisions" in one:
            found += decisions_of(one)
            continue
        said = one.get("type") if isinstance(one, Mapping) else one
        if isinstance(said, bool):
            found.append("approved" if said else "rejected")
        elif said in ("reject", "ignore", "response", "respond"):
            found.append("rejected")
        else:
            found.append(_DECISIONS.get(str(said), "answered"))
    return found
