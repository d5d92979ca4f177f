"""What an event and its delivery cost, in calls: the same on every machine, unlike time.

A call is one of a function of Wakelog's, or one that such a function makes of one written in C. The figures are
those of the day on which they were noted. More is a cost that somebody has added: say why beside the new
figure, or take it out again. Fewer by a sixth wants the figure noted anew, so that the gain is kept. A function in C in
place of two of the SDK's in Python counts as one call more, and costs less.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import wakelog
from wakelog import AgentLogger, JSONLSink, OTelSink, context
from wakelog._native import native
from wakelog.audit import (
    InMemorySessionLog,
    JournalSessionLog,
    SessionAuditSink,
    SessionLog,
    SQLiteSessionLog,
    ThreadKey,
)
from wakelog.gateway import EventSessionLogger
from wakelog.journal import Cursor, Mark
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor
from wakelog.otel._content import ContentPolicy
from wakelog.otel._rebuilder import Rebuilder
from wakelog.otel._span_records import SpanRebuilder
from wakelog.streams import SessionStreams

OURS = os.path.dirname(wakelog.__file__) + os.sep
WARM, TIMES, BATCH = 20, 31, 256
ATTRIBUTES: dict[str, Any] = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.conversation.id": "s-1",
    "wakelog.run.id": "01a1fc74-cf13-7f51-9dc4-fd6f11066fc1",
    "http.route": "/a/b",
    "n": 3,
    "ok": True,
}

# Calls for each event or record, noted on 30 November 2026: with the encoders in Python, and with the compiled ones.
NOTED = {
    "Logger.emit": (35, 2),
    "tool_call": (86, 30),
    "tool_call into a file": (78, 19),
    "tool_call into a file, unredacted": (67, 18),
    "tool_call in a run": (101, 34),
    "with log.tool": (237, 103),
    "a record on its way": (85, 5),
    "an event of the gateway": (167, 71),
    "an audit record in the journal": (77, 72),
    "an audit record in memory": (59, 55),
    "an audit record into the queue": (30, 25),
    "a chunk of a stream": (46, 36),
    "a chunk to a reader that waits": (78, 68),
    "a span": (55, 12),
    "a span with two events": (102, 12),
    "a span on its way": (86, 12),
    "a span with two events on its way": (175, 13),
    "a span without the line of its start": (31, 8),
}
_MORE, _FEWER = 1.1, 0.85


def calls_in(function: Callable[[], object]) -> int:
    """Counts the calls of Wakelog's functions, and those that they make of functions in C."""
    count = 0

    def seen(frame: Any, event: str, _: object) -> None:
        nonlocal count
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(OURS):
            # What comprehensions are differs from one Python to the next.
            count += not frame.f_code.co_name.startswith("<")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def usual(function: Callable[[], object]) -> float:
    """The median: once a second the journal looks around."""
    for _ in range(WARM):
        function()
    return statistics.median(calls_in(function) for _ in range(TIMES))


def check(name: str, found: float) -> None:
    noted = NOTED[name][native is not None]
    assert found <= noted * _MORE, f"{name} costs {found} calls, and {noted} were noted"
    assert found >= noted * _FEWER, f"{name} costs {found} calls: note that in place of {noted}"


