"""A name and a one-line summary for a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from wakelog.events import semconv as s
from wakelog.record import Record, to_line

_LONGEST = 200
_LONGEST_ARGUMENTS = 40  # leaves space for the result of a call on the same line

# The attribute that names a step, by event type.
_NAMES: Final[Mapping[str, str]] = {
    "run_start": s.AGENT_NAME,
    "run_end": s.AGENT_NAME,
    "model_call": s.REQUEST_MODEL,
    "model_response": s.REQUEST_MODEL,
    "tool_call": s.TOOL_NAME,
    "tool_result": s.TOOL_NAME,
    "retrieval_query": s.DATA_SOURCE_ID,
    "retrieval_result": s.DATA_SOURCE_ID,
    "policy_check": s.POLICY_NAME,
    "human_approval": s.APPROVER,
    "sub_agent_invoked": s.AGENT_NAME,
    "memory_recall": s.MEMORY_NAMESPACE,
    "usage_limit_exceeded": s.USAGE_LIMIT_KIND,
    "evaluation": s.EVALUATION_NAME,
}
_LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
# The payload of a log record in a sink that accepts only agent events.
_LOGGED: Final = frozenset({"message", "level", "logger"})
_TEXTS: Final = (
    s.OUTPUT_MESSAGES,
    s.INPUT_MESSAGES,
    s.SYSTEM_INSTRUCTIONS,
    s.DECISION,
    s.RETRIEVAL_QUERY_TEXT,
    s.RETRIEVAL_DOCUMENTS,
    s.TOOL_CALL_ARGUMENTS,
    s.TOOL_CALL_RESULT,
)


def name_of(event_type: str, attributes: Mapping[str, Any]) -> str | None:
    """Return the name of a step's subject, such as its tool; None if the type has none."""
    attribute = _NAMES.get(event_type)
    value = None if attribute is None else attributes.get(attribute)
    return one_line(value) if isinstance(value, str) else None


def summary_of(event_type: str, attributes: Mapping[str, Any], body: object = None) -> str:
    """Return a one-line summary of a step.

    Args:
        event_type: The event type.
        attributes: The attributes of the opening and the closing record together.
        body: The record's body.

    Returns:
        At most 200 printable characters; may be empty.
    """
    special = _SPECIAL.get(event_type)
    if special is not None and ((text := special(attributes)) or body is None):
        return one_line(text)
    if (message := message_of(attributes, body)) is not None:
        return one_line(message)
    for attribute in _TEXTS:
        if attribute in attributes:
            return one_line(_text(attributes[attribute]))
    if body is not None:
        return one_line(_text(body))
    return one_line(_payload(attributes)) or _fault(attributes)


def message_of(attributes: Mapping[str, Any], body: object) -> str | None:
    """Return the message of a log record; None for another record."""
    if isinstance(body, str):
        return body
    payload = attributes.get(s.PAYLOAD)
    # In a sink that accepts only agent events, a log record is a custom event.
    if body is None and isinstance(payload, dict) and payload.keys() == _LOGGED:
        message = payload["message"]
        return message if isinstance(message, str) else None
    return None


