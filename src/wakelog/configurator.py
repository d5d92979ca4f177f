"""Zero code: ``OTEL_PYTHON_CONFIGURATOR=wakelog opentelemetry-instrument python app.py``.

The SDK's own configurator does the work, so that every ``OTEL_*`` variable means what it means;
only the processor of log records is another one. That configurator has an underscore in its name
and says that it is there to be subclassed, and no public name does the same; this module is the
only one that knows it, and ``tests/test_zero_code.py`` fails when it changes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
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
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import get_tracer_provider

from wakelog.errors import ConfigurationError
from wakelog.events import semconv as s
from wakelog.journal import default_root
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._settings import disabled, durability_of, flag, for_journal
from wakelog.setup import configure

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord

try:
    from opentelemetry.sdk._configuration import _OTelSDKConfigurator
except ImportError as error:
    message = (
        "this version of opentelemetry-sdk has no configurator to build on: use "
        "opentelemetry-sdk>=1.45,<2, or wakelog.configure() in the program"
    )
    raise ConfigurationError(message) from error

__all__ = ["Configurator", "JournalExporter"]

NAME = "wakelog"
_CONFIGURATOR = "OTEL_PYTHON_CONFIGURATOR"
_LOGS_EXPORTER = "OTEL_LOGS_EXPORTER"
_GROUP = "opentelemetry_configurator"


class Configurator(_OTelSDKConfigurator):
    """The SDK's configurator, with a journal between log records and their exporter.

    It does so only when it was chosen by ``OTEL_PYTHON_CONFIGURATOR=wakelog``. Without that
    variable ``opentelemetry-instrument`` runs the first configurator that is installed, which may
    be this one; it then leaves the work to the next one, and to nobody when there is none.
    """

    def _configure(self, **kwargs: Any) -> None:
        if os.environ.get(_CONFIGURATOR) != NAME:
            _leave_to_another(kwargs)
        elif os.environ.get(OTEL_CONFIG_FILE) or disabled():
            super()._configure(**kwargs)  # type: ignore[no-untyped-call]
        else:
            processors = _Processors()
            if not os.environ.get(_LOGS_EXPORTER) and _has_endpoint():
                kwargs.setdefault("log_exporter_names", ["otlp"])  # the specification's default
            super()._configure(  # type: ignore[no-untyped-call]
                export_log_record_processor=processors, **kwargs
            )
            provider = get_logger_provider()
            if isinstance(provider, LoggerProvider):
                if not processors.durable:
                    provider.add_log_record_processor(processors.journal(None))
                configure(logger_provider=provider, tracer_provider=get_tracer_provider())


class JournalExporter(LogRecordExporter):
    """A log exporter that writes to a journal and delivers from there.

    It is for places that take an exporter but no processor, as OpenTelemetry's declarative
    configuration does. Behind a ``simple`` processor a record is in the journal when the call that
    emitted it returns; behind a ``batch`` processor records wait in memory before they get here.

    Args:
        endpoint: Where to deliver, by OTLP; else what the ``OTEL_*`` variables say.
        protocol: ``http/protobuf`` or ``grpc``, for ``endpoint``.
        headers: Headers for ``endpoint``.
        timeout: Milliseconds for one export to ``endpoint``.
        directory: The journal's directory, as for ``DurableLogRecordProcessor``.
        durability: What has been done to a record when ``export`` returns.

    Raises:
        ConfigurationError: For a setting that cannot be used.
        JournalError: When the directory cannot be used.
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
        self.processor = DurableLogRecordProcessor(
            _next_hop(endpoint, protocol, headers, timeout),
            directory=directory,
            durability=durability_of(durability or None),
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
        """Deliver what the next hop takes, and stop."""
        self.processor.shutdown()


class _Processors:
    """Makes the processor for each log exporter that the environment names.

    Attributes:
        durable: How many of them have a journal.
    """

    def __init__(self) -> None:
        self.durable = 0

    def __call__(self, exporter: LogRecordExporter, *_: Any, **__: Any) -> LogRecordProcessor:
        if isinstance(exporter, ConsoleLogRecordExporter):
            return BatchLogRecordProcessor(exporter)
        if isinstance(exporter, JournalExporter):
            self.durable += 1
            return SimpleLogRecordProcessor(exporter)
        return self.journal(exporter)

    def journal(self, exporter: LogRecordExporter | None) -> DurableLogRecordProcessor:
        """Make a processor with a journal; each exporter after the first has one of its own."""
        self.durable += 1
        directory = os.environ.get("WAKELOG_DIR")
        if self.durable > 1:
            service = Resource.create().attributes.get(s.SERVICE_NAME, "")
            directory = f"{directory or default_root(str(service))}-{self.durable}"
        return DurableLogRecordProcessor(
            exporter,
            directory=directory,
            span_events=flag(None, "WAKELOG_SPAN_EVENTS", default=False),
            **for_journal(),
        )


def _leave_to_another(kwargs: dict[str, Any]) -> None:
    for entry_point in entry_points(group=_GROUP):
        if entry_point.name != NAME:
            entry_point.load()().configure(**kwargs)
            return


def _has_endpoint() -> bool:
    names = (OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT)
    return any(os.environ.get(name) for name in names)


def _next_hop(
    endpoint: str | None, protocol: str, headers: dict[str, str] | None, timeout: float | None
) -> LogRecordExporter | None:
    if endpoint is None:
        from wakelog.otel._exporters import log_exporter

        return log_exporter()
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
