"""`AgentLogger`: agentlogsafe's calls, the events and spans of its blocks, and how blocks nest."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from wakelog import AgentEvent, AgentLogger, AsyncAgentLogger, MemorySink, NullSink, bound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


from tests.support.logging_agents import OwnError, Recorded, nothing_is_attached


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids_of(span: ReadableSpan) -> tuple[int, int]:
    span_context = span.get_span_context()
    assert span_context is not None
    return span_context.trace_id, span_context.span_id


def parent_of(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


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


@pytest.mark.parametrize(
    "problem, name",
    [(ValueError("no"), "ValueError"), (OwnError("no"), f"{OwnError.__module__}.OwnError")],
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
