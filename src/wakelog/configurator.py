"""Zero code: ``OTEL_PYTHON_CONFIGURATOR=wakelog opentelemetry-instrument python app.py``.

The SDK's own configurator does the work, so that every ``OTEL_*`` variable keeps its meaning; only
the processors of log records and of spans are replaced. The name of that configurator begins with
an underscore, but its documentation says that it may be subclassed, and there is no public
alternative. Only this module uses it, and ``tests/otel/test_zero_code.py`` fails when it changes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    ConsoleLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.environment_variables import (
    OTEL_CONFIG_FILE,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
)
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import get_tracer_provider

from wakelog import _arguments as a
from wakelog.errors import ConfigurationError
from wakelog.otel import (
    LOGS_SELECTOR,
    TRACES_SELECTOR,
    DurableLogRecordProcessor,
    DurableSpanProcessor,
    disabled,
    flag,
    for_journal,
    for_spans,
    log_exporter,
    named_pipeline,
    names_in,
    otlp_log_exporter,
)
from wakelog.record import DEFAULT_PIPELINE
from wakelog.setup import configure

try:
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator
except ImportError as error:
    message = (
        "this version of opentelemetry-sdk has no configurator to build on: use "
        "opentelemetry-sdk>=1.45,<2, or wakelog.configure() in the program"
    )
    raise ConfigurationError(message) from error

_log = logging.getLogger("wakelog")

__all__ = ["Configurator", "JournalExporter"]

NAME = "wakelog"
_CONFIGURATOR = "OTEL_PYTHON_CONFIGURATOR"
_LOADER = "opentelemetry.instrumentation.auto_instrumentation._load"
_GROUP = "opentelemetry_configurator"


class Configurator(_OTelSDKConfigurator):
    """The SDK's configurator, with a journal between log records or spans and their exporter.

    It is active only if ``OTEL_PYTHON_CONFIGURATOR=wakelog`` selects it. Without that variable,
    ``opentelemetry-instrument`` runs the first installed configurator, which may be this one; it
    then runs the next one instead, if there is one.
    """

    def _configure(self, **kwargs: Any) -> None:
        if os.environ.get(_CONFIGURATOR) != NAME:
            _leave_to_another(kwargs)
            return
        _chosen_on_purpose()
        if os.environ.get(OTEL_CONFIG_FILE) or disabled():
            super()._configure(**kwargs)  # type: ignore[no-untyped-call]
        else:
            processors = _Processors(kwargs.get("log_exporter_names"))
            with _exporters_for_the_sdk():
                super()._configure(  # type: ignore[no-untyped-call]
                    export_log_record_processor=processors,
                    export_span_processor=_SpanProcessors(kwargs.get("trace_exporter_names")),
                    **kwargs,
                )
            provider = get_logger_provider()
            if isinstance(provider, LoggerProvider):
                if not processors.durable:
                    provider.add_log_record_processor(processors.journal(None))
                configure(logger_provider=provider, tracer_provider=get_tracer_provider())
            _say_if_nobody_hands_over()


class JournalExporter(LogRecordExporter):
    """A log exporter that writes to a journal and delivers from there.

    It is for configurations that accept an exporter but no processor, such as OpenTelemetry's
    declarative configuration. Behind a ``simple`` processor a record is in the journal when the
    call that emitted it returns; behind a ``batch`` processor records wait in memory before they
    get here.

    Args:
        endpoint: The OTLP endpoint to deliver to; else as the ``OTEL_*`` variables say. If
            ``OTEL_LOGS_EXPORTER`` names ``wakelog``, that is the OTLP endpoint, if there is one.
        protocol: ``http/protobuf`` or ``grpc``, for ``endpoint``.
        headers: Headers for ``endpoint``.
        timeout: Milliseconds for one export to ``endpoint``.
        directory: The journal's directory, as for ``DurableLogRecordProcessor``.
        durability: Which failures a record survives once ``export`` has returned.

    Raises:
        ConfigurationError: If a setting is invalid.
        JournalError: If the directory cannot be used.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        protocol: str = "http/protobuf",
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        directory: str | None = None,
        durability: str | None = None,
    ) -> None:
        a.check(
            endpoint=(endpoint, *a.TEXT),
            protocol=(protocol, str),
            headers=(headers, *a.MAPPING),
            timeout=(timeout, *a.NUMBER),
            directory=(directory, *a.PATH, None),
            durability=(durability, *a.TEXT),
        )
        self.processor = DurableLogRecordProcessor(
            _next_hop(endpoint, protocol, headers, timeout),
            directory=directory,
            **for_journal(durability=durability or None),
            pipeline=named_pipeline(None) or (None if endpoint else DEFAULT_PIPELINE),
        )

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write records to the journal."""
        before = self.processor.refused.total()
        for record in batch:
            self.processor.on_emit(record)  # type: ignore[arg-type]  # it reads what both have
        refused = self.processor.refused.total() > before
        return LogRecordExportResult.FAILURE if refused else LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until the next hop has accepted everything; see ``DurableLogRecordProcessor``."""
        return self.processor.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Deliver what the next hop accepts, and stop."""
        self.processor.shutdown()


class _Processors:
    """Creates the processor for each log exporter that the environment names.

    Args:
        names: The exporters' names; by default those of the environment.

    Attributes:
        durable: The number of processors with a journal.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.durable = 0
        self._pipeline = _pipeline_of(names or names_in(LOGS_SELECTOR))

    def __call__(self, exporter: LogRecordExporter, *_: Any, **__: Any) -> LogRecordProcessor:
        if isinstance(exporter, ConsoleLogRecordExporter):
            return BatchLogRecordProcessor(exporter)
        if isinstance(exporter, JournalExporter):
            self.durable += 1
            return SimpleLogRecordProcessor(exporter)
        return self.journal(exporter)

    def journal(self, exporter: LogRecordExporter | None) -> DurableLogRecordProcessor:
        """Create a processor with a journal, in which each exporter has folders of its own."""
        self.durable += 1
        return DurableLogRecordProcessor(
            exporter,
            pipeline=self._pipeline,
            span_events=flag(None, "WAKELOG_SPAN_EVENTS", default=False),
            **for_journal(),
        )


