"""What a person finds of what agents did: asked of a real VictoriaLogs, which the gateway feeds."""

from __future__ import annotations

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
from scripts.build_victoria_logs import VERSION, VICTORIA_LOGS
from tests.conftest import ROOT, required
from tests.support.collector import Collector
from tests.support.jaeger import Jaeger
from tests.support.victoria_logs import COMPOSE, Line, VictoriaLogs, nanoseconds
from wakelog import AgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink

CONFIGS = ROOT / "collector-config"
NOWHERE = "http://127.0.0.1:1"
FLUSH_MILLIS = 60_000
HOUR = 3600 * 10**9


class Backend:
    """The project's gateway and what it feeds: a VictoriaLogs, and a Jaeger if there is one."""

    def __init__(
        self, gateway: Collector, store: VictoriaLogs, jaeger: Jaeger | None, folder: Path
    ) -> None:
        self.store, self.jaeger = store, jaeger
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
    binary = required(VICTORIA_LOGS, "victoria-logs")
    folder = tmp_path_factory.mktemp("victoria-logs")
    (traces_to_jaeger,) = re.findall(r'"(--config=yaml:.+)"', COMPOSE.read_text(encoding="utf-8"))
    with ExitStack() as ending:
        store, jaeger = VictoriaLogs(binary, folder), None
        ending.callback(store.stop)
        if JAEGER.binary.exists():
            jaeger = Jaeger(JAEGER.binary, folder)
            ending.callback(jaeger.stop)
        gateway = Collector(
            collector_binary,
            folder,
            CONFIGS / "gateway.yaml",
            [traces_to_jaeger],
            STATE_DIR=str(folder / "state"),
            LOKI_ENDPOINT=store.otlp_endpoint,
            TEMPO_ENDPOINT=NOWHERE,
            JAEGER_ENDPOINT=jaeger.endpoint if jaeger else NOWHERE,
            PROMETHEUS_ADDRESS="127.0.0.1:0",
        )
        ending.enter_context(gateway)
        yield Backend(gateway, store, jaeger, folder)


def number(line: Line) -> int:
    """Return which event of its program a line is."""
    return int(line["wakelog.seq"])


def test_the_events_of_a_session_and_those_of_a_run_are_found(backend: Backend) -> None:
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

    everything = backend.store.wait_for(9, '{service.name="harbour"}', begin)
    of_sessions = [
        sorted(backend.store.lines(f'gen_ai.conversation.id:="{one}"', begin), key=number)
        for one in ("s-1", "s-2")
    ]
    assert [[line["event_name"] for line in lines] for lines in of_sessions] == [
        [
            "wakelog.run_start",
            "wakelog.model_call",
            "wakelog.model_response",
            "wakelog.tool_call",
            "wakelog.tool_result",
            "wakelog.run_end",
        ],
        ["wakelog.run_start", "wakelog.decision", "wakelog.run_end"],
    ]
    # The text of each says what it is.
    kinds = [line["event_name"].removeprefix("wakelog.") for line in everything]
    assert all(line["_msg"].startswith(kind) for line, kind in zip(everything, kinds, strict=True))
    (failed,) = backend.store.lines(
        "error.type:=TimeoutError event_name:=wakelog.tool_result", begin
    )
    assert failed["gen_ai.tool.name"] == "reserve_berth"
    assert failed["wakelog.status"] == "error"

    roots = [span for span in ended.get_finished_spans() if span.parent is None]
    traces = {f"{span.context.trace_id:032x}" for span in roots}
    assert len(traces) == 2
    assert {line["trace_id"] for line in everything} == traces
    for trace in traces:
        found = backend.store.lines(f"trace_id:={trace}", begin)
        assert sorted(map(number, found)) in [[number(e) for e in lines] for lines in of_sessions]


def test_the_run_of_a_line_is_found_where_the_gateway_sends_traces(backend: Backend) -> None:
    required(JAEGER, "jaeger")
    assert backend.jaeger is not None
    begin = time.time_ns()
    with backend.agent_of("quay") as log, log.run(), log.tool("tide_table"):
        log.decision("high water at ten")

    lines = backend.store.wait_for(5, '{service.name="quay"}', begin)
    trace = backend.jaeger.trace(lines[0]["trace_id"], 2)

    assert {line["span_id"] for line in lines} == {span["spanID"] for span in trace["spans"]}
    (of_trace,) = {process["serviceName"] for process in trace["processes"].values()}
    query = f'{{service.name="{of_trace}"}} trace_id:={trace["traceID"]}'
    again = backend.store.lines(query, begin)
    assert sorted(map(number, again)) == sorted(map(number, lines))


def test_events_of_one_nanosecond_are_all_kept_and_counted_once_by_their_ids(
    backend: Backend,
) -> None:
    now = time.time_ns()
    with backend.logs_of("clock") as logs:
        logger = logs.get_logger("wakelog")
        for uid in ("a", "b", "c", "b"):
            attributes = {"log.record.uid": uid}
            logger.emit(LogRecord(timestamp=now, event_name="tick", attributes=attributes))

    lines = backend.store.wait_for(4, '{service.name="clock"}', now)

    assert sorted(line["log.record.uid"] for line in lines) == ["a", "b", "b", "c"]
    assert {nanoseconds(line) for line in lines} == {now}
    query = '{service.name="clock"} | count_uniq(log.record.uid) as events'
    assert backend.store.lines(query, now) == [{"events": "3"}]


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

    query = '{service.name="ferry"} | sort by (_time) desc'
    lines = backend.store.wait_for(len(ages), query, now - ages[-1] * HOUR)

    assert [(nanoseconds(line), line["_msg"]) for line in lines] == [
        (now - age * HOUR, str(age)) for age in ages
    ]


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

    lines = backend.store.wait_for(21, '{service.name="archive"} scope.name:=wakelog', now)

    assert sum(len(line.get("wakelog.payload.page", "")) for line in lines) == 400_000 * 30
    assert any(line.get("wakelog.payload.key 499") == "499" for line in lines)


def test_this_victoria_logs_is_the_one_of_the_compose_file() -> None:
    assert f"image: victoriametrics/victoria-logs:{VERSION}\n" in COMPOSE.read_text(
        encoding="utf-8"
    )
