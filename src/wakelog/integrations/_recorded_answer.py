"""Responses of models and tools in a record, and the comparison of calls with recorded ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from wakelog.events import USAGE
from wakelog.events import semconv as s
from wakelog.integrations._messages import arguments_of
from wakelog.record import from_line, to_line
from wakelog.redaction import redact

_MOST_SHOWN: Final = 300

Turn = tuple[Any, ...]


class RecordedError(Exception):
    """Raised for a recorded failure, if an error of its own type cannot be created."""


class UnrecordedCallError(BaseException):
    """Raised for a call that is not in the record; it shows the call and the difference.

    It is not an ``Exception``, because a framework would pass an exception of a tool to the model,
    and a client would retry.
    """


class Call(NamedTuple):
    """A call in the record, with its outcome.

    Attributes:
        kind: ``model_call`` or ``tool_call``.
        name: The model or the tool.
        given: The messages or the arguments.
        answered: The attributes of the response.
        system: The instructions outside the messages.
        call_id: The model's id of a tool call.
    """

    kind: str
    name: str
    given: Any
    answered: Mapping[str, Any]
    system: Any = None
    call_id: str | None = None

    def __str__(self) -> str:
        """Return the call in one line."""
        return f"{self.kind} {self.name} {shown(self.given)}"

    @property
    def succeeded(self) -> bool:
        """Return whether there was a response."""
        return self.answered.get(s.STATUS) == "success"

    @property
    def was_cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        return self.answered.get(s.STATUS) == "cancelled"

    @property
    def error_type(self) -> type[BaseException] | None:
        """The type of the recorded error, None if its module is not loaded."""
        module, _, name = str(self.answered.get(s.ERROR_TYPE)).rpartition(".")
        kind = getattr(sys.modules.get(module or "builtins"), name, None)
        return kind if isinstance(kind, type) and issubclass(kind, Exception) else None

    @property
    def failure(self) -> str:
        """The failure in words."""
        status, error = self.answered.get(s.STATUS), self.answered.get(s.ERROR_TYPE)
        return f"{self.kind} {self.name} ended as {status} in the record: {error}"

    def error(self) -> BaseException:
        """Return the error to raise again."""
        try:
            if (kind := self.error_type) is not None:
                return kind(self.failure)
        except Exception:  # noqa: BLE001, S110 - the type needs other arguments
            pass
        return RecordedError(self.failure)


Take = Callable[[str, Any, Any], Call]
"""Takes a model call from a record, by the model, the messages and the instructions."""


class ModelAnswer(NamedTuple):
    """A model's response.

    Attributes:
        text: Its text, None if it has none.
        calls: The parts with tool calls.
        reason: The finish reason.
        read: The number of input tokens.
        written: The number of output tokens.
        response_id: The provider's id.
        model: The model that responded.
    """

    text: str | None
    calls: list[dict[str, Any]]
    reason: str | None
    read: int
    written: int
    response_id: str
    model: str

    @classmethod
    def of(cls, name: str, answered: Mapping[str, Any]) -> ModelAnswer:
        """Return the response in the attributes of a ``model_response``."""
        texts, calls, reason = [], [], None
        for one in answered.get(s.OUTPUT_MESSAGES) or ():
            reason = one.get("finish_reason") or reason
            for part in one.get("parts", ()):
                if part.get("type") == "text":
                    texts.append(part["content"])
                elif part.get("type") == "tool_call":
                    calls.append(part)
        reasons = answered.get(s.RESPONSE_FINISH_REASONS) or [reason]
        read, written = (answered.get(USAGE[f"{one}_tokens"], 0) for one in ("input", "output"))
        return cls(
            "".join(texts) if texts else None,
            calls,
            reasons[0],
            int(read),
            int(written),
            str(answered.get(s.RESPONSE_ID) or "recorded"),
            str(answered.get(s.RESPONSE_MODEL) or name),
        )


def answered(take: Take, name: str, messages: Any, system: Any) -> tuple[Call, ModelAnswer]:
    """Return the recorded call of a model, and its response or the part of one that was read.

    Raises:
        BaseException: The recorded error, if the call failed.
    """
    call = take(name, messages, system)
    if not call.succeeded and not call.was_cancelled:
        raise call.error()
    return call, ModelAnswer.of(call.name, call.answered)


def abandoned(call: Call) -> UnrecordedCallError:
    """Return the error for reading on in a stream where the record has no more of it."""
    message = f"{call.kind} {call.name} was abandoned here in the record, and is read on"
    return UnrecordedCallError(message)


def as_recorded(value: Any) -> Any:
    """Return a value in its recorded form: as JSON, without secrets."""
    return redact(from_line(to_line(value)))


def turns_of(messages: Any, system: Any = None, failed: frozenset[str] = frozenset()) -> list[Turn]:
    """Return messages in a form that is the same for a framework's and its client's messages.

    Args:
        messages: The messages, in the conventions' form or as text.
        system: The instructions, if they are outside the messages.
        failed: The ids of failed tool calls, whose responses to the model are not compared.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "parts": [{"type": "text", "content": messages}]}]
    instructions = [_text_of(system)] if system else []
    turns: list[Turn] = []
    for one in messages or ():
        role = one.get("role")
        for part in one.get("parts", ()):
            kind = part.get("type")
            if kind == "text" and role in ("system", "developer"):
                instructions.append(_text_of(part.get("content")))
            elif kind == "text":
                turns.append((role, part.get("content")))
            elif kind == "tool_call":
                said = arguments_of(part.get("arguments"))
                turns.append(("assistant", "calls", part.get("id"), part.get("name"), said))
            elif kind == "tool_call_response":
                answer = None if part.get("id") in failed else _response_of(part.get("response"))
                turns.append(("tool", part.get("id"), answer))
            elif kind != "reasoning":
                turns.append((role, part))
    if text := "\n".join(one for one in instructions if one):
        turns.insert(0, ("system", text))
    return [turn for turn in turns if turn[1:] != ("",)]


def _text_of(said: Any) -> str:
    if isinstance(said, list):
        return "\n".join(_text_of(one) for one in said)
    return (
        str(said.get("content", said.get("text", ""))) if isinstance(said, Mapping) else str(said)
    )


def _response_of(said: Any) -> Any:
    blocks = said if isinstance(said, list) else ()
    if blocks and all(isinstance(one, Mapping) and "text" in one for one in blocks):
        said = "".join(one["text"] for one in blocks)
    return arguments_of(said)


def difference(recorded: list[Any], asked: list[Any], what: str) -> str | None:
    """Return the first difference between two lists, None if they are equal."""
    for place in range(max(len(recorded), len(asked))):
        pair = [
            shown(one[place]) if place < len(one) else "nothing more" for one in (recorded, asked)
        ]
        if place >= min(len(recorded), len(asked)) or not same(recorded[place], asked[place]):
            return f"{what} {place + 1} differs\n  recorded: {pair[0]}\n  asked:    {pair[1]}"
    return None


def same(recorded: Any, asked: Any) -> bool:
    """Return whether two values are equal as JSON."""
    return bool(to_line(recorded) == to_line(asked))


def shown(value: Any) -> str:
    """Return a value in one short line."""
    text = json.dumps(to_line(value), ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
