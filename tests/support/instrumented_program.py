"""A program whose spans come from an instrumentation that others wrote, and that is killed at some moment.

Arguments: the framework, the processor (``durable`` or ``sdk``), the journal's directory, the endpoint, the file
that has the ids of the spans that were started, and the seconds from the first span to SIGKILL (0 for none).
In place of a framework, ``nothing`` makes no spans and runs until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TypedDict

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from wakelog.otel import DurableSpanProcessor

TURNS = 4
SECONDS = 0.01


class Started(SpanProcessor):
    """Writes the ids of spans that have been started, and sets the moment of the end."""

    def __init__(self, path: Path, kill_after: float) -> None:
        self._file = path.open("a", buffering=1)
        self._kill_after = kill_after

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        context, parent = span.get_span_context(), span.parent
        ids = f"{context.trace_id:032x} {context.span_id:016x}"
        self._file.write(f"{ids} {parent.span_id if parent else 0:016x}\n")
        if self._kill_after:
            timer = threading.Timer(self._kill_after, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()
            self._kill_after = 0.0


def openai_agents(provider: TracerProvider) -> None:
    from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)

    class Scripted(Model):
        def __init__(self) -> None:
            self.turn = 0

        async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
            self.turn += 1
            await asyncio.sleep(SECONDS)
            output: Any
            if self.turn < TURNS:
                output = ResponseFunctionToolCall(
                    arguments='{"q": "x"}',
                    call_id=f"c{self.turn}",
                    name="search",
                    type="function_call",
                )
            else:
                text = ResponseOutputText(text="done", type="output_text", annotations=[])
                output = ResponseOutputMessage(
                    id="m", content=[text], role="assistant", status="completed", type="message"
                )
            return ModelResponse(output=[output], usage=Usage(), response_id=None)

        def stream_response(self, *_: Any, **__: Any) -> Any:
            raise NotImplementedError

    @function_tool
    async def search(q: str) -> str:
        """Searches."""
        await asyncio.sleep(2 * SECONDS)
        return q

    asyncio.run(Runner.run(Agent(name="a", model=Scripted(), tools=[search]), "hi"))


def langchain(provider: TracerProvider) -> None:
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langchain_core.tools import tool
    from langgraph.graph import END, START, StateGraph
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=provider)
    model = FakeListChatModel(responses=["a", "b", "c", "d"])

    class State(TypedDict):
        turn: int

    @tool
    def search(q: str) -> str:
        """Searches."""
        time.sleep(2 * SECONDS)
        return q

    def think(state: State) -> State:
        model.invoke("hi")
        search.invoke({"q": "x"})
        return {"turn": state["turn"] + 1}

    graph: Any = StateGraph(State)
    graph.add_node("think", think)
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", lambda state: END if state["turn"] >= TURNS else "think")
    graph.compile().invoke({"turn": 0})


def mcp(provider: TracerProvider) -> None:
    from mcp import Client
    from mcp.server import MCPServer
    from openinference.instrumentation.mcp import MCPInstrumentor

    trace.set_tracer_provider(provider)
    MCPInstrumentor().instrument(tracer_provider=provider)
    tracer = provider.get_tracer("program")
    server: Any = MCPServer("x")

    @server.tool()
    async def search(q: str) -> str:
        with tracer.start_as_current_span("inside"):
            await asyncio.sleep(2 * SECONDS)
        return q

    async def main() -> None:
        async with Client(server) as client:
            for _ in range(TURNS):
                with tracer.start_as_current_span("call"):
                    await client.call_tool("search", {"q": "x"})

    asyncio.run(main())


PROGRAMS = {"openai_agents": openai_agents, "langchain": langchain, "mcp": mcp}


def main() -> None:
    framework, processor, directory, endpoint, started, kill_after = sys.argv[1:]
    exporter = OTLPSpanExporter(endpoint=endpoint)
    resource = Resource({"service.name": "shop"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(
        DurableSpanProcessor(exporter, directory=directory, resource=resource)
        if processor == "durable"
        else BatchSpanProcessor(exporter)
    )
    provider.add_span_processor(Started(Path(started), float(kill_after)))
    if framework == "nothing":
        sys.stdin.read()
    else:
        PROGRAMS[framework](provider)
    provider.shutdown()


if __name__ == "__main__":
    main()
