"""The golden conversation with Pydantic AI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, ModelRetry
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

from tests.support.golden import CLERK, DESK, LOOKUP, MODEL, REFUND, effect
from wakelog import AgentLogger
from wakelog.integrations.pydantic_ai import WakelogCapability


def _call(name: str, call_id: str) -> ModelResponse:
    return ModelResponse(parts=[ToolCallPart(name, {"order": "7"}, call_id)])


async def scenario(log: AgentLogger) -> None:
    turns = [
        _call(LOOKUP, "c1"),
        _call(LOOKUP, "c2"),
        ModelResponse(parts=[TextPart("to the clerk")]),
        _call(REFUND, "c4"),
        ModelResponse(parts=[TextPart("Your money is on its way.")]),
    ]

    async def answer(messages: Any, info: Any) -> ModelResponse:
        effect(MODEL)
        return turns.pop(0)

    async def stream(messages: Any, info: Any) -> AsyncIterator[str]:
        effect(MODEL)
        yield "Once"
        await asyncio.Event().wait()

    model = FunctionModel(answer, stream_function=stream, model_name=MODEL)
    capability = WakelogCapability(log)
    desk: Any = Agent(model, name=DESK, capabilities=[capability])
    clerk: Any = Agent(
        model, name=CLERK, capabilities=[capability], output_type=[str, DeferredToolRequests]
    )
    attempts = []

    @desk.tool_plain(name=LOOKUP)
    async def lookup(order: str) -> str:
        """Looks an order up."""
        effect(LOOKUP)
        attempts.append(order)
        if len(attempts) == 1:
            raise ModelRetry("no such order")
        return "paid"

    @clerk.tool_plain(name=REFUND, requires_approval=True)
    async def refund(order: str) -> str:
        """Gives the money back."""
        effect(REFUND)
        return "refunded"

    await desk.run("I want my money back.")
    asked = await clerk.run("The order is paid.")
    approved = DeferredToolResults(
        approvals={call.tool_call_id: True for call in asked.output.approvals}
    )
    await clerk.run(message_history=asked.all_messages(), deferred_tool_results=approved)

    async with clerk.run_stream("Tell me more.") as more:
        async for _ in more.stream_text(debounce_by=None):
            break
