"""The configurations in `collector-config/`, run by the real Collector with events through them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from scripts.build_kafka import KAFKA
from tests.conftest import ROOT, required
from tests.support.collector import Collector, free_ports
from tests.support.otlp import ExportedLog
from tests.support.programs import PATIENTLY
from wakelog import AgentLogger, bound
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor, OTelSink

CONFIGS = ROOT / "collector-config"
EXAMPLE = ROOT / "examples" / "record_trajectories.py"
HEADERS = "--feature-gates=filelog.allowHeaderMetadataParsing"
SECONDS = 60.0
NOWHERE = "http://127.0.0.1:1"
ALL_VARIABLES = {
    "NEXT_HOP": NOWHERE,
    "KAFKA_BROKERS": "127.0.0.1:1",
    "LOKI_ENDPOINT": NOWHERE,
    "TEMPO_ENDPOINT": NOWHERE,
    "JAEGER_ENDPOINT": NOWHERE,
}


class Starter:
    """Starts Collectors with shipped configurations, each with a folder of its own."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self._started: list[Collector] = []

    def __call__(self, name: str, **environment: str) -> Collector:
        folder = self._folder / f"{name}-{len(self._started)}"
        folder.mkdir()
        one = Collector(
            self._binary,
            folder,
            CONFIGS / f"{name}.yaml",
            [HEADERS],
            STATE_DIR=str(folder / "state"),
            **environment,
        )
        self._started.append(one)
        return one.start()

    def end(self) -> None:
        for one in self._started:
            one.kill()


