"""What `DurableSpanProcessor` promises, tried in process and with processes that are gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GRPCSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HTTPSpanExporter,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, Tracer

from tests.support.collector import Collector
from tests.support.waiting import until
from wakelog import Space
from wakelog.cli import main
from wakelog.errors import ConfigurationError
from wakelog.journal import Journal, books, first_misfit, folders, open_spans, read
from wakelog.otel import DurableSpanProcessor
from wakelog.otel._settings import for_spans
from wakelog.otel._unfinished import MissingEnds

RESOURCE = Resource({"service.name": "shop"})


class Hop(SpanExporter):
    """An exporter that keeps what it gets, and refuses while it is down."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.down:
            return SpanExportResult.FAILURE
        self.spans += spans
        return SpanExportResult.SUCCESS

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]


Make = Callable[..., tuple[DurableSpanProcessor, Tracer]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[DurableSpanProcessor] = []

    def make(hop: SpanExporter | None, **settings: object) -> tuple[DurableSpanProcessor, Tracer]:
        settings = {"directory": tmp_path, "resource": RESOURCE, "pipeline": "p", **settings}
        settings = {"schedule_delay_millis": 20, **settings}
        processor = DurableSpanProcessor(hop, **settings)  # type: ignore[arg-type]
        made.append(processor)
        provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        provider.add_span_processor(processor)
        return processor, provider.get_tracer("t", "1")

    yield make
    for processor in made:
        processor.shutdown()


KILLED = """
import os, signal, sys
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from wakelog.otel import DurableSpanProcessor

processor = DurableSpanProcessor(
    None, directory=sys.argv[1], pipeline="p", segment_bytes=int(sys.argv[2]),
)
provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
provider.add_span_processor(processor)
tracer = provider.get_tracer("t", "1")
with tracer.start_as_current_span("root", attributes={"question": "why"}):
    for number in range(int(sys.argv[3])):
        with tracer.start_as_current_span(f"step {number}"):
            pass
    tracer.start_span("call")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_program(directory: Path, segment_bytes: int = 1 << 20, ended: int = 40) -> None:
    command = [sys.executable, "-c", KILLED, str(directory), str(segment_bytes), str(ended)]
    done = subprocess.run(command, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_spans_arrive_and_the_books_balance(make: Make, tmp_path: Path) -> None:
    hop = Hop(down=True)
    processor, tracer = make(hop)
    with (
        tracer.start_as_current_span("outer", attributes={"a": 1}),
        tracer.start_as_current_span("i"),
    ):
        pass
    assert not processor.force_flush(200)
    assert [one.pending for one in books(tmp_path)] == [2]

    hop.down = False

    assert processor.force_flush()
    assert hop.names == ["i", "outer"]
    assert [(one.accepted, one.delivered, one.pending) for one in books(tmp_path)] == [(2, 2, 0)]
    assert all(first_misfit(folder) is None for folder in folders(tmp_path))


@contextmanager
def taking_at_most(size: int) -> Iterator[tuple[str, list[Any]]]:
    """Serve a next hop that answers 413 to larger requests; yield its address and the spans it has taken."""
    taken: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            fits = len(request) <= size
            if fits:
                message = ExportTraceServiceRequest.FromString(request)
                taken.extend(
                    span
                    for resource in message.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
            self.send_response(200 if fits else 413)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces", taken
        finally:
            server.shutdown()
            thread.join()


def test_of_a_span_that_is_too_large_a_copy_with_previews_is_sent(
    make: Make, tmp_path: Path
) -> None:
    content = "word " * 4_000
    elsewhere = SpanContext(1, 2, is_remote=True)
    with taking_at_most(16_000) as (endpoint, taken):
        processor, tracer = make(HTTPSpanExporter(endpoint))
        link = Link(elsewhere, {"prompt": content, "place": 7})
        with tracer.start_as_current_span(
            "ask", links=[link], attributes={"answer": content}
        ) as span:
            span.add_event("said", {"text": content, "turn": 3})
            span.add_event("ended")
        tracer.start_span("name " * 4_000).end()  # nothing of it can be shortened
        tracer.start_span("small").end()
        processor.force_flush()
        processor.shutdown()

    sent = {span.name: span for span in taken}
    assert sorted(sent) == ["ask", "small"]
    ask = sent["ask"]
    preview = f"[wakelog: {len(content)} bytes in the journal, sha256 "
    for attributes, number in (
        (ask.attributes, {}),
        (ask.events[0].attributes, {"turn": 3}),
        (ask.links[0].attributes, {"place": 7}),
    ):
        found = {one.key: one.value for one in attributes}
        assert int(found.pop("wakelog.truncated_bytes").int_value) > 10_000
        assert {key: found.pop(key).int_value for key in number} == number
        [value] = found.values()
        assert preview in value.string_value
    assert [event.name for event in ask.events] == ["said", "ended"]
    [one] = books(tmp_path)
    assert (one.delivered, one.dead_lettered, one.pending) == (2, 1, 0)


@pytest.mark.parametrize("segment_bytes", [1 << 20, 4000])
def test_spans_of_a_killed_process_are_ended_once(
    segment_bytes: int, make: Make, tmp_path: Path
) -> None:
    kill_a_program(tmp_path, segment_bytes)
    hop = Hop()
    processor, tracer = make(hop)
    with tracer.start_as_current_span("later"):
        pass
    processor.shutdown()

    for _ in range(2):  # nothing is left to be done
        make(again := Hop())[0].shutdown()
        assert again.names == []

    by_name = {span.name: span for span in hop.spans}
    assert len(hop.spans) == len(by_name) == 43
    root, call = by_name["root"], by_name["call"]
    assert root.attributes is not None
    assert root.attributes["question"] == "why"
    assert root.attributes["wakelog.span.outcome"] == "unknown"
    assert root.attributes["wakelog.span.outcome_reason"] == "process_gone"
    assert (root.status.status_code.name, call.status.status_code.name) == ("ERROR", "ERROR")
    assert call.parent is not None
    assert root.context is not None
    assert call.parent.span_id == root.context.span_id
    assert by_name["step 7"].attributes == {}
    assert all(one.pending == 0 for one in books(tmp_path))


@pytest.mark.parametrize("ended", [0, 5])
def test_ship_sends_spans_and_the_missing_ends_and_makes_no_log_exporter(
    ended: int, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        kill_a_program(tmp_path / "j", ended=ended)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "what the command sets for its own process")
    monkeypatch.setattr("wakelog.cli.ship.exporter_of", lambda _: pytest.fail("not needed"))
    made: list[Journal] = []

    class Counted(MissingEnds):
        def __init__(self, journal: Journal, **settings: Any) -> None:
            made.append(journal)
            super().__init__(journal, **settings)

    monkeypatch.setattr("wakelog.otel.shipping.MissingEnds", Counted)

    assert main(["ship", str(tmp_path / "j"), "--endpoint", collector.grpc_endpoint]) == 0

    spans = collector.spans()
    assert len(spans) == len({span.span_id for span in spans}) == 2 * (ended + 2)
    unknown = [span for span in spans if span.attributes.get("wakelog.span.outcome")]
    assert len(unknown) == 2 * 2
    assert len(made) == 1, "one for the service, and not one for each folder"
    assert all(one.pending == 0 for one in books(tmp_path / "j"))


def test_status_says_which_spans_a_killed_process_left_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_a_program(tmp_path)
    main(["status", str(tmp_path)])

    said = " ".join(capsys.readouterr().out.split())
    assert "2 spans of " in said
    assert "did not end before their process did" in said
    assert "The oldest, 'root', began " in said


@pytest.mark.parametrize("ended", [0, 5])
def test_a_short_run_delivers_what_it_has_given_an_end(
    ended: int, make: Make, tmp_path: Path
) -> None:
    kill_a_program(tmp_path, ended=ended)
    hop = Hop()
    make(hop)[0].shutdown()

    assert len(hop.names) == len(set(hop.names)) == ended + 2


@pytest.mark.parametrize("outcome, status", [("unset", "UNSET"), ("drop", None)])
def test_what_becomes_of_spans_without_an_end_can_be_chosen(
    outcome: str, status: str | None, make: Make, tmp_path: Path
) -> None:
    kill_a_program(tmp_path)
    make(hop := Hop(), unknown_outcome=outcome)[0].shutdown()

    found = {span.name: span.status.status_code.name for span in hop.spans}
    assert found.get("root") == status
    assert found["step 1"] == "UNSET"


def test_the_starts_of_open_spans_outlive_their_segment(make: Make, tmp_path: Path) -> None:
    processor, tracer = make(Hop(), segment_bytes=4000, space=Space(retention_bytes=6000))
    open_one = tracer.start_span("long")
    for number in range(200):
        tracer.start_span(f"short {number}").end()
    assert processor.force_flush()
    processor.journal.clean_up()

    [folder] = folders(tmp_path)
    assert not (folder / "00000001.jsonl").exists()
    names = [
        (s.record.span or {})["name"] for s in open_spans(folder, thorough=False).starts.values()
    ]
    assert names == ["long"]
    open_one.end()
    assert open_spans(folder).starts == {}


def _end_in_a_child(span: ReadableSpan) -> None:
    span.end()  # type: ignore[attr-defined]
    os._exit(0)


def test_children_that_end_by_os_exit_lose_nothing(make: Make) -> None:
    hop = Hop()
    processor, tracer = make(hop)
    inherited = tracer.start_span("of the parent")

    def child(number: int) -> None:
        with tracer.start_as_current_span(f"child {number}"):
            pass
        tracer.start_span(f"open {number}")
        os._exit(0)

    context = multiprocessing.get_context("fork")
    for number in range(3):
        process = context.Process(target=child, args=(number,))
        process.start()
        process.join(30)
    process = context.Process(target=_end_in_a_child, args=(inherited,))
    process.start()
    process.join(30)
    processor.shutdown()
    wanted = {f"child {n}" for n in range(3)} | {f"open {n}" for n in range(3)} | {"of the parent"}
    following, _ = make(hop)
    until(lambda: len(hop.names) >= len(wanted), "the spans of the children")
    following.shutdown()

    assert set(hop.names) == wanted
    assert len(hop.names) == len(wanted)


def test_a_processor_takes_what_is_sampled_and_nothing_is_read_as_a_log(
    make: Make, tmp_path: Path
) -> None:
    processor, tracer = make(None)
    tracer.start_span("kept").end()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("not kept").end()

    names = [(entry.record.span or {})["name"] for entry in read(tmp_path, signal="spans")]
    assert names == ["kept"]
    assert list(read(tmp_path)) == []


def test_a_span_that_a_program_ends_without_a_time_arrives_as_the_sdk_sends_it(
    make: Make, tmp_path: Path
) -> None:
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    span = ReadableSpan("made", context, resource=RESOURCE, attributes={"a": 1}, start_time=5)
    hop = Hop()
    processor, _ = make(hop)
    processor.on_end(span)

    assert processor.force_flush()
    [arrived] = hop.spans
    assert encode_spans([arrived]) == encode_spans([span])
    assert arrived.end_time is None
    assert [b.pending for b in books(tmp_path)] == [0]
    assert not any(open_spans(folder).starts for folder in folders(tmp_path))


def test_without_starts_only_ends_are_recorded(make: Make, tmp_path: Path) -> None:
    _, tracer = make(None, starts=False)
    tracer.start_span("open")
    tracer.start_span("ended").end()

    [folder] = folders(tmp_path)
    assert len((folder / "00000001.jsonl").read_bytes().splitlines()) == 2
    assert len(open_spans(folder).starts) == 0


def test_a_full_disk_is_counted_and_raises_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor, tracer = make(None)
    journal = processor.journal

    def refuse(*_: object, **__: object) -> None:
        from wakelog.errors import JournalError

        raise JournalError("write to", "x", "no space left on device")

    monkeypatch.setattr(journal, "put", refuse)
    tracer.start_span("x").end()

    assert processor.refused == {"JournalError": 2}


def test_an_outcome_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown_outcome='nope'.*error, unset or drop"):
        DurableSpanProcessor(None, directory=tmp_path, unknown_outcome="nope")  # type: ignore[arg-type]


def test_a_variable_whose_outcome_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKELOG_UNKNOWN_OUTCOME", "nope")

    with pytest.raises(ConfigurationError, match=r"WAKELOG_UNKNOWN_OUTCOME='nope'.*unset or drop"):
        for_spans()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("direct", ["true", "false"])
def test_a_real_collector_gets_the_spans(
    protocol: str, direct: str, make: Make, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKELOG_DIRECT_ENCODING", direct)
    exporter: SpanExporter
    if protocol == "http":
        exporter = HTTPSpanExporter(f"{collector.http_endpoint}/v1/traces")
    else:
        exporter = GRPCSpanExporter(collector.grpc_endpoint, insecure=True)
    processor, tracer = make(exporter)
    with tracer.start_as_current_span("outer", kind=SpanKind.CLIENT) as outer:
        outer.add_event("noted", {"x": 1.5})
        with pytest.raises(ValueError, match="no"), tracer.start_as_current_span("inner"):
            raise ValueError("no")

    assert processor.force_flush()
    ids = {f"{outer.get_span_context().span_id:016x}"}
    found = {span.name: span for span in collector.wait_for_spans(ids)}
    assert (found["outer"].kind, found["inner"].status) == ("CLIENT", "ERROR")
    assert found["inner"].parent_span_id == found["outer"].span_id
    assert [event.attributes for event in found["outer"].events] == [{"x": 1.5}]
    assert found["inner"].events[0].attributes["exception.type"] == "ValueError"
    assert found["outer"].origin.resource["service.name"] == "shop"


def test_the_metrics_of_spans_add_up(make: Make, tmp_path: Path) -> None:
    kill_a_program(tmp_path)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    processor, tracer = make(Hop(), meter_provider=provider)
    tracer.start_span("open")
    tracer.start_span("ended").end()
    assert processor.force_flush()
    deadline = time.monotonic() + 60
    while (got := figures(reader))["wakelog.spans.pending"] or got["wakelog.spans.delivered"] < 43:
        assert time.monotonic() < deadline, got
        time.sleep(0.05)

    assert got["wakelog.spans.open"] == 1
    assert got["wakelog.spans.unknown_outcome"] == 2
    assert got["wakelog.spans.accepted"] == got["wakelog.spans.delivered"]
    assert not any(name.startswith("wakelog.events.") for name in got)


def figures(reader: InMemoryMetricReader) -> Counter[str]:
    found: Counter[str] = Counter()
    data = reader.get_metrics_data()
    assert data is not None
    for resource in data.resource_metrics:
        for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
            for point in metric.data.data_points:
                found[metric.name] += int(getattr(point, "value", 0))
    return found
