"""Dashboards and alerts in a real Prometheus, which scrapes the real Collector."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from scripts.build_dashboards import ALL, expressions, files
from tests.conftest import ROOT
from tests.support import prometheus
from tests.support.collector import Collector, free_ports
from tests.support.figures import Hop, emitting
from tests.support.parts import need
from tests.support.prometheus import Prometheus
from tests.support.scripted import Answer, ScriptedHTTP
from wakelog import AgentLogger, Buffer, OTelSink, OverflowPolicy
from wakelog.gateway import EventSessionLogger, ForwardedEvent, SerializationError
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor

GATEWAY = ROOT / "collector-config" / "gateway.yaml"
SECONDS = 60.0
NOWHERE = "http://127.0.0.1:1"
RESOURCE = Resource.create({"service.name": "shop"})
CONDITION = re.compile(r"\s*[<>=]=?\s*[\d.]+\s*\Z")


@pytest.fixture(scope="module")
def needs_prometheus() -> None:
    need("prometheus")


def alerts() -> set[str]:
    text = (prometheus.CONFIG / "alerts.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"- alert: (\w+)", text))


class Shop:
    """A program that runs agents, with a next hop that is up and one that comes and goes."""

    def __init__(self, folder: Path, gateway: str) -> None:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{gateway}/v1/metrics"), 200)
        self.meters = MeterProvider([reader], RESOURCE, shutdown_on_exit=False)
        options: dict[str, Any] = {"meter_provider": self.meters, "durability": "fsync"}
        buffer = Buffer(2, OverflowPolicy.BLOCK)
        exporter = OTLPLogExporter(f"{gateway}/v1/logs")
        self.up = DurableLogRecordProcessor(
            exporter, 20, directory=folder / "up", buffer=buffer, **options
        )
        self.hop = Hop()
        drops = Buffer(2, OverflowPolicy.DROP_NEWEST)
        self.flaky = DurableLogRecordProcessor(
            self.hop, 20, directory=folder / "flaky", buffer=drops, **options
        )
        self.logs = LoggerProvider(RESOURCE, shutdown_on_exit=False)
        self.logs.add_log_record_processor(self.up)
        self.spans = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        self.spans.add_span_processor(
            DurableSpanProcessor(
                OTLPSpanExporter(f"{gateway}/v1/traces"),
                schedule_delay_millis=20,
                meter_provider=self.meters,
                directory=folder / "spans",
                idle_limit=0.1,
            )
        )
        self._sessions = folder / "sessions"
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._work),
            threading.Thread(target=lambda: asyncio.run(self._forward())),
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self.logs.shutdown()
        self.flaky.shutdown()
        self.spans.shutdown()
        self.meters.shutdown()

    def _work(self) -> None:
        log = AgentLogger("clerk", sink=OTelSink(self.logs), tracer_provider=self.spans)
        emit = emitting(self.flaky)
        while not self._ending.is_set():
            try:
                with log.run(session_id="s-1"):
                    log.agent_handoff("clerk", "packer")
                    log.resumed("c-1")
                    with log.model("a-model") as model:
                        model.respond("yes", input_tokens=30, output_tokens=4, cost_usd=0.0007)
                    with log.tool("search"):
                        raise LookupError
            except LookupError:
                pass
            self.spans.get_tracer("shop").start_span("a stream that nobody closes")
            emit("bad", *["good"] * 20)
            self.hop.down = not self.hop.down
            self._ending.wait(0.05)

    async def _forward(self) -> None:
        """Log through gateways, with a transport that comes and goes and never takes what is bad."""

        async def callback(event: ForwardedEvent) -> bool:
            if event.get("bad"):
                raise SerializationError("bad")
            return not self.hop.down

        options: dict[str, Any] = {"meter_provider": self.meters, "retry_delay_seconds": 0.01}
        memory = {**options, "enable_local_logging": False, "queue_size": 2}
        async with (
            EventSessionLogger(self._sessions, callback, **options) as files,
            EventSessionLogger(None, callback, **memory) as queue,
        ):
            number = 0
            while not self._ending.is_set():
                number += 1
                event = {"session_id": f"s-{number % 5}", "n": number, "bad": number % 9 == 0}
                await asyncio.gather(*(logger(event) for logger in (files, queue, queue, queue)))
                await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def scraped(
    needs_prometheus: None, collector_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the gateway, which a shop reports to."""
    folder = tmp_path_factory.mktemp("scraped")
    port, own = free_ports(2)
    refusing = ScriptedHTTP(Answer(status=400))
    gateway = Collector(
        collector_binary,
        folder,
        GATEWAY,
        STATE_DIR=str(folder / "state"),
        LOKI_ENDPOINT=refusing.endpoint,
        TEMPO_ENDPOINT=NOWHERE,
        JAEGER_ENDPOINT=NOWHERE,
        PROMETHEUS_ADDRESS=f"127.0.0.1:{port}",
        SPAN_METRICS_INTERVAL="100ms",
        TELEMETRY_LEVEL="normal",
        TELEMETRY_HOST="127.0.0.1",
        TELEMETRY_PORT=str(own),
    )
    with refusing, gateway:
        server = Prometheus(folder, f"127.0.0.1:{port}", f"127.0.0.1:{own}")
        try:
            with Shop(folder, gateway.http_endpoint):
                yield server
        finally:
            server.stop()


