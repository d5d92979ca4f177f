"""A recorded run as a test double: the program that made it gets the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from openai import AsyncOpenAI, OpenAI

from tests.support.golden import Recorded
from tests.support.journaled import Journaled
from tests.support.model_server import (
    CALL,
    Script,
    anthropic_message,
    chunks,
    completion,
    model_server,
    response,
)
from wakelog import AgentLogger
from wakelog.integrations import clients
from wakelog.integrations.testing import RecordedError, RecordedRun

NOWHERE = "http://127.0.0.1:9"  # nothing answers there


@pytest.fixture
def script() -> Iterator[Script]:
    with model_server() as script:
        yield script


@pytest.fixture
def journaled(tmp_path: Path) -> Iterator[Journaled]:
    journaled = Journaled(tmp_path / "journal")
    yield journaled
    journaled.close()


def lookup(order: str) -> str:
    if order == "8":
        raise LookupError(order)
    return f"{order} is paid, says ann@example.com"


def agent(log: AgentLogger, client: OpenAI, lookup: Any = lookup) -> list[Any]:
    """A program: it asks a model, calls the tool that the model asks for, and asks again."""
    clients.record(client, log)
    messages: list[Any] = [{"role": "user", "content": "Where is my order?"}]
    results: list[Any] = []
    with log.run("where", agent="clerk"):
        asked = client.chat.completions.create(model="scripted", messages=messages)
        [call] = asked.choices[0].message.tool_calls or []
        for order in ("7", "8"):
            try:
                with log.tool("lookup", {"order": order}, call_id=call.id) as tool:
                    results.append(tool.result(lookup(order)))
            except LookupError as error:
                results.append(type(error))
        messages.append({"role": "assistant", "content": "It is paid."})
        for chunk in client.chat.completions.create(
            model="scripted", messages=messages, stream=True
        ):
            results += [one.delta.content for one in chunk.choices if one.delta.content]
        results.append(client.responses.create(model="scripted", input="Thanks").output_text)
    return results


def test_the_program_that_made_a_record_gets_its_answers_again(
    script: Script, journaled: Journaled
) -> None:
    script.answers = [
        completion(None, [CALL]),
        chunks("On ", "its way."),
        response("You are welcome"),
    ]
    with OpenAI(api_key="k", base_url=script.url) as client:
        first = agent(journaled.log, client)
    run_id = str(journaled.records()[0].attributes["wakelog.run.id"])

    double, again = RecordedRun.load(journaled.directory, run_id), Recorded()
    with OpenAI(api_key="k", base_url=NOWHERE, max_retries=0) as client:
        second = agent(again.log, double.client(client), double.tool(lookup))

    assert double.remaining == []
    assert first == [
        "7 is paid, says ann@example.com",
        LookupError,
        "On ",
        "its way.",
        "You are welcome",
    ]
    assert second == ["7 is paid, says [REDACTED]", LookupError, "On its way.", "You are welcome"]
    assert [event.event_type for event in again.events] == [
        str(record.event_name).removeprefix("wakelog.") for record in journaled.records()
    ]
    answers = [e for e in again.events if e.event_type == "model_response"]
    assert [event.payload["input_tokens"] for event in answers] == [12, 12, 12]
    assert answers[0].payload["response_id"] == "r-1"


def test_a_call_that_is_not_in_the_record_says_what_is(
    script: Script, journaled: Journaled
) -> None:
    script.answers = [completion(None, [CALL]), chunks("yes"), response("yes")]
    with OpenAI(api_key="k", base_url=script.url) as client:
        agent(journaled.log, client)
    double = RecordedRun.load(journaled.directory)

    with pytest.raises(
        AssertionError, match=r"no more tool_call lookup \{'order': '9'\}; left are"
    ) as failed:
        double.tool(lookup)("9")

    assert "tool_call lookup {'order': '7'}" in str(failed.value)
    with pytest.raises(AssertionError, match="no more model_call other"):
        double.model("other")
    assert len(double.remaining) == 5
    with pytest.raises(LookupError, match="no run nobody"):
        RecordedRun.load(journaled.directory, "nobody")


def test_messages_may_differ_where_that_is_asked_for(script: Script, journaled: Journaled) -> None:
    script.answers = [anthropic_message({"type": "text", "text": "yes"})]
    asked: Any = {"model": "scripted", "max_tokens": 9}
    with Anthropic(api_key="k", base_url=script.url) as client:
        clients.record(client, journaled.log)
        client.messages.create(messages=[{"role": "user", "content": "now?"}], **asked)

    double = RecordedRun.load(journaled.directory, messages=False)
    with Anthropic(api_key="k", base_url=NOWHERE, max_retries=0) as client:
        answer: Any = double.client(client).messages.create(
            messages=[{"role": "user", "content": "at 12:04?"}], **asked
        )

    assert answer.content[0].text == "yes"
    assert answer.usage.input_tokens == 12


def test_async_tools_and_clients(journaled: Journaled) -> None:
    with journaled.log.run(agent="clerk"):
        with journaled.log.tool("search", {"q": "x"}) as tool:
            tool.result(["a", "b"])
        with pytest.raises(RuntimeError), journaled.log.model("scripted", "openai", "hi"):
            raise _OverloadedError
    double = RecordedRun.load(journaled.directory)

    async def search(q: str) -> list[str]:
        raise NotImplementedError

    async def main() -> None:
        assert await double.tool(search)("x") == ["a", "b"]
        async with AsyncOpenAI(api_key="k", base_url=NOWHERE) as client:
            messages: Any = [{"role": "user", "content": "hi"}]
            with pytest.raises(RecordedError, match="_OverloadedError"):
                await double.client(client).chat.completions.create(
                    model="scripted", messages=messages
                )

    asyncio.run(main())
    assert double.remaining == []


class _OverloadedError(RuntimeError):
    pass
