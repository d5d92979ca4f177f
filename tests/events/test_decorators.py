"""``@log.tool`` and ``@log.agent``: a block around each call, for every kind of function."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from wakelog import AgentEvent, AgentLogger, AsyncAgentLogger, MemorySink, context


class Recorded:
    def __init__(self, kind: type[AgentLogger | AsyncAgentLogger] = AgentLogger) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.sink = MemorySink()
        self.log: Any = kind("clerk", sink=self.sink, tracer_provider=provider)

    @property
    def events(self) -> list[AgentEvent]:
        return self.sink.events

    def types(self) -> list[str]:
        return [event.event_type for event in self.events]

    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


def nothing_is_attached() -> bool:
    return (
        not trace.get_current_span(otel_context.get_current()).get_span_context().is_valid
        and context.parent_id.get() is None
        and context.run_id.get() is None
    )


def test_a_bare_decorator_names_the_tool_after_its_function() -> None:
    recorded = Recorded()

    @recorded.log.tool
    def search(query: str, limit: int = 3, *more: int, **options: Any) -> list[str]:
        """Look it up."""
        assert not nothing_is_attached()
        return [query] * limit

    assert search("x", 2, 5, deep=True) == ["x", "x"]

    call, result = recorded.events
    assert (call.event_type, call.tool_name, call.status) == ("tool_call", "search", "started")
    assert call.payload == {"args": {"query": "x", "limit": 2, "more": [5], "deep": True}}
    assert (result.event_type, result.status) == ("tool_result", "success")
    assert result.payload == {"result": ["x", "x"]}
    assert result.parent_event_id == call.event_id
    assert list(recorded.spans()) == ["execute_tool search"]
    assert (search.__name__, search.__doc__) == ("search", "Look it up.")
    assert list(inspect.signature(search).parameters) == ["query", "limit", "more", "options"]
    assert nothing_is_attached()


def test_a_decorator_with_arguments_and_a_block_are_the_same_call() -> None:
    recorded = Recorded()

    @recorded.log.tool("flights", tool_type="datastore", metadata={"team": "a"})
    def search() -> None: ...

    search()
    search()
    with recorded.log.tool("flights", {"to": "LIS"}) as tool:
        tool.result("TP 559")

    assert recorded.types() == ["tool_call", "tool_result"] * 3
    assert {event.tool_name for event in recorded.events} == {"flights"}
    assert recorded.events[0].metadata == {"team": "a"}
    assert recorded.events[0].payload == {"args": {}, "tool_type": "datastore"}
    assert recorded.events[1].payload == {"tool_type": "datastore"}
    assert recorded.events[5].payload == {"result": "TP 559"}


def test_a_method_is_recorded_without_its_object() -> None:
    recorded = Recorded()

    class Desk:
        @recorded.log.tool
        def book(self, seat: int) -> int:
            return seat

        @staticmethod
        @recorded.log.tool
        def cancel(seat: int) -> int:
            return -seat

    assert (Desk().book(4), Desk.cancel(5)) == (4, -5)
    assert recorded.events[0].payload == {"args": {"seat": 4}}
    assert recorded.events[2].payload == {"args": {"seat": 5}}


def test_an_exception_goes_on_and_a_wrong_call_fails_as_before() -> None:
    recorded = Recorded()

    @recorded.log.tool
    def search(query: str) -> None:
        raise LookupError(query)

    with pytest.raises(LookupError, match="x"):
        search("x")
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        search()

    assert [event.status for event in recorded.events] == ["started", "error"] * 2
    assert recorded.events[1].payload == {"error_type": "LookupError"}


def test_an_agent_is_a_run() -> None:
    recorded = Recorded()

    @recorded.log.tool
    def search() -> str:
        return "found"

    @recorded.log.agent("planner", metadata={"team": "a"})
    def plan(goal: str) -> Any:
        return search() + goal

    @recorded.log.agent
    def lead(goal: str) -> Any:
        return plan(goal)

    assert lead("!") == "found!"

    assert recorded.types() == [
        "run_start",
        "run_start",
        "tool_call",
        "tool_result",
        "run_end",
        "run_end",
    ]
    outer, inner, call, _, inner_end, outer_end = recorded.events
    assert (outer.agent_name, inner.agent_name, call.agent_name) == ("lead", "planner", "planner")
    assert outer.payload == {"input": {"goal": "!"}}
    assert inner_end.payload == outer_end.payload == {"output": "found!"}
    assert outer.run_id != inner.run_id == call.run_id
    assert inner.metadata == {"team": "a"}
    assert inner.parent_event_id == outer.event_id
    spans = recorded.spans()
    assert (
        spans["invoke_agent planner"].parent.span_id == spans["invoke_agent lead"].context.span_id
    )


@pytest.mark.parametrize("kind", [AgentLogger, AsyncAgentLogger])
def test_coroutines_run_side_by_side(kind: type[AgentLogger]) -> None:
    recorded = Recorded(kind)

    @recorded.log.tool
    async def search(number: int) -> int:
        before = context.parent_id.get()
        await asyncio.sleep(0)
        assert context.parent_id.get() == before
        return number

    async def main() -> None:
        assert await asyncio.gather(*(search(n) for n in range(5))) == list(range(5))
        assert nothing_is_attached()

    asyncio.run(main())
    assert inspect.iscoroutinefunction(search)
    results = {e.parent_event_id: e.payload["result"] for e in recorded.events[5:]}
    asked = {e.event_id: e.payload["args"]["number"] for e in recorded.events[:5]}
    assert results == asked


def test_a_generator_attaches_nothing_while_its_reader_works() -> None:
    recorded = Recorded()

    @recorded.log.tool
    def stream(count: int) -> Generator[int, None, str]:
        for number in range(count):
            with recorded.log.tool("inner"):
                pass
            sent = yield number
            assert sent is None
        return "all"

    numbers = stream(2)
    assert recorded.events == []  # it has not begun
    for _ in numbers:
        assert nothing_is_attached()
        recorded.log.user_message("the reader's own")

    assert inspect.isgeneratorfunction(stream)
    first, *inside, last = recorded.events
    assert (first.event_type, last.event_type) == ("tool_call", "tool_result")
    assert last.payload == {"items": 2, "result": "all"}
    of_tool = [e for e in inside if e.event_type == "tool_call"]
    assert [e.parent_event_id for e in of_tool] == [first.event_id] * 2
    of_reader = [e for e in inside if e.event_type == "user_message"]
    assert [e.parent_event_id for e in of_reader] == [None] * 2
    spans = recorded.exporter.get_finished_spans()
    inner = [span for span in spans if span.name == "execute_tool inner"]
    assert {span.parent.span_id for span in inner if span.parent} == {
        recorded.spans()["execute_tool stream"].context.span_id
    }


def test_two_generators_may_be_read_in_turns() -> None:
    recorded = Recorded()

    @recorded.log.agent
    def stream(name: str) -> Iterator[str | None]:
        for _ in range(2):
            yield context.run_id.get()

    pairs = list(zip(stream("a"), stream("b"), strict=True))

    assert pairs[0] == pairs[1]
    assert pairs[0][0] != pairs[0][1]
    assert nothing_is_attached()
    assert sorted(recorded.types()) == ["run_end"] * 2 + ["run_start"] * 2


def test_a_generator_is_sent_to_thrown_into_and_closed_as_before() -> None:
    recorded = Recorded()

    @recorded.log.tool
    def echo() -> Any:
        heard = None
        while True:
            try:
                heard = yield heard
            except KeyError as error:
                heard = repr(error)

    talk = echo()
    assert next(talk) is None
    assert talk.send("a") == "a"
    assert talk.throw(KeyError("k")) == "KeyError('k')"
    talk.close()

    result = recorded.events[-1]
    assert (result.status, result.payload["items"]) == ("cancelled", 3)
    assert recorded.spans()["execute_tool echo"].status.status_code is StatusCode.UNSET
    assert nothing_is_attached()


def test_a_generator_that_fails_says_so() -> None:
    recorded = Recorded()

    @recorded.log.tool
    def fails() -> Iterator[int]:
        yield 1
        raise LookupError("row 7")

    with pytest.raises(LookupError, match="row 7"):
        list(fails())

    assert recorded.events[-1].payload == {"items": 1, "error_type": "LookupError"}
    assert nothing_is_attached()


@pytest.mark.parametrize("kind", [AgentLogger, AsyncAgentLogger])
def test_an_async_generator_attaches_nothing_while_its_reader_works(
    kind: type[AgentLogger],
) -> None:
    recorded = Recorded(kind)

    @recorded.log.agent("streamer")
    async def stream(count: int) -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(0)
            assert context.run_id.get() is not None
            yield number

    async def main() -> None:
        read = []
        async for number in stream(3):
            assert nothing_is_attached()
            read.append(number)
        assert read == [0, 1, 2]

        early = stream(3)
        assert await anext(early) == 0
        # As an event loop does with a generator that nobody reads to its end.
        await asyncio.create_task(early.aclose())
        assert nothing_is_attached()

    asyncio.run(main())

    assert inspect.isasyncgenfunction(stream)
    assert recorded.types() == ["run_start", "run_end"] * 2
    ends = [e for e in recorded.events if e.event_type == "run_end"]
    assert [(e.status, e.payload["items"]) for e in ends] == [("success", 3), ("cancelled", 1)]


def test_what_cannot_be_decorated_is_said_at_once() -> None:
    recorded, awaiting = Recorded(), Recorded(AsyncAgentLogger)

    with pytest.raises(TypeError, match="an AsyncAgentLogger cannot wait in it"):
        awaiting.log.tool(lambda: None)
    with pytest.raises(TypeError, match="below @staticmethod"):
        recorded.log.tool("x")(staticmethod(len))
    with pytest.raises(TypeError, match="is no function"):
        recorded.log.agent("x")(7)
    with pytest.raises(TypeError, match="None is neither a tool's name, which is a str, nor a"):
        recorded.log.tool(None, {"q": 1})
