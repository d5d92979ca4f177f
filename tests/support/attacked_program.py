"""Makes one attempt for each address that it is given, and says what each cost.

Arguments: what to send by, the time-out in seconds, and the addresses; the first is of a next hop that means well. Prints one line of JSON
per address: seconds, growth of the peak of its memory in MB, and what was made of the answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from wakelog.delivery import ExportOutcome
from wakelog.errors import TransportError
from wakelog.gateway.transports import HTTPTransport
from wakelog.otel import _exporters
from wakelog.otel._export_attempt import attempt_through


def _logs(exporter: Any) -> str:
    outcome: ExportOutcome = attempt_through(exporter)(
        [ReadableLogRecord(LogRecord(body="hello"), Resource({}))]
    )
    return outcome.kind.name + " " + outcome.reason


def wakelogs_own(url: str) -> str:
    """Send a log record by an exporter that Wakelog makes."""
    os.environ["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] = url
    return _logs(_exporters.log_exporter())


def the_users(url: str) -> str:
    """Send a log record by an exporter that the user has made."""
    return _logs(OTLPLogExporter(endpoint=url))


def spans(url: str) -> str:
    """Send a span."""
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = url
    provider = TracerProvider()
    for exporter in _exporters.span_exporters():
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span("s").end()
    return ""


def metrics(url: str) -> str:
    """Send a metric."""
    os.environ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] = url
    exporter = _exporters.metric_exporter()
    assert exporter is not None
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1e9)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("m").create_counter("c").add(1)
    provider.force_flush(20_000)
    return ""


def webhook(url: str) -> str:
    """Post an event."""

    async def post() -> str:
        transport = HTTPTransport(url, timeout=float(sys.argv[2]))
        try:
            await transport.send({"session_id": "s", "event_type": "x"})
        except TransportError as error:
            return f"PENDING {error}"
        finally:
            await transport.close()
        return "DELIVERED"

    return asyncio.run(post())


_PEAK = 1 << (20 if sys.platform == "darwin" else 10)


def main() -> None:
    """Make the attempts."""
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = sys.argv[2]
    send = globals()[sys.argv[1]]
    for url in sys.argv[3:]:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.monotonic()
        said = send(url)
        took = time.monotonic() - begun
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / _PEAK
        print(json.dumps({"seconds": took, "grown": grown, "said": said}), flush=True)
    os._exit(0)  # delivery of what was refused is not the matter here


if __name__ == "__main__":
    main()
