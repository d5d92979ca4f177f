"""What a person sees in Grafana of what agents did: asked of a real Loki, which the gateway feeds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scripts.build_jaeger import JAEGER
from scripts.build_loki import LOKI, VERSION
from tests.conftest import required
from tests.support.collector import Collector
from tests.support.jaeger import Jaeger
from tests.support.loki import Line, Loki
from wakelog import AgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink

CONFIGS = Path(__file__).parents[1] / "collector-config"
PROVISIONED = CONFIGS / "grafana" / "provisioning" / "datasources" / "wakelog.yaml"
NOWHERE = "http://127.0.0.1:1"
FLUSH_MILLIS = 60_000
HOUR = 3600 * 10**9


class Backend:
    """The project's gateway and what it feeds: a Loki, and a Jaeger if there is one."""

    def __init__(self, gateway: Collector, loki: Loki, jaeger: Jaeger | None, folder: Path) -> None:
        self.loki, self.jaeger = loki, jaeger
        self._gateway, self._folder = gateway, folder

    @contextmanager
    def logs_of(self, service: str) -> Iterator[LoggerProvider]:
        """The logs of a program; at the end, the gateway has what was logged."""
        provider = LoggerProvider(
            resource=Resource.create({"service.name": service}), shutdown_on_exit=False
        )
        exporter = OTLPLogExporter(f"{self._gateway.http_endpoint}/v1/logs")
        provider.add_log_record_processor(
            DurableLogRecordProcessor(exporter, 50, directory=self._folder / service)
        )
        try:
            yield provider
            assert provider.force_flush(FLUSH_MILLIS)
        finally:
            provider.shutdown()

    @contextmanager
    def agent_of(self, service: str, ended: SpanExporter | None = None) -> Iterator[AgentLogger]:
        """An agent of a program, whose spans go to the gateway too, or where it says."""
        with self.logs_of(service) as logs:
            spans = TracerProvider(resource=logs.resource, shutdown_on_exit=False)
            to_gateway = OTLPSpanExporter(f"{self._gateway.http_endpoint}/v1/traces")
            spans.add_span_processor(SimpleSpanProcessor(ended or to_gateway))
            yield AgentLogger("dispatcher", sink=OTelSink(logs), tracer_provider=spans)
            spans.shutdown()


