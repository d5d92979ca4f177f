"""Events into an OpenTelemetry LoggerProvider."""

from __future__ import annotations

from typing import Any

from opentelemetry._logs import LoggerProvider, LogRecord, SeverityNumber, get_logger_provider

from wakelog.errors import ConfigurationError
from wakelog.events import plain_fields
from wakelog.events import semconv as s
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway.transports._interface import TransportInterface
from wakelog.record import from_line, to_line


class OTelTransport(TransportInterface):
    """Emits each event as a log record, with the event as its body.

    With a ``DurableLogRecordProcessor`` in the provider the event is in the journal, and delivered
    from there. With another processor, that one decides what becomes of it, and nobody hears.

    Args:
        logger_provider: Where to emit; OpenTelemetry's global provider by default.

    Raises:
        ConfigurationError: For what is no LoggerProvider.
    """

    def __init__(self, logger_provider: LoggerProvider | None = None) -> None:
        provider = get_logger_provider() if logger_provider is None else logger_provider
        if not callable(getattr(provider, "get_logger", None)):
            raise ConfigurationError(
                f"logger_provider={provider!r} has no get_logger(): give a LoggerProvider"
            )
        self._logger = provider.get_logger(s.SCOPE_NAME)

    async def send(self, event: ForwardedEvent) -> bool:
        """Emit an event."""
        _, attributes = plain_fields(event)
        attributes[s.CONVERSATION_ID] = event.session_id
        attributes[s.LOG_RECORD_UID] = event.id
        body: Any = from_line(to_line(event))
        self._logger.emit(
            LogRecord(
                timestamp=event.timestamp,
                observed_timestamp=event.timestamp,
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                event_name=event.event_name,
                body=body,
                attributes=attributes,
            )
        )
        return True
