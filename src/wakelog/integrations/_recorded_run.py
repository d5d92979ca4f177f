"""``RecordedRun``: a run in a journal as a test double, which answers the program that made it."""

from __future__ import annotations

import builtins
import functools
import inspect
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from wakelog.events import USAGE, event_type_of
from wakelog.events import semconv as s
from wakelog.integrations._messages import of_chat, of_items
from wakelog.integrations._steps import resource_of
from wakelog.journal import read
from wakelog.record import from_line, to_line
from wakelog.redaction import redact

Function = TypeVar("Function", bound=Callable[..., Any])
Client = TypeVar("Client")

_CALLS: Final = {"model_response": "model_call", "tool_result": "tool_call"}


class RecordedError(Exception):
    """What a call of a tool or a model raises that has failed in the record, where its type is not Python's own."""


class Call(NamedTuple):
    """A call in the record, with what came of it.

    Attributes:
        kind: ``model_call`` or ``tool_call``.
        name: The model or the tool.
        given: The messages or the arguments.
        answered: The attributes of the answer.
    """

    kind: str
    name: str
    given: Any
    answered: Mapping[str, Any]

    def __str__(self) -> str:
        """Return one line of it."""
        return f"{self.kind} {self.name} {to_line(self.given)}"


class RecordedRun:
    """Answers the calls of models and tools that a program makes from those that it made before.

    A call is answered once, by the first in the record that is the same: the model and the messages, or the tool
    and its arguments. Secrets that were redacted in the record are redacted in the call before they are
    compared. It may be used from many threads.

    Args:
        calls: The calls, in order.
        messages: Whether messages have to be the same; without, models answer in the order of the record.
    """

    def __init__(self, calls: Iterable[Call], *, messages: bool = True) -> None:
        self.remaining = list(calls)
        """The calls that nobody has made yet, in order."""
        self._messages = messages
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], run_id: str | None = None, *, messages: bool = True
    ) -> Self:
        """Read a run.

        Args:
            path: A journal directory, or a file of lines.
            run_id: The run, with everything inside it; everything by default.
            messages: As for the class.

        Raises:
            JournalError: When there is nothing to read.
            LookupError: When the run is not in it.
        """
        records = [entry.record for entry in read(Path(path))]
        if run_id is not None:
            records = list(_inside(records, run_id))
        begun: dict[str, Any] = {}
        calls = []
        for record in records:
            kind = event_type_of(record.event_name or "")
            if kind in _CALLS.values():
                begun[record.id] = record
            elif kind in _CALLS:
                asked = begun.get(str(record.attributes.get(s.PARENT_ID)))
                if asked is not None:
                    calls.append(_call(_CALLS[kind], asked.attributes, record.attributes))
        return cls(calls, messages=messages)

    def model(self, name: str, messages: Any = None) -> Mapping[str, Any]:
        """Return the attributes of the answer to a model call.

        Args:
            name: The model.
            messages: The messages, in the conventions' form.

        Raises:
            AssertionError: When the record has no such call left; it shows those that are left.
            Exception: What the call raised in the record.
        """
        given = messages if self._messages else None
        return self._answer("model_call", name, given, compared=self._messages)

    def tool(self, function: Function, name: str | None = None) -> Function:
        """Return a function that answers as the tool did, and is not called.

        Args:
            function: The tool, sync or async; its signature is kept.
            name: The tool's name in the record; the function's own by default.
        """
        named, signature = name or function.__name__, inspect.signature(function)

        def answer(args: Any, kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            answered = self._answer("tool_call", named, dict(bound.arguments), compared=True)
            return answered.get(s.TOOL_CALL_RESULT)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def answer_later(*args: Any, **kwargs: Any) -> Any:
                return answer(args, kwargs)

            return answer_later  # type: ignore[return-value] # of the same signature

        @functools.wraps(function)
        def answer_now(*args: Any, **kwargs: Any) -> Any:
            return answer(args, kwargs)

        return answer_now  # type: ignore[return-value] # of the same signature

    def client(self, client: Client) -> Client:
        """Have a client of OpenAI's or Anthropic's answer from the record, without a network.

        ``chat.completions.create``, whole and as a stream, ``responses.create`` and ``messages.create`` answer;
        what else it is asked goes where it goes.

        Args:
            client: The client, sync or async.

        Returns:
            The same client.
        """
        for path, given, read_messages, build in (
            ("chat.completions.create", "messages", of_chat, _completion),
            ("responses.create", "input", of_items, _response),
            ("messages.create", "messages", of_chat, _message),
        ):
            if (at := resource_of(client, path)) is not None:
                name = path.rpartition(".")[2]
                original = inspect.unwrap(getattr(at, name))
                answer = functools.partial(self._answer_client, given, read_messages, build)
                if inspect.iscoroutinefunction(original):
                    answer = _later(answer)
                setattr(at, name, answer)
        return client

    def _answer_client(
        self,
        given: str,
        read_messages: Callable[[Any], Any],
        build: Callable[[str, Mapping[str, Any]], Any],
        **asked: Any,
    ) -> Any:
        messages = _as_recorded(read_messages(asked.get(given)))
        answered = self.model(str(asked.get("model")), messages)
        if not asked.get("stream"):
            return build(str(asked.get("model")), answered)
        if build is not _completion:
            message = "only chat completions are answered from a record as streams"
            raise TypeError(message)
        return _RecordedStream(_chunks(str(asked.get("model")), answered))

    def _answer(self, kind: str, name: str, given: Any, *, compared: bool) -> Mapping[str, Any]:
        said = redact(from_line(to_line(given)))
        with self._lock:
            for place, call in enumerate(self.remaining):
                if (
                    call.kind == kind
                    and call.name == name
                    and (not compared or _same(call.given, said))
                ):
                    del self.remaining[place]
                    break
            else:
                left = "\n".join(f"  {one}" for one in self.remaining) or "  nothing"
                asked = f"{kind} {name} {to_line(said)}" if compared else f"{kind} {name}"
                message = f"the record has no more {asked}; left are\n{left}"
                raise AssertionError(message)
        if call.answered.get(s.STATUS) != "success":
            raise _error_of(call)
        return call.answered


def _inside(records: list[Any], run_id: str) -> Iterator[Any]:
    """Yield the records of a run and of the runs in it."""
    inside: set[str] = set()
    for record in records:
        about = record.attributes
        if about.get(s.RUN_ID) == run_id or about.get(s.PARENT_ID) in inside:
            inside.add(record.id)
            yield record
    if not inside:
        message = f"no run {run_id} is in the record"
        raise LookupError(message)


def _call(kind: str, asked: Mapping[str, Any], answered: Mapping[str, Any]) -> Call:
    if kind == "tool_call":
        return Call(kind, str(asked.get(s.TOOL_NAME)), asked.get(s.TOOL_CALL_ARGUMENTS), answered)
    return Call(kind, str(asked.get(s.REQUEST_MODEL)), asked.get(s.INPUT_MESSAGES), answered)


def _as_recorded(messages: Any) -> Any:
    if isinstance(messages, str):
        return [{"role": "user", "parts": [{"type": "text", "content": messages}]}]
    return messages


def _same(recorded: Any, asked: Any) -> bool:
    return bool(to_line(recorded) == to_line(asked))


def _error_of(call: Call) -> BaseException:
    named = str(call.answered.get(s.ERROR_TYPE))
    kind = getattr(builtins, named, None)
    text = f"{call.kind} {call.name} ended as {call.answered.get(s.STATUS)} in the record: {named}"
    if isinstance(kind, type) and issubclass(kind, Exception):
        return kind(text)
    return RecordedError(text)


def _later(answer: Callable[..., Any]) -> Any:
    async def create(**asked: Any) -> Any:
        return answer(**asked)

    return create


# Answers in the clients' own forms


def _said(answered: Mapping[str, Any]) -> tuple[str | None, list[dict[str, Any]], str | None]:
    """Return the text, the calls and the finish reason of an answer."""
    texts, calls, reason = [], [], None
    for one in answered.get(s.OUTPUT_MESSAGES) or ():
        reason = one.get("finish_reason") or reason
        for part in one.get("parts", ()):
            if part.get("type") == "text":
                texts.append(part["content"])
            elif part.get("type") == "tool_call":
                calls.append(part)
    reasons = answered.get(s.RESPONSE_FINISH_REASONS) or [reason]
    return "".join(texts) if texts else None, calls, reasons[0]


def _tokens(answered: Mapping[str, Any]) -> tuple[int, int]:
    read, written = (answered.get(USAGE[f"{one}_tokens"], 0) for one in ("input", "output"))
    return int(read), int(written)


def _about(answered: Mapping[str, Any], model: str) -> dict[str, Any]:
    return {
        "id": answered.get(s.RESPONSE_ID) or "recorded",
        "model": answered.get(s.RESPONSE_MODEL) or model,
    }


def _tool_calls(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.get("id"),
            "type": "function",
            "function": {"name": one["name"], "arguments": json.dumps(one.get("arguments"))},
        }
        for one in calls
    ]


