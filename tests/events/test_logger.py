"""The logger: what an agent does is recorded or raised, and the program is never in the way."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import multiprocessing
import os
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from wakelog import (
    AgentEvent,
    AgentLogger,
    AsyncAgentLogger,
    AsyncJSONLSink,
    Durability,
    EventSink,
    JournalError,
    JSONLSink,
    MemorySink,
    NullSink,
    OTelSink,
    RedactionConfig,
    RedactionError,
    SinkError,
    bound,
    context,
)
from wakelog.errors import ConfigurationError
from wakelog.journal import Journal, read
from wakelog.journal._shared_file import SharedFile
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wakelog.record import Record

# --- what the tests share -----------------------------------------------------------------------


class Recorded:
    """A logger, the events that it wrote and the spans that it opened."""

    def __init__(self, agent_name: str | None = "planner", **given: Any) -> None:
        self.sink = MemorySink()
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        given = {"sink": self.sink, "tracer_provider": provider, **given}
        self.log = AgentLogger(agent_name, **given)

    @property
    def events(self) -> list[AgentEvent]:
        return self.sink.events

    def types(self) -> list[str]:
        return [event.event_type for event in self.events]

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


class FailingSink:
    """Refuses what ``refuses`` says, by raising ``error``."""

    def __init__(self, *refuses: str, error: BaseException | None = None) -> None:
        self.refuses = refuses
        self.error = error or SinkError("the disk is full")
        self.events: list[AgentEvent] = []

    def write(self, event: AgentEvent) -> None:
        if event.event_type in self.refuses:
            raise self.error
        self.events.append(event)


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids_of(span: ReadableSpan) -> tuple[int, int]:
    span_context = span.get_span_context()
    assert span_context is not None
    return span_context.trace_id, span_context.span_id


def parent_of(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def records_of(path: Path) -> list[Record]:
    return [entry.record for entry in read(path)]


def nothing_is_attached() -> bool:
    variables = (context.parent_id, context.run_id, context.agent, context.session_id)
    return trace.get_current_span() is trace.INVALID_SPAN and not any(v.get() for v in variables)


# --- agentlogsafe's users change the import and nothing else ------------------------------------


def _methods_of_agentlogsafe() -> dict[str, inspect.Signature]:
    try:
        from agentlogsafe import AgentLogger as Other
    except ImportError:
        return {}
    public = {name: value for name, value in vars(Other).items() if not name.startswith("_")}
    return {
        name: inspect.signature(value)
        for name, value in {**public, "__init__": Other.__init__}.items()
    }


AGENTLOGSAFE = _methods_of_agentlogsafe()


@pytest.mark.skipif(not AGENTLOGSAFE, reason="agentlogsafe is not installed")
@pytest.mark.parametrize("name", AGENTLOGSAFE or ["none"])
def test_a_call_written_for_agentlogsafe_is_accepted_as_it_is(name: str) -> None:
    theirs = list(AGENTLOGSAFE[name].parameters.values())

    ours = inspect.signature(getattr(AgentLogger, name)).parameters

    named = [p for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert list(ours)[: len(named)] == [p.name for p in named]
    for parameter in named:
        assert ours[parameter.name].kind is parameter.kind
        assert ours[parameter.name].default == parameter.default
    if any(p.kind is p.VAR_KEYWORD for p in theirs):
        assert any(p.kind is p.VAR_KEYWORD for p in ours.values())


@pytest.mark.skipif(not AGENTLOGSAFE, reason="agentlogsafe is not installed")
def test_the_loggers_attributes_have_agentlogsafes_names_and_values() -> None:
    import agentlogsafe

    given: dict[str, Any] = {"default_risk": {"level": "low"}, "metadata": {"region": "eu"}}
    theirs = agentlogsafe.AgentLogger("planner", "trip", **given)

    ours = AgentLogger("planner", "trip", **given)

    for name in vars(theirs):
        if name != "sink":
            assert getattr(ours, name) == getattr(theirs, name)
    assert isinstance(ours.sink, NullSink)


@pytest.mark.skipif(not AGENTLOGSAFE, reason="agentlogsafe is not installed")
def test_the_same_calls_give_the_same_events_as_agentlogsafe() -> None:
    import agentlogsafe

    theirs, ours = agentlogsafe.MemorySink(), MemorySink()

    for log in (agentlogsafe.AgentLogger("p", sink=theirs), AgentLogger("p", sink=ours)):
        with log.run(input={"q": "x"}, metadata={"m": 1}) as run_id:
            assert isinstance(run_id, str)
            log.user_message("hi")
            log.system_instruction("be kind")
            log.model_call("openai", "gpt-4o", 3, 5, {"temperature": 0})
            log.model_response("openai", "gpt-4o", {"text": "hello"})
            log.tool_call("search", {"q": "x"})
            log.tool_result("search", ["y"])
            log.retrieval_query("x", "kb")
            log.retrieval_result("kb", ["d"])
            log.policy_check("no_pii", "passed", {"score": 1})
            log.human_approval("ann", "granted", {"note": "ok"})
            log.decision("refund", True)
            log.error("boom")
            log.emit("custom", {"a": 1}, risk={"r": 1}, metadata={"m": 2})

    def said(event: Any) -> tuple[Any, ...]:
        whose = (event.agent_name, event.provider, event.model, event.tool_name, event.status)
        return (event.event_type, *whose, event.payload, event.risk, event.metadata)

    assert [said(event) for event in ours.events] == [said(event) for event in theirs.events]


# --- run, model, tool: events -------------------------------------------------------------------


def test_a_run_gives_its_id_and_records_start_and_end() -> None:
    recorded = Recorded()

    with recorded.log.run({"q": "x"}, metadata={"m": 1}) as run_id:
        inside = recorded.log.user_message("hi")

    start, _, end = recorded.events
    assert recorded.types() == ["run_start", "user_message", "run_end"]
    assert isinstance(run_id, str)
    assert {event.run_id for event in recorded.events} == {run_id}
    assert (start.status, end.status) == ("started", "success")
    assert start.payload == {"input": {"q": "x"}}
    assert (start.metadata, end.metadata) == ({"m": 1}, {"m": 1})
    assert inside.parent_event_id == start.event_id
    assert end.parent_event_id == start.event_id
    assert start.parent_event_id is None


def test_an_exception_in_a_run_is_recorded_and_goes_on() -> None:
    recorded = Recorded()
    problem = ValueError("no seats")

    with pytest.raises(ValueError, match="no seats") as caught, recorded.log.run():
        raise problem

    assert caught.value is problem
    assert recorded.types() == ["run_start", "error", "run_end"]
    _, error, end = recorded.events
    assert error.payload["error"] == "no seats"
    assert error.payload["error_type"] == "ValueError"
    assert "raise problem" in error.payload["stacktrace"]
    assert error.run_id == end.run_id
    assert (end.status, end.payload) == ("error", {"error_type": "ValueError"})


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
def test_a_cancelled_run_is_no_error(kind: type[BaseException]) -> None:
    recorded = Recorded()

    with pytest.raises(kind), recorded.log.run():
        raise kind

    assert recorded.types() == ["run_start", "run_end"]
    assert recorded.events[-1].status == "cancelled"


def test_ctrl_c_ends_the_run_with_an_error() -> None:
    recorded = Recorded()

    with pytest.raises(KeyboardInterrupt), recorded.log.run():
        raise KeyboardInterrupt

    assert recorded.events[-1].status == "error"


def test_a_run_may_name_its_agent_session_and_id() -> None:
    recorded = Recorded("planner")

    with recorded.log.run(agent="booker", session_id="s-1", run_id="r-1") as run_id:
        inside = recorded.log.user_message("hi")
    outside = recorded.log.user_message("bye")

    assert run_id == "r-1"
    assert (inside.agent_name, inside.session_id, inside.run_id) == ("booker", "s-1", "r-1")
    assert (outside.agent_name, outside.session_id) == ("planner", None)
    assert outside.run_id == outside.event_id


def test_a_model_call_records_question_and_answer() -> None:
    recorded = Recorded()

    with recorded.log.model("gpt-4o", "openai", "hi", call_id="c-1") as call:
        call.respond("hello", input_tokens=3, output_tokens=5)
        call.respond(finish_reasons=["stop"], response_id="r-1", response_model="m", logprob=0.5)

    question, answer = recorded.events
    assert recorded.types() == ["model_call", "model_response"]
    assert question.payload == {"input_messages": "hi"}
    assert answer.payload == {
        "output_messages": "hello",
        "input_tokens": 3,
        "output_tokens": 5,
        "finish_reasons": ["stop"],
        "response_id": "r-1",
        "response_model": "m",
        "logprob": 0.5,
    }
    for event in (question, answer):
        assert (event.model, event.provider, event.call_id) == ("gpt-4o", "openai", "c-1")
    assert answer.parent_event_id == question.event_id


def test_a_tools_intent_is_recorded_before_its_body_runs() -> None:
    recorded = Recorded()

    with recorded.log.tool("search", {"q": "x"}, call_id="c-1", tool_type="function") as call:
        before = recorded.types()
        returned = call.result(["y"])

    intent, outcome = recorded.events
    assert before == ["tool_call"]
    assert returned == ["y"]
    assert intent.payload == {"args": {"q": "x"}, "tool_type": "function"}
    assert outcome.payload == {"result": ["y"], "tool_type": "function"}
    assert (intent.call_id, outcome.call_id) == ("c-1", "c-1")
    assert (intent.status, outcome.status) == ("started", "success")
    assert outcome.parent_event_id == intent.event_id


def test_a_tool_that_raises_says_with_what() -> None:
    recorded = Recorded()

    with pytest.raises(TimeoutError), recorded.log.tool("search"):
        raise TimeoutError

    assert recorded.events[-1].status == "error"
    assert recorded.events[-1].payload == {"error_type": "TimeoutError"}


# --- run, model, tool: spans --------------------------------------------------------------------


def test_blocks_open_spans_by_the_conventions() -> None:
    recorded = Recorded()

    with recorded.log.run(session_id="s-1", run_id="r-1"):
        with recorded.log.model("gpt-4o", "openai") as call:
            call.respond("secret answer", input_tokens=3, output_tokens=5, finish_reasons=["stop"])
        with recorded.log.tool("search", {"q": "x"}, call_id="c-1", tool_type="function") as tool:
            tool.result("y")

    spans = recorded.spans()
    run, chat, tool_span = (
        spans[name] for name in ("invoke_agent planner", "chat gpt-4o", "execute_tool search")
    )
    kinds = [span.kind for span in (run, chat, tool_span)]
    assert kinds == [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.INTERNAL]
    common = {
        "gen_ai.agent.name": "planner",
        "gen_ai.conversation.id": "s-1",
        "wakelog.run.id": "r-1",
    }
    assert attributes_of(run) == {"gen_ai.operation.name": "invoke_agent", **common}
    assert attributes_of(chat) == {
        "gen_ai.operation.name": "chat",
        **common,
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.finish_reasons": ("stop",),
    }
    assert attributes_of(tool_span) == {
        "gen_ai.operation.name": "execute_tool",
        **common,
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "c-1",
        "gen_ai.tool.type": "function",
    }
    assert parent_of(run) is None
    assert parent_of(chat) == parent_of(tool_span) == ids_of(run)
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.values())


def test_events_carry_the_ids_of_the_span_that_they_happened_in() -> None:
    recorded = Recorded()

    with recorded.log.run(), recorded.log.tool("search"):
        inside = recorded.log.user_message("hi")
    outside = recorded.log.user_message("bye")

    spans = recorded.spans()
    seen = {event.event_type: event.span_context for event in recorded.events[:-1]}
    tool, run = ids_of(spans["execute_tool search"]), ids_of(spans["invoke_agent planner"])
    assert inside.span_context is not None
    assert inside.span_context[:2] == tool
    assert inside.span_context[2] & trace.TraceFlags.SAMPLED
    assert seen["tool_call"] == seen["tool_result"] == inside.span_context
    assert seen["run_start"] == seen["run_end"] == (*run, inside.span_context[2])
    assert outside.span_context is None


def test_a_run_of_nobody_is_named_after_its_operation_only() -> None:
    recorded = Recorded(None)

    with recorded.log.run():
        pass

    assert list(recorded.spans()) == ["invoke_agent"]


def test_the_links_of_a_run_are_those_of_its_span() -> None:
    recorded = Recorded()
    earlier = trace.SpanContext(1, 2, is_remote=True)

    with recorded.log.run(links=[trace.Link(earlier)]):
        pass

    [link] = recorded.spans()["invoke_agent planner"].links
    assert link.context == earlier


class OwnError(Exception):
    """An error with a qualified name."""


@pytest.mark.parametrize(
    "problem, name", [(ValueError("no"), "ValueError"), (OwnError("no"), f"{__name__}.OwnError")]
)
def test_an_exception_sets_the_spans_status_and_error_type(problem: Exception, name: str) -> None:
    recorded = Recorded()

    with pytest.raises(type(problem)), recorded.log.run(), recorded.log.tool("search"):
        raise problem

    for span in recorded.spans().values():
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "no"
        assert attributes_of(span)["error.type"] == name


def test_a_secret_in_an_exception_does_not_leave_in_the_spans_status() -> None:
    recorded = Recorded()
    problem = ValueError("refused for ann@example.com")

    with pytest.raises(ValueError, match="ann@example"), recorded.log.run():
        raise problem

    [span] = recorded.spans().values()
    assert span.status.description == "refused for [REDACTED]"
    assert "ann@example.com" not in repr([event.payload for event in recorded.events])


# --- nesting ------------------------------------------------------------------------------------


def test_async_blocks_nest_across_await_and_tasks_keep_apart() -> None:
    recorded = Recorded()

    async def one(name: str, others: asyncio.Barrier) -> None:
        async with recorded.log.run(agent=name, session_id=name):
            await others.wait()
            async with recorded.log.tool(name):
                await others.wait()
                recorded.log.user_message(name)
                await asyncio.create_task(child(name))

    async def child(name: str) -> None:
        async with recorded.log.model(name):
            await asyncio.sleep(0)

    async def main() -> None:
        others = asyncio.Barrier(3)
        await asyncio.gather(*(one(name, others) for name in "abc"))

    asyncio.run(main())

    spans = recorded.spans()
    for name in "abc":
        run, tool = spans[f"invoke_agent {name}"], spans[f"execute_tool {name}"]
        assert parent_of(tool) == ids_of(run)
        assert parent_of(spans[f"chat {name}"]) == ids_of(tool)
        own = [event for event in recorded.events if event.session_id == name]
        assert len({event.run_id for event in own}) == 1
        assert len(own) == 7
        ids = {event.event_type: event.event_id for event in own}
        parents = {event.event_type: event.parent_event_id for event in own}
        assert parents["user_message"] == parents["model_call"] == ids["tool_call"]
        assert parents["tool_call"] == ids["run_start"]
    assert nothing_is_attached()


def test_a_thread_with_a_copied_context_records_inside_the_run_and_another_outside() -> None:
    recorded = Recorded()

    def work() -> AgentEvent:
        with recorded.log.tool("search"):
            return recorded.log.user_message("hi")

    with recorded.log.run(session_id="s-1") as run_id, ThreadPoolExecutor(1) as pool:
        copied = pool.submit(contextvars.copy_context().run, work).result()
        bare = pool.submit(work).result()

    [run] = (span for span in recorded.spans().values() if span.name.startswith("invoke"))
    tools = [s for s in recorded.exporter.get_finished_spans() if s.name.startswith("execute")]
    assert [parent_of(span) for span in tools] == [ids_of(run), None]
    assert (copied.run_id, copied.session_id) == (run_id, "s-1")
    assert bare.run_id == bare.event_id
    assert bare.session_id is None


def test_a_block_that_ends_in_another_context_ends_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorded = Recorded()

    async def stream() -> AsyncIterator[int]:
        with recorded.log.run(), bound(app="x"):
            yield 1

    async def main() -> None:
        numbers = stream()
        await anext(numbers)
        # As an event loop does with a generator that nobody reads to its end.
        await asyncio.create_task(numbers.aclose())  # type: ignore[attr-defined]

    asyncio.run(main())

    assert recorded.types() == ["run_start", "run_end"]
    assert list(recorded.spans()) == ["invoke_agent planner"]
    assert caplog.messages == []


# --- a sink that fails --------------------------------------------------------------------------

BLOCKS: dict[str, tuple[str, str, Callable[[AgentLogger], Any]]] = {
    "run": ("run_start", "run_end", lambda log: log.run()),
    "model": ("model_call", "model_response", lambda log: log.model("m")),
    "tool": ("tool_call", "tool_result", lambda log: log.tool("t")),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_failing_sink_never_replaces_the_programs_exception(block: str) -> None:
    _, closing, opened = BLOCKS[block]
    recorded = Recorded(sink=FailingSink(closing, "error"))
    problem = ValueError("the program's own")

    with pytest.raises(ValueError, match="own") as caught, opened(recorded.log):
        raise problem

    assert caught.value is problem
    assert "the disk is full" in "".join(caught.value.__notes__)
    assert len(recorded.spans()) == 1
    assert nothing_is_attached()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_failing_sink_raises_where_the_program_did_not(block: str) -> None:
    _, closing, opened = BLOCKS[block]
    recorded = Recorded(sink=FailingSink(closing))
    body: list[int] = []

    with pytest.raises(SinkError, match="the disk is full"), opened(recorded.log):
        body.append(1)

    assert body == [1]
    assert len(recorded.spans()) == 1
    assert nothing_is_attached()


@pytest.mark.parametrize("block", BLOCKS)
def test_a_sink_that_fails_at_the_start_leaves_nothing_attached(block: str) -> None:
    opening, _, opened = BLOCKS[block]
    recorded = Recorded(sink=FailingSink(opening))
    body: list[int] = []

    with pytest.raises(SinkError, match="the disk is full"), opened(recorded.log):
        body.append(1)

    assert body == []
    assert len(recorded.spans()) == 1
    assert nothing_is_attached()


class FailingSampler(Sampler):
    """A sampler of somebody else's with a bug."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        message = "sampler"
        raise OwnError(message)

    def get_description(self) -> str:
        return "fails"


