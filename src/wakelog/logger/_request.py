"""Conversion of clients' request parameters and usage to OpenTelemetry's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wakelog.events import REQUEST, usage_of
from wakelog.record import kept

# Clients' names of parameters, and those of Wakelog's payloads.
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
# Parameters that other fields of the event have.
_ELSEWHERE: Final = frozenset({"model", "messages", "input", "prompt", "contents", "system"})


def payload_of_request(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request's parameters in the form of an event's payload.

    Args:
        parameters: The parameters given to a client. The model and the messages are ignored.

    Returns:
        A new dict: parameters with an OpenTelemetry name by that name, the others under
        ``request``.
    """
    payload: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in parameters.items():
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
    """Return a usage object in the form of an event's payload; under ``usage`` if unknown."""
    if usage is None:
        return {}
    counts: dict[str, Any] = dict(usage_of(usage))
    return counts or {"usage": kept(usage)}