def _completion(model: str, answered: Mapping[str, Any]) -> Any:
    text, calls, reason = _said(answered)
    read, written = _tokens(answered)
    said = {"role": "assistant", "content": text, "tool_calls": _tool_calls(calls) or None}
    reason = reason or ("tool_calls" if calls else "stop")
    return import_module("openai.types.chat").ChatCompletion.model_validate(
        {
            **_about(answered, model),
            "object": "chat.completion",
            "created": 0,
            "choices": [{"index": 0, "message": said, "finish_reason": reason}],
            "usage": {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
            },
        }
    )


def _chunks(model: str, answered: Mapping[str, Any]) -> list[Any]:
    text, calls, reason = _said(answered)
    read, written = _tokens(answered)
    tool_calls = [{"index": n, **one} for n, one in enumerate(_tool_calls(calls))]
    delta = {"role": "assistant", "content": text, "tool_calls": tool_calls or None}
    about = {**_about(answered, model), "object": "chat.completion.chunk", "created": 0}
    end = {"index": 0, "delta": {}, "finish_reason": reason or "stop"}
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    chunk = import_module("openai.types.chat").ChatCompletionChunk
    first = {"index": 0, "delta": delta, "finish_reason": None}
    return [
        chunk.model_validate({**about, "choices": [first]}),
        chunk.model_validate({**about, "choices": [end], "usage": usage}),
    ]