@pytest.fixture(autouse=True)
def nothing_is_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes that another test has bound cost calls of their own."""
    monkeypatch.setattr(context, "attributes", {})


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LoggerProvider]:
    made = LoggerProvider(shutdown_on_exit=False)
    made.add_log_record_processor(DurableLogRecordProcessor(None, directory=tmp_path / "journal"))
    yield made
    made.shutdown()


def emit(provider: LoggerProvider) -> Callable[[], None]:
    logger = provider.get_logger("costs")

    def call() -> None:
        logger.emit(
            timestamp=1_800_000_000_000_000_000,
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            event_name="app.call",
            body="a call",
            attributes=ATTRIBUTES,
        )

    return call


def test_an_emit_makes_as_many_calls_as_are_noted(provider: LoggerProvider) -> None:
    check("Logger.emit", usual(emit(provider)))


@pytest.mark.parametrize(
    "name", ["tool_call", "tool_call into a file", "tool_call into a file, unredacted"]
)
def test_an_agents_event_makes_as_many_calls_as_are_noted(
    name: str, provider: LoggerProvider, tmp_path: Path
) -> None:
    file = JSONLSink(tmp_path / "events.jsonl")
    sink = file if "file" in name else OTelSink(provider, without_limits=True)
    log = AgentLogger("clerk", sink=sink, redact_payloads="unredacted" not in name)
    arguments = {"query": "flights to Lisbon", "limit": 3}

    check(name, usual(lambda: log.tool_call("search", arguments, call_id="c", session_id="s")))
    file.close()


@pytest.mark.parametrize("name", ["tool_call in a run", "with log.tool"])
def test_an_event_in_a_span_makes_as_many_calls_as_are_noted(name: str, tmp_path: Path) -> None:
    provider, tracers = LoggerProvider(shutdown_on_exit=False), TracerProvider()
    provider.add_log_record_processor(
        DurableLogRecordProcessor(None, directory=tmp_path, span_events=True)
    )
    sink = OTelSink(provider, without_limits=True)
    log = AgentLogger("clerk", sink=sink, tracer_provider=tracers)
    arguments = {"query": "flights to Lisbon", "limit": 3}

    def block() -> None:
        with log.tool("search", arguments) as tool:
            tool.result({"found": 3})

    with log.run():
        call = block if "with" in name else lambda: log.tool_call("search", arguments)
        check(name, usual(call))
    provider.shutdown()
    tracers.shutdown()


@pytest.mark.parametrize(
    "name", ["a span", "a span with two events", "a span without the line of its start"]
)
def test_a_span_makes_as_many_calls_as_are_noted(name: str, tmp_path: Path) -> None:
    processor = DurableSpanProcessor(None, directory=tmp_path, starts="without" not in name)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("costs")

    def span() -> None:
        with tracer.start_as_current_span("execute_tool search", attributes=ATTRIBUTES) as made:
            for _ in range(2 if "events" in name else 0):
                made.add_event("agent.tool.call", ATTRIBUTES)

    check(name, usual(span))
    processor.shutdown()


def test_a_record_makes_as_many_calls_on_its_way_as_are_noted(
    provider: LoggerProvider, tmp_path: Path
) -> None:
    call = emit(provider)
    for _ in range(3 * BATCH):
        call()
    [folder] = [path.parent for path in (tmp_path / "journal").glob("*/00000001.jsonl")]
    cursor, rebuilder = Cursor(folder, Mark(), later=True), Rebuilder(ContentPolicy())
    rebuilder.encodes = True

    def deliver() -> None:
        entries = cursor.read(BATCH, 1 << 20).entries
        assert len(entries) == BATCH
        batch: list[Any] = []
        while len(batch) < BATCH:
            some = rebuilder.prepare_some(entries, len(batch), 16, False)
            batch += some or [rebuilder.prepare(entries[len(batch)])]
        assert rebuilder.request([readable(record) for record in batch])

    deliver()
    check("a record on its way", statistics.median(calls_in(deliver) for _ in range(2)) / BATCH)


@pytest.mark.parametrize("name", ["a span on its way", "a span with two events on its way"])
def test_a_span_makes_as_many_calls_on_its_way_as_are_noted(name: str, tmp_path: Path) -> None:
    processor = DurableSpanProcessor(None, directory=tmp_path)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("costs")
    for _ in range(3 * BATCH):
        span = tracer.start_span("execute_tool search", attributes=ATTRIBUTES)
        for _ in range(2 if "events" in name else 0):
            span.add_event("agent.tool.call", ATTRIBUTES)
        span.end()
    [folder] = [path.parent for path in tmp_path.glob("*/00000001.jsonl")]
    cursor, rebuilder = Cursor(folder, Mark(), later=True), SpanRebuilder()
    rebuilder.encodes = True
    queue = BatchSpanProcessor(InMemorySpanExporter())

    def deliver() -> None:
        entries = cursor.read(BATCH, 1 << 20).entries
        assert len(entries) == BATCH
        batch = [rebuilder.prepare(entry) for entry in entries]
        for span in batch:
            queue.on_end(span)
        assert rebuilder.request(batch)

    deliver()
    check(name, statistics.median(calls_in(deliver) for _ in range(2)) / BATCH)
    queue.shutdown()
    processor.shutdown()


def test_an_event_of_the_gateway_makes_as_many_calls_as_are_noted(tmp_path: Path) -> None:
    log = EventSessionLogger(tmp_path)
    result = {"hits": 3, "titles": ["Lisbon in May", "Two seats left", "A morning flight"]}
    event = {"event_type": "tool_result", "agent_name": "a", "session_id": "s", "result": result}

    def record() -> None:
        with pytest.raises(StopIteration):  # it waits for nothing
            log(event).__await__().send(None)

    check("an event of the gateway", usual(record))
    asyncio.run(log.close())


@pytest.mark.parametrize("where", ["in the journal", "in memory", "into the queue"])
def test_an_audit_record_makes_as_many_calls_as_are_noted(where: str, tmp_path: Path) -> None:
    if where == "in memory":
        log: SessionLog = InMemorySessionLog()
    elif where == "in the journal":
        log = JournalSessionLog(tmp_path / "log")
    else:
        log = SQLiteSessionLog(tmp_path / "log.db")
    sink = SessionAuditSink(log, ThreadKey("acme", "t-1"))

    check(
        f"an audit record {where}",
        usual(lambda: sink.record_memory_recall("semantic", "user/17", 3)),
    )
    assert sink.flush()


def test_a_chunk_of_a_stream_makes_as_many_calls_as_are_noted(tmp_path: Path) -> None:
    async def write_one() -> None:
        following = asyncio.ensure_future(reader.next())
        await asyncio.sleep(0)  # it waits
        stream.write("a word ")
        await following

    with SessionStreams(tmp_path, watch_interval=None) as streams, asyncio.Runner() as runner:
        stream = streams.stream("s")
        check("a chunk of a stream", usual(lambda: stream.write("a word ")))
        reader = streams.read("s")
        check("a chunk to a reader that waits", usual(lambda: runner.run(write_one())))


def readable(record: Any) -> ReadableLogRecord:
    return ReadableLogRecord(
        record.log_record, record.resource, record.instrumentation_scope, record.limits
    )
