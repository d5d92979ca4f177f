"""Sinks that write nowhere: for tests, and for nobody."""

from __future__ import annotations

from wakelog.events import AgentEvent


class MemorySink:
    """Keeps events in a list, for tests and notebooks.

    Attributes:
        events: What was written, in order.
    """

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []

    def write(self, event: AgentEvent) -> None:
        """Keep an event as it is now."""
        event.detach()
        self.events.append(event)

    def flush(self) -> None:
        """Do nothing: a list needs no flushing."""

    def close(self) -> None:
        """Do nothing: the events stay."""


class NullSink:
    """Discards events."""

    def write(self, event: AgentEvent) -> None:
        """Forget an event."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
