"""``MemorySink`` for tests, and ``NullSink``, which discards events."""

from __future__ import annotations

from wakelog.events import AgentEvent


class MemorySink:
    """Keeps events in a list, for tests and notebooks.

    Attributes:
        events: The written events, in order.
    """

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []

    def write(self, event: AgentEvent) -> None:
        """Add an event, and copy its contents against later changes."""
        event.detach()
        self.events.append(event)

    def flush(self) -> None:
        """Do nothing: a list needs no flushing."""

    def close(self) -> None:
        """Do nothing: the events are kept."""


class NullSink:
    """Discards events."""

    def write(self, event: AgentEvent) -> None:
        """Discard an event."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