class _SpanProcessors:
    """Creates the processor for each span exporter that the environment names.

    Args:
        names: The exporters' names; by default those of the environment.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self._pipeline = _pipeline_of(names or names_in(TRACES_SELECTOR))

    def __call__(self, exporter: SpanExporter, *_: Any, **__: Any) -> SpanProcessor:
        if isinstance(exporter, ConsoleSpanExporter):
            return BatchSpanProcessor(exporter)
        settings = for_journal()
        del settings["buffer"]  # a span's start has to be on disk before its process may be killed
        return DurableSpanProcessor(exporter, pipeline=self._pipeline, **settings, **for_spans())


def _pipeline_of(names: Sequence[str]) -> str | None:
    exporters = [name for name in names if name.strip() not in ("", "console", "none")]
    # The order of several may change, so none of them has the default pipeline.
    return named_pipeline(None) or (None if len(exporters) > 1 else DEFAULT_PIPELINE)


def _leave_to_another(kwargs: dict[str, Any]) -> None:
    for entry_point in entry_points(group=_GROUP):
        if entry_point.name != NAME:
            entry_point.load()().configure(**kwargs)
            return


@contextmanager
def _exporters_for_the_sdk() -> Iterator[None]:
    """Replace ``OTEL_LOGS_EXPORTER`` with names that the SDK's configurator knows.

    Every exporter has a journal under this configurator, so ``wakelog`` is no exporter of its own:
    alone it means OTLP if there is an endpoint, and otherwise that records stay in the journal.
    """
    before = os.environ.get(LOGS_SELECTOR)
    names = names_in(LOGS_SELECTOR) if (before or "").strip() else [NAME]
    others = [name for name in names if name.lower() != NAME]
    if len(others) < len(names) and _has_endpoint() and set(others) <= {"console"}:
        others.append("otlp")
    os.environ[LOGS_SELECTOR] = ",".join(others) or "none"
    try:
        yield
    finally:
        if before is None:
            del os.environ[LOGS_SELECTOR]
        else:
            os.environ[LOGS_SELECTOR] = before


def _chosen_on_purpose() -> None:
    """Suppress the warning at each start that other configurators are not run."""
    logging.getLogger(_LOADER).addFilter(
        lambda record: not str(record.msg).startswith("Configuration of %s not loaded")
    )


def _say_if_nobody_hands_over() -> None:
    """Warn that the program's logging is not recorded, if no instrumentation passes it on."""
    disabled_ones = {
        name.strip()
        for name in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    }
    installed = set(entry_points(group="opentelemetry_instrumentor").names)
    handing_over = {"logging", "structlog"} & installed - disabled_ones
    if _is("OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION", "false"):
        handing_over.discard("logging")
    by_the_sdk = _is("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "true")
    if not handing_over and not by_the_sdk:
        _log.warning(
            "the program's logging is not recorded, as no instrumentation passes it on: install "
            "opentelemetry-instrumentation-logging (and remove it from "
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS), or add wakelog.integrations.logging."
            "WakelogHandler() to the root logger. Wakelog's own loggers always record"
        )


def _is(variable: str, value: str) -> bool:
    return os.environ.get(variable, "").strip().lower() == value


def _has_endpoint() -> bool:
    names = (OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT)
    return any(os.environ.get(name) for name in names)


def _next_hop(
    endpoint: str | None, protocol: str, headers: dict[str, str] | None, timeout: float | None
) -> LogRecordExporter | None:
    if endpoint is None:
        return _next_hop_of_the_environment()
    seconds = None if timeout is None else timeout / 1000
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        return OTLPLogExporter(endpoint=endpoint, headers=headers, timeout=seconds)
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (
            OTLPLogExporter as GRPCLogExporter,
        )

        return GRPCLogExporter(endpoint=endpoint, headers=headers, timeout=seconds)
    message = f"the protocol {protocol!r} is not known: use http/protobuf or grpc"
    raise ConfigurationError(message)


def _next_hop_of_the_environment() -> LogRecordExporter | None:
    if os.environ.get(OTEL_CONFIG_FILE):
        return otlp_log_exporter()  # with a configuration file, variables do not select exporters
    names = [name.lower() for name in names_in(LOGS_SELECTOR)]
    if NAME not in names:
        return log_exporter()
    # The SDK creates the other named exporters besides this one.
    if any(name.startswith("otlp") for name in names):
        _log.warning(
            "with %s=%s, otlp exports without a journal, and wakelog's journal is not delivered: "
            "name wakelog alone, and it delivers to the OTLP endpoint",
            LOGS_SELECTOR,
            os.environ.get(LOGS_SELECTOR),
        )
        return None
    return otlp_log_exporter()