def test_a_tracer_that_fails_keeps_no_agent_from_its_work() -> None:
    recorded = Recorded(tracer_provider=TracerProvider(FailingSampler(), shutdown_on_exit=False))

    with recorded.log.run(session_id="s-1", agent="a") as run_id:
        recorded.log.user_message("hi")

    assert run_id
    assert nothing_is_attached()


def test_the_end_of_a_run_is_recorded_although_its_error_was_not() -> None:
    sink = FailingSink("error")
    log = AgentLogger(sink=sink)

    with pytest.raises(ValueError, match="no"), log.run():
        raise ValueError("no")

    assert [event.event_type for event in sink.events] == ["run_start", "run_end"]
    assert sink.events[-1].status == "error"


class UnspeakableError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        message = "no text"
        raise RuntimeError(message)


@pytest.mark.parametrize("block", BLOCKS)
def test_an_exception_without_text_is_recorded_and_comes_out(block: str) -> None:
    _, closing, opened = BLOCKS[block]
    recorded = Recorded()

    with pytest.raises(UnspeakableError), opened(recorded.log):
        raise UnspeakableError

    assert recorded.types()[-1] == closing
    assert recorded.events[-1].status == "error"
    assert not hasattr(UnspeakableError, "__notes__")


def test_a_sinks_own_exception_becomes_a_sink_error_with_its_cause() -> None:
    cause = ValueError("bad value")
    log = AgentLogger(sink=FailingSink("custom", error=cause))

    with pytest.raises(SinkError) as caught:
        log.emit("custom")

    assert caught.value.__cause__ is cause
    assert "FailingSink" in str(caught.value)
    assert "bad value" in str(caught.value)


