"""Emitting events to an OpenTelemetry LoggerProvider."""

from __future__ import annotations

from typing import Any

from opentelemetry._logs import LoggerProvider, LogRecord, SeverityNumber, get_logger_provider

from wakelog.errors import ConfigurationError
from wakelog.events import plain_fields
from wakelog.events import semconv as s
from wakelog.gateway._events import as_forwarded
from wakelog.gateway.transports._interface import ClosableTransport
from wakelog.record import from_line, to_line


class OTelTransport(ClosableTransport):
    """Emits each event as a log record, with the event as its body.

    With a ``DurableLogRecordProcessor`` in the provider, the event is written to the journal and
    delivered from there. Another processor may lose it without an error.

    Args:
        logger_provider: The provider; default: OpenTelemetry's global one.

    Raises:
        ConfigurationError: If it is not a LoggerProvider.
    """

    works_in_any_loop = True

    def __init__(self, logger_provider: LoggerProvider | None = None) -> None:
        super().__init__()
        provider = get_logger_provider() if logger_provider is None else logger_provider
        if not callable(getattr(provider, "get_logger", None)):
            raise ConfigurationError(
                f"logger_provider={provider!r} has no get_logger(): give a LoggerProvider"
            )
        self._logger = provider.get_logger(s.SCOPE_NAME)

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        """Emit an event; ``metadata`` goes into its attribute ``wakelog.gateway.metadata``."""
        forwarded = as_forwarded(event)
        origin = forwarded.wakelog
        _, attributes = plain_fields(forwarded)
        attributes[s.CONVERSATION_ID] = origin.session_id
        attributes[s.LOG_RECORD_UID] = origin.id
        if metadata:
            attributes[s.GATEWAY_METADATA] = from_line(to_line(dict(metadata)))
        body: Any = from_line(to_line(forwarded))
        self._logger.emit(
            LogRecord(
                timestamp=origin.timestamp,
                observed_timestamp=origin.timestamp,
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                event_name=origin.event_name,
                body=body,
                attributes=attributes,
            )
        )
        return True
