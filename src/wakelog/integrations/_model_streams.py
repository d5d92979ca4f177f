"""Streams of OpenAI's and Anthropic's clients: passed on, and assembled into the response."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from wakelog.integrations._messages import (
    Message,
    call_part,
    message,
    of_items,
    parts_of,
    plain,
    text_part,
)
from wakelog.integrations._steps import Guard, Steps

# The number of chunks that are read together, which takes less time than one by one.
_AT_ONCE: Final = 64


class Assembled:
    """The response that the chunks of one stream form so far.

    Args:
        guard: Counts the errors of reading chunks.

    Attributes:
        waiting: The chunks that have not been read yet.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.waiting: deque[Any] = deque()
        self._known: dict[str, Any] = {}
        self._is_complete = False
        self._output: list[Message] | None = None
        self._texts: dict[int, list[str]] = {}
        self._calls: dict[tuple[int, int], dict[str, Any]] = {}
        self._finish: dict[int, Any] = {}
        self._chat: type | None = None  # of the chunks of a chat completion

    @property
    def is_complete(self) -> bool:
        """Whether the last chunk has been read."""
        self.read_waiting()
        return self._is_complete

    def respond(self, block: Any) -> None:
        """Set the response so far on a block."""
        self.read_waiting()
        output = self._output
        if output is None:
            output = [self._message(place) for place in sorted(self._places())]
        block.respond(output or None, **self._known)
        reasons = [one for _, one in sorted(self._finish.items()) if one]
        if reasons:
            block.respond(finish_reasons=reasons)

    def read_waiting(self) -> None:
        """Read the waiting chunks, of any of the three kinds of stream."""
        waiting = self.waiting
        while waiting:
            with self._guard:  # a chunk that raises must not cost the others
                while waiting:
                    chunk = waiting.popleft()
                    if type(chunk) is self._chat:
                        self._add_chat(chunk)
                    else:
                        self._read(chunk)

    def _read(self, chunk: Any) -> None:
        if hasattr(chunk, "choices"):
            self._chat = type(chunk)
            self._add_chat(chunk)
            return
        kind = getattr(chunk, "type", None)
        if isinstance(kind, str) and kind.startswith("response."):
            self._add_response(kind, chunk)
        elif isinstance(kind, str):
            self._add_message(kind, chunk)

    def _places(self) -> set[int]:
        return {*self._texts, *(place for place, _ in self._calls)}

    def _message(self, place: int) -> Message:
        parts = [text_part("".join(text))] if (text := self._texts.get(place)) else []
        parts += [
            call_part(call["id"], call["name"], "".join(call["arguments"]))
            for (of, _), call in sorted(self._calls.items())
            if of == place
        ]
        return message("assistant", parts, self._finish.get(place))

    def _add_chat(self, chunk: Any) -> None:
        if not self._known:
            self._know(response_id=chunk.id, response_model=chunk.model)
        if (usage := getattr(chunk, "usage", None)) is not None:
            self._known["usage"] = usage
        for choice in chunk.choices or ():
            place, delta = choice.index, choice.delta
            if choice.finish_reason:
                self._finish[place], self._is_complete = choice.finish_reason, True
            if text := getattr(delta, "content", None):
                if (texts := self._texts.get(place)) is None:
                    texts = self._texts[place] = []
                texts.append(text)
            for call in getattr(delta, "tool_calls", None) or ():
                asked = call.function
                self._call(
                    (place, call.index),
                    call.id,
                    getattr(asked, "name", None),
                    getattr(asked, "arguments", None),
                )

    def _add_response(self, kind: str, chunk: Any) -> None:
        if kind == "response.output_text.delta":
            self._texts.setdefault(0, []).append(chunk.delta)
        response = getattr(chunk, "response", None)
        if response is None:
            return
        self._know(response_id=response.id, response_model=response.model)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            self._know(usage=response.usage)
            self._output, self._is_complete = of_items(response.output), True
            self._finish[0] = response.status

    def _add_message(self, kind: str, chunk: Any) -> None:
        if kind == "message_start":
            said = chunk.message
            self._know(response_id=said.id, response_model=said.model, usage=_dict(said.usage))
        elif kind == "content_block_start" and chunk.content_block.type == "tool_use":
            block = chunk.content_block
            self._call((0, chunk.index), block.id, block.name, None)
        elif kind == "content_block_delta":
            delta = chunk.delta
            if delta.type == "text_delta":
                self._texts.setdefault(0, []).append(delta.text)
            elif delta.type == "input_json_delta":
                self._call((0, chunk.index), None, None, delta.partial_json)
        elif kind == "message_delta":
            self._finish[0] = chunk.delta.stop_reason
            usage = {**(self._known.get("usage") or {}), **_dict(chunk.usage)}
            self._know(usage=usage)
        elif kind == "message_stop":
            self._is_complete = True

    def _know(self, **said: Any) -> None:
        self._known.update({name: value for name, value in said.items() if value is not None})

    def _call(self, at: tuple[int, int], call_id: Any, name: Any, arguments: Any) -> None:
        call = self._calls.setdefault(at, {"id": None, "name": None, "arguments": []})
        call["id"], call["name"] = call_id or call["id"], name or call["name"]
        if arguments:
            call["arguments"].append(arguments)