def test_ctrl_c_in_a_sink_stays_what_it_is() -> None:
    log = AgentLogger(sink=FailingSink("custom", error=KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        log.emit("custom")


# --- bound --------------------------------------------------------------------------------------


def test_what_is_bound_is_on_every_event_inside() -> None:
    recorded = Recorded()

    with bound(
        session_id="s-1", agent="booker", workflow="trip", tenant_id=7, run_id="r-1", tier="gold"
    ):
        inside = recorded.log.user_message("hi")
    outside = recorded.log.user_message("bye")

    assert inside.session_id == "s-1"
    assert inside.agent_name == "booker"
    assert inside.workflow_name == "trip"
    assert inside.tenant_id == "7"
    assert inside.run_id == "r-1"
    assert inside.attributes == {"tier": "gold"}
    assert outside.attributes is None
    assert (outside.session_id, outside.agent_name) == (None, "planner")


def test_the_inner_binding_wins_and_none_takes_away() -> None:
    recorded = Recorded()

    with bound(session_id="outer", **{"app.tier": "gold", "app.zone": 1}):
        with bound(session_id="inner", **{"app.tier": "silver"}):
            inner = recorded.log.user_message("hi")
        with bound(session_id=None, **{"app.tier": None}):
            without = recorded.log.user_message("hi")
        outer = recorded.log.user_message("hi")

    assert (inner.session_id, inner.attributes) == ("inner", {"app.tier": "silver", "app.zone": 1})
    assert (without.session_id, without.attributes) == (None, {"app.zone": 1})
    assert (outer.session_id, outer.attributes) == ("outer", {"app.tier": "gold", "app.zone": 1})


def test_what_an_event_says_itself_wins_over_what_is_bound() -> None:
    recorded = Recorded()

    with bound(session_id="outer", agent="outer", tier="gold"):
        event = recorded.log.emit(
            "custom", session_id="own", agent_name="own", attributes={"tier": "own", "x": 1}
        )

    assert (event.session_id, event.agent_name) == ("own", "own")
    assert event.attributes == {"tier": "own", "x": 1}


def test_bindings_of_tasks_and_threads_keep_apart() -> None:
    recorded = Recorded()

    async def task(name: str, others: asyncio.Barrier) -> None:
        with bound(session_id=name, tier=name):
            await others.wait()
            recorded.log.user_message(name)
            await others.wait()

    async def main() -> None:
        others = asyncio.Barrier(2)
        await asyncio.gather(task("a", others), task("b", others))

    with bound(session_id="main", tier="main"):
        asyncio.run(main())
        thread = threading.Thread(target=recorded.log.user_message, args=("thread",))
        thread.start()
        thread.join()
        after = recorded.log.user_message("main")

    seen = {e.payload["message"]: (e.session_id, e.attributes) for e in recorded.events}
    assert seen["a"] == ("a", {"tier": "a"})
    assert seen["b"] == ("b", {"tier": "b"})
    assert seen["thread"] == (None, None)
    assert (after.session_id, after.attributes) == ("main", {"tier": "main"})


def test_an_exception_takes_the_bindings_away() -> None:
    with pytest.raises(ValueError, match="no"), bound(session_id="s-1", tier="gold"):
        raise ValueError("no")

    assert context.session_id.get() is None
    assert context.bound_attributes() is None


def test_binding_new_names_disturbs_no_thread_that_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(context, "attributes", {})
    recorded = Recorded()
    enough = threading.Event()
    problems: list[BaseException] = []

    def record() -> None:
        try:
            with bound(tier="gold"):
                while not enough.is_set():
                    context.bound_attributes()
        except BaseException as error:
            problems.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=record) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for number in range(300):
            with bound(**{f"name.{number}": number}):
                pass
    finally:
        enough.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)

    assert problems == []
    assert recorded.log.emit("custom").attributes is None


