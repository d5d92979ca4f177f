"""The clients of OpenAI and Anthropic: what they ask and are answered is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import ToolUseBlock
from openai import AsyncOpenAI, AsyncStream, InternalServerError, OpenAI, Stream
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from tests.support.golden import Recorded
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
from wakelog.integrations import clients

ASKED: list[Any] = [{"role": "user", "content": "Where is my order?"}]
PARTS = [{"type": "text", "content": "Where is my order?"}]


@pytest.fixture
def script() -> Iterator[Script]:
    with model_server() as script:
        yield script


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def openai(script: Script, recorded: Recorded) -> Iterator[OpenAI]:
    with OpenAI(api_key="k", base_url=script.url, max_retries=0) as client:
        yield clients.record(client, recorded.log)


@pytest.fixture
def anthropic(script: Script, recorded: Recorded) -> Iterator[Anthropic]:
    with Anthropic(api_key="k", base_url=script.url, max_retries=0) as client:
        yield clients.record(client, recorded.log)


def answered(recorded: Recorded) -> Any:
    """Returns the payload of the one response."""
    asked, said = recorded.events
    assert (asked.event_type, said.event_type) == ("model_call", "model_response")
    assert asked.payload["input_messages"] == [{"role": "user", "parts": PARTS}]
    assert said.parent_event_id == asked.event_id
    return said


def test_a_chat_completion_with_a_tool_call(
    script: Script, openai: OpenAI, recorded: Recorded
) -> None:
    script.answers = [completion(None, [CALL])]

    openai.chat.completions.create(model="scripted", messages=ASKED, temperature=0.2)

    said = answered(recorded)
    assert said.payload["output_messages"] == [
        {
            "role": "assistant",
            "parts": [
                {"type": "tool_call", "id": "c1", "name": "lookup", "arguments": {"order": "7"}}
            ],
            "finish_reason": "tool_calls",
        }
    ]
    assert (said.payload["input_tokens"], said.payload["output_tokens"]) == (12, 3)
    assert said.payload["finish_reasons"] == ["tool_calls"]
    assert (said.payload["response_id"], said.payload["response_model"]) == ("r-1", "scripted-1")
    assert recorded.events[0].payload["temperature"] == 0.2
    assert recorded.spans() == [(0, "chat scripted")]


def test_the_call_is_recorded_before_it_is_made(
    script: Script, openai: OpenAI, recorded: Recorded
) -> None:
    script.answers = [500]
    before: list[str] = []
    script.when_asked = lambda: before.extend(event.event_type for event in recorded.events)

    with pytest.raises(InternalServerError):
        openai.chat.completions.create(model="scripted", messages=ASKED)

    assert before == ["model_call"]
    assert answered(recorded).status == "error"
    assert answered(recorded).payload["error_type"] == "openai.InternalServerError"


def test_a_stream_is_put_together(script: Script, openai: OpenAI, recorded: Recorded) -> None:
    script.answers = [chunks("On ", "its way")]

    stream = openai.chat.completions.create(model="scripted", messages=ASKED, stream=True)
    assert isinstance(stream, Stream)
    texts = [chunk.choices[0].delta.content for chunk in stream]

    assert texts == ["On ", "its way", None]
    said = answered(recorded)
    assert said.status == "success"
    assert said.payload["output_messages"][0]["parts"] == [
        {"type": "text", "content": "On its way"}
    ]
    assert said.payload["input_tokens"] == 12
    assert said.payload["time_to_first_chunk"] > 0


@pytest.mark.parametrize("how", ["closed", "left", "dropped"])
def test_an_abandoned_stream_ends_as_such(
    how: str, script: Script, openai: OpenAI, recorded: Recorded
) -> None:
    script.answers = [chunks("On ", "its way"), response("yes")]

    stream = openai.chat.completions.create(model="scripted", messages=ASKED, stream=True)
    if how == "left":
        with stream:
            next(stream)
    else:
        next(stream)
    if how == "closed":
        stream.close()
    stream.response.close()
    del stream
    if how == "dropped":
        openai.responses.create(model="scripted", input="and?")
        del recorded.events[2:]

    said = answered(recorded)
    assert said.status == "cancelled"
    assert said.payload["output_messages"][0]["parts"] == [{"type": "text", "content": "On "}]


def test_a_response_and_the_stream_of_one(
    script: Script, openai: OpenAI, recorded: Recorded
) -> None:
    done = response("on its way")
    delta = {"type": "response.output_text.delta", "delta": "on", "item_id": "m"}
    numbers = {"output_index": 0, "content_index": 0, "sequence_number": 1, "logprobs": []}
    completed = {"type": "response.completed", "response": done, "sequence_number": 2}
    script.answers = [done, [{**delta, **numbers}, completed]]

    openai.responses.create(model="scripted", input="Where?", instructions="be brief")
    for _ in openai.responses.create(model="scripted", input="Where?", stream=True):
        pass

    first, second = (e for e in recorded.events if e.event_type == "model_response")
    parts = [{"type": "text", "content": "on its way"}]
    for event in (first, second):
        assert event.payload["output_messages"] == [{"role": "assistant", "parts": parts}]
        assert event.payload["input_tokens"] == 12
        assert event.status == "success"
    assert recorded.events[0].payload["system_instructions"] == "be brief"


def test_embeddings(script: Script, openai: OpenAI, recorded: Recorded) -> None:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    script.answers = [{"object": "list", "model": "e-1", "data": [vector], "usage": usage}]

    openai.embeddings.create(model="e", input="order", encoding_format="float")

    assert recorded.events[1].payload["input_tokens"] == 2
    assert recorded.spans() == [(0, "embeddings e")]


def test_a_raw_response_is_handed_on(script: Script, openai: OpenAI, recorded: Recorded) -> None:
    script.answers = [completion("yes")]

    raw = openai.chat.completions.with_raw_response.create(model="scripted", messages=ASKED)

    assert raw.parse().choices[0].message.content == "yes"
    assert answered(recorded).status == "success"


def test_anthropic_with_a_tool_call(
    script: Script, anthropic: Anthropic, recorded: Recorded
) -> None:
    block = {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"order": "7"}}
    script.answers = [anthropic_message(block, reason="tool_use")]

    anthropic.messages.create(model="scripted", max_tokens=9, messages=ASKED, system="be brief")

    said = answered(recorded)
    assert said.payload["output_messages"][0]["parts"] == [
        {"type": "tool_call", "id": "c1", "name": "lookup", "arguments": {"order": "7"}}
    ]
    assert said.payload["finish_reasons"] == ["tool_use"]
    assert said.payload["input_tokens"] == 12
    assert recorded.events[0].payload["system_instructions"] == "be brief"
    assert recorded.events[0].payload["max_tokens"] == 9


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("helper", [True, False])
def test_a_stream_of_anthropic(
    whole: bool, helper: bool, script: Script, anthropic: Anthropic, recorded: Recorded
) -> None:
    script.answers = [anthropic_events("On ", "its way")]
    asked: Any = {"model": "scripted", "max_tokens": 9, "messages": ASKED}

    manager: Any = (
        anthropic.messages.stream(**asked)
        if helper
        else anthropic.messages.create(**asked, stream=True)
    )
    with manager as stream:
        for event in stream:
            if not whole and event.type == "content_block_delta":
                break

    said = answered(recorded)
    assert said.status == ("success" if whole else "cancelled")
    text = "On its way" if whole else "On "
    assert said.payload["output_messages"][0]["parts"] == [{"type": "text", "content": text}]
    if whole:
        assert (said.payload["input_tokens"], said.payload["output_tokens"]) == (12, 3)


def test_the_async_clients(script: Script, recorded: Recorded) -> None:
    script.answers = [chunks("yes"), chunks("yes"), anthropic_message(), anthropic_events("yes")]

    async def main() -> None:
        async with (
            AsyncOpenAI(api_key="k", base_url=script.url) as openai,
            AsyncAnthropic(api_key="k", base_url=script.url) as anthropic,
        ):
            clients.record(openai, recorded.log)
            clients.record(anthropic, recorded.log)
            stream = await openai.chat.completions.create(
                model="scripted", messages=ASKED, stream=True
            )
            assert isinstance(stream, AsyncStream)
            async for _ in stream:
                pass
            async with await openai.chat.completions.create(
                model="scripted", messages=ASKED, stream=True
            ) as stream:
                await anext(stream)
            asked: Any = {"model": "scripted", "max_tokens": 9, "messages": ASKED}
            await anthropic.messages.create(**asked)
            async with anthropic.messages.stream(**asked) as answers:
                async for _ in answers:
                    pass

    asyncio.run(main())

    assert [e.status for e in recorded.events if e.event_type == "model_response"] == [
        "success",
        "cancelled",
        "success",
        "success",
    ]


def test_what_is_asked_inside_a_run_belongs_to_it(
    script: Script, openai: OpenAI, recorded: Recorded
) -> None:
    script.answers = [completion("yes")]

    with recorded.log.run(agent="clerk"):
        openai.chat.completions.create(model="scripted", messages=ASKED)

    assert recorded.events[1].agent_name == "clerk"
    assert recorded.spans() == [(0, "invoke_agent clerk"), (1, "chat scripted")]


def test_what_cannot_be_recorded_is_counted_and_the_call_is_made(script: Script) -> None:
    script.answers = [completion("yes")]
    with OpenAI(api_key="k", base_url=script.url) as client:
        clients.record(client, AgentLogger(sink=Refusing()))

        answer = client.chat.completions.create(model="scripted", messages=ASKED)

        assert answer.choices[0].message.content == "yes"
        refused: Any = client
        assert refused.wakelog_refused == {"SinkError": 1}


class Refusing:
    def write(self, event: Any) -> None:
        raise OSError("no space left on device")


def test_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="dict is no client"):
        clients.record({})


TEXT = {"type": "text", "content": "On its way."}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
CALLED = {"type": "tool_call", "id": "c1", "name": "lookup", "arguments": {"order": "7"}}
THOUGHT = {"type": "reasoning", "content": "first\nthen"}


@pytest.mark.parametrize(
    "given, role, parts",
    [
        (
            {"role": "tool", "tool_call_id": "c1", "content": "paid"},
            "tool",
            [{"type": "tool_call_response", "id": "c1", "response": "paid"}],
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "On its way."}, IMAGE]},
            "user",
            [TEXT, IMAGE],
        ),
        ({"role": "assistant", "refusal": "On its way."}, "assistant", [TEXT]),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "On its way."}]},
            "assistant",
            [TEXT],
        ),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, "assistant", [CALLED]),
        (
            # A program passes on what the model answered, in the client's own classes.
            {
                "role": "assistant",
                "tool_calls": [ChatCompletionMessageFunctionToolCall.model_validate(CALL)],
            },
            "assistant",
            [CALLED],
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c2", "type": "custom", "custom": {"name": "code", "input": "{x"}}
                ],
            },
            "assistant",
            [{"type": "tool_call", "id": "c2", "name": "code", "arguments": "{x"}],
        ),
    ],
)
def test_each_form_of_a_message_of_a_chat_is_recorded(
    given: Any, role: str, parts: Any, script: Script, openai: OpenAI, recorded: Recorded
) -> None:
    script.answers = [completion("yes")]

    openai.chat.completions.create(model="scripted", messages=[given])

    assert recorded.events[0].payload["input_messages"] == [{"role": role, "parts": parts}]


@pytest.mark.parametrize(
    "given, role, part",
    [
        ({"role": "user", "content": "On its way."}, "user", TEXT),
        (
            {
                "type": "function_call",
                "call_id": "c1",
                "name": "lookup",
                "arguments": '{"order":"7"}',
            },
            "assistant",
            CALLED,
        ),
        (
            {"type": "function_call_output", "call_id": "c1", "output": "paid"},
            "tool",
            {"type": "tool_call_response", "id": "c1", "response": "paid"},
        ),
        (
            {
                "type": "reasoning",
                "id": "r",
                "summary": [
                    {"type": "summary_text", "text": "first"},
                    {"type": "summary_text", "text": "then"},
                ],
            },
            "assistant",
            THOUGHT,
        ),
        (
            {
                "type": "reasoning",
                "id": "r",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "first\nthen"}],
            },
            "assistant",
            THOUGHT,
        ),
        (
            {"type": "item_reference", "id": "m"},
            "assistant",
            {"type": "item_reference", "id": "m"},
        ),
    ],
)
def test_each_form_of_an_item_of_a_response_is_recorded(
    given: Any, role: str, part: Any, script: Script, openai: OpenAI, recorded: Recorded
) -> None:
    script.answers = [response("yes")]

    openai.responses.create(model="scripted", input=[given])

    assert recorded.events[0].payload["input_messages"] == [{"role": role, "parts": [part]}]


def test_each_form_of_a_block_of_anthropic_is_recorded(
    script: Script, anthropic: Anthropic, recorded: Recorded
) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    script.answers = [anthropic_message({"type": "text", "text": "yes"})]

    anthropic.messages.create(
        model="scripted",
        max_tokens=9,
        system=[{"type": "text", "text": "On its way."}],
        messages=[
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "first\nthen", "signature": "s"},
                    # As a program passes on what the model answered.
                    ToolUseBlock(type="tool_use", id="c1", name="lookup", input={"order": "7"}),
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "paid"},
                    {
                        "type": "image",
                        "source": {"type": "url", "url": "https://example.com/a.png"},
                    },
                ],
            },
        ],
    )

    asked = recorded.events[0].payload
    assert asked["system_instructions"] == [TEXT]
    assert asked["input_messages"] == [
        {"role": "assistant", "parts": [THOUGHT, CALLED]},
        {
            "role": "user",
            "parts": [{"type": "tool_call_response", "id": "c1", "response": "paid"}, image],
        },
    ]
