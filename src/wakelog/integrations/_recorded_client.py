"""OpenAI's and Anthropic's HTTP APIs, answered from a record inside the process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeVar

from wakelog.integrations._messages import of_chat, of_items, parts_of
from wakelog.integrations._recorded_answer import (
    Call,
    ModelAnswer,
    Take,
    UnrecordedCallError,
    abandoned,
)
from wakelog.integrations.clients import provider_of

Client = TypeVar("Client")
Body = dict[str, Any]

_AT: Final = "recorded"  # stands for ids that are not in the record


class _Interface(NamedTuple):
    """One HTTP API of a provider.

    Attributes:
        path: The end of its URL path.
        given: The field of a request with the messages.
        system: The field with the instructions.
        read: Converts the messages to the conventions' form.
        whole: Returns the body of a response.
        events: Yields the events of a stream.
    """

    path: str
    given: str
    system: str
    read: Callable[[Any], Any]
    whole: Callable[[ModelAnswer], Body]
    events: Callable[[ModelAnswer], Iterator[Body]]


def answered_from(client: Client, take: Take) -> Client:
    """Return a copy of a client whose requests are answered from a record.

    Args:
        client: A client of OpenAI or Anthropic, sync or async.
        take: Returns the recorded call for a model, messages and instructions.

    Raises:
        TypeError: If the client is of another library.
    """
    if (package := provider_of(client)) is None:
        message = f"{type(client).__name__} is no client of OpenAI's or Anthropic's"
        raise TypeError(message)
    is_async = hasattr(client, "__aenter__")
    kind = f"Default{'Async' if is_async else ''}HttpxClient"
    http: Any = getattr(import_module(package), kind)
    # The HTTP library on which this version of the client is built.
    module = next(base.__module__ for base in http.__mro__ if base.__module__.startswith("httpx"))
    httpx: Any = import_module(module.partition(".")[0])
    wire = _Answering(httpx, take, is_async=is_async)
    asked: Any = client
    copy: Client = asked.with_options(
        http_client=http(transport=httpx.MockTransport(wire.answer)), max_retries=0
    )
    return copy


class _Answering:
    """Answers requests from a record."""

    def __init__(self, httpx: Any, take: Take, *, is_async: bool) -> None:
        self._httpx, self._take, self._is_async = httpx, take, is_async

    def answer(self, request: Any) -> Any:
        path = str(request.url.path)
        interface = next((one for one in _INTERFACES if path.endswith(one.path)), None)
        if interface is None:
            message = f"{request.method} {path} cannot be answered from a record"
            raise UnrecordedCallError(message)
        asked = json.loads(request.content)
        system = asked.get(interface.system)
        call = self._take(
            str(asked.get("model")),
            interface.read(asked.get(interface.given)),
            system if system is None or isinstance(system, str) else parts_of(system),
        )
        answer = ModelAnswer.of(call.name, call.answered)
        if call.was_cancelled and asked.get("stream"):
            return self._stream(_abandoned(interface.events(answer), call))
        if not call.succeeded:
            return self._failure(call, request)
        if asked.get("stream"):
            return self._stream(interface.events(answer))
        return self._httpx.Response(200, json=interface.whole(answer))

    def _failure(self, call: Call, request: Any) -> Any:
        kind = call.error_type
        named = "" if kind is None else kind.__name__
        if named == "APITimeoutError":
            raise self._httpx.ReadTimeout(call.failure, request=request)
        if named == "APIConnectionError":
            raise self._httpx.ConnectError(call.failure, request=request)
        status = getattr(kind, "status_code", None)
        said = {"type": named or "api_error", "message": call.failure}
        return self._httpx.Response(
            status if isinstance(status, int) else 500,
            headers={"x-should-retry": "false"},
            json={"type": "error", "error": said},
        )

    def _stream(self, events: Iterator[Body]) -> Any:
        lines = _lines_later(events) if self._is_async else _lines(events)
        kind = {"content-type": "text/event-stream"}
        return self._httpx.Response(200, headers=kind, content=lines)


def _lines(events: Iterator[Body]) -> Iterator[bytes]:
    for event in events:
        yield _line(event)


async def _lines_later(events: Iterator[Body]) -> AsyncIterator[bytes]:
    for event in events:
        yield _line(event)


def _line(event: Body) -> bytes:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def _abandoned(events: Iterator[Body], call: Call) -> Iterator[Body]:
    yield from (event for event in events if not _is_end(event))
    raise abandoned(call)


def _is_end(event: Body) -> bool:
    """Return whether an event completes the response or a part of it."""
    if "choices" in event:
        return not event["choices"] or event["choices"][0]["finish_reason"] is not None
    kind = event["type"]
    return bool(kind.endswith((".done", ".completed", "_stop")) or kind == "message_delta")


def _arguments(call: Mapping[str, Any]) -> str:
    return json.dumps(call.get("arguments"))


# Chat completions


def _tool_calls(answer: ModelAnswer) -> list[Body]:
    return [
        {
            "id": one.get("id"),
            "type": "function",
            "function": {"name": one["name"], "arguments": _arguments(one)},
        }
        for one in answer.calls
    ]


def _completion_usage(answer: ModelAnswer) -> Body:
    return {
        "prompt_tokens": answer.read,
        "completion_tokens": answer.written,
        "total_tokens": answer.read + answer.written,
    }


def _completion(answer: ModelAnswer) -> Body:
    said: Body = {"role": "assistant", "content": answer.text}
    if calls := _tool_calls(answer):
        said["tool_calls"] = calls
    reason = answer.reason or ("tool_calls" if answer.calls else "stop")
    return {
        "id": answer.response_id,
        "model": answer.model,
        "object": "chat.completion",
        "created": 0,
        "choices": [{"index": 0, "message": said, "finish_reason": reason}],
        "usage": _completion_usage(answer),
    }


def _chunks(answer: ModelAnswer) -> Iterator[Body]:
    def chunk(delta: Body, reason: str | None = None) -> Body:
        return {
            "id": answer.response_id,
            "model": answer.model,
            "object": "chat.completion.chunk",
            "created": 0,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }

    if answer.text is not None:
        yield chunk({"role": "assistant", "content": answer.text})
    for place, call in enumerate(_tool_calls(answer)):
        yield chunk({"role": "assistant", "tool_calls": [{"index": place, **call}]})
    yield chunk({}, answer.reason or ("tool_calls" if answer.calls else "stop"))
    yield {**chunk({}), "choices": [], "usage": _completion_usage(answer)}


# Responses


def _items(answer: ModelAnswer) -> Iterator[Body]:
    if answer.text is not None:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        about = {"id": _AT, "role": "assistant", "status": "completed"}
        yield {"type": "message", **about, "content": [part]}
    for one in answer.calls:
        yield {
            "type": "function_call",
            "id": f"fc_{one.get('id')}",
            "call_id": one.get("id"),
            "name": one["name"],
            "arguments": _arguments(one),
            "status": "completed",
        }


def _response(answer: ModelAnswer, status: str = "completed") -> Body:
    done = status == "completed"
    return {
        "id": answer.response_id,
        "model": answer.model,
        "object": "response",
        "created_at": 0,
        "status": status,
        "output": list(_items(answer)) if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": answer.read,
            "output_tokens": answer.written,
            "total_tokens": answer.read + answer.written,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        if done
        else None,
    }


def _response_events(answer: ModelAnswer) -> Iterator[Body]:
    begun = _response(answer, "in_progress")
    events: list[Body] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for place, item in enumerate(_items(answer)):
        at = {"output_index": place, "item_id": item["id"]}
        of_text = {**at, "content_index": 0}
        empty = {**item, "status": "in_progress"}
        if item["type"] == "message":
            [part] = item["content"]
            inside: list[Body] = [
                {"type": "response.content_part.added", **of_text, "part": {**part, "text": ""}},
                {"type": "response.output_text.delta", **of_text, "delta": part["text"]},
                {"type": "response.output_text.done", **of_text, "text": part["text"]},
                {"type": "response.content_part.done", **of_text, "part": part},
            ]
            for one in inside[1:3]:
                one["logprobs"] = []
            empty["content"] = []
        else:
            said, kind = item["arguments"], "response.function_call_arguments"
            inside = [
                {"type": f"{kind}.delta", **at, "delta": said},
                {"type": f"{kind}.done", **at, "name": item["name"], "arguments": said},
            ]
            empty["arguments"] = ""
        events.append({"type": "response.output_item.added", "output_index": place, "item": empty})
        events += inside
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    events.append({"type": "response.completed", "response": _response(answer)})
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


# Messages


def _blocks(answer: ModelAnswer) -> Iterator[Body]:
    if answer.text is not None:
        yield {"type": "text", "text": answer.text}
    for one in answer.calls:
        said = one.get("arguments")
        yield {"type": "tool_use", "id": one.get("id"), "name": one["name"], "input": said or {}}


def _message(answer: ModelAnswer) -> Body:
    return {
        "id": answer.response_id,
        "model": answer.model,
        "type": "message",
        "role": "assistant",
        "content": list(_blocks(answer)),
        "stop_reason": answer.reason or ("tool_use" if answer.calls else "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": answer.read, "output_tokens": answer.written},
    }


def _message_events(answer: ModelAnswer) -> Iterator[Body]:
    whole = _message(answer)
    begun = {**whole, "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": begun}
    for place, block in enumerate(whole["content"]):
        if block["type"] == "text":
            empty: Body = {"text": ""}
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            empty = {"input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        at = {"index": place}
        yield {"type": "content_block_start", **at, "content_block": {**block, **empty}}
        yield {"type": "content_block_delta", **at, "delta": delta}
        yield {"type": "content_block_stop", **at}
    reason = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": answer.written}
    yield {"type": "message_delta", "delta": reason, "usage": usage}
    yield {"type": "message_stop"}


_INTERFACES: Final = (
    _Interface("/chat/completions", "messages", "", of_chat, _completion, _chunks),
    _Interface("/responses", "input", "instructions", of_items, _response, _response_events),
    _Interface("/messages", "messages", "system", of_chat, _message, _message_events),
)