# --- what is on an event ------------------------------------------------------------------------


def test_the_loggers_defaults_are_added_to_and_never_changed() -> None:
    recorded = Recorded(default_risk={"level": "low"}, metadata={"region": "eu"})

    first = recorded.log.emit("custom", risk={"pii": True}, metadata={"region": "us"})
    second = recorded.log.emit("custom")
    second.metadata["added"] = second.risk["added"] = 1
    third = recorded.log.emit("custom")

    assert (first.risk, first.metadata) == ({"level": "low", "pii": True}, {"region": "us"})
    assert (third.risk, third.metadata) == ({"level": "low"}, {"region": "eu"})


def test_a_payload_that_the_caller_uses_again_keeps_what_was_recorded() -> None:
    recorded = Recorded()
    payload = {"step": 1}

    recorded.log.emit("custom", payload)
    payload["step"] = 2
    recorded.log.emit("custom", payload)

    assert [event.payload for event in recorded.events] == [{"step": 1}, {"step": 2}]


SECRETS: dict[str, Any] = {
    "payload": {"to": "ann@example.com", "password": "hunter2"},
    "risk": {"by": "ann@example.com"},
    "metadata": {"by": "ann@example.com"},
    "attributes": {"app.user": "ann@example.com"},
}


def test_secrets_are_taken_out_unless_that_is_switched_off() -> None:
    redacting, plain = Recorded(), Recorded(redact_payloads=False)

    with bound(owner="ann@example.com"):
        redacted = redacting.log.emit("custom", **SECRETS)
        open_ = plain.log.emit("custom", **SECRETS)

    for event in (redacted, open_):
        assert event.payload.keys() == {"to", "password"}
    shown = redacted.to_json()
    assert "ann@example.com" not in shown
    assert "hunter2" not in shown
    assert open_.payload == SECRETS["payload"]
    assert open_.attributes == {"owner": "ann@example.com", "app.user": "ann@example.com"}
    assert SECRETS["payload"]["password"] == "hunter2"


