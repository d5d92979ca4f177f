"""Sinks: their interface, and those that need no OpenTelemetry."""

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names

if TYPE_CHECKING:
    from wakelog.buffer import Buffer, OverflowPolicy
    from wakelog.sinks._buffered import AsyncBufferedSink, BufferedSink
    from wakelog.sinks._fan_out import FanOutSink
    from wakelog.sinks._jsonl import AsyncJSONLSink, JSONLSink
    from wakelog.sinks._logging import StructuredLoggingSink
    from wakelog.sinks._memory import MemorySink, NullSink
    from wakelog.sinks._protocol import AsyncEventSink, EventSink

__all__ = [
    "AsyncBufferedSink",
    "AsyncEventSink",
    "AsyncJSONLSink",
    "Buffer",
    "BufferedSink",
    "EventSink",
    "FanOutSink",
    "JSONLSink",
    "MemorySink",
    "NullSink",
    "OverflowPolicy",
    "StructuredLoggingSink",
]

# `configure` needs none of them.
__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.buffer": ["Buffer", "OverflowPolicy"],
        "wakelog.sinks._buffered": ["AsyncBufferedSink", "BufferedSink"],
        "wakelog.sinks._fan_out": ["FanOutSink"],
        "wakelog.sinks._jsonl": ["AsyncJSONLSink", "JSONLSink"],
        "wakelog.sinks._logging": ["StructuredLoggingSink"],
        "wakelog.sinks._memory": ["MemorySink", "NullSink"],
        "wakelog.sinks._protocol": ["AsyncEventSink", "EventSink"],
    },
)
