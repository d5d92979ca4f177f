"""``configure`` and ``shutdown``: the whole road in one call."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.metrics import MeterProvider, set_meter_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.environment_variables import (
    OTEL_ATTRIBUTE_COUNT_LIMIT,
    OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT,
    OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from wakelog.errors import ConfigurationError
from wakelog.events import semconv as s
from wakelog.journal import Durability, Space, default_root
from wakelog.logger import AgentLogger, set_current
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.otel._content import ContentAwareBridge, ContentPolicy
from wakelog.otel._exporters import log_exporter, metric_exporter, span_exporter
from wakelog.otel._instruments import finish, use
from wakelog.otel._metrics import is_unset
from wakelog.otel._processor import DIRECTORY_VARIABLE
from wakelog.otel._pushing import PushedMetrics
from wakelog.otel._settings import disabled, flag, for_journal
from wakelog.redaction import RedactionConfig
from wakelog.sinks import Buffer, EventSink, NullSink

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter

_EXIT_SECONDS = 5.0
_HOPELESS_SECONDS = 0.05
# As long as delivery waits for a sign of life from the next hop.
_PATIENCE_SECONDS = 0.8
_LIMITS = (
    OTEL_ATTRIBUTE_COUNT_LIMIT,
    OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT,
    OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT,
    OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT,
)


class _Spans:
    """The tracer provider that this module has made, which lives as long as the process.

    Its exporter may wait for a next hop that is down, so it is ended in a thread of its own, which
    exists from the start: an interpreter that is exiting may not start one any more.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Begin at first, and anew in a forked child, which has no thread."""
        self._end, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._run, name="wakelog-spans-exit", daemon=True).start()

    def _run(self) -> None:
        self._end.wait()
        self.provider.shutdown()
        self._ended.set()

    def end(self, timeout: float) -> bool:
        """Export what is there and stop; return whether that took no longer than ``timeout``."""
        self._end.set()
        return self._ended.wait(timeout)


class _Made:
    """What ``configure`` has made: for the current set-up, and once a process.

    Attributes:
        processor: The processor of the current set-up.
        spans: The tracer provider.
        metrics: The MeterProvider.
        hope: How long an exit waits for spans, in seconds, by what became of the events.
    """

    def __init__(self) -> None:
        self.processor: DurableLogRecordProcessor | None = None
        self.spans: _Spans | None = None
        self.metrics: PushedMetrics | None = None
        self.hope = _EXIT_SECONDS

    def end_recording(self, timeout: float) -> bool:
        """Deliver and end what is set up, and return whether everything was delivered."""
        with _lock:
            processor, self.processor = self.processor, None
        if processor is None:
            return True
        delivers = processor.delivers
        delivered = processor.close(timeout)
        # Where events did not get through, nothing else will; where they stay here, nobody knows.
        unknown = _HOPELESS_SECONDS if delivers else _PATIENCE_SECONDS
        self.hope = _EXIT_SECONDS if delivered else unknown
        return delivered

    @property
    def hope_for_metrics(self) -> float:
        """How long to wait for metrics: one request, to a next hop that may be gone by now."""
        return min(self.hope, _PATIENCE_SECONDS)


_lock = threading.Lock()
_made = _Made()


def configure(
    agent_name: str | None = None,
    workflow_name: str | None = None,
    *,
    service_name: str | None = None,
    directory: str | os.PathLike[str] | None = None,
    durability: Durability | str | None = None,
    segment_bytes: int | None = None,
    segment_age: float | None = None,
    rotate_at_midnight: bool | None = None,
    space: Space | None = None,
    buffer: Buffer | None = None,
    exporter: LogRecordExporter | None = None,
    span_events: bool | None = None,
    redact_payloads: bool | None = None,
    redaction_config: RedactionConfig | None = None,
    default_risk: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    logger_provider: LoggerProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> AgentLogger:
    """Set recording up and return the logger.

    Events go to a journal on this machine. With ``OTEL_EXPORTER_OTLP_ENDPOINT`` set they are
    delivered there too, and spans and metrics are sent there; without it everything stays local and
    pending, and no metrics are kept.

    Providers that exist are used and left as they are: a tracer provider opens the spans, a logger
    provider's resource describes the events, a MeterProvider has the metrics, and nothing is added
    to any. Where there is none, one is made and becomes OpenTelemetry's global provider; a
    MeterProvider only where there is somewhere to send metrics, and not beside ``logger_provider``.
    With ``OTEL_SDK_DISABLED=true`` nothing is set up, and the logger records nothing.

    Calling it again ends what the call before has set up. An argument wins over its variable.

    Args:
        agent_name: The agent whose events the logger records; else ``WAKELOG_AGENT_NAME``.
        workflow_name: The workflow that it works in; else ``WAKELOG_WORKFLOW_NAME``.
        service_name: ``service.name``, in place of ``OTEL_SERVICE_NAME``.
        directory: The journal's directory; else ``WAKELOG_DIR``, else
            ``$XDG_STATE_HOME/wakelog/<service.name>``.
        durability: What has been done to an event when the call that recorded it returns; else
            ``WAKELOG_DURABILITY``, else ``Durability.OS_BUFFERED``.
        segment_bytes: The size at which a journal file is ended and the next begun; else
            ``WAKELOG_SEGMENT_BYTES``, else 16 MiB.
        segment_age: The seconds after which it is; else ``WAKELOG_SEGMENT_AGE``, else any age.
        rotate_at_midnight: Whether it is at local midnight; else ``WAKELOG_ROTATE_AT_MIDNIGHT``,
            else not.
        space: How much of the disk the journal may take, and for how long; else what the variables
            say that are named as its fields, ``WAKELOG_QUOTA_BYTES`` and so on.
        buffer: Take events in memory and write them in a thread of their own, a trade that
            ``DurableLogRecordProcessor`` describes; else what ``WAKELOG_BUFFER_CAPACITY``,
            ``WAKELOG_BUFFER_OVERFLOW`` and ``WAKELOG_BUFFER_TIMEOUT`` say, else no buffer.
        exporter: Where to deliver, in place of what the environment says.
        span_events: Whether events also become events of the span that is running; else
            ``WAKELOG_SPAN_EVENTS``, else yes.
        redact_payloads: Whether secrets and personal data are taken out before anything is written;
            else ``WAKELOG_REDACT``, else yes.
        redaction_config: What is taken out, and what stands in its place.
        default_risk: Classifications that every event carries.
        metadata: Anything else that every event carries.
        logger_provider: A provider that already has a ``DurableLogRecordProcessor``; events are
            emitted into it, and nothing else is made for logs.
        tracer_provider: Where spans are opened, in place of the global provider.
        meter_provider: Where Wakelog's metrics go, in place of the global provider.

    Returns:
        The logger.

    Raises:
        ConfigurationError: For a setting or variable that cannot be used; it says which.
        JournalError: When the directory cannot be used.
    """
    _made.end_recording(_EXIT_SECONDS)
    sink: EventSink = NullSink()
    if logger_provider is not None:
        _refuse_beside_a_provider(
            directory=directory,
            durability=durability,
            segment_bytes=segment_bytes,
            segment_age=segment_age,
            rotate_at_midnight=rotate_at_midnight,
            space=space,
            buffer=buffer,
            exporter=exporter,
            span_events=span_events,
            meter_provider=meter_provider,
        )
    if not disabled():
        settings = for_journal(
            durability=durability,
            segment_bytes=segment_bytes,
            segment_age=segment_age,
            rotate_at_midnight=rotate_at_midnight,
            space=space,
            buffer=buffer,
        )
        bridged = flag(span_events, "WAKELOG_SPAN_EVENTS", default=True)
        made_here = logger_provider is None
        pushed = None
        if made_here:
            exporter = exporter or log_exporter()
            pushed = _pushed_metrics() if meter_provider is None else None
        tracer_provider = tracer_provider or _tracer_provider(service_name)
        if logger_provider is None:
            resource = _resource(tracer_provider, service_name)
            if meter_provider is not None:
                use(meter_provider)
            if pushed is not None:
                set_meter_provider(pushed.start(resource))
                _made.metrics = pushed
            name = str(resource.attributes.get(s.SERVICE_NAME, ""))
            processor = DurableLogRecordProcessor(
                exporter,
                meter_provider=meter_provider,
                directory=directory or os.environ.get(DIRECTORY_VARIABLE) or default_root(name),
                **settings,
            )
            logger_provider = _logger_provider(resource, processor, bridged=bridged)
            with _lock:
                _made.processor = processor
        sink = OTelSink(
            logger_provider, required=not made_here, without_limits=made_here and not _has_limits()
        )
    log = AgentLogger(
        agent_name or os.environ.get("WAKELOG_AGENT_NAME"),
        workflow_name or os.environ.get("WAKELOG_WORKFLOW_NAME"),
        sink,
        flag(redact_payloads, "WAKELOG_REDACT", default=True),
        redaction_config,
        default_risk,
        metadata,
        tracer_provider=tracer_provider,
    )
    set_current(log)
    return log


def shutdown(timeout: float = _EXIT_SECONDS) -> bool:
    """Deliver what the next hop takes and end what ``configure`` has set up.

    What is still pending stays in the journal, and the next process that uses the directory
    delivers it. It happens at the normal end of a program by itself.

    Args:
        timeout: The longest wait, in seconds.

    Returns:
        Whether everything recorded was delivered. True when nothing was set up.
    """
    deadline = time.monotonic() + timeout
    delivered = _made.end_recording(timeout)
    if (metrics := _made.metrics) is not None:
        left = max(0.0, deadline - time.monotonic())
        metrics.flush(min(left, _made.hope_for_metrics))
    return delivered


@atexit.register
def _at_exit() -> None:
    deadline = time.monotonic() + _EXIT_SECONDS
    spans, metrics = _made.spans, _made.metrics
    if spans is not None:
        spans.end(0)  # begins it, while the events are delivered
    _made.end_recording(_EXIT_SECONDS)
    if metrics is not None:
        finish()
        metrics.end(0)  # begins it, so that its books are those of the end
    begun = time.monotonic()
    if spans is not None:
        spans.end(max(0.0, min(deadline, begun + _made.hope) - time.monotonic()))
    if metrics is not None:
        until = min(deadline, begun + _made.hope_for_metrics)
        metrics.end(max(0.0, until - time.monotonic()))


def _refuse_beside_a_provider(**settings: object) -> None:
    """Raise for settings that belong to the processor in the provider that was given."""
    if given := [name for name, value in settings.items() if value is not None]:
        message = (
            f"{' and '.join(given)} cannot be set beside logger_provider: give "
            "them to the DurableLogRecordProcessor in that provider"
        )
        raise ConfigurationError(message)


def _has_limits() -> bool:
    """Tell whether the environment limits the attributes of log records."""
    return any(os.environ.get(variable) for variable in _LIMITS)


def _own_resource(service_name: str | None) -> Resource:
    return Resource.create({s.SERVICE_NAME: service_name} if service_name else None)


def _resource(tracer_provider: trace.TracerProvider, service_name: str | None) -> Resource:
    """Return the resource of the providers that exist, so that events and spans agree."""
    for provider in (get_logger_provider(), tracer_provider):
        if isinstance(provider, LoggerProvider | TracerProvider):
            named = Resource({s.SERVICE_NAME: service_name} if service_name else {})
            return provider.resource.merge(named)
    return _own_resource(service_name)


def _pushed_metrics() -> PushedMetrics | None:
    """Return what sends metrics, when there is no MeterProvider yet and somewhere to send them."""
    exporter = metric_exporter() if is_unset() else None
    return None if exporter is None else PushedMetrics(exporter, metric_exporter)


def _tracer_provider(service_name: str | None) -> trace.TracerProvider:
    """Return the global tracer provider, made here when there is none."""
    current = trace.get_tracer_provider()
    if not isinstance(current, trace.ProxyTracerProvider):
        return current
    provider = TracerProvider(resource=_own_resource(service_name), shutdown_on_exit=False)
    if (exporter := span_exporter()) is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _made.spans = _Spans(provider)
    return provider


def _logger_provider(
    resource: Resource, processor: DurableLogRecordProcessor, *, bridged: bool
) -> LoggerProvider:
    """Make the logger provider, and make it the global one when there is none."""
    provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    if bridged:
        provider.add_log_record_processor(ContentAwareBridge(ContentPolicy.from_environment()))
    provider.add_log_record_processor(processor)
    if not isinstance(get_logger_provider(), LoggerProvider):
        set_logger_provider(provider)
    return provider