def test_a_redaction_config_is_used() -> None:
    recorded = Recorded(redaction_config=RedactionConfig(replacement="<gone>"))

    event = recorded.log.user_message("write to ann@example.com")

    assert event.payload == {"message": "write to <gone>"}


class BadDetector:
    """A detector of the caller's with a bug."""

    def redact(self, value: str, strategy: object) -> str:
        if value == "trip over this":
            raise OwnError
        return value


def test_a_detector_that_fails_lets_nothing_through_and_hides_no_exception() -> None:
    recorded = Recorded(redaction_config=RedactionConfig(detectors=(BadDetector(),)))

    with pytest.raises(RedactionError):
        recorded.log.user_message("trip over this")
    with pytest.raises(ValueError, match="trip") as caught, recorded.log.run():
        raise ValueError("trip over this")

    assert recorded.types() == ["run_start", "run_end"]
    assert "OwnError" in "".join(caught.value.__notes__)
    [span] = recorded.spans().values()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert nothing_is_attached()


class Strange:
    """An object whose text cannot be had."""

    def __repr__(self) -> str:
        message = "no text"
        raise RuntimeError(message)


def _cycle() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


STRANGE: dict[str, Callable[[], Any]] = {
    "datetime": lambda: datetime(2026, 11, 21, tzinfo=UTC),
    "bytes": lambda: b"\xff",
    "set": lambda: {1},
    "cycle": _cycle,
    "object without text": Strange,
    "number as key": lambda: {1: 2},
    "huge integer": lambda: 2**70,
    "surrogate": lambda: "a\ud800b",
    "nested": lambda: [{"a": [{"b": (1, None)}]}],
}


