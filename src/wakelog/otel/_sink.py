"""``OTelSink``: records events through an OpenTelemetry LoggerProvider."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber, get_logger_provider
from opentelemetry.sdk._logs import Logger as SDKLogger
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wakelog import _arguments as a
from wakelog.delivery import is_suppressed, suppressing
from wakelog.errors import SinkError
from wakelog.events import AgentEvent, attributes_of, event_name_of, severity_of
from wakelog.events import semconv as s
from wakelog.journal import Durability, Receipt
from wakelog.otel._content import ContentPolicy
from wakelog.otel._line_records import PreparedRecord
from wakelog.otel._others import asked, failures
from wakelog.otel._records import EventLogRecord
from wakelog.otel._result import NO_SPANS, DeliveryResult
from wakelog.otel._settings import disabled
from wakelog.record import from_line, to_line

if TYPE_CHECKING:
    from wakelog.otel._processor import DurableLogRecordProcessor

_NOT_DURABLE = (
    "no journal has accepted the event: the logger provider has no DurableLogRecordProcessor, or "
    "its logger is disabled. Add the processor to it, or call configure() without logger_provider"
)
_SEVERITIES = {severity.value: severity for severity in SeverityNumber}
_NORMAL_TYPES = frozenset({str, int, bool, float, bytes, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})
_TEXT = frozenset({str})
_DEEPEST = 16
_MOST_HEADS = 256
# Cache of the common fields of each event type: name and severity.
_heads: dict[str, tuple[str, SeverityNumber, str]] = {}


class OTelSink:
    """Emits each event as a log record.

    With a ``DurableLogRecordProcessor`` in the provider, the event is in the journal when ``write``
    returns, and has its receipt; with a processor that has a buffer, it is in the buffer. Without
    such a processor, delivery is up to the provider's other processors.

    Args:
        logger_provider: Where to emit; OpenTelemetry's global provider by default.
        required: Whether to raise for an event that no ``DurableLogRecordProcessor`` has accepted.
        without_limits: Whether the provider limits neither the number nor the length of attributes;
            True saves checking them twice.
        flush_spans: Exports the spans of the events, within a number of seconds, and returns
            whether all were accepted.
        processors: The provider's processors that have a journal, for the result of ``deliver``.
    """

    delivers = True
    takes_threads = True
    """Whether ``write`` may be called in any thread, for events whose encoding takes long."""

    def __init__(
        self,
        logger_provider: LoggerProvider | None = None,
        *,
        required: bool = False,
        without_limits: bool = False,
        flush_spans: Callable[[float], bool] | None = None,
        processors: Sequence[DurableLogRecordProcessor] = (),
    ) -> None:
        a.check(
            logger_provider=(logger_provider, a.With("get_logger", "a LoggerProvider"), None),
            required=(required, bool),
            without_limits=(without_limits, bool),
            flush_spans=(flush_spans, *a.FUNCTION),
            processors=(processors, list, tuple),
        )
        # OpenTelemetry that is disabled on purpose has no journal, which is no error.
        self._required = required and not disabled()
        self._flush_spans = flush_spans
        self._processors = processors
        policy = ContentPolicy.from_environment()
        self._shows_content = policy.events
        # Content for the journal alone may have values of any type.
        self._spans_show_content = policy.spans
        self._provider = logger_provider or get_logger_provider()
        self._logger = self._provider.get_logger(s.SCOPE_NAME, schema_url=s.SCHEMA_URL)
        fast = without_limits and isinstance(self._logger, SDKLogger)
        self._unlimited = cast("SDKLogger", self._logger) if fast else None
        self._origin_of = _getter(self._logger)
        # Cache of the loggers of log records, by scope.
        self._loggers: dict[str, Logger] = {}

    @property
    def resource(self) -> Resource | None:
        """The resource of the records, None if the provider does not have it."""
        resource = getattr(self._provider, "resource", None)
        return resource if isinstance(resource, Resource) else None

    @property
    def paths(self) -> list[Path]:
        """The directories of the journals of its processors."""
        return [one.journal.root for one in self._processors]

    def write(self, event: AgentEvent) -> None:
        """Emit an event.

        Its content is for the journal alone, unless the content policy allows it in events: other
        processors in the provider do not see it.

        Raises:
            SinkError: If the journal did not accept it.
        """
        name, severity, text = _heads.get(event.event_type) or _head_of(event)
        content: dict[str, Any] | None = None if self._shows_content else {}
        attributes = attributes_of(event, content)
        if event.attributes or not _NORMAL_TYPES.issuperset(map(type, attributes.values())):
            _normalise(attributes)
        if content and self._spans_show_content:
            _normalise(content)
        attributes[s.LOG_RECORD_UID] = event.event_id
        record = EventLogRecord(
            event.time_unix_nano,
            severity,
            text,
            attributes,
            name,
            event.span_context,
            event.durability,
            event.deferred,
            content,
            True,
        )
        logger = self._unlimited
        try:
            if logger is not None:
                # The prepared record saves a check and a copy of its attributes. The SDK's logger
                # accepts both kinds of records; the API's signature names only the other one.
                resource, scope = self._origin_of(logger)
                whole = PreparedRecord(record, resource, scope)
                logger.emit(whole)  # type: ignore[arg-type]
            else:
                self._logger.emit(record)
        except Exception as error:
            if not record.answered:
                raise
            failures.note(error)  # raised by another processor: the journal has the event
        event.receipt, event.settling = record.receipt, record.settling
        if record.settling is not None and record.receipt is None:
            event.settling = partial(_settle, event, record)  # the buffer writes it later
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
        """Emit a log record of a logging library, which is no agent event.

        Args:
            scope: The name of the library's logger.
            body: The body: any object.
            attributes: A new dict, which this method may change.
            severity_number: OpenTelemetry's severity, None if it is not known.
            severity_text: The library's name of the severity.
            event_name: The event's name, for a record that is an event.
            timestamp: When it happened, in nanoseconds since 1970.
            span_context: Trace id, span id and trace flags of the record's span, if it has one.
            durability: The durability of this record, if it is higher than the journal's.

        Returns:
            The receipt of the journal. None in a thread that delivers, whose records are
            suppressed.

        Raises:
            SinkError: If the journal did not accept it.
        """
        if threading.get_ident() in suppressing and is_suppressed():
            return None
        if not (
            _NORMAL_TYPES.issuperset(map(type, attributes.values()))
            and _TEXT.issuperset(map(type, attributes))
        ):
            _normalise(attributes)
        record = EventLogRecord(
            timestamp,
            _SEVERITIES.get(severity_number or -1),
            severity_text,
            attributes,
            event_name,
            span_context,
            durability,
            body=body if type(body) is str else _normalised(body),
        )
        logger = self._loggers.get(scope)
        if logger is None:
            logger = self._loggers[scope] = self._provider.get_logger(scope)
        try:
            if self._unlimited is not None:
                sdk = cast("SDKLogger", logger)  # of the SDK's provider
                whole = PreparedRecord(record, sdk.resource, sdk.instrumentation_scope)
                sdk.emit(whole)  # type: ignore[arg-type]
            else:
                logger.emit(record)
        except Exception as error:
            if not record.answered:
                raise
            failures.note(error)  # raised by another processor: the journal has the record
        if self._required and record.receipt is None:
            raise SinkError(_NOT_DURABLE)
        return record.receipt

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until the next hop has accepted the emitted records and their spans.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether everything was accepted.
        """
        return self.deliver(timeout).complete

    def deliver(self, timeout: float = 30.0) -> DeliveryResult:
        """Do what ``flush`` does, and return the result with counts.

        Args:
            timeout: The longest wait, in seconds.

        Raises:
            ConfigurationError: If the time-out is not a number.
        """
        timeout = a.wait_of(timeout)
        deadline = time.monotonic() + timeout
        force_flush = getattr(self._provider, "force_flush", None)
        delivered = True
        if force_flush is not None:
            delivered = asked(lambda: bool(force_flush(int(timeout * 1000))), otherwise=False)
        known = [one.result(complete=delivered) for one in self._processors]
        result = sum(known, DeliveryResult(delivered))
        if not delivered and not result.reason:
            result += DeliveryResult(
                complete=False, reason="the logger provider could not be flushed in time"
            )
        if self._flush_spans is not None:
            left = max(0.0, deadline - time.monotonic())
            # If records took all the time, spans had no chance, and their failure means nothing.
            if not self._flush_spans(left) and (left or result):
                result += NO_SPANS
        return result