@pytest.fixture(scope="module")
def backend(collector_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    binary = required(LOKI, "loki")
    folder = tmp_path_factory.mktemp("loki")
    with ExitStack() as ending:
        loki, jaeger = Loki(binary, folder), None
        ending.callback(loki.stop)
        if JAEGER.binary.exists():
            jaeger = Jaeger(JAEGER.binary, folder)
            ending.callback(jaeger.stop)
        gateway = Collector(
            collector_binary,
            folder,
            CONFIGS / "gateway.yaml",
            STATE_DIR=str(folder / "state"),
            LOKI_ENDPOINT=loki.otlp_endpoint,
            TEMPO_ENDPOINT=NOWHERE,
            JAEGER_ENDPOINT=jaeger.endpoint if jaeger else NOWHERE,
            PROMETHEUS_ADDRESS="127.0.0.1:0",
        )
        ending.enter_context(gateway)
        yield Backend(gateway, loki, jaeger, folder)


def queries_of_the_dashboards(service: str | None) -> list[str]:
    """Return the LogQL of every panel, for one service or for all that there are."""
    found = []
    for file in sorted((CONFIGS / "grafana" / "dashboards").iterdir()):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        (variable,) = (v for v in dashboard["templating"]["list"] if v["name"] == "service")
        for panel in dashboard["panels"]:
            if panel.get("datasource", {}).get("type") == "loki":
                for target in panel["targets"]:
                    value = service or variable["allValue"]
                    found.append(target["expr"].replace("$service", value))
    return found


def provisioned(name: str, part: str = "") -> str:
    """Return the one setting of that name with that in it as Grafana reads it: `$$` is a dollar."""
    text = PROVISIONED.read_text(encoding="utf-8")
    values: list[str] = re.findall(rf"^ *{name}: (.+?)(?:  #.*)?$", text, re.MULTILINE)
    (value,) = (value.strip("'").replace("$$", "$") for value in values if part in value)
    return value


def trace_that_grafana_links(line: Line) -> str:
    """Return what Grafana puts into a line's link: the first label whose name the regex finds."""
    assert provisioned("matcherType") == "label"
    pattern = re.compile(provisioned("matcherRegex"))
    return next(value for name, value in sorted(line.labels.items()) if pattern.search(name))


def query_that_grafana_links(service: str, trace_id: str) -> str:
    """Return the query for the log lines of a span."""
    query = provisioned("query", "__trace")
    for variable, value in (
        ('${__span.tags["service.name"]}', service),
        ("${__trace.traceId}", trace_id),
    ):
        assert variable in query
        query = query.replace(variable, value)
    assert "$" not in query
    return query


def number(line: Line) -> int:
    """Return which event of its program a line is."""
    return int(line.labels["wakelog_seq"])


def test_a_line_reads_well_and_leads_to_its_trace_and_the_trace_to_its_lines(
    backend: Backend,
) -> None:
    begin = time.time_ns()
    ended = InMemorySpanExporter()
    with backend.agent_of("harbour", ended) as log:
        with log.run(session_id="s-1"):
            with log.model("claude-sonnet-4-5", "anthropic") as model:
                model.respond("Berth 7", input_tokens=10, output_tokens=2)
            with pytest.raises(TimeoutError), log.tool("reserve_berth"):
                raise TimeoutError
        with log.run(session_id="s-2"):
            log.decision("wait", attributes={"app.trace_id": "another"})

    everything = backend.loki.wait_for(9, '{service_name="harbour"}', begin)
    (of_harbour,), (of_all,) = queries_of_the_dashboards("harbour"), queries_of_the_dashboards(None)
    lines = sorted(backend.loki.lines(of_harbour, begin), key=number)
    assert [line for line in lines if line not in backend.loki.lines(of_all, begin)] == []
    assert [line.text for line in lines] == [
        "wakelog.run_start dispatcher started",
        "wakelog.model_call dispatcher claude-sonnet-4-5 started",
        "wakelog.model_response dispatcher claude-sonnet-4-5 success",
        "wakelog.tool_call dispatcher reserve_berth started",
        "wakelog.tool_result dispatcher reserve_berth error TimeoutError",
        "wakelog.run_end dispatcher success",
        "wakelog.run_start dispatcher started",
        "wakelog.decision dispatcher",
        "wakelog.run_end dispatcher success",
    ]
    # Also where a query makes no lines of its own, each says what it is.
    assert {line.text.split()[0] for line in everything} == {line.text.split()[0] for line in lines}

    roots = [span for span in ended.get_finished_spans() if span.parent is None]
    traces = {f"{span.context.trace_id:032x}" for span in roots}
    assert len(traces) == 2
    assert {trace_that_grafana_links(line) for line in lines} == traces
    for trace in traces:
        found = backend.loki.lines(query_that_grafana_links("harbour", trace), begin)
        assert {trace_that_grafana_links(line) for line in found} == {trace}
        assert len(found) == sum(trace in line.labels.values() for line in lines) > 0


def test_the_run_of_a_line_is_found_where_the_gateway_sends_traces(backend: Backend) -> None:
    required(JAEGER, "jaeger")
    assert backend.jaeger is not None
    begin = time.time_ns()
    with backend.agent_of("quay") as log, log.run(), log.tool("tide_table"):
        log.decision("high water at ten")

    (query,) = queries_of_the_dashboards("quay")
    lines = backend.loki.wait_for(5, query, begin)
    trace = backend.jaeger.trace(trace_that_grafana_links(lines[0]), 2)

    assert {line.labels["span_id"] for line in lines} == {s["spanID"] for s in trace["spans"]}
    (of_trace,) = {process["serviceName"] for process in trace["processes"].values()}
    again = backend.loki.lines(query_that_grafana_links(of_trace, trace["traceID"]), begin)
    assert sorted(map(number, again)) == sorted(map(number, lines))


def test_events_of_one_nanosecond_are_all_kept_and_a_second_copy_is_not(backend: Backend) -> None:
    now = time.time_ns()
    with backend.logs_of("clock") as logs:
        logger = logs.get_logger("wakelog")
        for uid in ("a", "b", "c", "b"):
            attributes = {"log.record.uid": uid}
            logger.emit(LogRecord(timestamp=now, event_name="tick", attributes=attributes))

    lines = backend.loki.wait_for(3, '{service_name="clock"}', now)

    assert {line.labels["log_record_uid"] for line in lines} == {"a", "b", "c"}


def test_what_was_kept_through_an_outage_is_found_at_the_time_at_which_it_happened(
    backend: Backend,
) -> None:
    now = time.time_ns()
    ages = [0, 1, 2, 12, 24 * 30]
    with backend.logs_of("ferry") as logs:
        logger = logs.get_logger("wakelog")
        for age in ages:
            logger.emit(LogRecord(timestamp=now - age * HOUR, event_name="sail", body=str(age)))
            assert logs.force_flush(FLUSH_MILLIS)  # each after what is newer

    lines = backend.loki.wait_for(len(ages), '{service_name="ferry"}', now - ages[-1] * HOUR)

    assert [(line.time, line.text) for line in lines] == [(now - a * HOUR, str(a)) for a in ages]


def test_content_of_any_size_and_shape_is_taken_and_found(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "EVENT_ONLY")
    now = time.time_ns()
    with backend.logs_of("archive") as logs:
        log = AgentLogger("clerk", sink=OTelSink(logs))
        for number in range(20):
            log.emit("custom", payload={"page": f"{number}" * 400_000})
        log.emit("custom", payload={f"key {number}": number for number in range(500)})

    lines = backend.loki.wait_for(21, '{service_name="archive"} | scope_name="wakelog"', now)

    assert sum(len(line.labels.get("wakelog_payload_page", "")) for line in lines) == 400_000 * 30
    assert any(line.labels.get("wakelog_payload_key_499") == "499" for line in lines)


def test_this_loki_is_the_one_of_the_compose_file() -> None:
    compose = (CONFIGS / "compose" / "compose.yaml").read_text(encoding="utf-8")
    assert f"image: grafana/loki:{VERSION.removeprefix('v')}\n" in compose
