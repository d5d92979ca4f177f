"""``configure`` and ``shutdown``: start and end recording and delivery in one call each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from opentelemetry import trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.metrics import MeterProvider, set_meter_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    ConsoleLogRecordExporter,
    LogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from wakelog import _arguments as a
from wakelog._arguments import MAX_EVENT_BYTES
from wakelog.context import CARRIER
from wakelog.errors import ConfigurationError
from wakelog.events import semconv as s
from wakelog.journal import Durability, Space
from wakelog.logger import AgentLogger, set_current
from wakelog.otel import (
    ATTRIBUTE_LIMITS,
    DIRECTORY_VARIABLE,
    FOREIGN_VARIABLES,
    MAX_RECORD_BYTES,
    REPLAY_RATE,
    DeliveryResult,
    DurableLogRecordProcessor,
    OTelSink,
    SetUp,
    Spans,
    disabled,
    flag,
    for_journal,
    for_spans,
    has_limits,
    in_time,
    log_exporters,
    made,
    named_pipeline,
    naming_variables,
    on_error_of,
    periodic_metrics,
    refuse_beside_a_provider,
    say_misspelt,
    span_exporters,
)
from wakelog.record import DEFAULT_PIPELINE
from wakelog.runtime import absolute, notice_fork
from wakelog.telemetry.instruments import is_unset, use

if TYPE_CHECKING:
    from wakelog.buffer import Buffer
    from wakelog.evidence import Sealing
    from wakelog.redaction import RedactionConfig

_log = logging.getLogger("wakelog")

# Variables that are compared by value, because they have no argument of `configure`.
_COMPARED = ("OTEL_", REPLAY_RATE, MAX_RECORD_BYTES, MAX_EVENT_BYTES, *FOREIGN_VARIABLES)
# The settings of loggers.
_OF_LOGGERS = (
    "redact_payloads",
    "redaction_config",
    "on_error",
    "genai_events",
    "genai_metrics",
    "costs",
)


# The settings of a journal, for log records and for spans.
_JOURNAL = ("durability", "segment_bytes", "segment_age", "rotate_at_midnight", "space", "sealing")
# The settings that belong to the processor in a given logger provider.
_OF_PIPELINES = (
    "directory",
    *_JOURNAL,
    "buffer",
    "exporter",
    "span_events",
    "meter_provider",
    "pipeline",
)
# What differs between loggers of one set-up.
_OF_ONE_LOGGER = ("agent_name", "workflow_name", "default_risk", "metadata")
# The types of the arguments.
_KINDS: Final[Mapping[str, tuple[a.Kind, ...]]] = {
    **dict.fromkeys(
        ("agent_name", "workflow_name", "service_name", "on_error", "pipeline"), a.TEXT
    ),
    "directory": (*a.PATH, None),
    "durability": (str, None),
    "segment_bytes": a.COUNT,
    "segment_age": a.NUMBER,
    **dict.fromkeys(("rotate_at_midnight", "span_events", "redact_payloads"), a.FLAG),
    **dict.fromkeys(("genai_events", "genai_metrics", "costs"), a.FLAG),
    "space": (Space, None),
    "buffer": a.BUFFER,
    "sealing": a.SEALING,
    "redaction_config": a.REDACTION,
    **dict.fromkeys(("default_risk", "metadata"), a.MAPPING),
    "exporter": (a.With("export", "a LogRecordExporter"), None),
    "logger_provider": (a.With("get_logger", "a LoggerProvider"), None),
    "tracer_provider": (a.With("get_tracer", "a TracerProvider"), None),
    "meter_provider": (a.With("get_meter", "a MeterProvider"), None),
}


def _check(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        a.check(**{name: (value, *_KINDS[name])})


# Long: each argument has a line.
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
    on_error: Literal["log", "raise"] | None = None,
    logger_provider: LoggerProvider | None = None,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    pipeline: str | None = None,
    genai_events: bool | None = None,
    genai_metrics: bool | None = None,
    costs: bool | None = None,
    sealing: Sealing | None = None,
) -> AgentLogger:
    """Set up recording, and return the logger.

    Events go to a journal on this machine. With ``OTEL_EXPORTER_OTLP_ENDPOINT`` set, they are also
    delivered there, and spans and metrics are exported there; without it everything stays local and
    pending, and there are no metrics.

    Existing providers are used and not changed: a tracer provider opens the spans, a logger
    provider's resource describes the events, and a MeterProvider has the metrics. A missing
    provider is created and becomes OpenTelemetry's global provider; a MeterProvider only if metrics
    have an exporter, and not with ``logger_provider``. With ``OTEL_SDK_DISABLED=true`` nothing is
    set up, and the logger records nothing.

    Another call with equal settings (all but agent, workflow, risk and metadata) returns another
    logger of the same set-up; ``get_logger`` does so, too. If settings differ, the differences are
    logged once, the new set-up becomes the current one, and the previous one continues until
    ``shutdown``. An argument takes precedence over its variable.

    Args:
        agent_name: The agent whose events the logger records; else ``WAKELOG_AGENT_NAME``.
        workflow_name: The agent's workflow; else ``WAKELOG_WORKFLOW_NAME``.
        service_name: ``service.name``, in place of ``OTEL_SERVICE_NAME``.
        directory: The journal's directory; else ``WAKELOG_DIR``, else
            ``$XDG_STATE_HOME/wakelog/<service.name>``.
        durability: Which failures an event survives once the recording call has returned; else
            ``WAKELOG_DURABILITY``, else ``Durability.OS_BUFFERED``.
        segment_bytes: The size in bytes at which a segment is ended and the next one begins; else
            ``WAKELOG_SEGMENT_BYTES``, else 16 MiB.
        segment_age: Maximum age of a segment, in seconds; else ``WAKELOG_SEGMENT_AGE``, else any.
        rotate_at_midnight: Whether a segment begins with the first event of each day, in local
            time; else ``WAKELOG_ROTATE_AT_MIDNIGHT``, else not.
        space: The quota of the journal, and how long records are kept; else the variables of its
            fields, ``WAKELOG_QUOTA_BYTES`` and so on.
        buffer: Hold events in memory and write them in a separate thread, see
            ``DurableLogRecordProcessor`` for the risk; else the variables of its fields,
            ``WAKELOG_BUFFER_CAPACITY`` and so on, else no buffer.
        exporter: The exporter to the next hop, in place of the environment's.
        span_events: Whether events also become events of the current span; else
            ``WAKELOG_SPAN_EVENTS``, else yes.
        redact_payloads: Whether to redact secrets and personal data before anything is written;
            else ``WAKELOG_REDACT``, else yes.
        redaction_config: What is redacted, and how it is replaced.
        default_risk: Risk classifications of every event.
        metadata: Other data of every event.
        on_error: What a call does if its event could not be recorded: ``log`` counts it, logs it
            once a minute and returns; ``raise`` raises, as a call with ``Durability.FSYNC`` always
            does. Else ``WAKELOG_ON_ERROR``, else ``log``.
        logger_provider: A provider that already has a ``DurableLogRecordProcessor``; events are
            emitted through it, and nothing else is created for logs.
        tracer_provider: Where spans are opened, in place of the global provider.
        meter_provider: Where Wakelog's metrics are reported, in place of the global provider.
        pipeline: The name of the pipeline, the same after a restart; else ``WAKELOG_PIPELINE``,
            else ``default``, whose records are delivered to the current destination of the service.
        genai_events: Whether model calls and exceptions are also recorded as the events of
            OpenTelemetry's conventions for generative AI; else ``WAKELOG_GENAI_EVENTS``, else not.
        genai_metrics: Whether tokens and durations are also reported as the metrics of the
            conventions; else ``WAKELOG_GENAI_METRICS``, else not.
        costs: Whether records of model calls have their costs, by the price list of
            ``genai-prices``; else ``WAKELOG_COSTS``, else not.
        sealing: Signs the journal, see ``docs/evidence.md``; else ``WAKELOG_SEAL_KEY``, else not.

    Returns:
        The logger.

    Raises:
        ConfigurationError: If a setting or variable is invalid; the message names it.
        JournalError: If the directory cannot be used.
    """
    given = locals()  # the arguments by their names
    notice_fork()
    _check(given)
    say_misspelt()
    if CARRIER in os.environ:
        from wakelog.propagation import adopt_environment

        adopt_environment()
    if logger_provider is not None:
        refuse_beside_a_provider(**{name: given[name] for name in _OF_PIPELINES})
    directory = directory or os.environ.get(DIRECTORY_VARIABLE) or None
    settings: dict[str, Any] = {
        **{name: value for name, value in given.items() if name not in _OF_ONE_LOGGER},
        "directory": None if directory is None else absolute(directory),
        "span_events": flag(span_events, "WAKELOG_SPAN_EVENTS", default=True),
        "redact_payloads": flag(redact_payloads, "WAKELOG_REDACT", default=True),
        "genai_events": flag(genai_events, "WAKELOG_GENAI_EVENTS", default=False),
        "genai_metrics": flag(genai_metrics, "WAKELOG_GENAI_METRICS", default=False),
        "costs": flag(costs, "WAKELOG_COSTS", default=False),
        "on_error": on_error_of(on_error),
        "pipeline": named_pipeline(pipeline),
        **for_journal(**{name: given[name] for name in (*_JOURNAL, "buffer")}),
        **{n: value for n, value in os.environ.items() if n.startswith(_COMPARED)},
    }
    with made.making:
        set_up = made.like(settings)
        if set_up is None:
            if (before := made.current) in made.set_ups and before is not None:
                _log.warning(
                    "wakelog.configure() was called before with other settings (%s): existing "
                    "loggers keep theirs, and new ones get the settings of this call. For another "
                    "agent with the same settings, call wakelog.get_logger(name)",
                    ", ".join(before.differs(settings)),
                )
            set_up = _set_up(settings)
            made.begin(set_up)
        log = _logger(set_up, agent_name, workflow_name, default_risk, metadata)
        set_current(log)
    return log


def get_logger(
    agent_name: str | None = None,
    workflow_name: str | None = None,
    *,
    default_risk: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> AgentLogger:
    """Return a logger for another agent, with the last set-up of ``configure``.

    Args:
        agent_name: The agent whose events the logger records; else ``WAKELOG_AGENT_NAME``.
        workflow_name: The agent's workflow; else ``WAKELOG_WORKFLOW_NAME``.
        default_risk: Risk classifications of every event.
        metadata: Other data of every event.

    Returns:
        The logger.

    Raises:
        ConfigurationError: If ``configure`` has not been called, or an argument has a wrong type.
    """
    _check(locals())
    if (set_up := made.current) is None:
        if disabled():  # then the configurator of zero code has not called configure either
            more: dict[str, Any] = {"default_risk": default_risk, "metadata": metadata}
            return configure(agent_name, workflow_name, **more)
        message = (
            "nothing is set up yet: call wakelog.configure(...) before wakelog.get_logger(...)"
        )
        if os.environ.get("OTEL_PYTHON_CONFIGURATOR") == "wakelog":
            message += ", or see in the log why opentelemetry-instrument could not"
        raise ConfigurationError(message)
    return _logger(set_up, agent_name, workflow_name, default_risk, metadata)


def shutdown(timeout: float = 5.0) -> DeliveryResult:
    """Deliver what the next hop accepts, and end every set-up of ``configure``.

    Events, spans and metrics are exported. Events that are still pending stay in the journal, and
    the next process that uses the directory delivers them. This also happens automatically at the
    normal end of a program and of a child of ``multiprocessing``; a process that ends by
    ``os._exit`` has to call ``shutdown``.

    Providers that existed before are flushed, and continue.

    Args:
        timeout: The longest wait, in seconds.

    Returns:
        The result: true if all events were delivered and all spans accepted, or nothing was set up.

    Raises:
        ConfigurationError: If the time-out is not a number.
    """
    return made.shutdown(a.wait_of(timeout))


def _logger(
    set_up: SetUp,
    agent_name: str | None,
    workflow_name: str | None,
    default_risk: dict[str, Any] | None,
    metadata: dict[str, Any] | None,
) -> AgentLogger:
    return AgentLogger(
        agent_name or os.environ.get("WAKELOG_AGENT_NAME"),
        workflow_name or os.environ.get("WAKELOG_WORKFLOW_NAME"),
        set_up.sink,
        default_risk=default_risk,
        metadata=metadata,
        **set_up.logging,
    )


def _set_up(settings: Mapping[str, Any]) -> SetUp:
    """Create the pipelines of events, spans and metrics."""
    logging = {name: settings[name] for name in _OF_LOGGERS}
    if disabled():
        from wakelog.sinks import NullSink  # imported when needed

        return SetUp(settings, NullSink(), logging)
    service_name: str | None = settings["service_name"]
    logger_provider: LoggerProvider | None = settings["logger_provider"]
    meter_provider: MeterProvider | None = settings["meter_provider"]
    made_here = logger_provider is None
    exporters: list[LogRecordExporter] = []
    periodic = None
    if made_here:
        given = settings["exporter"]
        exporters = [given] if given is not None else log_exporters()
        periodic = periodic_metrics() if meter_provider is None and is_unset() else None
    tracer_provider = settings["tracer_provider"] or _tracer_provider(service_name, settings)
    processors: list[DurableLogRecordProcessor] = []
    flushes: list[Callable[[int], object]] = []
    if logger_provider is None:
        resource = _resource(tracer_provider, service_name)
        if meter_provider is not None:
            use(meter_provider)
            flushes.extend(_flush_of(meter_provider))
        if periodic is not None:
            set_meter_provider(periodic.start(resource))
            made.metrics = periodic
        logger_provider = _logger_provider(resource, exporters, settings, processors)
    else:
        flushes.extend(_flush_of(logger_provider))
    ours = made.spans is not None and made.spans.provider is tracer_provider
    flush_spans: Callable[[float], bool] = made.flush_spans
    if not ours:
        flushes_spans = _flush_of(tracer_provider)
        flushes.extend(flushes_spans)

        def flush_spans(timeout: float) -> bool:
            return all(in_time(flush, timeout) for flush in flushes_spans)

    sink = OTelSink(
        logger_provider,
        required=not made_here,
        without_limits=made_here and not has_limits(),
        flush_spans=flush_spans,
        processors=processors,
    )
    logging["tracer_provider"] = tracer_provider
    return SetUp(settings, sink, logging, processors=processors, flushes=flushes)


def _flush_of(provider: object) -> list[Callable[[int], object]]:
    """Return how to flush a provider of the user, empty if it has no ``force_flush``."""
    flush = getattr(provider, "force_flush", None)
    return [flush] if callable(flush) else []


def _own_resource(service_name: str | None) -> Resource:
    return Resource.create({s.SERVICE_NAME: service_name} if service_name else None)


def _resource(tracer_provider: trace.TracerProvider, service_name: str | None) -> Resource:
    """Return the resource of the existing providers, so that events and spans have the same one."""
    for provider in (get_logger_provider(), tracer_provider):
        if isinstance(provider, LoggerProvider | TracerProvider):
            named = Resource({s.SERVICE_NAME: service_name} if service_name else {})
            return provider.resource.merge(named)
    return _own_resource(service_name)


def _tracer_provider(service_name: str | None, settings: Mapping[str, Any]) -> trace.TracerProvider:
    """Return the global tracer provider, created here if there is none."""
    current = trace.get_tracer_provider()
    if not isinstance(current, trace.ProxyTracerProvider):
        return current
    of_spans = for_spans()  # checked before a program has an exporter, too
    exporters = span_exporters()
    consoles = [one for one in exporters if isinstance(one, ConsoleSpanExporter)]
    durable = [one for one in exporters if one not in consoles]
    # Imported when needed: a program may have a tracer provider of its own, or export no spans.
    from wakelog.otel import TraceIds

    if durable:
        from wakelog.otel import DurableSpanProcessor
    resource = _own_resource(service_name)
    pipeline = settings["pipeline"] or (DEFAULT_PIPELINE if len(durable) == 1 else None)
    processors = [
        DurableSpanProcessor(
            exporter,
            meter_provider=settings["meter_provider"],
            directory=settings["directory"],
            pipeline=pipeline,
            resource=resource,
            **{setting: settings[setting] for setting in _JOURNAL},
            **of_spans,
        )
        for exporter in durable
    ]
    with naming_variables("the tracer provider", "OTEL_SPAN_", "OTEL_TRACES_", *ATTRIBUTE_LIMITS):
        provider = TracerProvider(
            resource=resource, shutdown_on_exit=False, id_generator=TraceIds()
        )
    for processor in (*map(SimpleSpanProcessor, consoles), *processors):
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    made.spans = Spans(provider, processors)
    return provider


def _logger_provider(
    resource: Resource,
    exporters: Sequence[LogRecordExporter],
    settings: Mapping[str, Any],
    processors: list[DurableLogRecordProcessor],
) -> LoggerProvider:
    """Create the logger provider, and make it the global one if there is none.

    Args:
        resource: The resource of the records.
        exporters: The exporters. Besides others, the console's gets records without a journal.
        settings: The settings of ``configure``.
        processors: The list to which the created processors are added.
    """
    consoles = [one for one in exporters if isinstance(one, ConsoleLogRecordExporter)]
    durable: Sequence[LogRecordExporter | None] = [one for one in exporters if one not in consoles]
    if not durable:
        durable, consoles = consoles[:1] or [None], []
    # The order in which several are listed may change, so none of them has the default pipeline.
    pipeline = settings["pipeline"] or (DEFAULT_PIPELINE if len(durable) == 1 else None)
    processors.extend(
        DurableLogRecordProcessor(
            exporter,
            # Each event becomes one span event, however many processors there are.
            span_events=settings["span_events"] and not number,
            meter_provider=settings["meter_provider"],
            directory=settings["directory"],
            pipeline=pipeline,
            resource=resource,
            **{setting: settings[setting] for setting in (*_JOURNAL, "buffer")},
        )
        for number, exporter in enumerate(durable)
    )
    with naming_variables(
        "the logger provider", "OTEL_LOGRECORD_", "OTEL_BLRP_", *ATTRIBUTE_LIMITS
    ):
        provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for processor in (*map(SimpleLogRecordProcessor, consoles), *processors):
        provider.add_log_record_processor(processor)
    if not isinstance(get_logger_provider(), LoggerProvider):
        set_logger_provider(provider)
    return provider
