"""A Pydantic AI model that responds from a record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from wakelog.integrations._extra import framework
from wakelog.integrations._recorded_answer import Call, ModelAnswer, abandoned, answered
from wakelog.integrations.pydantic_ai import instructions_of, of_messages

_function: Any = framework("pydantic_ai.models.function", "pydantic-ai")
_messages: Any = framework("pydantic_ai.messages", "pydantic-ai")
_usage: Any = framework("pydantic_ai.usage", "pydantic-ai")


def recorded_model(name: str, take: Any) -> Any:
    """Return a ``FunctionModel`` that responds from a record.

    Args:
        name: The model's name in the record.
        take: Returns the recorded call.
    """

    def called(messages: Any) -> tuple[Call, ModelAnswer]:
        return answered(take, name, of_messages(messages), instructions_of(messages))

    async def answer(messages: Any, info: Any) -> Any:  # noqa: ARG001 - the framework's
        call, said = called(messages)
        if call.was_cancelled:
            raise call.error()
        parts = [] if said.text is None else [_messages.TextPart(said.text)]
        parts += [
            _messages.ToolCallPart(one["name"], one.get("arguments"), one.get("id"))
            for one in said.calls
        ]
        usage = _usage.RequestUsage(input_tokens=said.read, output_tokens=said.written)
        return _messages.ModelResponse(parts=parts, usage=usage)

    async def stream(messages: Any, info: Any) -> AsyncIterator[Any]:  # noqa: ARG001 - the same
        call, said = called(messages)
        if said.text is not None:
            yield said.text
        for place, one in enumerate(said.calls):
            arguments, call_id = json.dumps(one.get("arguments")), one.get("id")
            asked = _function.DeltaToolCall(one["name"], arguments, tool_call_id=call_id)
            yield {place: asked}
        if call.was_cancelled:
            raise abandoned(call)

    return _function.FunctionModel(answer, stream_function=stream, model_name=name)
