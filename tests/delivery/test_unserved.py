"""A next hop that takes spans and has no endpoint for log records: `status` says so, while it is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCLogExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from tests.support.collector import Collector
from tests.support.waiting import until
from wakelog.cli import main
from wakelog.journal import folders, unserved_answer
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor

TRACES_ALONE = """
receivers:
  otlp:
    protocols:
      http: {endpoint: "${env:OTLP_HTTP_ADDRESS}"}
      grpc: {endpoint: "${env:OTLP_GRPC_ADDRESS}"}
exporters:
  file: {path: "${env:TRACES_FILE}"}
extensions:
  health_check: {endpoint: "${env:HEALTH_ADDRESS}"}
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
"""
RESOURCE = Resource({"service.name": "shop"})


def logs_to(hop: Collector, protocol: str, directory: Path) -> DurableLogRecordProcessor:
    exporter: Any
    if protocol == "http":
        exporter = HTTPLogExporter(f"{hop.http_endpoint}/v1/logs")
    else:
        exporter = GRPCLogExporter(hop.grpc_endpoint, insecure=True)
    return DurableLogRecordProcessor(
        exporter, directory=directory, resource=RESOURCE, pipeline="p", schedule_delay_millis=20
    )


def status(directory: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    capsys.readouterr()
    assert main(["status", str(directory), *flags]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("protocol, answer", [("http", "404"), ("grpc", "UNIMPLEMENTED")])
def test_status_says_that_records_wait_for_a_logs_endpoint(
    protocol: str,
    answer: str,
    tmp_path: Path,
    collector: Collector,
    collector_binary: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal, folder = tmp_path / "journal", tmp_path / "traces-alone"
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(TRACES_ALONE)
    with Collector(collector_binary, folder, config) as hop:
        spans = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        endpoint = f"{hop.http_endpoint}/v1/traces"
        spans.add_span_processor(
            DurableSpanProcessor(OTLPSpanExporter(endpoint), directory=journal, pipeline="p")
        )
        spans.get_tracer("t").start_span("s").end()
        assert spans.force_flush()
        spans.shutdown()
        logs = logs_to(hop, protocol, journal)
        provider = LoggerProvider(RESOURCE)
        provider.add_log_record_processor(logs)
        for number in range(3):
            provider.get_logger("t").emit(LogRecord(body=number))
        until(lambda: any(map(unserved_answer, folders(journal))), "the answer")
        logs.shutdown()

    [said] = [record.getMessage() for record in caplog.records if answer in record.getMessage()]
    assert "set OTEL_EXPORTER_OTLP_LOGS_ENDPOINT to one that does" in said
    assert "OTEL_LOGS_EXPORTER=none to keep them local" in said
    text = status(journal, capsys)
    [line] = [line for line in text.splitlines() if "waiting for a logs endpoint" in line]
    assert line.startswith("3 log records of shop")
    assert answer in line
    assert line.count("OTEL_LOGS_EXPORTER=none") == 1
    assert "traces endpoint" not in text
    [one] = json.loads(status(journal, capsys, "--json"))["unserved"]
    assert (one["service"], one["signal"], one["pending"]) == ("shop", "logs", 3)

    after = logs_to(collector, protocol, journal)
    collector.wait_for_logs(3)
    after.shutdown()
    assert "waiting for" not in status(journal, capsys)
    assert not any(map(unserved_answer, folders(journal)))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"answer": 7}', b"\xff" * 100])
def test_a_note_that_nobody_can_read_says_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "unserved").write_bytes(content)

    assert unserved_answer(tmp_path) == ""
