"""A recorded run as a test double: programs of agent frameworks get the same answers, and no model is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    function_tool,
)
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool as langchain_tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from openai import AsyncOpenAI
from openai.types.responses import ResponseCompletedEvent
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import ModelRetry
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel

from tests.support import golden_langchain
from tests.support.golden import Recorded
from tests.support.golden_openai_agents import Scripted, _call, _said
from tests.support.journaled import Journaled
from tests.support.model_server import CALL, completion, model_server, response
from wakelog import AgentLogger
from wakelog.integrations import langchain, openai_agents
from wakelog.integrations.pydantic_ai import WakelogCapability
from wakelog.integrations.testing import RecordedRun, UnrecordedCallError

NOWHERE = "http://127.0.0.1:9"  # nothing answers there
QUIET: dict[str, Any] = {"tracing_disabled": True}
ANSWER = "It is paid."
ASKED: list[str] = []  # what models and tools were really asked


@pytest.fixture(autouse=True)
def asked() -> Iterator[list[str]]:
    ASKED.clear()
    yield ASKED
    openai_agents.uninstall()
    langchain.uninstall()


@pytest.fixture
def journaled(tmp_path: Path) -> Iterator[Journaled]:
    journaled = Journaled(tmp_path / "journal")
    yield journaled
    journaled.close()


def lookup(order: str, *, currency: str = "EUR") -> str:
    """Looks an order up."""
    ASKED.append(f"lookup {order}")
    if order == "7":
        raise LookupError(order)
    return f"paid in {currency}"


# --- OpenAI Agents -------------------------------------------------------------------------------


async def openai_program(log: AgentLogger, model: Any, order: Any, *, streamed: bool) -> list[str]:
    openai_agents.install(log)
    clerk = Agent(name="clerk", instructions="Be kind.", model=model)
    desk = Agent(
        name="desk", instructions="Be brief.", model=model, tools=[order], handoffs=[clerk]
    )
    config = RunConfig(**QUIET)
    if not streamed:
        return [(await Runner.run(desk, "Is order 7 paid?", run_config=config)).final_output]
    result = Runner.run_streamed(desk, "Is order 7 paid?", run_config=config)
    kinds = [event.type async for event in result.stream_events()]
    return [result.final_output, *(kind for kind in kinds if kind != "raw_response_event")]


class OfAScript(Scripted):
    """Streams a turn as the event at its end."""

    async def stream_response(self, *given: Any, **more: Any) -> AsyncIterator[Any]:
        said = await self.get_response(*given, **more)
        whole = {**response(""), "output": [one.model_dump() for one in said.output]}
        done = {"type": "response.completed", "response": whole, "sequence_number": 1}
        yield ResponseCompletedEvent.model_validate(done)


def openai_script() -> list[Any]:
    seven, eight = _call("lookup", "c1"), _call("lookup", "c2")
    eight.arguments = '{"order": "8"}'
    return [seven, eight, _call("transfer_to_clerk", "c3"), _said(ANSWER)]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("interface", [OpenAIResponsesModel, OpenAIChatCompletionsModel])
def test_openai_agents(journaled: Journaled, interface: Any, streamed: bool) -> None:
    scripted = OfAScript(*openai_script())
    first = asyncio.run(
        openai_program(journaled.log, scripted, function_tool(lookup), streamed=streamed)
    )
    assert ASKED == ["lookup 7", "lookup 8"]
    double = RecordedRun.load(journaled.directory)

    async def again(log: AgentLogger) -> list[str]:
        async with AsyncOpenAI(api_key="-", base_url=NOWHERE) as client:
            model = interface("scripted", double.client(client))
            return await openai_program(
                log, model, double.tool(function_tool(lookup)), streamed=streamed
            )

    assert types_of(journaled, again) == first
    assert double.remaining == []
    assert ASKED == ["lookup 7", "lookup 8"]


def types_of(journaled: Journaled, again: Callable[[AgentLogger], Any]) -> Any:
    """Run a program again, and hold what it records to what is in the journal."""
    recorded = Recorded()
    result = asyncio.run(again(recorded.log))
    first = [str(record.event_name).removeprefix("wakelog.") for record in journaled.records()]
    assert [event.event_type for event in recorded.events] == first
    return result


def test_a_tool_as_a_function_and_a_run_of_the_clients_own_record(journaled: Journaled) -> None:
    """What one adapter has recorded answers a program that is recorded by another, or by none."""
    with model_server() as script:
        script.answers = [completion(None, [{**CALL}]), completion(ANSWER)]

        async def first() -> Any:
            async with AsyncOpenAI(api_key="-", base_url=script.url) as client:
                model = OpenAIChatCompletionsModel("scripted", client)
                return await openai_program(
                    journaled.log, model, function_tool(lookup), streamed=False
                )

        assert asyncio.run(first()) == [ANSWER]
    double = RecordedRun.load(journaled.directory)
    openai_agents.uninstall()

    async def again() -> Any:
        async with AsyncOpenAI(api_key="-", base_url=NOWHERE) as client:
            model = OpenAIResponsesModel("scripted", double.client(client))
            agent = Agent(name="desk", model=model, tools=[function_tool(double.tool(lookup))])
            agent.instructions = "Be brief."
            config = RunConfig(**QUIET)
            return (await Runner.run(agent, "Is order 7 paid?", run_config=config)).final_output

    assert asyncio.run(again()) == ANSWER
    assert double.remaining == []


@pytest.mark.parametrize(
    "question, instructions, said",
    [
        ("Is order 9 paid?", "Be brief.", "message 2 differs"),
        ("Is order 7 paid?", "Be long.", "message 1 differs"),
    ],
)
def test_a_program_that_has_changed_is_told_what_is_different(
    journaled: Journaled, question: str, instructions: str, said: str
) -> None:
    scripted = Scripted(*openai_script())
    asyncio.run(openai_program(journaled.log, scripted, function_tool(lookup), streamed=False))
    openai_agents.uninstall()
    double = RecordedRun.load(journaled.directory)

    async def again() -> None:
        async with AsyncOpenAI(api_key="-", base_url=NOWHERE) as client:
            model = OpenAIResponsesModel("scripted", double.client(client))
            agent = Agent(name="desk", instructions=instructions, model=model)
            await Runner.run(agent, question, run_config=RunConfig(**QUIET))

    with pytest.raises(UnrecordedCallError, match=said) as failed:
        asyncio.run(again())

    assert "recorded: [" in str(failed.value)
    assert "9 paid" in str(failed.value) or "Be long" in str(failed.value)
    assert "model_call scripted is not as in the record" in str(failed.value)


def test_a_tool_that_is_called_differently_is_no_answer_to_the_model(journaled: Journaled) -> None:
    scripted = Scripted(*openai_script())
    asyncio.run(openai_program(journaled.log, scripted, function_tool(lookup), streamed=False))
    openai_agents.uninstall()
    double = RecordedRun.load(journaled.directory)
    other = _call("lookup", "c1")
    other.arguments = '{"order": "9"}'

    with pytest.raises(UnrecordedCallError, match="its argument order differs") as failed:
        asyncio.run(
            openai_program(
                AgentLogger(), Scripted(other), function_tool(double.tool(lookup)), streamed=False
            )
        )

    assert '  recorded: "7"\n  asked:    "9"' in str(failed.value)


# --- LangGraph -----------------------------------------------------------------------------------


class Streaming(golden_langchain.Scripted):
    """Streams a turn as one chunk."""

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        ASKED.append("model")
        said = self.turns.pop(0)
        chunk = AIMessageChunk(
            content=said.content,
            tool_calls=said.tool_calls,
            usage_metadata={"input_tokens": 12, "output_tokens": 3, "total_tokens": 15},
        )
        yield ChatGenerationChunk(message=chunk)


async def langgraph_program(log: AgentLogger, model: Any, order: Any, *, streamed: bool) -> Any:
    langchain.install(log)

    async def think(state: Any) -> Any:
        asked = [SystemMessage("Be brief."), *state["messages"]]
        if not streamed:
            return {"messages": [await model.bind_tools([order]).ainvoke(asked)]}
        whole: Any = None
        async for chunk in model.bind_tools([order]).astream(asked):
            whole = chunk if whole is None else whole + chunk
        return {"messages": [whole]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode([order], handle_tool_errors=True))
    graph.add_edge(START, "think")
    graph.add_edge("tools", "think")
    graph.add_conditional_edges(
        "think", lambda state: "tools" if state["messages"][-1].tool_calls else END
    )
    given = {"messages": [HumanMessage("Is order 7 paid?")]}
    result = await graph.compile(name="desk").ainvoke(given)
    return [message.content for message in result["messages"] if message.type != "tool"]


@pytest.mark.parametrize("streamed", [False, True])
def test_langgraph(journaled: Journaled, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(order: str, call_id: str) -> AIMessage:
        return AIMessage(
            "", tool_calls=[{"name": "lookup", "args": {"order": order}, "id": call_id}]
        )

    monkeypatch.setattr(Streaming, "bind_tools", lambda self, tools: self)
    scripted = Streaming(turns=[call("7", "c1"), call("8", "c2"), AIMessage(ANSWER)])
    order = langchain_tool(lookup)
    first = asyncio.run(langgraph_program(journaled.log, scripted, order, streamed=streamed))
    assert first[-1] == ANSWER
    real = list(ASKED)
    double = RecordedRun.load(journaled.directory)

    async def again(log: AgentLogger) -> Any:
        model = double.langchain_model("scripted")
        return await langgraph_program(log, model, double.tool(order), streamed=streamed)

    assert types_of(journaled, again) == first
    assert double.remaining == []
    assert real == ASKED

    double = RecordedRun.load(journaled.directory)
    model = double.langchain_model("scripted")
    with pytest.raises(UnrecordedCallError, match="message 1 differs"):
        model.invoke("Is order 9 paid?")


# --- Pydantic AI ---------------------------------------------------------------------------------


def pydantic_script() -> FunctionModel:
    turns = [ToolCallPart("lookup", {"order": order}, f"c{order}") for order in ("7", "8")]

    async def answer(messages: Any, info: Any) -> ModelResponse:
        ASKED.append("model")
        return ModelResponse(parts=[turns.pop(0) if turns else TextPart(ANSWER)])

    async def stream(messages: Any, info: Any) -> AsyncIterator[Any]:
        ASKED.append("model")
        if turns:
            call = turns.pop(0)
            delta = DeltaToolCall(
                call.tool_name, call.args_as_json_str(), tool_call_id=call.tool_call_id
            )
            yield {0: delta}
        else:
            yield ANSWER[:5]
            yield ANSWER[5:]

    return FunctionModel(answer, stream_function=stream, model_name="scripted")


async def pydantic_program(log: AgentLogger, model: Any, tool: Any, *, streamed: bool) -> str:
    agent: Any = PydanticAgent(
        model, name="desk", instructions="Be brief.", capabilities=[WakelogCapability(log)]
    )
    agent.tool_plain(tool)
    if not streamed:
        return str((await agent.run("Is order 7 paid?")).output)
    async with agent.run_stream("Is order 7 paid?") as result:
        return "".join([text async for text in result.stream_text(delta=True)])


@pytest.mark.parametrize("streamed", [False, True])
def test_pydantic_ai(journaled: Journaled, streamed: bool) -> None:
    def lookup(order: str) -> str:
        """Looks an order up."""
        ASKED.append(f"lookup {order}")
        if order == "7":
            raise ModelRetry("no such order")
        return "paid"

    first = asyncio.run(
        pydantic_program(journaled.log, pydantic_script(), lookup, streamed=streamed)
    )
    assert first == ANSWER
    real = list(ASKED)
    double = RecordedRun.load(journaled.directory)

    async def again(log: AgentLogger) -> Any:
        model = double.pydantic_ai_model("scripted")
        return await pydantic_program(log, model, double.tool(lookup), streamed=streamed)

    assert types_of(journaled, again) == first
    assert double.remaining == []
    assert real == ASKED

    double = RecordedRun.load(journaled.directory)
    agent: Any = PydanticAgent(double.pydantic_ai_model("scripted"), instructions="Be brief.")
    with pytest.raises(UnrecordedCallError, match=r"message 2 differs[^!]*order 9"):
        asyncio.run(agent.run("Is order 9 paid?"))
