"""``RecordedRun``: a test double that answers a program's calls from a run in a journal."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from wakelog.events import event_type_of
from wakelog.events import semconv as s
from wakelog.integrations._messages import arguments_of, plain
from wakelog.integrations._recorded_answer import (
    Call,
    UnrecordedCallError,
    as_recorded,
    difference,
    same,
    shown,
    turns_of,
)
from wakelog.integrations._recorded_client import answered_from
from wakelog.journal import read

Tool = TypeVar("Tool")
Client = TypeVar("Client")

_CALLS: Final = {"model_response": "model_call", "tool_result": "tool_call"}


class RecordedRun:
    """Answers a program's model and tool calls from a recorded run.

    Each recorded call answers once: the first one that is equal, with the same model and messages,
    or the same tool and arguments. Secrets that were redacted in the record are redacted in the
    call before the comparison. It is thread-safe.

    Args:
        calls: The calls, in order.
        messages: Whether messages have to be equal; if not, models respond in the order of the
            record.
    """

    def __init__(self, calls: Iterable[Call], *, messages: bool = True) -> None:
        self.remaining = list(calls)
        """The calls that have not been made yet, in order."""
        self._messages = messages
        self._failed = frozenset(
            call.call_id for call in self.remaining if call.call_id and not call.succeeded
        )
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], run_id: str | None = None, *, messages: bool = True
    ) -> Self:
        """Read a run.

        Args:
            path: A journal directory, or a file of lines.
            run_id: The run, with everything inside it; all runs by default.
            messages: As for the class.

        Raises:
            JournalError: If there is nothing to read.
            LookupError: If the run is not in it.
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

    def model(
        self, name: str, messages: Any = None, system_instructions: Any = None
    ) -> Mapping[str, Any]:
        """Return the attributes of the response to a model call.

        Args:
            name: The model.
            messages: The messages, in the conventions' form.
            system_instructions: The instructions, if they are outside the messages.

        Raises:
            UnrecordedCallError: If the record has no such call left; the message has the
                difference.
            Exception: The recorded error of the call.
        """
        call = self.take_model(name, messages, system_instructions)
        if not call.succeeded:
            raise call.error()
        return call.answered

    def tool(self, function: Tool, name: str | None = None) -> Tool:
        """Return a tool that returns its recorded results, without calling the function.

        Args:
            function: A function, sync or async, whose signature is kept; or a ``FunctionTool`` of
                OpenAI's Agents SDK, or a ``StructuredTool`` of LangChain.
            name: The tool's name in the record; its own by default.
        """
        tool: Any = function
        if hasattr(tool, "on_invoke_tool"):
            invoked: Tool = dataclasses.replace(
                tool, on_invoke_tool=self._invoked(name or tool.name)
            )
            return invoked
        if hasattr(tool, "args_schema") and hasattr(tool, "model_copy"):
            functions = {
                field: self._function(body, name or tool.name)
                for field in ("func", "coroutine")
                if (body := getattr(tool, field, None)) is not None
            }
            copy: Tool = tool.model_copy(update=functions)
            return copy
        if not callable(tool):
            message = f"{type(tool).__name__} is no tool: give a function, or a tool of a framework"
            raise TypeError(message)
        answering: Tool = self._function(tool, name or tool.__name__)
        return answering

    def client(self, client: Client) -> Client:
        """Return a client of OpenAI or Anthropic that is answered from the record, not the network.

        Chat completions, responses and messages are answered, with and without streaming. Other
        requests raise ``UnrecordedCallError``.

        Args:
            client: The client, sync or async; it is not changed.

        Returns:
            A copy, made by the client's own ``with_options``.

        Raises:
            TypeError: If the client is of another library.
        """
        return answered_from(client, self.take_model)

    def langchain_model(self, name: str) -> Any:
        """Return a LangChain chat model that responds from the record, with and without streaming.

        Args:
            name: The model's name in the record.

        Raises:
            ImportError: If LangChain is not installed.
        """
        from wakelog.integrations._recorded_langchain import RecordedChatModel

        return RecordedChatModel(model_name=name, take=self.take_model)

    def pydantic_ai_model(self, name: str) -> Any:
        """Return a Pydantic AI model that responds from the record, with and without streaming.

        Args:
            name: The model's name in the record.

        Raises:
            ImportError: If Pydantic AI is not installed.
        """
        from wakelog.integrations._recorded_pydantic_ai import recorded_model

        return recorded_model(name, self.take_model)

    def take_model(self, name: str, messages: Any = None, system_instructions: Any = None) -> Call:
        """Return a recorded model call with its outcome; arguments as for ``model``.

        Raises:
            UnrecordedCallError: As for ``model``.
        """
        if not self._messages:
            return self._take("model_call", name, None, lambda _: None)
        messages, system = as_recorded(messages), as_recorded(system_instructions)
        asked = turns_of(messages, system, self._failed)

        def differs(call: Call) -> str | None:
            return difference(turns_of(call.given, call.system, self._failed), asked, "its message")

        return self._take("model_call", name, asked, differs)

    def _take(
        self, kind: str, name: str, given: Any, differs: Callable[[Call], str | None]
    ) -> Call:
        first: str | None = None
        with self._lock:
            for place, call in enumerate(self.remaining):
                if (call.kind, call.name) == (kind, name):
                    if (said := differs(call)) is None:
                        return self.remaining.pop(place)
                    first = first or said
            left = "\n".join(f"  {one}" for one in self.remaining) or "  nothing"
        if first is None:
            asked = f"{kind} {name}" if given is None else f"{kind} {name} {shown(given)}"
            message = f"the record has no more {asked}; left are\n{left}"
        else:
            message = f"{kind} {name} is not as in the record: {first}\nleft are\n{left}"
        raise UnrecordedCallError(message)

    # Tools

    def _take_tool(self, name: str, given: Any, defaults: Mapping[str, Any] | None = None) -> Any:
        said = {key: as_recorded(plain(value)) for key, value in given.items()}

        def differs(call: Call) -> str | None:
            recorded = arguments_of(call.given)
            if not isinstance(recorded, Mapping):
                return difference([recorded], list(said.values()), "its argument")
            of_framework = [
                key
                for key, value in given.items()
                if key not in recorded and _is_left_out(key, value, defaults)
            ]
            for key in [*recorded, *(key for key in said if key not in recorded)]:
                if key in of_framework or (
                    key in said and key in recorded and same(recorded[key], said[key])
                ):
                    continue
                pair = [shown(one[key]) if key in one else "left out" for one in (recorded, said)]
                return f"its argument {key} differs\n  recorded: {pair[0]}\n  asked:    {pair[1]}"
            return None

        call = self._take("tool_call", name, said, differs)
        result = call.answered.get(s.TOOL_CALL_RESULT)
        if not call.succeeded and result is None:
            raise call.error()
        return result

    def _function(self, function: Any, name: str) -> Any:
        signature = inspect.signature(function)
        defaults = {
            one.name: one.default
            for one in signature.parameters.values()
            if one.default is not one.empty
        }

        def answer(args: Any, kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            return self._take_tool(name, bound.arguments, defaults)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def answer_later(*args: Any, **kwargs: Any) -> Any:
                return answer(args, kwargs)

            return answer_later

        @functools.wraps(function)
        def answer_now(*args: Any, **kwargs: Any) -> Any:
            return answer(args, kwargs)

        return answer_now

    def _invoked(self, name: str) -> Callable[[Any, str], Any]:
        async def on_invoke_tool(context: Any, given: str) -> Any:  # noqa: ARG001 - the SDK's
            return self._take_tool(name, arguments_of(given))

        return on_invoke_tool


def _is_left_out(key: str, value: Any, defaults: Mapping[str, Any] | None) -> bool:
    """Return whether an unrecorded argument is a default or an object of the framework."""
    if defaults is not None and key in defaults and same(defaults[key], value):
        return True
    return not isinstance(plain(value), str | int | float | bool | list | tuple | dict | None)


def _inside(records: list[Any], run_id: str) -> Iterator[Any]:
    """Yield the records of a run, including the runs inside it."""
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
        name, given = asked.get(s.TOOL_NAME), asked.get(s.TOOL_CALL_ARGUMENTS)
        return Call(kind, str(name), given, answered, call_id=asked.get(s.TOOL_CALL_ID))
    name, given = asked.get(s.REQUEST_MODEL), asked.get(s.INPUT_MESSAGES)
    return Call(kind, str(name), given, answered, asked.get(s.SYSTEM_INSTRUCTIONS))