def _getter(logger: Logger) -> Callable[[Any], tuple[Resource, InstrumentationScope]]:
    """Return a function that returns an SDK's logger's resource and scope.

    It reads them where the properties do, which saves two calls of Python functions for each event.
    """
    names = ("resource", "instrumentation_scope")
    if type(logger) is not SDKLogger:
        return attrgetter(*names)
    held = [
        [own for own, value in vars(logger).items() if value is getattr(logger, name)]
        for name in names
    ]
    return attrgetter(
        *(own[0] if len(own) == 1 else name for own, name in zip(held, names, strict=True))
    )


def _head_of(event: AgentEvent) -> tuple[str, SeverityNumber, str]:
    number, text = severity_of(event)
    head = event_name_of(event.event_type), _SEVERITIES[number], text
    if len(_heads) >= _MOST_HEADS:
        _heads.clear()
    _heads[event.event_type] = head
    return head


async def _settle(event: AgentEvent, record: EventLogRecord) -> None:
    if record.settling is not None:
        await record.settling()
    event.receipt = record.receipt


def _normalise(attributes: dict[str, Any]) -> None:
    """Replace, in a dict, the values that OpenTelemetry does not accept unchanged."""
    odd = False
    for name, value in attributes.items():
        if type(value) not in _NORMAL_TYPES:
            attributes[name] = _normalised(value)
        if type(name) is not str:
            odd = True
    if odd:
        plain = cast("dict[str, Any]", from_line(to_line(attributes)))
        attributes.clear()
        attributes.update(plain)


def _normalised(value: Any) -> Any:
    """Return a value in a form that OpenTelemetry accepts unchanged."""
    return value if _is_normalised(value, _DEEPEST) else from_line(to_line(value))


def _is_normalised(value: Any, depth: int) -> bool:
    """Return whether OpenTelemetry accepts a value unchanged.

    For other values it logs a warning and takes their text, or fails; values nested deeper than
    ``depth`` may be endless.
    """
    kind = type(value)
    if kind in _NORMAL_TYPES:
        return True
    if depth == 0 or kind not in _CONTAINERS:
        return False
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    for item in value:  # noqa: SIM110 - a generator would take twice as long
        if not _is_normalised(item, depth - 1):
            return False
    return True
