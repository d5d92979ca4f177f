"""What an adapter of an agent framework costs over the same events recorded by hand.

    python benchmarks/bench_agents.py [--rounds N]

Each row is one adapter, whose callbacks are called as its framework calls them: a run with three model calls and two tool
calls (``clients``: three model calls, ``clients_stream``: one of 30 chunks; ``mcp``: two tool calls, by the client or by the
server, and the context that crosses). By hand the same is recorded with ``log.run``, ``log.model`` and ``log.tool``, with the
same content in the form that the conventions have it and the framework's usage object. Both write to a journal and open
spans. Figures are CPU time of the process, in microseconds a run, the median of rounds in which the two take turns, and
their ratio; the aim is 1.2.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agents import Agent, Usage
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from mcp.client.session import ClientSession
from mcp.types import CallToolResult, TextContent
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import ResponseFunctionToolCall
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, UserPromptPart
from pydantic_ai.usage import RequestUsage

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.golden_claude import (
    AssistantMessage,
    ClaudeAgentOptions,
    ResultMessage,
    ToolUseBlock,
)
from wakelog import AgentLogger
from wakelog.integrations import clients, langchain, mcp, openai_agents
from wakelog.integrations.claude import WakelogHooks
from wakelog.integrations.pydantic_ai import WakelogCapability
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.propagation import carried, headers

RUNS = 40
TEXT = "The customer wants the money for order 4711 back, which was paid by card on Monday. " * 4
ARGS = {"order": "4711", "reason": "late", "amount": 129.5}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {
        "name": "lookup",
        "arguments": '{"order": "4711", "reason": "late", "amount": 129.5}',
    },
}
ASKED: list[Any] = [
    {"role": "system", "content": TEXT},
    {"role": "user", "content": TEXT},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": TEXT},
]
PARTS: list[Any] = [
    {"role": "system", "parts": [{"type": "text", "content": TEXT}]},
    {"role": "user", "parts": [{"type": "text", "content": TEXT}]},
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "lookup", "arguments": ARGS}],
    },
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": TEXT}]},
]
ANSWER: list[Any] = [
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "id": "c1", "name": "lookup", "arguments": ARGS}],
    }
]
USAGE = {"input_tokens": 1200, "output_tokens": 40}
TOTAL = {"prompt_tokens": 1200, "completion_tokens": 40, "total_tokens": 1240}


def _chunk(text: str | None, reason: str | None = None, usage: Any = None) -> ChatCompletionChunk:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    about = {"id": "r", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    return ChatCompletionChunk.model_validate({**about, "choices": [choice], "usage": usage})


STREAM = [*(_chunk(f"{word} ") for word in TEXT.split()[:29]), _chunk(None, "stop", TOTAL)]


def by_hand(log: AgentLogger, usage: Any) -> None:
    """Record the run with the logger's blocks."""
    with log.run(agent="clerk"):
        for turn in range(3):
            with log.model("scripted", "openai", PARTS, request={"temperature": 0.2}) as call:
                call.respond(ANSWER, usage=usage, finish_reasons=["tool_calls"], response_id="r")
            if turn < 2:
                with log.tool(
                    "lookup", ARGS, call_id="c1", tool_type="function", description="Looks it up."
                ) as tool:
                    tool.result(TEXT)


def calls_by_hand(log: AgentLogger, usage: Any) -> None:
    """Record three model calls with the logger's blocks."""
    for _ in range(3):
        with log.model("scripted", "openai", PARTS, request={"temperature": 0.2}) as call:
            call.respond(ANSWER, usage=usage, finish_reasons=["tool_calls"], response_id="r")


def stream_by_hand(log: AgentLogger, usage: Any) -> None:
    """Record a streamed model call whose chunks the program puts together itself."""
    with log.model(
        "scripted", "openai", PARTS, request={"temperature": 0.2, "stream": True}
    ) as call:
        texts = []
        for chunk in STREAM:
            call.first_chunk()
            texts += [one.delta.content for one in chunk.choices if one.delta.content]
            usage = chunk.usage or usage
        said = [{"role": "assistant", "parts": [{"type": "text", "content": "".join(texts)}]}]
        call.respond(said, usage=usage, finish_reasons=["stop"], response_id="r")


def claude_by_hand(log: AgentLogger, usage: Any) -> None:
    """Record the run without what the SDK does not tell: what the model was asked."""
    with log.run(TEXT, agent="clerk", session_id="s-1"):
        for turn in range(3):
            with log.model("scripted", "anthropic") as call:
                call.respond(ANSWER, usage=usage, finish_reasons=["tool_use"], response_id="r")
            if turn < 2:
                with log.tool("lookup", ARGS, call_id="c1", tool_type="function") as tool:
                    tool.result(TEXT)


def mcp_by_hand(log: AgentLogger, _: Any) -> None:
    """Record two tool calls, and make the headers that cross with each."""
    for _ in range(2):
        with log.tool("lookup", ARGS, tool_type="extension") as tool:
            headers()
            tool.result([{"type": "text", "text": TEXT}])


