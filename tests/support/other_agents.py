"""Agent frameworks without an adapter: what durable spans keep of a process that is killed inside a tool.

    python -m tests.support.other_agents FRAMEWORK

`python -m scripts.framework_versions FRAMEWORK` starts it in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from wakelog.otel import DurableSpanProcessor


def die() -> NoReturn:
    """End the process as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def lookup(order: str) -> str:
    """Looks an order up.

    Args:
        order: The order.
    """
    die()


def google_adk(_: TracerProvider) -> None:
    from google.adk.agents import LlmAgent
    from google.adk.models import BaseLlm, LlmResponse
    from google.adk.runners import InMemoryRunner
    from google.genai import types

    class Scripted(BaseLlm):
        async def generate_content_async(self, request: Any, stream: bool = False) -> Any:
            call = types.FunctionCall(name="lookup", args={"order": "7"})
            parts = [types.Part(function_call=call)]
            yield LlmResponse(content=types.Content(role="model", parts=parts))

    async def main() -> None:
        agent = LlmAgent(name="desk", model=Scripted(model="scripted"), tools=[lookup])
        runner = InMemoryRunner(agent=agent, app_name="shop")
        session = await runner.session_service.create_session(app_name="shop", user_id="u")
        asked = types.Content(role="user", parts=[types.Part(text="Where is it?")])
        async for _ in runner.run_async(user_id="u", session_id=session.id, new_message=asked):
            pass

    asyncio.run(main())


def agent_framework(_: TracerProvider) -> None:
    import agent_framework as af
    from agent_framework.observability import ChatTelemetryLayer, enable_instrumentation

    enable_instrumentation()

    class Scripted(af.FunctionInvocationLayer, ChatTelemetryLayer, af.BaseChatClient):
        model = "scripted"

        def _inner_get_response(self, **_: Any) -> Any:
            async def answer() -> Any:
                call = af.Content.from_function_call("c", "lookup", arguments={"order": "7"})
                return af.ChatResponse(messages=[af.Message("assistant", [call])])

            return answer()

    asyncio.run(af.Agent(Scripted(), name="desk", tools=[lookup]).run("Where is it?"))


def crewai(provider: TracerProvider) -> None:
    os.environ["CREWAI_DISABLE_TELEMETRY"] = "true"
    from crewai import Agent, BaseLLM, Crew, Task
    from crewai.tools import tool
    from openinference.instrumentation.crewai import CrewAIInstrumentor

    CrewAIInstrumentor().instrument(tracer_provider=provider)

    class Scripted(BaseLLM):
        def call(self, *_: Any, **__: Any) -> str:
            return 'Thought: look\nAction: lookup\nAction Input: {"order": "7"}'

        def supports_function_calling(self) -> bool:
            return False

    llm = Scripted(model="scripted")
    agent = Agent(role="desk", goal="help", backstory="", tools=[tool("lookup")(lookup)], llm=llm)
    task = Task(description="Where is it?", expected_output="the place", agent=agent)
    Crew(agents=[agent], tasks=[task]).kickoff()


def llama_index(provider: TracerProvider) -> None:
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.core.llms import ChatMessage, ChatResponse, LLMMetadata
    from llama_index.core.llms.function_calling import FunctionCallingLLM
    from llama_index.core.llms.llm import ToolSelection
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    LlamaIndexInstrumentor().instrument(tracer_provider=provider)

    def unused(self: Any, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    class Scripted(FunctionCallingLLM):
        complete = stream_complete = stream_chat = achat = acomplete = astream_complete = unused
        astream_chat = _prepare_chat_with_tools = unused

        @property
        def metadata(self) -> Any:
            return LLMMetadata(model_name="scripted", is_function_calling_model=True)

        def chat(self, *_: Any, **__: Any) -> Any:
            return ChatResponse(message=ChatMessage(role="assistant", content=""))

        async def astream_chat_with_tools(self, *_: Any, **__: Any) -> Any:
            async def chunks() -> Any:
                yield self.chat()

            return chunks()

        def get_tool_calls_from_response(self, *_: Any, **__: Any) -> Any:
            return [ToolSelection(tool_id="c", tool_name="lookup", tool_kwargs={"order": "7"})]

    async def main() -> None:
        await FunctionAgent(name="desk", tools=[lookup], llm=Scripted()).run("Where is it?")

    asyncio.run(main())


def smolagents(provider: TracerProvider) -> None:
    from openinference.instrumentation.smolagents import SmolagentsInstrumentor
    from smolagents import ChatMessage, MessageRole, Model, ToolCallingAgent, tool
    from smolagents.models import ChatMessageToolCall, ChatMessageToolCallFunction

    SmolagentsInstrumentor().instrument(tracer_provider=provider)

    class Scripted(Model):
        def generate(self, *_: Any, **__: Any) -> Any:
            asked = ChatMessageToolCallFunction(name="lookup", arguments={"order": "7"})
            call = ChatMessageToolCall(id="c", type="function", function=asked)
            return ChatMessage(role=MessageRole.ASSISTANT, content=None, tool_calls=[call])

    ToolCallingAgent(tools=[tool(lookup)], model=Scripted(model_id="scripted")).run("Where is it?")


def strands(_: TracerProvider) -> None:
    from strands import Agent, tool
    from strands.models import Model

    class Scripted(Model):
        def update_config(self, **_: Any) -> None:
            """There is none."""

        def get_config(self) -> Any:
            return {"model_id": "scripted"}

        async def structured_output(self, *_: Any, **__: Any) -> Any:
            yield {}

        async def stream(self, *_: Any, **__: Any) -> Any:
            yield {"messageStart": {"role": "assistant"}}
            yield {
                "contentBlockStart": {"start": {"toolUse": {"toolUseId": "c", "name": "lookup"}}}
            }
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"order": "7"}'}}}}
            yield {"contentBlockStop": {}}
            yield {"messageStop": {"stopReason": "tool_use"}}

    Agent(model=Scripted(), tools=[tool(lookup)], callback_handler=None)("Where is it?")


PROGRAMS = {
    "google-adk": google_adk,
    "agent-framework-core": agent_framework,
    "crewai": crewai,
    "llama-index-core": llama_index,
    "smolagents": smolagents,
    "strands-agents": strands,
}


def spans_in(directory: Path) -> tuple[list[str], list[str]]:
    """Return the names of the spans that are open, and of those that have ended."""
    begun: dict[str, str] = {}
    ended: dict[str, str] = {}
    for path in sorted(directory.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            kind = {"span_start": begun, "span": ended}.get(said.get("signal"))
            if kind is not None:
                kind[said["span_id"]] = said["span"]["name"]
    return [begun[one] for one in begun if one not in ended], list(ended.values())


def main() -> int:
    name, *directory = sys.argv[1:]
    if directory:
        resource = Resource({"service.name": "shop"})
        provider = TracerProvider(resource=resource)
        exporter = InMemorySpanExporter()
        processor = DurableSpanProcessor(exporter, directory=directory[0], resource=resource)
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)
        PROGRAMS[name](provider)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.support.other_agents", name, folder]
        killed = subprocess.run(command, timeout=120, check=False, capture_output=True, text=True)
        if killed.returncode != -signal.SIGKILL:
            print(f"{name}: was not killed in its tool\n{killed.stderr[-2000:]}")
            return 1
        still_open, ended = spans_in(Path(folder))
    print(f"{name} {version(name)}: open {still_open}, ended {ended}")
    return int(not still_open)


if __name__ == "__main__":
    sys.exit(main())
