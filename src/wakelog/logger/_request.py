"""What clients say of requests and usage, by the names that OpenTelemetry has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wakelog.events import REQUEST, usage_of
from wakelog.record import kept

# What clients call them.
_CALLED: Final[Mapping[str, str]] = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxTokens": "max_tokens",
    "num_predict": "max_tokens",
    "n": "choice_count",
    "candidate_count": "choice_count",
    "topP": "top_p",
    "p": "top_p",
    "topK": "top_k",
    "k": "top_k",
    "stop": "stop_sequences",
    "stopSequences": "stop_sequences",
    "encoding_format": "encoding_formats",
    "random_seed": "seed",
    "reasoning_effort": "reasoning_level",
    "dimensions": "dimension_count",
    "tools": "tool_definitions",
}
_CONTENT: Final = ("tool_definitions", "system_instructions")
# What the event says anyway, or in its messages.
_ELSEWHERE: Final = frozenset({"model", "messages", "input", "prompt", "contents", "system"})


def payload_of_request(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a request's parameters as the payload of an event has them.

    Args:
        parameters: As they were given to a client. The model and the messages are passed over.

    Returns:
        A new dict: those that OpenTelemetry has a name for by that name, the others under ``request``.
    """
    payload: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in (parameters or {}).items():
        known = _CALLED.get(name, name)
        if value is None or name in _ELSEWHERE:
            continue
        if known in REQUEST or known in _CONTENT:
            payload[known] = kept(value)
        else:
            others[name] = kept(value)
    if others:
        payload["request"] = others
    return payload


def payload_of_usage(usage: object) -> dict[str, Any]:
    """Return a usage object as the payload of an event has it; under ``usage`` when it is not known."""
    if usage is None:
        return {}
    counts: dict[str, Any] = dict(usage_of(usage))
    return counts or {"usage": kept(usage)}
