"""A program with an existing OpenTelemetry set-up, to which one call adds Wakelog.

    python examples/existing_pipeline.py [--directory DIR]

Wakelog does not change its providers, processors, views, samplers and handlers. The program prints its
metrics as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

import wakelog

SERVICE = Resource.create({"service.name": "bank"})


def set_up() -> InMemoryMetricReader:
    """Set OpenTelemetry up as the program did before Wakelog."""
    traces = TracerProvider(
        resource=SERVICE,
        sampler=ParentBased(TraceIdRatioBased(1.0), local_parent_not_sampled=ALWAYS_OFF),
    )
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(traces)

    reader = InMemoryMetricReader()
    views = [View(instrument_name="noise", aggregation=DropAggregation())]
    metrics.set_meter_provider(MeterProvider([reader], resource=SERVICE, views=views))

    logs = LoggerProvider(resource=SERVICE)
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    set_logger_provider(logs)
    logging.getLogger().addHandler(LoggingHandler(logger_provider=logs))
    return reader


def transfer(log: wakelog.AgentLogger, number: int) -> None:
    """Move money, with the program's own telemetry and an agent's events."""
    with trace.get_tracer("bank").start_as_current_span("transfer"):
        logging.getLogger("bank").warning("transfer %d", number)
        meter = metrics.get_meter("bank")
        meter.create_counter("transfers").add(1)
        meter.create_counter("noise").add(1)
        with log.tool("book", {"number": number}) as tool:
            tool.result("booked")


def main() -> None:
    """Run five transfers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()

    reader = set_up()
    before = (trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider())
    handlers = list(logging.getLogger().handlers)

    log = wakelog.configure("teller", directory=arguments.directory)

    after = (trace.get_tracer_provider(), metrics.get_meter_provider(), get_logger_provider())
    for number in range(5):
        transfer(log, number)
    counted = reader.get_metrics_data()
    assert counted is not None
    names = {
        metric.name: sum(point.value for point in metric.data.data_points)  # type: ignore[union-attr]
        for resource in counted.resource_metrics
        for scope in resource.scope_metrics
        if scope.scope.name == "bank"
        for metric in scope.metrics
    }
    unchanged = before == after and handlers == logging.getLogger().handlers
    print(json.dumps({"unchanged": unchanged, "metrics": names}))


if __name__ == "__main__":
    main()
