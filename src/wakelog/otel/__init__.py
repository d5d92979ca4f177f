"""Wakelog inside an OpenTelemetry pipeline.

The names below load the OpenTelemetry SDK when they are first used, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wakelog.otel._bridge import EventToSpanEventBridge
    from wakelog.otel._processor import DurableLogRecordProcessor
    from wakelog.otel._sink import OTelSink

__all__ = ["DurableLogRecordProcessor", "EventToSpanEventBridge", "OTelSink"]

_HOMES = {
    "DurableLogRecordProcessor": "wakelog.otel._processor",
    "EventToSpanEventBridge": "wakelog.otel._bridge",
    "OTelSink": "wakelog.otel._sink",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)
