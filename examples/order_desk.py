"""Two agents of OpenAI's Agents SDK, recorded with one line: a hand-off, a failing tool, and an approval.

    pip install 'wakelog[openai-agents]'
    python examples/order_desk.py /tmp/desk
    wakelog show /tmp/desk

The model is scripted, so that no network is needed; with `model="gpt-5"` it is OpenAI's. With `--crash`
the process is killed inside the refund, and `wakelog show` shows the call as `unknown`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

try:
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
    )
except ImportError as error:
    raise SystemExit(f"{error}: pip install 'wakelog[openai-agents]'") from None

import wakelog
from wakelog.integrations import openai_agents

CRASH = False


@function_tool
async def lookup(order: str) -> str:
    """Look up an order."""
    if not order.isdigit():
        raise ValueError(f"{order} is no number of an order")
    return "paid by card on Monday, not delivered"


@function_tool(needs_approval=True)
async def refund(order: str) -> str:
    """Refund an order."""
    if CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{order} is refunded"


class Script(Model):
    """A model with scripted responses."""

    model = "scripted"

    def __init__(self, *turns: Any) -> None:
        self._turns = list(turns)

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        """Return the next scripted turn."""
        usage = Usage(requests=1, input_tokens=120, output_tokens=20, total_tokens=140)
        return ModelResponse(output=[self._turns.pop(0)], usage=usage, response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        """Raise an error, because this program does not stream."""
        raise NotImplementedError


def call(call_id: str, tool: str, **arguments: str) -> ResponseFunctionToolCall:
    """Create a turn that calls a tool."""
    return ResponseFunctionToolCall(
        type="function_call", call_id=call_id, name=tool, arguments=json.dumps(arguments)
    )


def say(text: str) -> ResponseOutputMessage:
    """Create a turn with a text."""
    part = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id="m", type="message", role="assistant", status="completed", content=[part]
    )


async def serve(question: str) -> str:
    """Answer a customer."""
    model = Script(
        call("c1", "lookup", order="order 4711"),
        call("c2", "lookup", order="4711"),
        call("c3", "transfer_to_clerk"),
        call("c4", "refund", order="4711"),
        say("Your money is on its way."),
    )
    clerk = Agent(name="clerk", instructions="Refund.", model=model, tools=[refund])
    desk = Agent(
        name="desk", instructions="Look orders up.", model=model, tools=[lookup], handoffs=[clerk]
    )
    config = RunConfig(workflow_name="orders")
    result = await Runner.run(desk, question, run_config=config)
    while result.interruptions:  # a person has to approve; this program always approves
        state = result.to_state()
        for waiting in result.interruptions:
            state.approve(waiting)
        result = await Runner.run(desk, state, run_config=config)
    return str(result.final_output)


def main() -> None:
    """Serve one customer."""
    global CRASH  # noqa: PLW0603 - of a program of one page
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", help="of the journal")
    parser.add_argument("--crash", action="store_true", help="kill the process inside the refund")
    given = parser.parse_args()
    CRASH = given.crash
    # OpenAI's own tracing would send to OpenAI. If it is on, it also reports that a tool has failed.
    set_trace_processors([])
    wakelog.configure("order-desk", directory=given.directory)
    openai_agents.install()
    print(asyncio.run(serve("I want my money for 4711 back.")))


if __name__ == "__main__":
    main()
