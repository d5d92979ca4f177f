"""The golden conversation with LangChain's models and tools in LangGraph's graphs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from tests.support.golden import CLERK, DESK, LOOKUP, MODEL, REFUND, WORKFLOW, effect
from wakelog import AgentLogger
from wakelog.integrations import langchain


def _call(name: str, call_id: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": {"order": "7"}, "id": call_id}])


class Scripted(BaseChatModel):
    model_name: str = MODEL
    turns: list[Any]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        effect(MODEL)
        message = self.turns.pop(0)
        message.usage_metadata = {"input_tokens": 12, "output_tokens": 3, "total_tokens": 15}
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        if self.turns:
            yield ChatGenerationChunk(message=AIMessageChunk(content=self.turns.pop(0).content))
            return
        effect(MODEL)
        yield ChatGenerationChunk(message=AIMessageChunk(content="Once"))
        await asyncio.Event().wait()


async def scenario(log: AgentLogger) -> None:
    handler = langchain.install(log)
    try:
        await _scenario(handler)
    finally:
        langchain.uninstall()


def _agent(name: str, tools: list[Any], think: Callable[..., Any]) -> Any:
    graph: Any = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=True))
    graph.add_edge(START, "think")
    graph.add_edge("tools", "think")
    graph.add_conditional_edges("think", _next)
    return graph.compile(name=name)


def _next(state: Any) -> str:
    return "tools" if getattr(state["messages"][-1], "tool_calls", None) else END


async def _scenario(handler: langchain.WakelogCallbackHandler) -> None:
    attempts = []

    @tool(LOOKUP)
    async def lookup(order: str) -> str:
        """Looks an order up."""
        effect(LOOKUP)
        attempts.append(order)
        if len(attempts) == 1:
            raise LookupError(order)
        return "paid"

    @tool(REFUND)
    async def refund(order: str) -> str:
        """Gives the money back."""
        effect(REFUND)
        return "refunded"

    model = Scripted(
        turns=[
            _call(LOOKUP, "c1"),
            _call(LOOKUP, "c2"),
            AIMessage("to the clerk"),
            _call(REFUND, "c4"),
            AIMessage("Your money is on its way."),
        ]
    )

    async def at_the_desk(state: Any) -> Any:
        answer = await model.ainvoke(state["messages"])
        if answer.tool_calls:
            return {"messages": [answer]}
        return Command(goto=CLERK, graph=Command.PARENT, update={"messages": [answer]})

    async def as_clerk(state: Any) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    async def approve(state: Any) -> Any:
        [call] = state["messages"][-1].tool_calls
        requests = [{"name": call["name"], "args": call["args"]}]
        interrupt({"action_requests": requests, "review_configs": []})
        return {}

    clerk_graph: Any = StateGraph(MessagesState)
    clerk_graph.add_node("think", as_clerk)
    clerk_graph.add_node("approve", approve)
    clerk_graph.add_node("tools", ToolNode([refund]))
    clerk_graph.add_edge(START, "think")
    clerk_graph.add_edge("approve", "tools")
    clerk_graph.add_edge("tools", "think")
    clerk_graph.add_conditional_edges(
        "think", lambda state: "approve" if _next(state) != END else END
    )
    clerk = clerk_graph.compile(name=CLERK)
    graph: Any = StateGraph(MessagesState)
    graph.add_node(DESK, _agent(DESK, [lookup], at_the_desk), destinations=(CLERK,))
    graph.add_node(CLERK, clerk)
    graph.add_conditional_edges(START, lambda state: state["messages"][-1].name or DESK)
    support = graph.compile(name=WORKFLOW, checkpointer=InMemorySaver())

    config: Any = {"configurable": {"thread_id": "t-1"}}
    await support.ainvoke({"messages": [HumanMessage("I want my money back.")]}, config)
    answer: Any = Command(resume={"decisions": [{"type": "approve"}]})
    # LangGraph says where it goes on from to handlers that are in the config.
    await support.ainvoke(answer, {**config, "callbacks": [handler]})

    more = {"messages": [HumanMessage("Tell me more.", name=CLERK)]}
    other: Any = {"configurable": {"thread_id": "t-2"}}
    stream = support.astream(more, other, stream_mode="messages", subgraphs=True)
    async for _, (chunk, _) in stream:
        if chunk.content == "Once":
            break
    await stream.aclose()
