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
    from wakelog.context import bound
    from wakelog.errors import (
        BufferFullError,
        ConfigurationError,
        CorruptLineError,
        EventTooLargeError,
        InvalidEventTypeError,
        JournalError,
        JournalFormatError,
        QuotaExceededError,
        RedactionError,
        SessionLogError,
        SinkError,
        UsageLimitError,
        WakelogError,
    )
    from wakelog.events import AgentEvent, register_event_type
    from wakelog.journal import Durability, QuotaPolicy, Receipt, Space
    from wakelog.logger import AgentLogger, AsyncAgentLogger, Budget, LimitExceeded
    from wakelog.otel import (
        DeliveryResult,
        DurableLogRecordProcessor,
        DurableSpanProcessor,
        EventToSpanEventBridge,
        OTelSink,
    )
    from wakelog.propagation import carried, carrier, propagate
    from wakelog.redaction import (
        HashStrategy,
        RedactionConfig,
        RedactionDetector,
        RedactionStrategy,
        RegexDetector,
        ReplacementStrategy,
        TokenizationStrategy,
        redact,
    )
    from wakelog.setup import configure, get_logger, shutdown
    from wakelog.sinks import (
        AsyncBufferedSink,
        AsyncEventSink,
        AsyncJSONLSink,
        Buffer,
        BufferedSink,
        EventSink,
        FanOutSink,
        JSONLSink,
        MemorySink,
        NullSink,
        OverflowPolicy,
        StructuredLoggingSink,
    )

__all__ = [
    "AgentEvent",
    "AgentLogger",
    "AsyncAgentLogger",
    "AsyncBufferedSink",
    "AsyncEventSink",
    "AsyncJSONLSink",
    "Budget",
    "Buffer",
    "BufferFullError",
    "BufferedSink",
    "ConfigurationError",
    "CorruptLineError",
    "DeliveryResult",
    "Durability",
    "DurableLogRecordProcessor",
    "DurableSpanProcessor",
    "EventSink",
    "EventToSpanEventBridge",
    "EventTooLargeError",
    "FanOutSink",
    "HashStrategy",
    "InvalidEventTypeError",
    "JSONLSink",
    "JournalError",
    "JournalFormatError",
    "LimitExceeded",
    "MemorySink",
    "NullSink",
    "OTelSink",
    "OverflowPolicy",
    "QuotaExceededError",
    "QuotaPolicy",
    "Receipt",
    "RedactionConfig",
    "RedactionDetector",
    "RedactionError",
    "RedactionStrategy",
    "RegexDetector",
    "ReplacementStrategy",
    "SessionLogError",
    "SinkError",
    "Space",
    "StructuredLoggingSink",
    "TokenizationStrategy",
    "UsageLimitError",
    "WakelogError",
    "bound",
    "carried",
    "carrier",
    "configure",
    "get_logger",
    "propagate",
    "redact",
    "register_event_type",
    "shutdown",
]


__getattr__ = lazy_names(
    __name__,
    {
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
    },
)


def __dir__() -> list[str]:
    return __all__
