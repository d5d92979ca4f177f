"""Everything recorded of a step, as text: complete prompts, arguments, results and tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import orjson

from wakelog.events import semconv as s
from wakelog.record import to_line

if TYPE_CHECKING:
    from wakelog.viewer._model import Step

# In the order of display. Attributes that are not listed follow in the order in which they were
# recorded.
LABELS: Final = {
    s.SYSTEM_INSTRUCTIONS: "instructions",
    s.INPUT_MESSAGES: "input",
    s.TOOL_CALL_ARGUMENTS: "arguments",
    s.RETRIEVAL_QUERY_TEXT: "query",
    s.OUTPUT_MESSAGES: "output",
    s.TOOL_CALL_RESULT: "result",
    s.RETRIEVAL_DOCUMENTS: "documents",
    s.DECISION: "decision",
    s.PAYLOAD: "payload",
    s.EXCEPTION_TYPE: "exception",
    s.EXCEPTION_MESSAGE: "message",
    s.EXCEPTION_STACKTRACE: "traceback",
}
_INDENT: Final = orjson.OPT_INDENT_2


def content_of(step: Step) -> Iterator[tuple[str, str]]:
    """Yield everything recorded of a step: labels and complete texts.

    Args:
        step: A step of a view that was built with attributes.
    """
    attributes = step.attributes or {}
    for name, label in LABELS.items():
        if name in attributes:
            yield label, _text(attributes[name])
    if step.body is not None:
        yield "body", _text(step.body)
    rest = {name: value for name, value in attributes.items() if name not in LABELS}
    if rest:
        yield "attributes", "\n".join(f"{name}: {_short(value)}" for name, value in rest.items())


def _short(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(to_line(value)).decode()


def _text(value: object) -> str:
    """Format a value as text: messages with their roles, other data as indented JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        parts = [_message(item) for item in value]
        if all(part is not None for part in parts):
            return "\n".join(part for part in parts if part is not None)
    return orjson.dumps(to_line(value), option=_INDENT).decode()


def _message(item: dict[str, Any]) -> str | None:
    """Format a message of the semantic conventions' form; return None for another value."""
    parts = item.get("parts", [item])
    if not isinstance(parts, list):
        return None
    texts = []
    for part in parts:
        if not isinstance(part, dict):
            return None
        content = part.get("content")
        if part.get("type", "text") == "text" and isinstance(content, str):
            texts.append(content)
        else:
            texts.append(orjson.dumps(to_line(part), option=_INDENT).decode())
    said = "\n".join(texts)
    role = item.get("role")
    return f"[{role}] {said}" if isinstance(role, str) else said