def wait_for_data(server: Prometheus, queries: list[str]) -> None:
    """Wait until every query has had data once; what comes and goes is asked for again."""
    deadline = time.monotonic() + SECONDS
    left = queries
    while left := [query for query in left if not server.has_data(query)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize("dashboard", sorted(expressions()))
def test_every_expression_of_the_dashboards_has_data(scraped: Prometheus, dashboard: str) -> None:
    queries = [
        query.replace("$service", ALL).replace("$__rate_interval", "5s")
        for query in expressions()[dashboard]
    ]
    assert len(queries) > 8

    wait_for_data(scraped, queries)
    if dashboard == "agents":  # something of everything happens all the time
        wait_for_data(scraped, [f"({query}) > 0" for query in queries])

    for query in queries:
        assert not scraped.has_data(query.replace(ALL, "nobody")), query  # or 0 without a service


@pytest.mark.usefixtures("needs_prometheus")
def test_a_span_of_a_trace_leads_to_the_figures_of_such_spans(scraped: Prometheus) -> None:
    text = (GATEWAY.parent / "grafana/provisioning/datasources/wakelog.yaml").read_text("utf-8")
    labels = dict(re.findall(r"- key: (\S+)\n +value: (\S+)", text))
    span = {
        "service.name": "shop",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
    }
    tags = ",".join(f'{labels[key]}="{value}"' for key, value in span.items())
    queries = [
        query.replace("$$__tags", tags) for query in re.findall(r"query: (.*\$\$__tags.*)", text)
    ]
    assert len(queries) == 2

    wait_for_data(scraped, [f"({query}) > 0" for query in queries])

    nothing = [query.replace("search", "nothing") for query in queries]
    assert not any(scraped.has_data(query) for query in nothing)


@pytest.mark.usefixtures("needs_prometheus")
def test_every_expression_of_the_local_page_has_data(scraped: Prometheus) -> None:
    from wakelog.page._prometheus import QUERIES

    wait_for_data(scraped, [query.replace("[5m]", "[5s]") for query in QUERIES.values()])


@pytest.mark.usefixtures("needs_prometheus")
def test_every_condition_of_the_alerts_has_data(scraped: Prometheus) -> None:
    conditions = {rule["name"]: rule["query"] for rule in scraped.rules()}
    assert conditions.keys() == alerts()
    assert len(conditions) == 10
    left_sides = [CONDITION.sub("", condition) for condition in conditions.values()]
    assert not set(left_sides) & set(conditions.values())

    wait_for_data(scraped, left_sides)

    assert {rule["health"] for rule in scraped.rules()} <= {"ok", "unknown"}


@pytest.mark.usefixtures("needs_prometheus")
def test_what_is_lost_is_an_alert(scraped: Prometheus) -> None:
    wait_for_data(
        scraped,
        [
            'ALERTS{alertname="WakelogDeadLetters",alertstate="firing",service_name="shop"}',
            'ALERTS{alertname="WakelogEventsLost",reason="buffer drop_newest",service_name="shop"}',
            'ALERTS{alertname="WakelogEventsLost",reason="gateway drop_oldest",service_name="shop"}',
            'ALERTS{alertname="WakelogCollectorDrops",exporter="otlp_http/loki"}',
            'ALERTS{alertname="WakelogUnknownOutcomes",alertstate="firing",service_name="shop"}',
        ],
    )


@pytest.mark.usefixtures("needs_prometheus")
def test_each_alert_fires_for_what_it_is_about_and_not_before() -> None:
    rules = prometheus.CONFIG / "alerts_test.yaml"
    text = rules.read_text(encoding="utf-8")
    assert [name for name in alerts() if f'alertname="{name}"' not in text] == []

    done = subprocess.run(
        ["promtool", "test", "rules", rules],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_are_what_the_code_makes() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, "run `python -m scripts.build_dashboards`"
