"""Wakelog records what AI agents do, durably, and delivers it to OpenTelemetry.

    import wakelog

    log = wakelog.configure("travel-agent")
    with log.run(session_id="s-1"):
        log.user_message("two seats to Lisbon")

Names load what they need when they are first used, so that ``import wakelog`` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names

if TYPE_CHECKING:
    from wakelog.context import bound as bound
    from wakelog.errors import BufferFullError as BufferFullError
    from wakelog.errors import ConfigurationError as ConfigurationError
    from wakelog.errors import CorruptLineError as CorruptLineError
    from wakelog.errors import EventTooLargeError as EventTooLargeError
    from wakelog.errors import InvalidEventTypeError as InvalidEventTypeError
    from wakelog.errors import JournalError as JournalError
    from wakelog.errors import JournalFormatError as JournalFormatError
    from wakelog.errors import QuotaExceededError as QuotaExceededError
    from wakelog.errors import RedactionError as RedactionError
    from wakelog.errors import SessionLogError as SessionLogError
    from wakelog.errors import SinkError as SinkError
    from wakelog.errors import UsageLimitError as UsageLimitError
    from wakelog.errors import WakelogError as WakelogError
    from wakelog.events import AgentEvent as AgentEvent
    from wakelog.events import register_event_type as register_event_type
    from wakelog.journal import Durability as Durability
    from wakelog.journal import QuotaPolicy as QuotaPolicy
    from wakelog.journal import Receipt as Receipt
    from wakelog.journal import Space as Space
    from wakelog.logger import AgentLogger as AgentLogger
    from wakelog.logger import AsyncAgentLogger as AsyncAgentLogger
    from wakelog.logger import Budget as Budget
    from wakelog.logger import LimitExceeded as LimitExceeded
    from wakelog.otel import DeliveryResult as DeliveryResult
    from wakelog.otel import DurableLogRecordProcessor as DurableLogRecordProcessor
    from wakelog.otel import DurableSpanProcessor as DurableSpanProcessor
    from wakelog.otel import EventToSpanEventBridge as EventToSpanEventBridge
    from wakelog.otel import OTelSink as OTelSink
    from wakelog.propagation import carried as carried
    from wakelog.propagation import carrier as carrier
    from wakelog.propagation import propagate as propagate
    from wakelog.redaction import HashStrategy as HashStrategy
    from wakelog.redaction import RedactionConfig as RedactionConfig
    from wakelog.redaction import RedactionDetector as RedactionDetector
    from wakelog.redaction import RedactionStrategy as RedactionStrategy
    from wakelog.redaction import RegexDetector as RegexDetector
    from wakelog.redaction import ReplacementStrategy as ReplacementStrategy
    from wakelog.redaction import TokenizationStrategy as TokenizationStrategy
    from wakelog.redaction import redact as redact
    from wakelog.setup import configure as configure
    from wakelog.setup import get_logger as get_logger
    from wakelog.setup import shutdown as shutdown
    from wakelog.sinks import AsyncBufferedSink as AsyncBufferedSink
    from wakelog.sinks import AsyncEventSink as AsyncEventSink
    from wakelog.sinks import AsyncJSONLSink as AsyncJSONLSink
    from wakelog.sinks import Buffer as Buffer
    from wakelog.sinks import BufferedSink as BufferedSink
    from wakelog.sinks import EventSink as EventSink
    from wakelog.sinks import FanOutSink as FanOutSink
    from wakelog.sinks import JSONLSink as JSONLSink
    from wakelog.sinks import MemorySink as MemorySink
    from wakelog.sinks import NullSink as NullSink
    from wakelog.sinks import OverflowPolicy as OverflowPolicy
    from wakelog.sinks import StructuredLoggingSink as StructuredLoggingSink

_HOMES = {
    "wakelog.context": ["bound"],
    "wakelog.errors": [
        "BufferFullError",
        "ConfigurationError",
        "CorruptLineError",
        "EventTooLargeError",
        "InvalidEventTypeError",
        "JournalError",
        "JournalFormatError",
        "QuotaExceededError",
        "RedactionError",
        "SessionLogError",
        "SinkError",
        "UsageLimitError",
        "WakelogError",
    ],
    "wakelog.events": ["AgentEvent", "register_event_type"],
    "wakelog.journal": ["Durability", "QuotaPolicy", "Receipt", "Space"],
    "wakelog.logger": ["AgentLogger", "AsyncAgentLogger", "Budget", "LimitExceeded"],
    "wakelog.otel": [
        "DeliveryResult",
        "DurableLogRecordProcessor",
        "DurableSpanProcessor",
        "EventToSpanEventBridge",
        "OTelSink",
    ],
    "wakelog.propagation": ["carried", "carrier", "propagate"],
    "wakelog.redaction": [
        "HashStrategy",
        "RedactionConfig",
        "RedactionDetector",
        "RedactionStrategy",
        "RegexDetector",
        "ReplacementStrategy",
        "TokenizationStrategy",
        "redact",
    ],
    "wakelog.setup": ["configure", "get_logger", "shutdown"],
    "wakelog.sinks": [
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
    ],
}

__all__ = sorted(name for names in _HOMES.values() for name in names)  # noqa: PLE0605 - each name once

__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
