"""A run that asks models through the clients of OpenAI and Anthropic: whole, as streams, and as one that is left."""

from __future__ import annotations

from typing import Any

from anthropic import AsyncAnthropic
from openai import OpenAI

from tests.support.golden import CLERK, MODEL
from tests.support.model_server import (
    CALL,
    anthropic_events,
    chunks,
    completion,
    model_server,
    response,
)
from wakelog import AgentLogger
from wakelog.integrations import clients

ASKED: list[Any] = [{"role": "user", "content": "Where is my order?"}]


async def scenario(log: AgentLogger) -> None:
    with model_server() as script, OpenAI(api_key="k", base_url=script.url) as openai:
        script.answers = [
            completion(None, [CALL]),
            chunks("On ", "its ", "way"),
            response("yes"),
            500,
            anthropic_events("On ", "its way"),
            chunks("Once", " upon"),
        ]
        asking = clients.record(openai, log).chat.completions
        with log.run(agent=CLERK):
            asking.create(model=MODEL, messages=ASKED)
            for _ in asking.create(model=MODEL, messages=ASKED, stream=True):
                pass
            openai.responses.create(model=MODEL, input="and?")
            # The client asks again by itself: one call.
            async with AsyncAnthropic(api_key="k", base_url=script.url) as anthropic:
                clients.record(anthropic, log)
                given: Any = {"model": MODEL, "max_tokens": 9, "messages": ASKED}
                async with anthropic.messages.stream(**given) as stream:
                    async for _ in stream:
                        pass
            with asking.create(model=MODEL, messages=ASKED, stream=True) as left:
                next(left)
