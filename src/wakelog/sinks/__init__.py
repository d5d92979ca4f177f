"""Where events go: the ``EventSink`` protocol, and sinks that need no OpenTelemetry."""

from wakelog.sinks._jsonl import JSONLSink
from wakelog.sinks._memory import MemorySink, NullSink
from wakelog.sinks._policy import Buffer, OverflowPolicy
from wakelog.sinks._protocol import EventSink

__all__ = ["Buffer", "EventSink", "JSONLSink", "MemorySink", "NullSink", "OverflowPolicy"]
