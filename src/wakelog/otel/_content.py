"""Which copies of an event have its content: what people, models and tools said."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from wakelog.errors import ConfigurationError
from wakelog.events import event_type_of
from wakelog.events import semconv as s

NAMES = (s.TOOL_NAME, s.REQUEST_MODEL, s.AGENT_NAME)
"""The attributes that may name an event's subject in its body, in order of preference."""
_LONGEST_BODY = 120
VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class ContentPolicy(NamedTuple):
    """Where the content of Wakelog's own events may go, besides the local journal.

    Attributes:
        events: Into exported log records.
        spans: Into spans and their events.
    """

    events: bool = False
    spans: bool = False

    @classmethod
    def from_environment(cls) -> Self:
        """Read ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``.

        Raises:
            ConfigurationError: If the value is not one that the variable allows.
        """
        value = os.environ.get(VARIABLE, "").strip()
        policies = {
            "": cls(),
            "NO_CONTENT": cls(),
            "SPAN_ONLY": cls(spans=True),
            "EVENT_ONLY": cls(events=True),
            "SPAN_AND_EVENT": cls(events=True, spans=True),
            # Values of older instrumentations.
            "FALSE": cls(),
            "TRUE": cls(events=True, spans=True),
        }
        try:
            return policies[value.upper()]
        except KeyError:
            allowed = "NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT"
            message = f"{VARIABLE}={value!r} is not known: use {allowed}"
            raise ConfigurationError(message) from None


def body_of(event_name: str, attributes: Mapping[str, Any]) -> str:
    """Return the body with which an agent event is exported: its type and its subject.

    Args:
        event_name: The event's name.
        attributes: Its attributes.

    Returns:
        ``<event_type> <name>``, at most 120 characters on one line; the name is the tool's, else
        the model's, else the agent's. It contains no content.
    """
    name = next((n for key in NAMES if type(n := attributes.get(key)) is str and n), "")
    body = " ".join(f"{event_type_of(event_name)} {name}".split())
    return body if len(body) <= _LONGEST_BODY else body[: _LONGEST_BODY - 1] + "…"


def without_content(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an event's attributes without its content."""
    return {name: value for name, value in attributes.items() if name not in s.CONTENT}