def _response(model: str, answered: Mapping[str, Any]) -> Any:
    text, calls, _ = _said(answered)
    read, written = _tokens(answered)
    output: list[dict[str, Any]] = [
        {
            "type": "function_call",
            "call_id": one.get("id"),
            "name": one["name"],
            "arguments": json.dumps(one.get("arguments")),
        }
        for one in calls
    ]
    if text is not None:
        part = {"type": "output_text", "text": text, "annotations": []}
        about = {"id": "recorded", "role": "assistant", "status": "completed"}
        output.append({"type": "message", **about, "content": [part]})
    return import_module("openai.types.responses").Response.model_validate(
        {
            **_about(answered, model),
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": read,
                "output_tokens": written,
                "total_tokens": read + written,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }
    )


def _message(model: str, answered: Mapping[str, Any]) -> Any:
    text, calls, reason = _said(answered)
    read, written = _tokens(answered)
    content: list[dict[str, Any]] = [{"type": "text", "text": text}] if text is not None else []
    content += [
        {"type": "tool_use", "id": one.get("id"), "name": one["name"], "input": one["arguments"]}
        for one in calls
    ]
    return import_module("anthropic.types").Message.model_validate(
        {
            **_about(answered, model),
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": reason or ("tool_use" if calls else "end_turn"),
            "stop_sequence": None,
            "usage": {"input_tokens": read, "output_tokens": written},
        }
    )


class _RecordedStream:
    """A stream from the record, for both kinds of client."""

    def __init__(self, chunks: list[Any]) -> None:
        self._chunks = iter(chunks)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self._chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> Any:
        """Give nothing any more."""
        self._chunks = iter(())
        return _Done()


class _Done:
    """What may be awaited, and need not be."""

    def __await__(self) -> Iterator[None]:
        return iter(())
