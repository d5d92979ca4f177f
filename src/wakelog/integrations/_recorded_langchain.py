"""A LangChain chat model that responds from a record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from wakelog.integrations._extra import framework
from wakelog.integrations._langchain_messages import of_messages
from wakelog.integrations._recorded_answer import Call, ModelAnswer, abandoned, answered

_models: Any = framework("langchain_core.language_models", "langchain")
_messages: Any = framework("langchain_core.messages", "langchain")
_outputs: Any = framework("langchain_core.outputs", "langchain")


class RecordedChatModel(_models.BaseChatModel):  # type: ignore[misc] # the package may be missing
    """Responds from a record.

    Attributes:
        model_name: The model's name in the record.
        take: Returns the recorded call.
    """

    model_name: str
    take: Any

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def bind_tools(self, tools: Any, **settings: Any) -> Any:
        """Return the model; the record determines the tool calls."""
        return self.bind(tools=list(tools), **settings)

    def _call(self, messages: Any) -> tuple[Call, ModelAnswer]:
        return answered(self.take, self.model_name, of_messages(messages), None)

    def _generate(self, messages: Any, *_: Any, **__: Any) -> Any:
        call, answer = self._call(messages)
        if call.was_cancelled:
            raise call.error()
        calls = [
            {"id": one.get("id"), "name": one["name"], "args": one.get("arguments") or {}}
            for one in answer.calls
        ]
        said = _messages.AIMessage(answer.text or "", tool_calls=calls, **_about(answer))
        return _outputs.ChatResult(generations=[_outputs.ChatGeneration(message=said)])

    def _stream(self, messages: Any, *_: Any, **__: Any) -> Iterator[Any]:
        call, answer = self._call(messages)
        if answer.text is not None:
            yield _chunk(content=answer.text)
        for place, one in enumerate(answer.calls):
            said = {"id": one.get("id"), "name": one["name"], "index": place}
            arguments = json.dumps(one.get("arguments"))
            yield _chunk(content="", tool_call_chunks=[{**said, "args": arguments}])
        if call.was_cancelled:
            raise abandoned(call)
        yield _chunk(content="", chunk_position="last", **_about(answer))

    async def _astream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[Any]:
        for chunk in self._stream(messages):
            yield chunk

    async def _agenerate(self, messages: Any, *_: Any, **__: Any) -> Any:
        return self._generate(messages)


def _chunk(**said: Any) -> Any:
    return _outputs.ChatGenerationChunk(message=_messages.AIMessageChunk(**said))


def _about(answer: ModelAnswer) -> dict[str, Any]:
    reason = {"finish_reason": answer.reason} if answer.reason else {}
    return {
        "id": answer.response_id,
        "response_metadata": {"model_name": answer.model, **reason},
        "usage_metadata": {
            "input_tokens": answer.read,
            "output_tokens": answer.written,
            "total_tokens": answer.read + answer.written,
        },
    }
