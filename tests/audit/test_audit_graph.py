"""A conversation replayed from any log is the one that was recorded, also over forks and archives."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support import postgres
from tests.support.attack import times
from wakelog import AgentEvent, AgentLogger, ConfigurationError, MemorySink, SessionLogError
from wakelog.audit import (
    InMemorySessionLog,
    JournalSessionLog,
    SessionAuditSink,
    SessionGraph,
    SessionLog,
    SQLiteSessionLog,
    ThreadKey,
    link_to,
)

KEY = ThreadKey("acme", "t-1")


def said(text: str, event_type: str = "user_message") -> AgentEvent:
    return AgentEvent(event_type, payload={"message": text})


# Against a model

TEXTS = st.text(max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PAYLOADS = st.dictionaries(TEXTS, VALUES, max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 5), st.lists(PAYLOADS, max_size=4)),
    st.tuples(st.just("archive"), st.integers(0, 5), st.integers(-2, 15)),
    st.tuples(st.just("fork"), st.integers(0, 5), st.integers(0, 12)),
    st.tuples(st.just("load"), st.integers(0, 5), st.integers(-2, 15)),
)


@dataclass
class Model:
    """One thread: every event that it ever had, and up to where they are archived."""

    events: list[AgentEvent] = field(default_factory=list)
    watermark: int = 0


def digest(state: list[str], event: AgentEvent) -> list[str]:
    return [*state, f"{event.event_type}:{event.payload!r}"]


async def follow(log: SessionLog, tenant: str, steps: list[Any]) -> None:
    """Do the same to a log and to the model, and compare at each step."""
    models = {"t-0": Model()}
    for operation, which, argument in steps:
        name = sorted(models)[which % len(models)]
        key, model = ThreadKey(tenant, name), models[name]
        if operation == "append":
            events = [AgentEvent("custom", payload=payload) for payload in argument]
            model.events += events
            assert await log.append(key, events) == len(model.events)
        elif operation == "archive":
            reached = max(model.watermark, min(argument, len(model.events)))
            assert await log.archive_before(key, argument) == reached - model.watermark
            model.watermark = reached
        elif operation == "fork":
            at = min(argument, len(model.events))
            parent = await SessionGraph.hydrate(log, key, archived=True)
            other = f"t-{len(models)}"
            branch = parent.fork(at, other)
            await log.append(ThreadKey(tenant, other), [e for _, e in branch.events_since()])
            marker = parent.events_since(parent.last_ordinal - 1)
            assert await log.append(key, [marker[0].event]) == marker[0].ordinal
            assert marker[0].event.payload == {"thread_id": other, "at": at}
            models[other] = Model(model.events[:at])
            model.events.append(marker[0].event)
        await compare(log, key, model, argument if operation == "load" else 0)


async def compare(log: SessionLog, key: ThreadKey, model: Model, cursor: int) -> None:
    numbered = list(enumerate(model.events, 1))
    live = [(n, e) for n, e in numbered if n > max(cursor, model.watermark)]
    old = [(n, e) for n, e in numbered if cursor < n <= model.watermark]
    assert await log.load_since(key, cursor) == live
    assert await log.load_archived(key, cursor) == old
    whole = await SessionGraph.hydrate(log, key, archived=True)
    assert whole.archival_watermark == model.watermark == await log.watermark(key)
    assert whole.events_since() == numbered
    nothing: list[str] = []
    expected = nothing
    for event in model.events:
        expected = digest(expected, event)
    assert whole.replay_into(nothing, digest) == expected
    part = await SessionGraph.hydrate(log, key)
    assert part.last_ordinal == len(model.events)
    assert part.replay_into(expected[: model.watermark], digest) == expected


@contextmanager
def new_log(backend: str) -> Iterator[SessionLog]:
    with tempfile.TemporaryDirectory() as folder:
        if backend == "memory":
            yield InMemorySessionLog()
        elif backend == "journal":
            log = JournalSessionLog(folder, segment_bytes=700)
            yield log
            log.close()
        else:
            sqlite = SQLiteSessionLog(Path(folder) / "log.db")
            yield sqlite
            sqlite.close()


# A shrunk example is worth the wait; a slow machine is no failure.
tried = settings(
    max_examples=times(250), deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.mark.attack
@pytest.mark.parametrize("backend", ["memory", "journal", "sqlite"])
def test_appending_archiving_and_forking_agree_with_a_model(backend: str) -> None:
    @tried
    @given(st.lists(STEPS, max_size=12))
    def check(steps: list[Any]) -> None:
        with new_log(backend) as log:
            asyncio.run(follow(log, "acme", steps))

    check()


@pytest.mark.attack
def test_postgres_agrees_with_the_model_too(postgres_server: postgres.Postgres) -> None:
    from wakelog.audit import PostgresSessionLog

    log = PostgresSessionLog(postgres_server.app, schema="model")
    asyncio.run(log.create_schema())
    tenants = count()

    @settings(tried, max_examples=times(100))
    @given(st.lists(STEPS, max_size=10))
    def check(steps: list[Any]) -> None:
        asyncio.run(follow(log, f"tenant-{next(tenants)}", steps))

    check()
    log.close()


# By example


def test_a_graph_numbers_its_events_and_reads_on_from_anywhere() -> None:
    graph = SessionGraph("t-1")

    assert [graph.append(said(text)) for text in "abc"] == [1, 2, 3]

    assert [one.event.payload["message"] for one in graph.events_since(1)] == ["b", "c"]
    assert graph.events_since(3) == []
    assert graph.replay_into("", lambda text, event: text + event.payload["message"]) == "abc"


def test_a_graph_of_what_is_not_archived_goes_on_with_the_logs_numbers() -> None:
    log = InMemorySessionLog()

    async def scenario() -> SessionGraph:
        await log.append(KEY, [said("a"), said("b"), said("c")])
        await log.archive_before(KEY, 3)
        return await SessionGraph.hydrate(log, KEY)

    graph = asyncio.run(scenario())

    assert graph.archival_watermark == 3
    assert graph.events_since() == []
    assert graph.append(said("d")) == 4


def test_a_branch_has_the_beginning_and_the_parent_knows_of_it() -> None:
    graph = SessionGraph("t-1")
    for text in "abc":
        graph.append(said(text))

    branch = graph.fork(2, "t-2")
    branch.append(said("x"))

    def spoken(of: SessionGraph) -> list[str]:
        return [m["parts"][0]["content"] for m in of.current_branch_messages()]

    assert branch.thread_id == "t-2"
    assert spoken(branch) == ["a", "b", "x"]
    assert spoken(graph) == ["a", "b", "c"]
    last = graph.events_since(3)[0].event
    assert (last.event_type, last.payload) == ("branch_created", {"thread_id": "t-2", "at": 2})


def test_a_branch_that_cannot_be_whole_is_refused() -> None:
    graph = SessionGraph("t-1", archival_watermark=2)
    graph.append(said("c"))

    with pytest.raises(SessionLogError, match="archived=True"):
        graph.fork(3, "t-2")
    with pytest.raises(ConfigurationError, match="up to 3"):
        graph.fork(4, "t-2")
    with pytest.raises(ConfigurationError, match="branch_at=-1"):
        graph.fork(-1, "t-2")
    with pytest.raises(ConfigurationError, match="itself"):
        graph.fork(0, "t-1")
    assert graph.fork(0, "t-2").last_ordinal == 0


def test_the_messages_are_those_that_a_model_takes() -> None:
    graph = SessionGraph("t-1")
    given_messages = [{"role": "assistant", "parts": [{"type": "text", "content": "Found one."}]}]
    for event in (
        AgentEvent("system_instruction", payload={"instruction": "Be brief."}),
        said("Lisbon?"),
        AgentEvent("model_call", payload={"input_messages": "not again"}),
        AgentEvent("tool_call", tool_name="search", call_id="c-1", payload={"args": {"to": "LIS"}}),
        AgentEvent("tool_result", tool_name="search", call_id="c-1", payload={"result": [7]}),
        AgentEvent("context_compacted", payload={"dropped_chars": 1, "retained_chars": 2}),
        AgentEvent("model_response", payload={"output_messages": given_messages}),
        AgentEvent("model_response", payload={}),
        said("Book it?", "assistant_message"),
    ):
        graph.append(event)

    def text(role: str, content: str) -> dict[str, Any]:
        return {"role": role, "parts": [{"type": "text", "content": content}]}

    call = {"type": "tool_call", "id": "c-1", "name": "search", "arguments": {"to": "LIS"}}
    answer = {"type": "tool_call_response", "id": "c-1", "response": [7]}
    assert graph.current_branch_messages() == [
        text("system", "Be brief."),
        text("user", "Lisbon?"),
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [answer]},
        text("assistant", "Found one."),
        text("assistant", "Book it?"),
    ]


# In a trace


@pytest.fixture
def spans() -> Iterator[tuple[AgentLogger, InMemorySpanExporter]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield AgentLogger(sink=MemorySink(), tracer_provider=provider), exporter
    provider.shutdown()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def ids(context: Any) -> tuple[int, int]:
    return context.trace_id, context.span_id


def test_a_sub_agents_run_is_a_child_of_the_span_that_called_it(
    spans: tuple[AgentLogger, InMemorySpanExporter],
) -> None:
    log, exporter = spans
    session = InMemorySessionLog()
    sink = SessionAuditSink(session, KEY)

    with log.run(agent="supervisor"), log.tool("delegate"):
        sink.record_sub_agent_invoked("worker", "t-2")
        with log.run(agent="worker", session_id="t-2"):
            sink.with_thread_key(ThreadKey("acme", "t-2")).record_resumed("")

    found = by_name(exporter)
    caller, worker = found["execute_tool delegate"], found["invoke_agent worker"]
    assert worker.parent is not None
    assert ids(worker.parent) == ids(caller.get_span_context())
    (invoked,) = asyncio.run(session.load_since(KEY))
    assert invoked.event.span_context is not None
    assert invoked.event.span_context[:2] == ids(caller.get_span_context())


def test_a_hand_off_and_a_resume_are_linked_to_the_span_that_they_came_from(
    spans: tuple[AgentLogger, InMemorySpanExporter], tmp_path: Path
) -> None:
    log, exporter = spans
    sink = SessionAuditSink(JournalSessionLog(tmp_path), KEY)
    with log.run(agent="first"):
        sink.record_agent_handoff("first", "second")
        sink.record_memory_recall("semantic", "u", 1)

    # Whoever takes over may be another process: all that it needs is in the log.
    graph = asyncio.run(SessionGraph.hydrate(JournalSessionLog(tmp_path), KEY))
    with log.run(agent="second", links=graph.links("agent_handoff")):
        sink.record_context_compacted(7, 3)
    graph = asyncio.run(SessionGraph.hydrate(JournalSessionLog(tmp_path), KEY))
    with log.run(agent="third", links=graph.links()):
        sink.record_resumed("")

    found = by_name(exporter)
    first, second, third = (found[f"invoke_agent {n}"] for n in ("first", "second", "third"))
    assert [ids(link.context) for link in second.links] == [ids(first.get_span_context())]
    assert [ids(link.context) for link in third.links] == [ids(second.get_span_context())]
    assert second.parent is None
    assert second.links[0].context.is_remote
    assert second.links[0].context.trace_flags.sampled


def test_without_a_span_there_is_nothing_to_link_to() -> None:
    graph = SessionGraph("t-1")
    graph.append(said("a"))

    assert graph.links() == []
    assert graph.links("agent_handoff") == []
    with pytest.raises(ConfigurationError, match="outside any span"):
        link_to(graph.events_since()[0].event)


# To the letter


def call_event(id_: str, name: str = "calc") -> AgentEvent:
    return AgentEvent("tool_call", tool_name=name, call_id=id_, payload={"args": {}})


def result_event(id_: str) -> AgentEvent:
    return AgentEvent("tool_result", call_id=id_, payload={"result": "4"})


def spoken_by(event_type: str, *parts: dict[str, Any]) -> AgentEvent:
    if event_type == "assistant_message":
        return AgentEvent(event_type, payload={"message": list(parts)})
    messages = [{"role": "assistant", "parts": list(parts)}]
    return AgentEvent(event_type, payload={"output_messages": messages})


def part(id_: str) -> dict[str, Any]:
    return {"type": "tool_call", "id": id_, "name": "calc", "arguments": {}}


TEXT = {"type": "text", "content": "Let me see."}
RESPONSE = spoken_by("model_response", TEXT, part("a"), part("b"))
OPENAI = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}, {"id": "b"}]}
ANTHROPIC = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "a"}, {"type": "tool_use", "id": "b"}],
}
ORDERS: dict[str, list[AgentEvent]] = {
    "message first": [
        RESPONSE,
        call_event("a"),
        result_event("a"),
        call_event("b"),
        result_event("b"),
    ],
    "calls first": [
        call_event("a"),
        call_event("b"),
        RESPONSE,
        result_event("a"),
        result_event("b"),
    ],
    "answered first": [
        call_event("a"),
        result_event("a"),
        RESPONSE,
        call_event("b"),
        result_event("b"),
    ],
    "message twice": [RESPONSE, spoken_by("assistant_message", part("a"), part("b"))],
    "event twice": [call_event("a"), call_event("a"), call_event("b"), result_event("a")],
    "a provider's own, calls apart": [
        AgentEvent("assistant_message", payload={"message": OPENAI}),
        call_event("a"),
        call_event("b"),
    ],
    "a provider's own, calls among the content": [
        AgentEvent("model_response", payload={"output_messages": [ANTHROPIC]}),
        call_event("b"),
        call_event("a"),
    ],
}


@pytest.mark.parametrize("events", ORDERS.values(), ids=ORDERS.keys())
def test_each_tool_call_is_there_once_and_before_its_answer(events: list[AgentEvent]) -> None:
    graph = SessionGraph("t-1")
    for event in events:
        graph.append(event)

    messages = graph.current_branch_messages()

    order: list[tuple[str, str]] = []
    for message in messages:
        parts = [*(message.get("parts") or []), *(message.get("content") or [])]
        assert parts or message.get("tool_calls")
        for one in [*parts, *(message.get("tool_calls") or [])]:
            if "id" in one:
                is_answer = one.get("type") == "tool_call_response"
                order.append(("answer" if is_answer else "call", one["id"]))
    assert sorted(id_ for kind, id_ in order if kind == "call") == ["a", "b"]
    for kind, id_ in order:
        if kind == "answer":
            assert order.index(("call", id_)) < order.index((kind, id_))
    assert [one.event for one in graph.events_since()] == events  # nothing in it has changed
    assert graph.events == events


def test_calls_without_an_id_all_stay() -> None:
    graph = SessionGraph("t-1")
    for _ in range(2):
        graph.append(AgentEvent("tool_call", tool_name="calc", payload={"args": {}}))

    assert len(graph.current_branch_messages()) == 2


def test_a_graph_says_how_much_is_in_it_and_which_branches_began_there() -> None:
    graph = SessionGraph("t-1")
    assert (len(graph), graph.is_empty(), graph.events) == (0, True, [])

    events = [said(text) for text in "abc"]
    for event in events:
        graph.append(event)
    graph.fork(2, "t-2")
    graph.append(AgentEvent("branch_created", payload={"by": "somebody else"}))
    graph.fork(4, "t-3")

    assert (len(graph), graph.is_empty(), graph.events[:3]) == (6, False, events)
    assert graph.branch_events() == [("t-2", 2), ("t-3", 4)]


def test_archiving_in_a_graph_never_goes_back_and_keeps_its_events() -> None:
    graph = SessionGraph("t-1")
    for text in "abc":
        graph.append(said(text))

    assert [graph.archive_before(n) for n in (2, 1, 2, 99, -1)] == [2, 0, 0, 1, 0]
    assert graph.archival_watermark == 3
    assert len(graph) == 3


def test_a_graph_comes_back_from_plain_data_as_it_was() -> None:
    log = InMemorySessionLog()

    async def scenario() -> list[SessionGraph]:
        event = said("b")
        event.span_context = (7, 8, 1)
        await log.append(KEY, [said("a"), event, AgentEvent("mine", allow_custom_event_types=True)])
        await log.archive_before(KEY, 1)
        live = await SessionGraph.hydrate(log, KEY)
        whole = await SessionGraph.hydrate(log, KEY, archived=True)
        await log.archive_before(KEY, 3)
        return [live, whole, await SessionGraph.hydrate(log, KEY), SessionGraph("t-9")]

    for graph in asyncio.run(scenario()):
        data = json.loads(json.dumps(graph.to_dict()))
        again = SessionGraph.from_dict(data)

        assert again.thread_id == graph.thread_id
        assert again.archival_watermark == graph.archival_watermark
        assert again.last_ordinal == graph.last_ordinal
        assert again.events_since() == graph.events_since()
        assert again.to_dict() == data
        contexts = [event.span_context for event in again.events]
        assert contexts == [event.span_context for event in graph.events]
        assert again.append(said("next")) == graph.append(said("next"))


@pytest.mark.parametrize(
    "data", [{}, {"thread_id": "t"}, [], None, {**SessionGraph("t").to_dict(), "events": [7]}]
)
def test_what_is_no_graph_is_refused(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="to_dict"):
        SessionGraph.from_dict(data)
