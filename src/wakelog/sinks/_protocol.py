"""What a sink is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from wakelog.events import AgentEvent


@runtime_checkable
class EventSink(Protocol):
    """Anything with a ``write`` that takes one event.

    A sink that cannot accept an event raises, ``SinkError`` or what fits. It may also have
    ``flush(timeout)`` and ``close()``, which ``AgentLogger`` calls when they are there.
    """

    def write(self, event: AgentEvent, /) -> object:
        """Accept an event, or raise."""
        ...
