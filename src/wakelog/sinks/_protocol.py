"""The interface of sinks."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any, Protocol, runtime_checkable

from wakelog.events import AgentEvent


@runtime_checkable
class EventSink(Protocol):
    """Any object with a method ``write`` that takes one event.

    A sink that cannot accept an event raises ``SinkError`` or another exception. It may also have
    ``flush()`` and ``close()``, which loggers and other sinks call if they exist, and
    ``write_many(events)``, which a buffer calls with a batch: it returns the exceptions of the
    events that it did not accept, by the events' indexes.
    """

    def write(self, event: AgentEvent, /) -> object:
        """Accept an event, or raise."""
        ...


@runtime_checkable
class AsyncEventSink(Protocol):
    """Any object with a coroutine method ``write`` that takes one event.

    ``AsyncAgentLogger`` takes one as its sink.
    """

    def write(self, event: AgentEvent, /) -> Awaitable[object]:
        """Accept an event, or raise."""
        ...


def flush(sink: Any, timeout: float | None, began: float) -> bool:
    """Flush a sink if it can be flushed, and return whether it succeeded.

    Args:
        sink: The sink.
        timeout: The longest wait in seconds, for a sink that accepts a time-out; None for no limit.
        began: When the wait began, by the monotonic clock.
    """
    if getattr(sink, "flush", None) is None:
        return True
    if timeout is None or not getattr(sink, "delivers", False):
        return sink.flush() is not False
    return sink.flush(max(0.0, began + timeout - time.monotonic())) is not False