class _PassesFor:
    """Imitates an object of a client, and passes all other attributes on to it."""

    def __init__(self, real: Any) -> None:
        self._real = real

    @property  # type: ignore[misc] # it is read-only
    def __class__(self) -> Any:
        return type(self._real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class WatchedStream(_PassesFor):
    """A stream of a client, sync or async, that is recorded while it is read.

    It imitates the wrapped stream. A stream that is not read to its end is recorded as cancelled:
    at once if it is closed, and with the next recorded event if it is garbage-collected.
    """

    def __init__(self, stream: Any, steps: Steps, key: object) -> None:
        super().__init__(stream)
        self._steps, self._key = steps, key
        self._guard = steps.guarded()
        self._said, self._begun = Assembled(self._guard), False
        self._waiting = self._said.waiting
        self._items: Any = None

    def __del__(self) -> None:
        # Nothing is written here, because garbage collection may run inside a write.
        self._steps.abandon(self._key, self._said.respond)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._items is None:
            self._items = iter(self._real)
        try:
            item = next(self._items)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._seen(item)
        return item

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        if self._items is None:
            self._items = aiter(self._real)
        try:
            item = await anext(self._items)
        except StopAsyncIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._seen(item)
        return item

    def __enter__(self) -> Any:
        self._real.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._leave(raised[1])
        self._real.__exit__(*raised)

    async def __aenter__(self) -> Any:
        await self._real.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._leave(raised[1])
        await self._real.__aexit__(*raised)

    def close(self) -> Any:
        """Close the stream; for an async one, return the awaitable."""
        self._leave(None)
        return self._real.close()

    def _seen(self, item: Any) -> None:
        if not self._begun:
            self._begun = True
            with self._guard:
                if (step := self._steps.get(self._key)) is not None:
                    step.block.first_chunk()  # type: ignore[attr-defined] # a ModelBlock
        self._waiting.append(item)
        if len(self._waiting) >= _AT_ONCE:
            self._said.read_waiting()

    def _leave(self, error: Any) -> None:
        self._end(error if error is not None or self._said.is_complete else GeneratorExit())

    def _end(self, error: BaseException | None) -> None:
        self._steps.end(self._key, error, self._said.respond)


class WatchedManager(_PassesFor):
    """Wraps the manager of ``client.messages.stream(...)``, which makes the call when entered.

    Args:
        manager: The client's manager.
        begin: Records the start of the call.
        steps: Records the call.
        key: The key of the call.
    """

    def __init__(
        self, manager: Any, begin: Callable[[], object], steps: Steps, key: object
    ) -> None:
        super().__init__(manager)
        self._begin, self._steps, self._key = begin, steps, key
        self._entered: Any = None

    def __enter__(self) -> Any:
        self._begin()
        try:
            self._entered = self._real.__enter__()
        except BaseException as error:
            self._steps.end(self._key, error)
            raise
        return self._entered

    def __exit__(self, *raised: object) -> None:
        self._leave(raised[1])
        self._real.__exit__(*raised)

    async def __aenter__(self) -> Any:
        self._begin()
        try:
            self._entered = await self._real.__aenter__()
        except BaseException as error:
            self._steps.end(self._key, error)
            raise
        return self._entered

    async def __aexit__(self, *raised: object) -> None:
        self._leave(raised[1])
        await self._real.__aexit__(*raised)

    def _leave(self, error: Any) -> None:
        said: Any = None
        with self._steps.guarded():
            said = plain(self._entered.current_message_snapshot)
        if error is None and not (isinstance(said, Mapping) and said.get("stop_reason")):
            error = GeneratorExit()
        known = isinstance(said, Mapping)
        self._steps.end(
            self._key, error, (lambda block: of_message(block, said)) if known else None
        )


def of_message(block: Any, said: Mapping[str, Any]) -> None:
    """Set a message of Anthropic on a block as the response."""
    reason = said.get("stop_reason")
    block.respond(
        [message("assistant", parts_of(said.get("content")), reason)],
        usage=said.get("usage"),
        finish_reasons=[reason] if reason else None,
        response_id=said.get("id"),
        response_model=said.get("model"),
    )


def _dict(value: Any) -> dict[str, Any]:
    said = plain(value)
    return dict(said) if isinstance(said, Mapping) else {}