@pytest.mark.parametrize("kind", STRANGE)
def test_any_object_reaches_opentelemetry_as_it_reaches_a_file(
    kind: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "EVENT_ONLY")
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    sinks: list[EventSink] = [OTelSink(provider), JSONLSink(tmp_path / "events.jsonl")]

    for sink in sinks:
        log = AgentLogger(sink=sink, redact_payloads=False)
        log.emit("custom", {"value": STRANGE[kind](), "kept": 1})

    [record] = records_of(tmp_path / "events.jsonl")
    [exported] = exporter.get_finished_logs()
    payload = (exported.log_record.attributes or {})["wakelog.payload"]
    written = record.attributes["wakelog.payload"]
    assert written["kept"] == 1
    if kind not in ("huge integer", "surrogate"):  # which the journal's codec turns into text
        assert _listed(payload) == written
    assert caplog.messages == []


def _listed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value


# --- the logger and its sink --------------------------------------------------------------------


class Flushable:
    """A sink with everything that a sink may have."""

    delivers = True

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.closed = False

    def write(self, event: AgentEvent) -> None: ...

    def flush(self, timeout: float) -> bool:
        self.waited.append(timeout)
        return False

    def close(self) -> None:
        self.closed = True


def test_flush_says_what_the_sink_says_and_close_leaves_others_sinks_open() -> None:
    sink = Flushable()
    log = AgentLogger(sink=sink)

    delivered = log.flush(1.5)
    log.close()

    assert not delivered
    assert sink.waited == [1.5]
    assert not sink.closed


@pytest.mark.parametrize("sink", [None, MemorySink(), FailingSink()])
def test_flush_is_true_where_nothing_is_delivered(sink: EventSink | None) -> None:
    log = AgentLogger(sink=sink)

    assert log.flush()


# --- JSONLSink ----------------------------------------------------------------------------------


