"""``OTelSink``: events into an OpenTelemetry LoggerProvider."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber, get_logger_provider
from opentelemetry.sdk._logs import Logger as SDKLogger

from wakelog.errors import SinkError
from wakelog.events import AgentEvent
from wakelog.events import semconv as s
from wakelog.events._mapping import attributes_of, event_name_of, severity_of
from wakelog.journal import Durability, Receipt
from wakelog.otel._content import ContentPolicy
from wakelog.otel._quiet import is_quiet
from wakelog.otel._records import EventLogRecord, emit_prepared
from wakelog.record import from_line, to_line

_NOT_DURABLE = (
    "no journal has accepted the event: the logger provider has no DurableLogRecordProcessor, or "
    "its logger is disabled. Add the processor to it, or call configure() without logger_provider"
)
_SEVERITIES = {severity.value: severity for severity in SeverityNumber}
_TAKEN = frozenset({str, int, bool, float, bytes, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})
_DEEPEST = 16


class OTelSink:
    """Emits each event as a log record.

    With a ``DurableLogRecordProcessor`` in the provider the event is in the journal when ``write``
    returns, and its receipt is on it; with a processor that has a buffer, in the buffer. Without one, OpenTelemetry alone decides what becomes of it.

    Args:
        logger_provider: Where to emit; OpenTelemetry's global provider by default.
        required: Raise for an event that no ``DurableLogRecordProcessor`` has accepted.
        without_limits: Say that the provider limits neither the number nor the length of
            attributes, which saves checking them twice.
    """

    delivers = True

    def __init__(
        self,
        logger_provider: LoggerProvider | None = None,
        *,
        required: bool = False,
        without_limits: bool = False,
    ) -> None:
        self._required = required
        self._shows_content = ContentPolicy.from_environment().events
        self._provider = logger_provider or get_logger_provider()
        self._logger = self._provider.get_logger(s.SCOPE_NAME)
        fast = without_limits and isinstance(self._logger, SDKLogger)
        self._unlimited = cast("SDKLogger", self._logger) if fast else None
        # A cache of the loggers that log records were emitted by, by scope.
        self._loggers: dict[str, Logger] = {}

    def write(self, event: AgentEvent) -> None:
        """Emit an event.

        Its content is for the journal alone, unless the content policy has events carry it: other
        processors in the provider do not see it.

        Raises:
            SinkError: When the journal did not accept it.
        """
        number, text = severity_of(event)
        content: dict[str, Any] | None = None if self._shows_content else {}
        attributes = attributes_of(event, content)
        _make_taken(attributes)
        if content:
            _make_taken(content)
        attributes[s.LOG_RECORD_UID] = event.event_id
        record = EventLogRecord(
            timestamp=event.time_unix_nano,
            severity_number=_SEVERITIES[number],
            severity_text=text,
            attributes=attributes,
            event_name=event_name_of(event.event_type),
            span_context=event.span_context,
            durability=event.durability,
            deferred=event.deferred,
            content=content,
        )
        if self._unlimited is not None:
            emit_prepared(self._unlimited, record)
        else:
            self._logger.emit(record)
        event.receipt, event.settling = record.receipt, record.settling
        if record.settling is not None and record.receipt is None:
            event.settling = partial(_settle, event, record)  # a buffer will have it written
        if self._required and not record.answered:
            raise SinkError(_NOT_DURABLE)

    def write_log(
        self,
        scope: str,
        body: Any,
        attributes: dict[str, Any],
        *,
        severity_number: int | None = None,
        severity_text: str = "",
        event_name: str = "",
        timestamp: int,
        span_context: tuple[int, int, int] | None = None,
        durability: Durability | None = None,
    ) -> Receipt | None:
        """Emit a log record that is no agent event, as a logging library hands it on.

        Args:
            scope: The name of the logger that it comes from.
            body: What it says: any object.
            attributes: A new dict, which this method may change.
            severity_number: OpenTelemetry's severity, None when it is not known.
            severity_text: The severity in the words of the source.
            event_name: The event's name, for a record that is an event.
            timestamp: When it happened, in nanoseconds since 1970.
            span_context: Trace id, span id and trace flags of the span that it belongs to, if any.
            durability: What the journal has to do, when that is more than it does anyway.

        Returns:
            What the journal promised. None where it does not listen: in a thread that delivers.

        Raises:
            SinkError: When the journal did not accept it.
        """
        if is_quiet():
            return None
        _make_taken(attributes)
        record = EventLogRecord(
            timestamp=timestamp,
            severity_number=_SEVERITIES.get(severity_number or -1),
            severity_text=severity_text,
            attributes=attributes,
            event_name=event_name,
            span_context=span_context,
            durability=durability,
        )
        record.body = body if type(body) is str else _taken(body)
        logger = self._loggers.get(scope)
        if logger is None:
            logger = self._loggers[scope] = self._provider.get_logger(scope)
        if self._unlimited is not None:
            emit_prepared(logger, record)  # type: ignore[arg-type]  # of the SDK's provider
        else:
            logger.emit(record)
        if self._required and record.receipt is None:
            raise SinkError(_NOT_DURABLE)
        return record.receipt

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until the next hop has accepted what was emitted.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether that is so.
        """
        force_flush = getattr(self._provider, "force_flush", None)
        return bool(force_flush(int(timeout * 1000))) if force_flush else True


async def _settle(event: AgentEvent, record: EventLogRecord) -> None:
    if record.settling is not None:
        await record.settling()
    event.receipt = record.receipt


def _make_taken(attributes: dict[str, Any]) -> None:
    """Replace, in a dict, what OpenTelemetry would not take as it is."""
    odd = False
    for name, value in attributes.items():
        if type(value) not in _TAKEN:
            attributes[name] = _taken(value)
        if type(name) is not str:
            odd = True
    if odd:
        plain = cast("dict[str, Any]", from_line(to_line(attributes)))
        attributes.clear()
        attributes.update(plain)


def _taken(value: Any) -> Any:
    """Return a value in a form that OpenTelemetry takes as it is."""
    return value if _is_taken(value, _DEEPEST) else from_line(to_line(value))


def _is_taken(value: Any, depth: int) -> bool:
    """Tell whether OpenTelemetry takes a value as it is.

    Of others it logs a warning and takes their text, or fails on them; what is nested deeper than
    ``depth`` may have no end.
    """
    kind = type(value)
    if kind in _TAKEN:
        return True
    if depth == 0 or kind not in _CONTAINERS:
        return False
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    for item in value:  # noqa: SIM110 - a generator would take twice as long
        if not _is_taken(item, depth - 1):
            return False
    return True
