"""What a person sees in Jaeger: asked of a real one, by its query API."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from scripts.build_jaeger import JAEGER
from tests.conftest import required
from tests.support.collector import Collector
from tests.support.jaeger import Jaeger
from wakelog import AgentLogger
from wakelog.cli import main
from wakelog.otel import DurableLogRecordProcessor, OTelSink

SECONDS = 60.0


@pytest.fixture
def jaeger(tmp_path: Path) -> Iterator[Jaeger]:
    started = Jaeger(required(JAEGER, "jaeger"), tmp_path)
    yield started
    started.stop()


def tags(thing: dict[str, Any], key: str = "tags") -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in thing[key]}


def test_a_run_reads_well_in_jaeger(jaeger: Jaeger, collector: Collector, tmp_path: Path) -> None:
    resource = Resource({"service.name": "harbour"})
    spans = TracerProvider(resource=resource, shutdown_on_exit=False)
    spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{jaeger.endpoint}/v1/traces")))
    logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{collector.http_endpoint}/v1/logs")
    logs.add_log_record_processor(
        DurableLogRecordProcessor(exporter, directory=tmp_path / "journal", span_events=True)
    )
    log = AgentLogger("dispatcher", sink=OTelSink(logs), tracer_provider=spans)

    with log.run(session_id="s-1"):
        with log.model("claude-sonnet-4-5", "anthropic") as model:
            model.respond("Berth 7", input_tokens=10, output_tokens=2)
        with log.run(agent="planner"), log.tool("tide_table", call_id="call_1"):
            log.decision("high water at ten")
        with pytest.raises(TimeoutError), log.tool("reserve_berth"):
            raise TimeoutError
    assert logs.force_flush(60_000)
    logs.shutdown()
    spans.shutdown()

    (trace,) = jaeger.traces("harbour", 5)
    by_name = {span["operationName"]: span for span in trace["spans"]}
    parents = {
        name: next(
            (
                other["operationName"]
                for reference in span["references"]
                for other in trace["spans"]
                if other["spanID"] == reference["spanID"]
            ),
            None,
        )
        for name, span in by_name.items()
    }
    assert parents == {
        "invoke_agent dispatcher": None,
        "chat claude-sonnet-4-5": "invoke_agent dispatcher",
        "invoke_agent planner": "invoke_agent dispatcher",
        "execute_tool tide_table": "invoke_agent planner",
        "execute_tool reserve_berth": "invoke_agent dispatcher",
    }
    kinds = {name: tags(span)["span.kind"] for name, span in by_name.items()}
    assert kinds["chat claude-sonnet-4-5"] == "client"
    assert kinds["execute_tool tide_table"] == "internal"
    failed = {name for name, span in by_name.items() if tags(span).get("error")}
    assert failed == {"execute_tool reserve_berth"}
    assert tags(by_name["execute_tool reserve_berth"])["error.type"] == "TimeoutError"
    assert tags(by_name["chat claude-sonnet-4-5"])["gen_ai.usage.input_tokens"] == 10
    events = [
        tags(event, "fields")["event"] for event in by_name["execute_tool tide_table"]["logs"]
    ]
    assert events == ["wakelog.tool_call", "wakelog.decision", "wakelog.tool_result"]
    # A log line leads to its trace.
    lines = collector.wait_for_logs(11, SECONDS)
    assert {line.trace_id for line in lines} == {trace["traceID"]}
    assert {line.span_id for line in lines} == {span["spanID"] for span in trace["spans"]}


def test_the_demo_is_whole_in_a_jaeger_that_takes_no_logs(
    jaeger: Jaeger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    command = [sys.executable, "-m", "wakelog", "demo", "--directory", str(tmp_path / "journal")]
    told = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, env=environment
    )
    assert told.returncode == 0, told.stdout
    assert "accepts spans and no log records: it has all 17 spans" in told.stdout
    assert main(["status", str(tmp_path / "journal")]) == 0
    assert "are waiting for a logs endpoint: " in capsys.readouterr().out

    (trace,) = jaeger.traces("harbour-desk", 17)
    assert len(trace["spans"]) == 17
    ids = {span["spanID"] for span in trace["spans"]}
    parents = [r["spanID"] for span in trace["spans"] for r in span["references"]]
    assert len(parents) == 16
    assert set(parents) <= ids
    unknown = {
        span["operationName"] for span in trace["spans"] if "wakelog.span.outcome" in tags(span)
    }
    assert unknown == {
        "invoke_agent dispatcher",
        "invoke_agent customs-desk",
        "execute_tool declare_cargo",
    }
