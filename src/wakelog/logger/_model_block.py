"""``ModelBlock``: two events and a span around a model call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from wakelog import context
from wakelog.events import semconv as s
from wakelog.events import span_attributes
from wakelog.logger._blocks import Block
from wakelog.logger._failures import kind_of, payload_of
from wakelog.logger._request import payload_of_request, payload_of_usage
from wakelog.otel import asked
from wakelog.record import kept

if TYPE_CHECKING:
    from wakelog.events import AgentEvent
    from wakelog.logger._base_logger import BaseLogger

# Fields of the events around the call that the event with the details does not repeat.
_OF_THE_CALL = ("event_id", "timestamp", "time_unix_nano", "parent_event_id", "durability")


class ModelBlock(Block["ModelBlock"]):
    """A model call. ``with log.model("gpt-4o", "openai") as call: call.respond("hello")``."""

    _opens = "model_call"

    def __init__(
        self,
        log: BaseLogger[Any],
        model: str,
        provider: str | None,
        given: Any,
        fields: dict[str, Any],
        *,
        operation: str = s.CHAT,
        request: Mapping[str, Any] | None = None,
        compacted: bool = False,
    ) -> None:
        super().__init__(log)
        self._model, self._provider, self._operation = model, provider, operation
        self._fields: dict[str, Any] = kept(fields) if fields else fields
        self._event_key = self._fields.get("event_key")
        if operation != s.CHAT:
            attributes = self._fields.get("attributes") or {}
            self._fields["attributes"] = {s.OPERATION_NAME: operation, **attributes}
        self._request = {} if request is None else payload_of_request(request)
        if compacted:
            self._request["compacted"] = True
        self._input = given
        self._response: dict[str, Any] = {}

    def first_chunk(self) -> Self:
        """Set the time of the first chunk of a streamed response; later calls have no effect.

        Returns:
            The block.
        """
        if "time_to_first_chunk" not in self._response:
            self._response["stream"] = True
            self._response["time_to_first_chunk"] = time.perf_counter() - self._began
        return self

    def respond(
        self,
        output: Any = None,
        *,
        usage: Any = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_input_tokens: int | None = None,
        cache_write_input_tokens: int | None = None,
        reasoning_output_tokens: int | None = None,
        finish_reasons: list[str] | None = None,
        response_id: str | None = None,
        response_model: str | None = None,
        **payload: Any,
    ) -> Self:
        """Set the response, which is recorded at the end of the block.

        Args:
            output: The model's response, as text or in the conventions' form.
            usage: The client's usage object, or the response that has it: OpenAI's, Anthropic's,
                Gemini's and so on. The arguments below take precedence.
            input_tokens: Number of input tokens, cached ones included.
            output_tokens: Number of output tokens, reasoning included.
            cache_read_input_tokens: Number of input tokens that came from the provider's cache.
            cache_write_input_tokens: Number of input tokens that were written to the cache.
            reasoning_output_tokens: Number of output tokens of reasoning.
            finish_reasons: Why the model stopped, one reason for each choice.
            response_id: The provider's id of the response.
            response_model: The model that responded.
            payload: Anything else, as content; ``cost_usd`` is the cost of the call.

        Returns:
            The block.
        """
        values = {
            "output_messages": output,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cache_read_input_tokens": cache_read_input_tokens,
            "cache_write_input_tokens": cache_write_input_tokens,
            "reasoning_output_tokens": reasoning_output_tokens,
            "finish_reasons": finish_reasons,
            "response_id": response_id,
            "response_model": response_model,
            **payload,
        }
        if usage is not None:
            self._response.update(payload_of_usage(usage))
        for key, value in values.items():
            if value is not None:
                self._response[key] = kept(value)
        return self

    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        attributes = self._common(self._operation)
        attributes[s.REQUEST_MODEL] = self._model
        if self._provider is not None:
            attributes[s.PROVIDER_NAME] = self._provider
        if self._request:
            said = span_attributes("model_call", self._request)
            attributes.update(
                (name, value) for name, value in said.items() if name not in attributes
            )
        return f"{self._operation} {self._model}", SpanKind.CLIENT, attributes, None

    def _open(self) -> AgentEvent:
        payload = dict(self._request)
        if self._input is not None:
            payload["input_messages"] = self._input
        self._began = time.perf_counter()
        return self._emit("model_call", payload, "started", None)

    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        payload = dict(self._response)
        if error is not None:
            payload["error_type"] = kind_of(error)
        if self._log.prices is not None:
            from wakelog.logger._prices import add_cost  # loaded with the prices

            add_cost(payload, self._model, self._provider, self._log.prices)
        said = span_attributes("model_response", payload)
        if said:
            asked(lambda: self._span.set_attributes(said), None)
        if self._log.genai_metrics is not None:
            self._measure(said)
        try:
            if self._log.genai_events:
                self._emit_details(payload, error, parent)
        finally:
            ended = self._emit("model_response", payload, status, parent)
        return ended

    def _emit_details(
        self, payload: dict[str, Any], error: BaseException | None, parent: str
    ) -> None:
        """Record the conventions' own events, in addition to Wakelog's."""
        fields = {key: value for key, value in self._fields.items() if key not in _OF_THE_CALL}
        about = {**fields, "provider": self._provider, "model": self._model}
        if error is not None:
            what = {**self._request, **payload_of(error)}
            self._record("inference_exception", what, parent_event_id=parent, **about)
        details = {**self._request, **payload}
        if self._input is not None:
            details["input_messages"] = self._input
        self._record("inference_details", details, parent_event_id=parent, **about)

    def _measure(self, said: Mapping[str, Any]) -> None:
        metrics = self._log.genai_metrics
        assert metrics is not None  # noqa: S101 - the caller has looked
        known = {s.OPERATION_NAME: self._operation, s.REQUEST_MODEL: self._model}
        if self._provider is not None:
            known[s.PROVIDER_NAME] = self._provider
        metrics.inference(known, said, time.perf_counter() - self._began)

    def _emit(
        self, event_type: str, payload: dict[str, Any], status: str, parent: str | None
    ) -> AgentEvent:
        if not self._fields and self._log.blocking and context.spending.get() is None:
            return self._log.record_for_block(
                event_type, payload, status, parent, self._provider, self._model, None, None
            )
        return self._record(
            event_type,
            payload,
            provider=self._provider,
            model=self._model,
            status=status,
            parent_event_id=parent,
            **self._fields,
        )

    def _given(self) -> ModelBlock:
        return self
