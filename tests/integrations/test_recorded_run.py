"""A recorded run as a test double: the program that made it gets the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, APITimeoutError, AsyncAnthropic
from openai import AsyncOpenAI, InternalServerError, OpenAI, RateLimitError

from tests.support.golden import Recorded
from tests.support.journaled import Journaled
from tests.support.model_server import (
    CALL,
    Script,
    anthropic_events,
    anthropic_message,
    chunks,
    completion,
    model_server,
    response,
)
from wakelog import AgentLogger
from wakelog.events import EVENT_TYPES
from wakelog.integrations import clients
from wakelog.integrations._recorded_answer import ModelAnswer
from wakelog.integrations._recorded_client import _response_events
from wakelog.integrations.testing import RecordedError, RecordedRun, UnrecordedCallError

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

    with pytest.raises(UnrecordedCallError) as failed:
        double.tool(lookup)("9")

    assert str(failed.value).startswith(
        "tool_call lookup is not as in the record: its argument order differs\n"
        '  recorded: "7"\n  asked:    "9"\nleft are\n  model_call scripted'
    )
    assert 'tool_call lookup {"order": "7"}' in str(failed.value)
    with pytest.raises(UnrecordedCallError, match="no more model_call other"):
        double.model("other")
    messages: Any = [{"role": "user", "content": "now?"}]
    with (
        OpenAI(api_key="k", base_url=NOWHERE) as client,
        pytest.raises(UnrecordedCallError, match=r"message 1 differs[^!]*now\?"),
    ):
        double.client(client).chat.completions.create(model="scripted", messages=messages)
    with (
        OpenAI(api_key="k", base_url=NOWHERE) as client,
        pytest.raises(UnrecordedCallError, match="POST /embeddings cannot be answered"),
    ):
        double.client(client).embeddings.create(model="e", input="order")
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
        for _ in range(2):
            with pytest.raises(RuntimeError), journaled.log.model("scripted", "openai", "hi"):
                raise _OverloadedError(1, 2)
    double = RecordedRun.load(journaled.directory)

    async def search(q: str) -> list[str]:
        raise NotImplementedError

    async def main() -> None:
        assert await double.tool(search)("x") == ["a", "b"]
        async with AsyncOpenAI(api_key="k", base_url=NOWHERE) as client:
            messages: Any = [{"role": "user", "content": "hi"}]
            with pytest.raises(InternalServerError, match="_OverloadedError"):
                await double.client(client).chat.completions.create(
                    model="scripted", messages=messages
                )

    asyncio.run(main())
    with pytest.raises(RecordedError, match="_OverloadedError"):
        double.model("scripted", "hi")
    assert double.remaining == []


class _OverloadedError(RuntimeError):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(first, second)


HELLO: list[Any] = [{"role": "user", "content": "hello"}]
CALLING = {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"order": "7"}}


def chat(client: Any) -> Any:
    stream = client.chat.completions.create(model="scripted", messages=HELLO, stream=True)
    return "".join(one.choices[0].delta.content or "" for one in stream if one.choices)


def chat_helper(client: Any) -> Any:
    with client.chat.completions.stream(model="scripted", messages=HELLO) as stream:
        stream.until_done()
        return stream.get_final_completion().choices[0].message.content


def raw_chat(client: Any) -> Any:
    raw = client.chat.completions.with_raw_response.create(model="scripted", messages=HELLO)
    return raw.parse().choices[0].message.tool_calls[0].function.arguments


def other_options(client: Any) -> Any:
    asking = client.with_options(timeout=3)
    return asking.responses.create(model="scripted", input="hello").output_text


def responses(client: Any) -> Any:
    stream = client.responses.create(model="scripted", input="hello", stream=True)
    return "".join(one.delta for one in stream if one.type == "response.output_text.delta")


def responses_helper(client: Any) -> Any:
    with client.responses.stream(model="scripted", input="hello") as stream:
        return stream.until_done().get_final_response().output_text


ASKED: dict[str, Any] = {"model": "scripted", "max_tokens": 9, "messages": HELLO}


def messages(client: Any) -> Any:
    stream = client.messages.create(**ASKED, stream=True, system="be brief")
    return "".join(one.delta.text for one in stream if one.type == "content_block_delta")


def messages_helper(client: Any) -> Any:
    with client.messages.stream(**ASKED, system=[{"type": "text", "text": "be brief"}]) as stream:
        return stream.get_final_text()


def beta_messages(client: Any) -> Any:
    said = client.beta.messages.create(**ASKED)
    return said.content[0].input, said.stop_reason


OPENAI: list[tuple[Any, Any]] = [
    (chat, chunks("On ", "its way")),
    (chat_helper, chunks("On ", "its way")),
    (raw_chat, completion(None, [CALL])),
    (responses, None),
    (responses_helper, None),
]
ANTHROPIC: list[tuple[Any, Any]] = [
    (messages, anthropic_events("On ", "its way")),
    (messages_helper, anthropic_events("On ", "its way")),
    (beta_messages, anthropic_message(CALLING, reason="tool_use")),
]


@pytest.mark.parametrize(
    "ask, answer", [*OPENAI, *ANTHROPIC], ids=lambda one: getattr(one, "__name__", "")
)
def test_each_interface_of_the_clients_is_answered(
    ask: Any, answer: Any, script: Script, journaled: Journaled
) -> None:
    kind: Any = Anthropic if (ask, answer) in ANTHROPIC else OpenAI
    script.answers = [response_events() if answer is None else answer]
    with kind(api_key="k", base_url=script.url, max_retries=0) as client:
        first = ask(clients.record(client, journaled.log))
    double = RecordedRun.load(journaled.directory)

    again = Recorded()
    with kind(api_key="k", base_url=NOWHERE) as client:
        second = ask(clients.record(double.client(client), again.log))

    assert first == second
    assert double.remaining == []
    fields = ("output_messages", "input_tokens", "output_tokens", "finish_reasons", "response_id")
    [was] = [one for one in journaled.records() if one.event_name == "wakelog.model_response"]
    payload = again.events[-1].payload
    for name in fields:
        attribute = EVENT_TYPES["model_response"].payload[name]
        assert payload.get(name) == was.attributes.get(attribute), name


def response_events() -> list[Any]:
    return list(
        _response_events(ModelAnswer("On its way", [], "completed", 12, 3, "r-3", "scripted-1"))
    )


def test_what_a_client_raised_it_raises_again_and_asks_once(
    script: Script, journaled: Journaled
) -> None:
    script.answers = [429]
    with OpenAI(api_key="k", base_url=script.url, max_retries=0) as client:
        clients.record(client, journaled.log)
        with pytest.raises(RateLimitError):
            other_options(client.with_options())  # this copy is not recorded
        script.answers = [429]
        with pytest.raises(RateLimitError):
            client.responses.create(model="scripted", input="hello")
    with pytest.raises(APITimeoutError), journaled.log.model("slow", "anthropic", "hello"):
        raise APITimeoutError(request=Any)  # type: ignore[arg-type] # it is only kept
    double = RecordedRun.load(journaled.directory)

    async def slow() -> None:
        async with AsyncAnthropic(api_key="k", base_url=NOWHERE) as client:
            await double.client(client).messages.create(**{**ASKED, "model": "slow"})

    with (
        OpenAI(api_key="k", base_url=NOWHERE, max_retries=3) as client,
        pytest.raises(RateLimitError),
    ):
        other_options(double.client(client).with_options(max_retries=3))
    with pytest.raises(APITimeoutError):
        asyncio.run(slow())
    assert double.remaining == []


@pytest.mark.parametrize("kind", [OpenAI, Anthropic])
def test_a_stream_that_was_abandoned_ends_where_it_was(
    kind: Any, script: Script, journaled: Journaled
) -> None:
    texts = "On ", "its way"
    script.answers = [chunks(*texts) if kind is OpenAI else anthropic_events(*texts)]

    def ask(client: Any) -> Any:
        if kind is OpenAI:
            return client.chat.completions.create(model="scripted", messages=HELLO, stream=True)
        return client.messages.create(**ASKED, stream=True)

    with kind(api_key="k", base_url=script.url) as client:
        stream = ask(clients.record(client, journaled.log))
        for event in stream:
            if "On " in str(event):
                break
        stream.close()
    double = RecordedRun.load(journaled.directory)

    read: list[Any] = []
    with (
        kind(api_key="k", base_url=NOWHERE) as client,
        pytest.raises(UnrecordedCallError, match="abandoned here in the record"),
    ):
        read.extend(ask(double.client(client)))

    assert "On " in str(read[-1])
    assert "its way" not in str(read)


def test_calls_of_many_threads_are_answered_once_each(journaled: Journaled) -> None:
    with journaled.log.run(agent="clerk"):
        for number in range(40):
            with journaled.log.tool("search", {"q": number}) as tool:
                tool.result(-number)
    double = RecordedRun.load(journaled.directory)

    def search(q: int) -> int:
        raise NotImplementedError

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(double.tool(search), range(40))) == [-n for n in range(40)]
    assert double.remaining == []