def mcp_server_by_hand(log: AgentLogger, said: Any) -> None:
    """Record two tool calls inside what has crossed with each."""
    for _ in range(2):
        with carried(said), log.tool("lookup", ARGS, tool_type="function") as tool:
            tool.result([{"type": "text", "text": TEXT}])


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits")


def of_langchain(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return a run through the callbacks of LangChain."""
    handler = langchain.WakelogCallbackHandler(log)
    call = {"name": "lookup", "args": ARGS, "id": "c1"}
    asked = [
        SystemMessage(TEXT),
        HumanMessage(TEXT),
        AIMessage("", tool_calls=[call]),
        ToolMessage(TEXT, tool_call_id="c1"),
    ]
    said = AIMessage(
        "",
        tool_calls=[call],
        usage_metadata={**USAGE, "total_tokens": 1240},
        response_metadata={"finish_reason": "tool_calls", "id": "r"},
    )
    answer = LLMResult(generations=[[ChatGeneration(message=said)]])
    output = ToolMessage(TEXT, tool_call_id="c1")
    about = {"ls_model_name": "scripted", "ls_provider": "openai", "lc_agent_name": "clerk"}
    lookup = {"name": "lookup", "description": "Looks it up."}

    def run() -> None:
        root = uuid.uuid4()
        handler.on_chain_start(None, None, run_id=root, metadata=about, name="clerk", tags=[])
        for turn in range(3):
            one = uuid.uuid4()
            handler.on_chat_model_start(
                {},
                [asked],
                run_id=one,
                parent_run_id=root,
                metadata=about,
                invocation_params={"temperature": 0.2},
            )
            handler.on_llm_end(answer, run_id=one)
            if turn < 2:
                one = uuid.uuid4()
                handler.on_tool_start(
                    lookup, "", run_id=one, parent_run_id=root, inputs=ARGS, tool_call_id="c1"
                )
                handler.on_tool_end(output, run_id=one)
        handler.on_chain_end(None, run_id=root)

    return run, said.usage_metadata


def of_openai_agents(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return a run through the hooks of OpenAI's Agents SDK; it has a run around that of the agent."""
    steps = openai_agents.install(log)
    openai_agents.uninstall()
    agent = Agent(name="clerk", model="scripted")
    arguments = CALL["function"]["arguments"]  # type: ignore[index] # it is a dict
    item = {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": arguments}
    asked = [
        {"role": "system", "content": TEXT},
        {"role": "user", "content": TEXT},
        item,
        {"type": "function_call_output", "call_id": "c1", "output": TEXT},
    ]
    output = ResponseFunctionToolCall(
        arguments=str(arguments), call_id="c1", name="lookup", type="function_call"
    )
    usage = Usage(requests=1, input_tokens=1200, output_tokens=40, total_tokens=1240)
    response = SimpleNamespace(output=[output], usage=usage, response_id="r")
    context = SimpleNamespace(tool_call_id="c1", tool_arguments=arguments)
    lookup = SimpleNamespace(name="lookup", description="Looks it up.")

    async def hooks() -> None:
        observer = openai_agents._Observer(steps, None, None)  # noqa: SLF001 - as the runner calls it
        await observer.on_agent_start(context, agent)
        for turn in range(3):
            await observer.on_llm_start(context, agent, None, asked)
            await observer.on_llm_end(context, agent, response)
            if turn < 2:
                await observer.on_tool_start(context, agent, lookup)
                await observer.on_tool_end(context, agent, lookup, TEXT)
        await observer.on_agent_end(context, agent, None)

    return lambda: finish(hooks()), usage


def of_pydantic_ai(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return a run through the hooks of Pydantic AI."""
    capability = WakelogCapability(log)
    call = ToolCallPart("lookup", ARGS, "c1")
    asked = [
        ModelRequest(parts=[UserPromptPart(TEXT)]),
        ModelRequest(parts=[UserPromptPart(TEXT)]),
        ModelResponse(parts=[call]),
        ModelRequest(parts=[UserPromptPart(TEXT)]),
    ]
    answer = ModelResponse(
        parts=[call],
        usage=RequestUsage(input_tokens=1200, output_tokens=40),
        finish_reason="tool_call",
        provider_response_id="r",
    )
    model = SimpleNamespace(model_name="scripted", system="openai")
    request = SimpleNamespace(model=model, messages=asked, model_settings={"temperature": 0.2})
    agent = SimpleNamespace(name="clerk")
    ctx = SimpleNamespace(agent=agent, prompt=None, conversation_id=None)
    lookup = SimpleNamespace(description="Looks it up.")

    async def model_answers(_: Any) -> Any:
        return answer

    async def tool_returns(_: Any) -> Any:
        return TEXT

    async def body() -> Any:
        for turn in range(3):
            await capability.wrap_model_request(ctx, request_context=request, handler=model_answers)
            if turn < 2:
                await capability.wrap_tool_execute(
                    ctx, call=call, tool_def=lookup, args=ARGS, handler=tool_returns
                )
        return SimpleNamespace(output=None)

    return lambda: finish(capability.wrap_run(ctx, handler=body)), answer.usage


def of_clients(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return three calls of OpenAI's client, which answers at once."""
    answer = ChatCompletion.model_validate(
        {
            "id": "r",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "tool_calls",
                    "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
                }
            ],
            "usage": TOTAL,
        }
    )
    client: Any = OpenAI(api_key="k")
    client.chat.completions.create = lambda **_: answer
    clients.record(client, log)

    def run() -> None:
        for _ in range(3):
            client.chat.completions.create(model="scripted", messages=ASKED, temperature=0.2)

    return run, answer.usage


def of_client_streams(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return one streamed call of OpenAI's client."""
    client: Any = OpenAI(api_key="k")
    client.chat.completions.create = lambda **_: iter(STREAM)
    clients.record(client, log)

    def run() -> None:
        for _ in client.chat.completions.create(
            model="scripted", messages=ASKED, temperature=0.2, stream=True
        ):
            pass

    return run, None


def of_claude(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return a run through the hooks and messages of Claude's Agent SDK."""
    hooks = WakelogHooks(log, agent="clerk")
    options = hooks.added_to(ClaudeAgentOptions())
    said = {"session_id": "s-1"}
    usage = {"input_tokens": 1200, "output_tokens": 40}
    call = {**said, "tool_name": "lookup", "tool_input": ARGS, "tool_use_id": "c1"}
    block = ToolUseBlock("c1", "lookup", ARGS)

    async def hook(name: str, given: dict[str, Any]) -> None:
        await options.hooks[name][0].hooks[0](given, None, None)

    async def messages() -> AsyncIterator[Any]:
        await hook("UserPromptSubmit", {**said, "prompt": TEXT})
        for turn in range(3):
            yield AssistantMessage([block], "r", stop_reason="tool_use", usage=usage)
            if turn < 2:
                await hook("PreToolUse", call)
                await hook("PostToolUse", {**call, "tool_response": TEXT})
        await hook("Stop", said)
        yield ResultMessage("")

    async def read() -> None:
        async for _ in hooks.watch(messages()):
            pass

    return lambda: finish(read()), usage


RESULT = CallToolResult(content=[TextContent(type="text", text=TEXT)])


def of_mcp(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return two calls of a client session."""
    original = ClientSession.call_tool

    async def call_tool(self: Any, name: str, arguments: Any = None, *, meta: Any = None) -> Any:
        return RESULT

    ClientSession.call_tool = call_tool  # type: ignore[assignment, method-assign]
    mcp.install(log, spans=True)
    call: Any = ClientSession.call_tool
    ClientSession.call_tool = original  # type: ignore[method-assign]

    async def calls() -> None:
        for _ in range(2):
            await call(None, "lookup", ARGS)

    return lambda: finish(calls()), None


def of_mcp_server(log: AgentLogger) -> tuple[Callable[[], None], Any]:
    """Return two calls that a server answers."""
    middleware = mcp.WakelogMiddleware(log, spans=True)
    with log.run(agent="clerk"):
        said = {name: value for name, value in headers().items() if name.startswith("wakelog")}
    asked = {"name": "lookup", "arguments": ARGS}
    ctx = SimpleNamespace(method="tools/call", meta=said, params=asked)

    async def answer(_: Any) -> Any:
        return RESULT

    async def calls() -> None:
        for _ in range(2):
            await middleware(ctx, answer)

    return lambda: finish(calls()), said


HANDS: dict[str, Callable[[AgentLogger, Any], None]] = {
    "clients": calls_by_hand,
    "clients_stream": stream_by_hand,
    "claude": claude_by_hand,
    "mcp": mcp_by_hand,
    "mcp_server": mcp_server_by_hand,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(DurableLogRecordProcessor(None, directory=Path(folder)))
        log = AgentLogger(
            sink=OTelSink(provider, required=True),
            tracer_provider=TracerProvider(shutdown_on_exit=False),
        )
        print(f"{'adapter':16}{'by hand':>10}{'adapter':>10}{'ratio':>8}")
        for name, make in (
            ("langchain", of_langchain),
            ("openai_agents", of_openai_agents),
            ("pydantic_ai", of_pydantic_ai),
            ("claude", of_claude),
            ("mcp", of_mcp),
            ("mcp_server", of_mcp_server),
            ("clients", of_clients),
            ("clients_stream", of_client_streams),
        ):
            hand = HANDS.get(name, by_hand)
            adapter, usage = make(log)
            compare(name, functools.partial(hand, log, usage), adapter, rounds)
        provider.shutdown()


def compare(name: str, hand: Callable[[], None], adapter: Callable[[], None], rounds: int) -> None:
    """Print one row."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for taken, run in zip(times, (hand, adapter), strict=True):
            begun = time.process_time_ns()
            for _ in range(RUNS):
                run()
            if turn:  # the first one warms up
                taken.append((time.process_time_ns() - begun) / RUNS / 1000)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    first, second = (statistics.median(taken) for taken in times)
    print(f"{name:16}{first:10.0f}{second:10.0f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
