"""OpenTelemetry's generative-AI instrumentations: records the messages that they collect.

OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK=wakelog
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import set_span_in_context

from wakelog.events import REQUEST, USAGE
from wakelog.events import semconv as s
from wakelog.integrations._recorder import Recorder
from wakelog.logger import AgentLogger, Prices, add_cost, current
from wakelog.otel import asked
from wakelog.record import opened

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord

__all__ = ["WakelogCompletionHook"]

# Attributes of the instrumentation's span or event that the recorded event has, too.
_KEPT: Final = (
    s.OPERATION_NAME,
    s.PROVIDER_NAME,
    s.REQUEST_MODEL,
    s.RESPONSE_MODEL,
    s.RESPONSE_ID,
    s.RESPONSE_FINISH_REASONS,
    s.RESPONSE_TIME_TO_FIRST_CHUNK,
    *REQUEST.values(),
    *USAGE.values(),
    s.CONVERSATION_ID,
    s.AGENT_NAME,
    s.ERROR_TYPE,
)


class WakelogCompletionHook:
    """Records the messages of model calls as ``model_response`` events of their spans.

    It is the ``CompletionHook`` of ``opentelemetry-util-genai``. The content is in the journal,
    redacted, and is exported only if ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` allows
    it in events. It never raises.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider.
    """

    def __init__(self, log: AgentLogger | None = None) -> None:
        self._given = log
        self._recorder = Recorder(log)
        self.refused = self._recorder.refused
        """The number of events that were not accepted, by reason."""

    def on_completion(
        self,
        *,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        system_instruction: Sequence[Any],
        tool_definitions: Sequence[Any] | None = None,
        span: trace.Span | None = None,
        log_record: LogRecord | None = None,
    ) -> None:
        """Record one completion.

        Args:
            inputs: The messages to the model.
            outputs: The messages of the model.
            system_instruction: The system instruction.
            tool_definitions: The tools that the model could call.
            span: The span of the call.
            log_record: The event that the instrumentation emits for it.
        """
        try:
            fields = _fields_of(
                span,
                log_record,
                input_messages=inputs,
                output_messages=outputs,
                system_instructions=system_instruction,
                tool_definitions=tool_definitions,
            )
            log = self._given or current()
            fields["payload"].update(_cost_of(fields, log.prices if log is not None else None))
            here = set_span_in_context(span) if span is not None else get_current()
            token = attach(here)
        except Exception as error:  # noqa: BLE001 - objects of other libraries may raise anything
            self._recorder.refuse(type(error).__name__, error)
            return
        try:
            self._recorder.record(
                s.SCOPE_NAME, None, fields, severity_number=None, severity_text=""
            )
        finally:
            detach(token)


def _fields_of(
    span: trace.Span | None, log_record: LogRecord | None, **content: Sequence[Any] | None
) -> dict[str, Any]:
    # The attributes of a span that raises are left out.
    said = asked(lambda: getattr(span, "attributes", None), None) or getattr(
        log_record, "attributes", None
    )
    fields = _kept(said if isinstance(said, Mapping) else {})
    fields["event_type"] = "model_response"
    fields["payload"] = {
        key: [_given(message) for message in value] for key, value in content.items() if value
    }
    return fields


def _kept(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of the call by their current names, whatever version named them."""
    return {
        s.RENAMED.get(name, name): said[name]
        for name in (*s.RENAMED, *_KEPT)
        if said.get(name) is not None
    }


def _cost_of(said: Mapping[str, Any], priced: Prices | None) -> dict[str, Any]:
    """Return the payload fields with the cost of the call, if there is a price list and a price."""
    counts = {key: said[name] for key, name in USAGE.items() if name in said}
    payload = {**counts, "response_model": said.get(s.RESPONSE_MODEL)}
    add_cost(payload, said.get(s.REQUEST_MODEL), said.get(s.PROVIDER_NAME), priced)
    return {key: payload[key] for key in ("cost_usd", "price_list") if key in payload}


def _given(message: Any) -> Any:
    """Return the fields of a message, without missing optional ones."""
    held = opened(message)
    if type(held) is not dict or issubclass(type(message), Mapping):
        return message
    return {name: value for name, value in held.items() if value is not None}
