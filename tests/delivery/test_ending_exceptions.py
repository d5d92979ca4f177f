"""An exception that means to end something of an exporter's ends none of our threads."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor, _periodic_export
from wakelog.otel._made import Spans
from wakelog.otel._periodic_export import PeriodicMetrics


class Panic(BaseException):
    """As a library in Rust raises it, or ``gevent.Timeout``."""


ENDING = [SystemExit, KeyboardInterrupt, asyncio.CancelledError, ValueError]
IN_OURS = [*ENDING[:-1], Panic]
SECONDS = 60


class Raising:
    """Raises once, where it is asked to export or to flush."""

    def __init__(self, error: type[BaseException]) -> None:
        self.errors = [error]

    def once(self) -> None:
        if self.errors:
            raise self.errors.pop()


class Metrics(MetricExporter):
    def __init__(self, raising: Raising) -> None:
        super().__init__()
        self.raising = raising

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        self.raising.once()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None: ...


class SomeSpans(SpanExporter):
    def __init__(self, raising: Raising) -> None:
        self.raising = raising

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.raising.once()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None: ...


class HeldBack(InMemoryLogRecordExporter):
    def __init__(self, raising: Raising) -> None:
        super().__init__()
        self.raising = raising

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.raising.once()
        return True


@pytest.fixture
def own_filters() -> Iterator[None]:
    """Takes back the filters that stay on the exporters' loggers for as long as a process lives."""
    loggers = [logging.getLogger(name) for name in _periodic_export._EXPORTER_LOGGERS]
    before = [list(logger.filters) for logger in loggers]
    yield
    for logger, filters in zip(loggers, before, strict=True):
        logger.filters[:] = filters


@pytest.mark.usefixtures("own_filters")
@pytest.mark.parametrize("error", IN_OURS)  # an Exception is the SDK's to catch
def test_metrics_go_on_after_an_exporter_has_raised_what_ends_threads(
    error: type[BaseException],
) -> None:
    periodic = PeriodicMetrics(Metrics(Raising(error)), lambda: None)
    counter = periodic.start(Resource({})).get_meter("tests").create_counter("events")
    counter.add(1)

    answers = [periodic.flush(SECONDS), periodic.flush(SECONDS)]
    ended = periodic.end(SECONDS)

    assert (answers, ended) == ([False, True], True)


@pytest.mark.parametrize("error", [*IN_OURS, ValueError])
def test_spans_go_on_after_an_exporter_has_raised_what_ends_threads(
    tmp_path: Path, error: type[BaseException]
) -> None:
    exporter = SomeSpans(Raising(error))
    processor = DurableSpanProcessor(exporter, directory=tmp_path, schedule_delay_millis=10)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("tests").start_span("one").end()

    assert processor.force_flush(SECONDS * 1000)
    assert Spans(provider, [processor]).end(SECONDS)


@pytest.mark.parametrize("error", ENDING)
def test_a_flush_says_no_when_the_exporters_own_has_raised_what_ends_threads(
    tmp_path: Path, error: type[BaseException]
) -> None:
    exporter = HeldBack(Raising(error))
    processor = DurableLogRecordProcessor(exporter, 10, directory=tmp_path)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    provider.get_logger("tests").emit(LogRecord(body="one"))
    answers: list[bool] = []

    def flush() -> None:
        answers.extend(processor.force_flush(SECONDS * 1000) for _ in range(2))

    thread = threading.Thread(target=flush)
    thread.start()
    thread.join(SECONDS)
    provider.shutdown()

    assert answers == [False, True]