@pytest.fixture
def start(collector_binary: Path, tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(collector_binary, tmp_path)
    yield starter
    starter.end()


@contextmanager
def recording(journal: Path, to: Collector | None) -> Iterator[AgentLogger]:
    """An agent's logger whose events and spans go to a Collector."""
    exporter = OTLPLogExporter(f"{to.http_endpoint}/v1/logs") if to else None
    processor = DurableLogRecordProcessor(exporter, 50, directory=journal)
    logs, spans = LoggerProvider(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(processor)
    if to:
        exporter_of_spans = OTLPSpanExporter(f"{to.http_endpoint}/v1/traces")
        spans.add_span_processor(SimpleSpanProcessor(exporter_of_spans))
    yield AgentLogger("clerk", sink=OTelSink(logs), tracer_provider=spans)
    assert to is None or logs.force_flush(int(1000 * SECONDS))
    logs.shutdown()
    spans.shutdown()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def by_uid(records: list[ExportedLog]) -> dict[str, ExportedLog]:
    found = {str(record.uid): record for record in records}
    assert len(found) == len(records)
    return found


@pytest.mark.parametrize("config", ["agent", "dedup", "file-log", "gateway", "kafka"])
def test_the_collector_accepts_the_configuration(
    collector_binary: Path, tmp_path: Path, config: str
) -> None:
    variables = {**ALL_VARIABLES, "STATE_DIR": str(tmp_path), "WAKELOG_DIR": str(tmp_path)}

    done = subprocess.run(
        [collector_binary, "validate", f"--config={CONFIGS / config}.yaml", HEADERS],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_agent_has_answered_survives_its_kill_while_the_gateway_is_down(
    start: Starter, collector: Collector, tmp_path: Path
) -> None:
    collector.stop()
    agent = start("agent", NEXT_HOP=collector.http_endpoint)

    with recording(tmp_path / "journal", to=agent) as log, log.run(session_id="s-1"):
        for number in range(200):
            log.decision(f"number {number}")
    agent.kill()
    assert collector.log_records() == []
    collector.start()
    agent.start()

    received = collector.wait_for_logs(202, SECONDS)
    assert {record.uid for record in received} == {e.record.id for e in read(tmp_path / "journal")}
    wait_until(lambda: len(collector.spans()) == 1)


def test_the_gateway_feeds_every_backend_and_the_scrape(
    start: Starter, collector: Collector, tmp_path: Path
) -> None:
    backend = collector.http_endpoint
    (port,) = free_ports(1)
    gateway = start(
        "gateway",
        LOKI_ENDPOINT=backend,
        TEMPO_ENDPOINT=backend,
        JAEGER_ENDPOINT=backend,
        PROMETHEUS_ADDRESS=f"127.0.0.1:{port}",
        SPAN_METRICS_INTERVAL="100ms",
    )

    metrics = OTLPMetricExporter(f"{gateway.http_endpoint}/v1/metrics")
    meters = MeterProvider([PeriodicExportingMetricReader(metrics)], shutdown_on_exit=False)
    meters.get_meter("app").create_counter("orders").add(3)
    with recording(tmp_path / "journal", to=gateway) as log, log.run():
        with log.tool("search"):
            pass
        with log.model("a-model") as model:
            model.respond("yes", input_tokens=30, output_tokens=4)
    meters.shutdown()

    lines = collector.wait_for_logs(6, SECONDS)
    assert len(lines) == 6
    for line in lines:  # Loki shows the body, and knows of no event name
        assert str(line.body).startswith(line.event_name.removeprefix("wakelog.") + " ")
        assert str(line.body).endswith(f" {line.uid}")
        assert line.attributes["event.name"] == line.event_name
    others = LoggerProvider(shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{gateway.http_endpoint}/v1/logs")
    others.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    others.get_logger("other").emit(LogRecord(event_name="app.started"))
    others.get_logger("other").emit(LogRecord(event_name="app.said", body="hello"))
    wait_until(lambda: len(collector.log_records()) == 8)
    assert [line.body for line in collector.log_records() if not line.uid] == [
        "app.started",
        "hello",
    ]
    wait_until(lambda: len(collector.spans()) == 6)  # three spans, in Tempo and in Jaeger
    assert len({(span.trace_id, span.span_id) for span in collector.spans()}) == 3

    def series(name: str, *labels: str) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as page:
            lines = page.read().decode().splitlines()
        return [
            line
            for line in lines
            if line.startswith(name) and all(label in line for label in labels)
        ]

    labels = ['gen_ai_operation_name="execute_tool"', 'gen_ai_tool_name="search"']
    wait_until(lambda: [line[-2:] for line in series("agent_calls_total{", *labels)] == [" 1"])
    assert [line[-2:] for line in series("orders_total{")] == [" 3"]
    (events,) = series("agent_events_total{", 'event_name="wakelog.tool_result"')
    assert 'gen_ai_tool_name="search"' in events
    assert [line[-3:] for line in series("agent_input_tokens_total{")] == [" 30"]
    assert [line[-2:] for line in series("agent_output_tokens_total{")] == [" 4"]


CONFIGURED = (
    PATIENTLY
    + """
import sys, wakelog
log = wakelog.configure("clerk", service_name="trips", directory=sys.argv[1])
for number in range(7):
    log.decision(f"number {number}")
"""
)


def test_what_configure_sends_to_the_agent_is_scraped_from_the_gateway(
    start: Starter, collector: Collector, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    backends = ("LOKI_ENDPOINT", "TEMPO_ENDPOINT", "JAEGER_ENDPOINT")
    gateway = start(
        "gateway",
        PROMETHEUS_ADDRESS=f"127.0.0.1:{port}",
        **dict.fromkeys(backends, collector.http_endpoint),
    )
    agent = start("agent", NEXT_HOP=gateway.http_endpoint)

    done = subprocess.run(
        [sys.executable, "-c", CONFIGURED, str(tmp_path / "journal")],
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": agent.grpc_endpoint,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")

    def scraped(name: str) -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as page:
            lines = page.read().decode().splitlines()
        mine = [line for line in lines if 'service_name="trips"' in line]
        return [
            line.rpartition(" ")[2] for line in mine if line.startswith(f"wakelog_events_{name}")
        ]

    wait_until(lambda: scraped("delivered_total") == ["7"])
    assert sorted(scraped("accepted_total")) == ["0", "7"]  # of its own, and of others
    assert scraped("pending") == ["0"]


@pytest.fixture
def kafka() -> Iterator[str]:
    (port,) = free_ports(1)
    with subprocess.Popen(
        [required(KAFKA), str(port)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def test_events_go_through_kafka_whole_and_in_order_per_conversation(
    start: Starter, collector: Collector, kafka: str, tmp_path: Path
) -> None:
    middle = start("kafka", KAFKA_BROKERS=kafka, NEXT_HOP=collector.http_endpoint)
    conversations = [f"s-{number}" for number in range(6)]

    with recording(tmp_path / "journal", to=middle) as log:
        for number in range(50):
            for conversation in conversations:
                with bound(session_id=conversation):
                    log.decision(f"number {number}")
        log.decision("of no conversation")
        with log.run():
            pass

    received = collector.wait_for_logs(303, SECONDS)
    entries = {entry.record.id: entry for entry in read(tmp_path / "journal")}
    records = by_uid(received)
    assert records.keys() == entries.keys()
    in_order: dict[object, list[int]] = defaultdict(list)
    for uid, record in records.items():
        key = record.attributes.get("gen_ai.conversation.id")
        in_order[key].append(record.attributes["wakelog.seq"])
        assert key == entries[uid].record.attributes.get("gen_ai.conversation.id")
        assert record.origin.resource == entries[uid].resource.attributes
    assert all(numbers == sorted(numbers) for numbers in in_order.values())
    assert len(in_order) == 7
    wait_until(lambda: len(collector.spans()) == 1)

    metrics = OTLPMetricExporter(f"{middle.http_endpoint}/v1/metrics")
    meters = MeterProvider([PeriodicExportingMetricReader(metrics)], shutdown_on_exit=False)
    meters.get_meter("app").create_counter("orders").add(3)
    meters.shutdown()
    assert collector.metrics()[-1]("orders") == 3


@pytest.mark.parametrize("content", [None, "EVENT_ONLY"])
def test_the_file_road_delivers_what_the_live_road_does(
    start: Starter,
    collector_binary: Path,
    collector: Collector,
    trajectories: list[dict[str, Any]],
    tmp_path: Path,
    content: str | None,
) -> None:
    runs = trajectories if content is None else trajectories[:10]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    journal = tmp_path / "journal"
    policy = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": content} if content else {}
    folder = tmp_path / "by-file"
    folder.mkdir()
    with Collector(collector_binary, folder) as other:
        start("file-log", WAKELOG_DIR=str(journal), NEXT_HOP=other.http_endpoint, **policy)
        done = subprocess.run(
            [sys.executable, EXAMPLE, tmp_path / "runs.json", "--directory", journal],
            env={**os.environ, **policy, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_endpoint},
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        count = json.loads(done.stdout)["events"]
        live = by_uid(collector.wait_for_logs(count, SECONDS))
        by_file = by_uid(other.wait_for_logs(count, SECONDS))

    # The configuration says so: a scope comes without its schema.
    assert by_file == {
        uid: replace(log, origin=replace(log.origin, schema_url="")) for uid, log in live.items()
    }


def test_the_file_road_keeps_types_times_and_resources(
    start: Starter, collector_binary: Path, collector: Collector, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    folder = tmp_path / "by-file"
    folder.mkdir()
    values: dict[str, Any] = {
        "text": "é",
        "int": 2**62,
        "double": 1.0,
        "list": [1, 2.5],
        "map": {"deep": [True]},
    }
    with Collector(collector_binary, folder) as other:
        start("file-log", WAKELOG_DIR=str(journal), NEXT_HOP=other.http_endpoint)
        for number in range(2):
            exporter = OTLPLogExporter(f"{collector.http_endpoint}/v1/logs")
            processor = DurableLogRecordProcessor(exporter, directory=journal)
            resource = Resource({"service.name": f"shop-{number}", "zones": ["a", "b"]})
            provider = LoggerProvider(resource, shutdown_on_exit=False)
            provider.add_log_record_processor(processor)
            logger = provider.get_logger("shop.orders")
            logger.emit(
                LogRecord(
                    timestamp=1_700_000_000_123_456_789,
                    observed_timestamp=1_700_000_000_123_456_790,
                    severity_number=SeverityNumber.WARN3,
                    severity_text="careful",
                    event_name="shop.order",
                    body=values,
                    attributes=values,
                )
            )
            logger.emit(LogRecord(observed_timestamp=1_700_000_000_000_000_001, body="plain"))
            logger.emit(LogRecord(timestamp=1, attributes={"empty": ""}))
            assert provider.force_flush(60_000)
            provider.shutdown()
        live = by_uid(collector.wait_for_logs(6, SECONDS))
        by_file = by_uid(other.wait_for_logs(6, SECONDS))

    assert by_file == live


def test_the_file_road_takes_up_new_segments_and_goes_on_after_a_restart(
    start: Starter, collector: Collector, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    reader = start("file-log", WAKELOG_DIR=str(journal), NEXT_HOP=collector.http_endpoint)

    def record(count: int) -> None:
        processor = DurableLogRecordProcessor(None, directory=journal, segment_bytes=2000)
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(processor)
        log = AgentLogger("clerk", sink=OTelSink(provider))
        for number in range(count):
            log.decision(f"number {number}")
        provider.shutdown()

    record(100)
    collector.wait_for_logs(100, SECONDS)
    reader.stop()
    record(100)
    reader.start()
    received = by_uid(collector.wait_for_logs(200, SECONDS))

    assert received.keys() == {entry.record.id for entry in read(journal)}
    assert len(list(journal.glob("*/*.jsonl"))) > 20


class Twice(OTLPLogExporter):
    """Sends every batch a second time, as a client does that has not heard the answer."""

    def export(self, batch: Any) -> LogRecordExportResult:
        super().export(batch)
        return super().export(batch)


def test_second_copies_are_dropped_and_the_first_keeps_its_times(
    start: Starter, collector: Collector, tmp_path: Path
) -> None:
    dedup = start("dedup", NEXT_HOP=collector.http_endpoint, DEDUP_INTERVAL="500ms")
    processor = DurableLogRecordProcessor(
        Twice(f"{dedup.http_endpoint}/v1/logs"), directory=tmp_path / "journal"
    )
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    log = AgentLogger("clerk", sink=OTelSink(provider))
    with log.run():
        for number in range(20):
            log.decision(f"number {number}")
    assert provider.force_flush(int(1000 * SECONDS))
    provider.shutdown()

    received = by_uid(collector.wait_for_logs(22, SECONDS))

    for entry in read(tmp_path / "journal"):
        record = received[entry.record.id]
        assert record.time_unix_nano == record.observed_time_unix_nano == entry.record.timestamp
        assert record.attributes.pop("wakelog.copies", 1) in (1, 2)
        assert record.event_name == entry.record.event_name
        assert record.attributes["wakelog.seq"] == entry.record.seq
