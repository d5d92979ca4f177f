"""The golden conversation with OpenAI's Agents SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
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
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
)

from tests.support.golden import CLERK, DESK, LOOKUP, MODEL, REFUND, WORKFLOW, effect
from wakelog import AgentLogger
from wakelog.integrations import openai_agents


def _call(name: str, call_id: str) -> Any:
    arguments = json.dumps({} if name.startswith("transfer") else {"order": "7"})
    return ResponseFunctionToolCall(
        arguments=arguments, call_id=call_id, name=name, type="function_call"
    )


def _said(text: str) -> Any:
    part = ResponseOutputText(text=text, type="output_text", annotations=[])
    return ResponseOutputMessage(
        id="m", content=[part], role="assistant", status="completed", type="message"
    )


class Scripted(Model):
    model = MODEL

    def __init__(self, *turns: Any) -> None:
        self._turns = list(turns)

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        effect(MODEL)
        usage = Usage(requests=1, input_tokens=12, output_tokens=3, total_tokens=15)
        return ModelResponse(output=[self._turns.pop(0)], usage=usage, response_id="r")

    async def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        effect(MODEL)
        yield ResponseTextDeltaEvent(
            content_index=0,
            delta="Once",
            item_id="m",
            logprobs=[],
            output_index=0,
            sequence_number=1,
            type="response.output_text.delta",
        )
        await asyncio.Event().wait()


async def scenario(log: AgentLogger) -> None:
    set_trace_processors([])  # nothing is sent to OpenAI
    openai_agents.install(log)
    try:
        await _scenario()
    finally:
        openai_agents.uninstall()


async def _scenario() -> None:
    attempts = []

    @function_tool(name_override=LOOKUP)
    async def lookup(order: str) -> str:
        """Looks an order up."""
        effect(LOOKUP)
        attempts.append(order)
        if len(attempts) == 1:
            raise LookupError(order)
        return "paid"

    @function_tool(name_override=REFUND, needs_approval=True)
    async def refund(order: str) -> str:
        """Gives the money back."""
        effect(REFUND)
        return "refunded"

    model = Scripted(
        _call(LOOKUP, "c1"),
        _call(LOOKUP, "c2"),
        _call(f"transfer_to_{CLERK}", "c3"),
        _call(REFUND, "c4"),
        _said("Your money is on its way."),
    )
    clerk = Agent(name=CLERK, model=model, tools=[refund])
    desk = Agent(name=DESK, model=model, tools=[lookup], handoffs=[clerk])
    config = RunConfig(workflow_name=WORKFLOW)

    result = await Runner.run(desk, "I want my money back.", run_config=config)
    state = result.to_state()
    for waiting in result.interruptions:
        state.approve(waiting)
    await Runner.run(desk, state, run_config=config)

    stream = Runner.run_streamed(clerk, "Tell me more.", run_config=config)
    async for event in stream.stream_events():
        if event.type == "raw_response_event":
            stream.cancel()