def test_a_path_is_a_file_of_one_line_an_event(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on" / "the way" / "events.jsonl"
    log = AgentLogger("planner", sink=path)

    with log.run(session_id="s-1"):
        log.user_message("two\nlines")
    log.close()

    lines = path.read_text().splitlines()
    records = records_of(path)
    assert [json.loads(line)["event_name"] for line in lines] == [r.event_name for r in records]
    assert [r.event_name for r in records] == [
        "wakelog.run_start",
        "wakelog.user_message",
        "wakelog.run_end",
    ]
    assert [r.seq for r in records] == [1, 2, 3]
    assert {r.attributes["gen_ai.conversation.id"] for r in records} == {"s-1"}
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_line_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger(sink=str(path))

    event = log.user_message("hi")

    [record] = records_of(path)
    assert record.id == event.event_id
    assert event.receipt is not None
    assert event.receipt.seq == record.seq == 1
    assert event.receipt.writer == record.writer


def test_a_single_event_may_ask_for_the_disk(tmp_path: Path) -> None:
    log = AgentLogger(sink=tmp_path / "events.jsonl")

    ordinary = log.tool_result("pay")
    careful = log.tool_call("pay", durability=Durability.FSYNC)
    less = AgentLogger(sink=JSONLSink(tmp_path / "other.jsonl", "fsync")).emit(
        "custom", durability=Durability.OS_BUFFERED
    )

    levels = [event.receipt and event.receipt.durability for event in (ordinary, careful, less)]
    assert levels == [Durability.OS_BUFFERED, Durability.FSYNC, Durability.FSYNC]


def test_a_tool_block_may_ask_for_the_disk(tmp_path: Path) -> None:
    sink = JSONLSink(tmp_path / "events.jsonl")
    seen: list[AgentEvent] = []

    class Both:
        def write(self, event: AgentEvent) -> None:
            sink.write(event)
            seen.append(event)

    with AgentLogger(sink=Both()).tool("pay", durability=Durability.FSYNC):
        pass

    assert [e.receipt and e.receipt.durability for e in seen] == [Durability.FSYNC] * 2


@pytest.mark.parametrize("kind", ["journal", "file", "async file"])
def test_fsync_is_kept_under_an_event_loop_other_than_asyncios(tmp_path: Path, kind: str) -> None:
    if kind == "journal":
        processor = DurableLogRecordProcessor(None, directory=tmp_path / "journal")
        provider = LoggerProvider()
        provider.add_log_record_processor(processor)
        sink: Any = OTelSink(provider)
    else:
        sink = (JSONLSink if kind == "file" else AsyncJSONLSink)(tmp_path / "events.jsonl")
    log = AsyncAgentLogger(sink=sink, on_error="raise")

    async def record() -> list[AgentEvent]:
        return [
            await log.tool_call("pay", durability=Durability.FSYNC),
            await log.tool_call("pay", durability=Durability.FSYNC, event_key="a", run_id="r"),
            await log.tool_result("pay", "x" * 1_000_000, durability=Durability.FSYNC),
        ]

    with pytest.raises(StopIteration) as ended:  # as trio runs it, without anything to wait for
        record().send(None)

    levels = [event.receipt and event.receipt.durability for event in ended.value.value]
    assert levels == [Durability.FSYNC] * 3


def test_a_torn_last_line_does_not_swallow_the_next_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    before = AgentLogger(sink=path)
    kept = before.user_message("before")
    before.user_message("torn")
    before.close()
    path.write_bytes(path.read_bytes()[:-20])

    after = AgentLogger(sink=path).user_message("after")

    assert [record.id for record in records_of(path)] == [kept.event_id, after.event_id]


def test_a_closed_sink_raises(tmp_path: Path) -> None:
    log = AgentLogger(sink=tmp_path / "events.jsonl")
    log.close()
    log.close()

    with pytest.raises(SinkError, match=r"events\.jsonl.*closed"):
        log.user_message("hi")


def test_a_path_that_cannot_be_a_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JournalError) as below:
        AgentLogger(sink=tmp_path / "file" / "events.jsonl")
    with pytest.raises(JournalError) as directory:
        AgentLogger(sink=tmp_path)

    for caught in (below, directory):
        assert str(tmp_path) in str(caught.value)
        assert caught.value.hint


def test_a_disk_that_is_full_refuses_the_event() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    log = AgentLogger(sink="/dev/full")

    with pytest.raises(SinkError, match="No space left"):
        log.user_message("hi")


def test_an_event_that_is_too_long_for_a_line_is_whole_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger(sink=path, redact_payloads=False)

    log.user_message("x" * 3_000_000)

    [record] = records_of(path)
    assert path.stat().st_size < 1024 * 1024
    assert record.attributes["gen_ai.input.messages"][0]["parts"][0]["content"] == "x" * 3_000_000
    [blob] = (tmp_path / "events.jsonl.blobs").iterdir()
    assert blob.stat().st_size > 3_000_000


EVENTS_EACH = 40
TEXT = "x" * 5000  # longer than a pipe's atomic write and than a page


def _append(path: str, name: str) -> None:
    log = AgentLogger(sink=path, redact_payloads=False)
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(log.user_message, f"{name}{TEXT}") for _ in range(EVENTS_EACH)]:
            future.result()


