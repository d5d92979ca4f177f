"""Sinks: their interface, and those that need no OpenTelemetry."""

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