def level_of(record: Record) -> str | None:
    """Return the severity of a record as text; None if it has none."""
    payload = record.attributes.get(s.PAYLOAD)
    if isinstance(payload, dict) and payload.keys() == _LOGGED:
        return str(payload["level"])
    if record.severity_text:
        return str(record.severity_text)
    number = record.severity_number
    if type(number) is not int or not 0 < number <= len(_LEVELS) * 4:
        return None
    return _LEVELS[(number - 1) // 4]


def exception_of(attributes: Mapping[str, Any]) -> dict[str, str | None] | None:
    """Return ``type`` and ``message`` of a record's exception; None if it has none."""
    found = {
        "type": attributes.get(s.EXCEPTION_TYPE),
        "message": attributes.get(s.EXCEPTION_MESSAGE),
    }
    if found == {"type": None, "message": None}:
        return None
    return {name: None if value is None else str(value) for name, value in found.items()}


def exception_line(exception: Mapping[str, str | None]) -> str:
    """Return an exception as one line, like the last line of a traceback."""
    return one_line(": ".join(part for part in exception.values() if part))


def one_line(text: str, longest: int = _LONGEST) -> str:
    """Return a text as one line that is safe for a terminal.

    Args:
        text: Any text; recorded text may contain line ends and escape sequences.
        longest: The maximum length.

    Returns:
        The text, with white space and unprintable characters replaced by single spaces, and cut
        with an ellipsis.
    """
    head = text[: longest * 4]
    if not head.isprintable():
        head = "".join(c if c.isprintable() else " " for c in head)
    line = " ".join(head.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _text(value: object) -> str:
    """Return the texts of messages in the semantic conventions' form, or another value as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        words = [word for item in value for word in _words(item)]
        if words:
            return " ".join(words)
    try:
        return orjson.dumps(to_line(value)).decode()
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def _words(item: dict[str, Any]) -> list[str]:
    parts = item.get("parts", [item])
    if not isinstance(parts, list):
        return []
    found = (part.get("content") for part in parts if isinstance(part, dict))
    return [word for word in found if isinstance(word, str)]


def _payload(attributes: Mapping[str, Any]) -> str:
    value = attributes.get(s.PAYLOAD)
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return "" if value is None else _text(value)


def _fault(attributes: Mapping[str, Any]) -> str:
    exception = exception_of(attributes)
    return "" if exception is None else exception_line(exception)


def _and_error(text: str, attributes: Mapping[str, Any]) -> str:
    error = attributes.get(s.ERROR_TYPE)
    return text if error is None else f"{text} → {error}" if text else f"{error}"


def _run(attributes: Mapping[str, Any]) -> str:
    return _and_error(_payload(attributes), attributes)


def _model(attributes: Mapping[str, Any]) -> str:
    read, written = attributes.get(s.USAGE_INPUT_TOKENS), attributes.get(s.USAGE_OUTPUT_TOKENS)
    said = attributes.get(s.OUTPUT_MESSAGES, attributes.get(s.INPUT_MESSAGES))
    text = "" if said is None else _text(said)
    if read is not None or written is not None:
        tokens = f"{_count(read)} → {_count(written)} tokens"
        if type(cost := attributes.get(s.COST_USD)) in (int, float):
            tokens += f", ${cost:,.4f}"
        text = f"{tokens}: {text}" if text else tokens
    return _and_error(text, attributes)


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"


def _tool(attributes: Mapping[str, Any]) -> str:
    arguments = attributes.get(s.TOOL_CALL_ARGUMENTS)
    text = _text(arguments) if arguments else ""
    if s.TOOL_CALL_RESULT in attributes:
        result = _text(attributes[s.TOOL_CALL_RESULT])
        text = f"{one_line(text, _LONGEST_ARGUMENTS)} → {result}" if text else f"→ {result}"
    return _and_error(text, attributes)


def _handoff(attributes: Mapping[str, Any]) -> str:
    return f"{attributes.get(s.HANDOFF_FROM, '?')} → {attributes.get(s.HANDOFF_TO, '?')}"


def _error(attributes: Mapping[str, Any]) -> str:
    kind = attributes.get(s.ERROR_TYPE, attributes.get(s.EXCEPTION_TYPE))
    message = attributes.get(s.EXCEPTION_MESSAGE, "")
    return f"{kind}: {message}" if kind else f"{message}"


def _memory(attributes: Mapping[str, Any]) -> str:
    count = attributes.get(s.MEMORY_RECORD_COUNT, "?")
    return f"{count} found in {attributes.get(s.MEMORY_TIER, 'memory')}"


def _limit(attributes: Mapping[str, Any]) -> str:
    observed = attributes.get(s.USAGE_LIMIT_OBSERVED, "?")
    return f"{observed} of {attributes.get(s.USAGE_LIMIT_LIMIT, '?')}"


def _evaluation(attributes: Mapping[str, Any]) -> str:
    judged = (attributes.get(name) for name in (s.EVALUATION_SCORE_VALUE, s.EVALUATION_SCORE_LABEL))
    text = " ".join(str(one) for one in judged if one is not None)
    explanation = attributes.get(s.EVALUATION_EXPLANATION)
    return _and_error(f"{text}: {explanation}" if explanation else text, attributes)


def _compacted(attributes: Mapping[str, Any]) -> str:
    dropped = attributes.get(s.CONTEXT_DROPPED_CHARS, "?")
    return f"{dropped} characters dropped, {attributes.get(s.CONTEXT_RETAINED_CHARS, '?')} kept"


def _resumed(attributes: Mapping[str, Any]) -> str:
    checkpoint = attributes.get(s.CHECKPOINT_ID)
    return f"from {checkpoint}" if checkpoint else "from a fresh state"


_SPECIAL: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "run_start": _run,
    "run_end": _run,
    "model_call": _model,
    "model_response": _model,
    "tool_call": _tool,
    "tool_result": _tool,
    "agent_handoff": _handoff,
    "error": _error,
    "memory_recall": _memory,
    "usage_limit_exceeded": _limit,
    "context_compacted": _compacted,
    "evaluation": _evaluation,
    "resumed": _resumed,
}
