"""Small agents of three frameworks with scripted models, for tests of what happens at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from agents import (
    Agent,
    Model,
    ModelResponse,
    RunConfig,
    Runner,
    Usage,
    function_tool,
    set_trace_processors,
)
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool as langchain_tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from openai.types.responses import ResponseFunctionToolCall
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.messages import ModelResponse as PydanticResponse
from pydantic_ai.messages import TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

from tests.support.golden_langchain import Scripted as LangChainModel
from tests.support.golden_openai_agents import _said
from wakelog import AgentLogger
from wakelog.integrations import langchain, openai_agents
from wakelog.integrations.pydantic_ai import WakelogCapability

# A turn of a model: text, or calls of tools by their names and arguments.
Turn = str | list[tuple[str, dict[str, Any]]]
Tool = Callable[..., Any]


class SmallAgent:
    """An agent that can be run, in a loop and without one."""

    def __init__(self, run: Callable[[], Any], run_sync: Callable[[], Any]) -> None:
        self.run, self.run_sync = run, run_sync


def _ids(turns: list[Turn]) -> list[Any]:
    """Number the calls."""
    return [
        turn
        if isinstance(turn, str)
        else [(f"c{place}-{n}", name, arguments) for n, (name, arguments) in enumerate(turn)]
        for place, turn in enumerate(turns)
    ]


class _Script(Model):
    model = "scripted"

    def __init__(self, turns: list[Any]) -> None:
        self._turns = turns

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        turn = self._turns.pop(0)
        output = [
            ResponseFunctionToolCall(
                type="function_call", call_id=call_id, name=name, arguments=json.dumps(arguments)
            )
            for call_id, name, arguments in (() if isinstance(turn, str) else turn)
        ]
        said: Any = [_said(turn)] if isinstance(turn, str) else output
        return ModelResponse(output=said, usage=Usage(requests=1), response_id="r")

    def stream_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def of_openai_agents(
    log: AgentLogger, name: str, turns: list[Turn], tools: list[Tool]
) -> SmallAgent:
    set_trace_processors([])
    openai_agents.install(log)
    agent = Agent(
        name=name, model=_Script(_ids(turns)), tools=[function_tool(tool) for tool in tools]
    )
    config = RunConfig(workflow_name=f"of {name}")

    async def run() -> Any:
        return (await Runner.run(agent, name, run_config=config)).final_output

    def run_sync() -> Any:
        loop = asyncio.new_event_loop()  # the SDK leaves its own open
        asyncio.set_event_loop(loop)
        try:
            return Runner.run_sync(agent, name, run_config=config).final_output
        finally:
            loop.close()
            asyncio.set_event_loop(None)

    return SmallAgent(run, run_sync)


def of_langchain(log: AgentLogger, name: str, turns: list[Turn], tools: list[Tool]) -> SmallAgent:
    langchain.install(log)
    said = [
        AIMessage(turn)
        if isinstance(turn, str)
        else AIMessage(
            "", tool_calls=[{"id": at, "name": of, "args": args} for at, of, args in turn]
        )
        for turn in _ids(turns)
    ]
    model = LangChainModel(turns=said)

    def think(state: Any) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode([langchain_tool(tool) for tool in tools]))
    graph.add_edge(START, "think")
    graph.add_edge("tools", "think")
    graph.add_conditional_edges(
        "think", lambda state: "tools" if state["messages"][-1].tool_calls else END
    )
    compiled = graph.compile(name=name)
    given = {"messages": [HumanMessage(name)]}

    async def run() -> Any:
        return (await compiled.ainvoke(given))["messages"][-1].content

    return SmallAgent(run, lambda: compiled.invoke(given)["messages"][-1].content)


def of_pydantic_ai(log: AgentLogger, name: str, turns: list[Turn], tools: list[Tool]) -> SmallAgent:
    left = _ids(turns)

    async def answer(messages: Any, info: Any) -> PydanticResponse:
        turn = left.pop(0)
        parts: Any = (
            [TextPart(turn)]
            if isinstance(turn, str)
            else [ToolCallPart(of, args, at) for at, of, args in turn]
        )
        return PydanticResponse(parts=parts)

    agent: Any = PydanticAgent(
        FunctionModel(answer, model_name="scripted"),
        name=name,
        capabilities=[WakelogCapability(log)],
        tools=tools,
    )

    async def run() -> Any:
        return (await agent.run(name)).output

    return SmallAgent(run, lambda: asyncio.run(run()))


FRAMEWORKS = {
    "openai_agents": of_openai_agents,
    "langchain": of_langchain,
    "pydantic_ai": of_pydantic_ai,
}


def uninstall() -> None:
    openai_agents.uninstall()
    langchain.uninstall()
