"""What a model or a tool answered in a record, and whether a call is the one that was recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from wakelog.events import USAGE
from wakelog.events import semconv as s
from wakelog.integrations._messages import arguments_of
from wakelog.record import from_line, to_line
from wakelog.redaction import redact

_MOST_SHOWN: Final = 300

Turn = tuple[Any, ...]


class RecordedError(Exception):
    """Raised for a tool or model call that failed in the record, if an error of its own type cannot be created."""


class UnrecordedCallError(BaseException):
    """Raised for a call that is not in the record; it shows the call and the difference.

    It is no ``Exception``: a framework that makes an answer to the model of what a tool raises would swallow it,
    and a client would try again.
    """


class Call(NamedTuple):
    """A call in the record, with what came of it.

    Attributes:
        kind: ``model_call`` or ``tool_call``.
        name: The model or the tool.
        given: The messages or the arguments.
        answered: The attributes of the answer.
        system: The instructions beside the messages.
        call_id: The id of a tool call, by which the model has asked for it.
    """

    kind: str
    name: str
    given: Any
    answered: Mapping[str, Any]
    system: Any = None
    call_id: str | None = None

    def __str__(self) -> str:
        """Return one line of it."""
        return f"{self.kind} {self.name} {shown(self.given)}"

    @property
    def succeeded(self) -> bool:
        """Tell whether there was an answer."""
        return self.answered.get(s.STATUS) == "success"

    @property
    def was_cancelled(self) -> bool:
        """Tell whether nobody waited for the answer any more."""
        return self.answered.get(s.STATUS) == "cancelled"

    @property
    def error_type(self) -> type[BaseException] | None:
        """The type of the error that it raised, None where it is not loaded here."""
        module, _, name = str(self.answered.get(s.ERROR_TYPE)).rpartition(".")
        kind = getattr(sys.modules.get(module or "builtins"), name, None)
        return kind if isinstance(kind, type) and issubclass(kind, Exception) else None

    @property
    def failure(self) -> str:
        """How it failed, in words."""
        status, error = self.answered.get(s.STATUS), self.answered.get(s.ERROR_TYPE)
        return f"{self.kind} {self.name} ended as {status} in the record: {error}"

    def error(self) -> BaseException:
        """Return what it raises again."""
        try:
            if (kind := self.error_type) is not None:
                return kind(self.failure)
        except Exception:  # noqa: BLE001, S110 - a type of somebody's, which wants to be told more
            pass
        return RecordedError(self.failure)


class ModelAnswer(NamedTuple):
    """What a model said.

    Attributes:
        text: Its text, None where there was none.
        calls: The parts that ask for tools.
        reason: Why it stopped.
        read: How many tokens it read.
        written: How many it wrote.
        response_id: The provider's id.
        model: The model that answered.
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
        """Return the answer that the attributes of a response have."""
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


def as_recorded(value: Any) -> Any:
    """Return a value as it would stand in the record: as JSON, without secrets."""
    return redact(from_line(to_line(value)))


def turns_of(messages: Any, system: Any = None, failed: frozenset[str] = frozenset()) -> list[Turn]:
    """Return what messages say, in a form in which those of a framework and those of its client are the same.

    Args:
        messages: The messages, in the conventions' form or as text.
        system: The instructions, where they stand beside the messages.
        failed: The ids of tool calls that have failed; what the model was told of them is not compared.
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
    """Return how two lists differ, at the first place where they do; None where they are the same."""
    for place in range(max(len(recorded), len(asked))):
        pair = [
            shown(one[place]) if place < len(one) else "nothing more" for one in (recorded, asked)
        ]
        if place >= min(len(recorded), len(asked)) or not same(recorded[place], asked[place]):
            return f"{what} {place + 1} differs\n  recorded: {pair[0]}\n  asked:    {pair[1]}"
    return None


def same(recorded: Any, asked: Any) -> bool:
    """Tell whether two values are the same as JSON."""
    return bool(to_line(recorded) == to_line(asked))


def shown(value: Any) -> str:
    """Return a value in one line that is not too long."""
    text = json.dumps(to_line(value), ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