# Newer Pythons warn of any fork in a process that may have threads.
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@FORKS
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_and_threads_share_a_file_and_lines_stay_whole(
    method: str, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    start: Any = multiprocessing.get_context(method)
    processes = [start.Process(target=_append, args=(str(path), name)) for name in "ab"]

    for process in processes:
        process.start()
    _append(str(path), "c")
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    _assert_whole(path, writers=3, each=EVENTS_EACH)


def _append_more(log: AgentLogger) -> None:
    for _ in range(EVENTS_EACH):
        log.user_message(TEXT)


@FORKS
def test_a_forked_child_goes_on_with_the_same_logger_as_a_writer_of_its_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger(sink=path, redact_payloads=False)
    start = multiprocessing.get_context("fork")
    log.user_message(TEXT)

    children = [start.Process(target=_append_more, args=(log,)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in range(EVENTS_EACH - 1):
        log.user_message(TEXT)
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0, 0]
    _assert_whole(path, writers=3, each=EVENTS_EACH)


def _assert_whole(path: Path, *, writers: int, each: int) -> None:
    records = records_of(path)
    numbers = defaultdict(list)
    for record in records:
        numbers[record.writer].append(record.seq)
        [message] = record.attributes["gen_ai.input.messages"]
        assert message["parts"][0]["content"].endswith(TEXT)
    assert len(path.read_bytes().splitlines()) == len(records) == writers * each
    assert len({record.id for record in records}) == len(records)
    assert list(numbers.values()) == [list(range(1, each + 1))] * writers


def test_a_mistyped_field_is_named_with_what_there_is() -> None:
    log = AgentLogger("clerk", sink=MemorySink())
    with pytest.raises(TypeError, match=r"tool_call takes no 'arguments'.*attributes.*tool_name"):
        log.tool_call("search", arguments={"q": "x"})
    with (
        pytest.raises(TypeError, match=r"tool_call takes no 'arguments'"),
        log.tool("search", arguments={"q": "x"}),
    ):
        pass


def test_a_redaction_config_of_another_kind_is_refused_at_once() -> None:
    wrong: Any = {"redact_emails": False}

    with pytest.raises(ConfigurationError, match="of type dict; give a RedactionConfig"):
        AgentLogger("a", redaction_config=wrong)


# --- blocks that are closed elsewhere -----------------------------------------------------------


def test_a_generator_that_is_closed_inside_another_run_ends_its_own(tmp_path: Path) -> None:
    recorded = Recorded()
    log = AsyncAgentLogger.over(recorded.log)

    async def stream() -> AsyncIterator[int]:
        with bound(**{"user.id": "ann"}):
            async with log.run(run_id="first", session_id="s-1"), log.tool("t"):
                yield 1

    async def begun() -> Any:
        items = stream()
        await anext(items)
        return items

    async def main() -> None:
        items = await asyncio.create_task(begun())
        async with log.run(run_id="second", session_id="s-2"):
            await items.aclose()
            await log.user_message("goes on")

    asyncio.run(main())
    ends = {e.run_id: e for e in recorded.events if e.event_type == "run_end"}
    assert (ends["first"].status, ends["second"].status) == ("cancelled", "success")
    assert ends["first"].attributes == {"user.id": "ann"}
    assert ends["second"].session_id == "s-2"
    call, result = [e for e in recorded.events if e.tool_name == "t"]
    assert (result.run_id, result.parent_event_id) == ("first", call.event_id)
    (said,) = [e for e in recorded.events if e.event_type == "user_message"]
    assert (said.run_id, said.attributes) == ("second", None)


# --- durability as text -------------------------------------------------------------------------


@pytest.mark.parametrize("is_journal", [True, False])
def test_a_durability_given_as_text_is_waited_for(tmp_path: Path, *, is_journal: bool) -> None:
    syncs: list[int] = []

    def sync(fd: int) -> None:
        os.fdatasync(fd)
        syncs.append(fd)

    fs = FileSystem(fdatasync=sync)
    if is_journal:
        journal = Journal(tmp_path, fs=fs)
        receipt = journal.append(uuid7(), encode({"body": 1}, 4096), Resource({}), "fsync")  # type: ignore[arg-type] # as a program without types
        journal.close()
    else:
        file = SharedFile(tmp_path / "f.jsonl", fs=fs)
        level = Durability.OS_BUFFERED.at_least("fsync")  # type: ignore[arg-type] # likewise
        receipt = file.append(uuid7(), encode({"body": 1}, 4096), level)
        file.close()

    assert receipt.durability is Durability.FSYNC
    assert syncs


@pytest.mark.parametrize("wrong", ["FSYNC", "fsnyc", 1, True])
def test_a_call_with_an_unknown_durability_raises(wrong: Any) -> None:
    recorded = Recorded(on_error="log")

    with pytest.raises(ConfigurationError, match=r"durability=.* is not known"):
        recorded.log.user_message("hello", durability=wrong)
    with (
        pytest.raises(ConfigurationError, match=r"durability=.* is not known"),
        recorded.log.tool("pay", durability=wrong),
    ):
        raise AssertionError

    assert recorded.events == []


@pytest.mark.parametrize(
    "wrong", ["yesterday", "2026-11-30", 5, 1.5, datetime(2026, 11, 30, tzinfo=UTC)]
)
def test_a_timestamp_that_is_no_rfc_3339_text_is_refused_with_what_to_give(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^timestamp=.* cannot be used: give an RFC 3339 time"):
        Recorded(on_error="raise").log.user_message("hello", timestamp=wrong)


@pytest.mark.parametrize("wrong", [{"event_key": 5}, {"event_key": b"k"}, {"run_id": 5}])
def test_an_event_key_that_is_no_text_is_named_and_costs_no_event_silently(wrong: Any) -> None:
    log = Recorded(on_error="log").log
    keyed = {"event_key": "k", "run_id": "r", **wrong}

    with pytest.raises(
        TypeError, match=r"^(event_key|run_id)=.* is of type (int|bytes); give text"
    ):
        log.user_message("hello", **keyed)
    with log.run(run_id=keyed["run_id"]):
        block = log.tool("pay", event_key=keyed["event_key"])
        with pytest.raises(TypeError, match="give text"), block:
            raise AssertionError


def test_an_event_with_a_durability_as_text_has_the_level() -> None:
    event = Recorded().log.user_message("hello", durability="fsync")
    assert event.durability is Durability.FSYNC


def test_a_failure_of_an_event_with_fsync_as_text_raises() -> None:
    log = Recorded(sink=FailingSink("user_message", error=SinkError("full")), on_error="log").log

    with pytest.raises(SinkError):
        log.user_message("hello", durability="fsync")


def test_a_subclass_with_a_put_of_its_own_gets_every_event() -> None:
    seen: list[str] = []

    class Noting(AgentLogger):
        def put(self, event: AgentEvent) -> None:
            seen.append(event.event_type)
            super().put(event)

    sink = MemorySink()
    log = Noting(sink=sink)
    log.user_message("hello")
    with log.run(), log.tool("search"), log.model("gpt-4o", "openai") as model:
        model.respond("hi")

    assert seen == [event.event_type for event in sink.events]
    assert len(seen) == 7
