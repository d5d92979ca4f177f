"""OpenTelemetry's generative-AI instrumentations: what they collect, into the journal.

OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK=wakelog
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from wakelog.events import semconv as s
from wakelog.integrations._recorder import Recorder
from wakelog.logger import AgentLogger

if TYPE_CHECKING:
    from opentelemetry._logs import LogRecord

__all__ = ["WakelogCompletionHook"]

# What the instrumentation has said of the call already, and the event says too.
_KEPT: Final = (
    s.OPERATION_NAME,
    s.PROVIDER_NAME,
    s.REQUEST_MODEL,
    s.RESPONSE_MODEL,
    s.RESPONSE_ID,
    s.RESPONSE_FINISH_REASONS,
    s.USAGE_INPUT_TOKENS,
    s.USAGE_OUTPUT_TOKENS,
    s.CONVERSATION_ID,
    s.AGENT_NAME,
    s.ERROR_TYPE,
)


class WakelogCompletionHook:
    """Records messages of models as ``model_response`` events of the spans that they belong to.

    It is the ``CompletionHook`` of ``opentelemetry-util-genai``. The content is in the journal,
    redacted, and leaves the machine only where
    ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` has events carry it. It never raises.

    Args:
        log: Where to record; what ``wakelog.configure()`` set up by default, else OpenTelemetry's
            global logger provider.
    """

    def __init__(self, log: AgentLogger | None = None) -> None:
        self._recorder = Recorder(log)
        self.refused = self._recorder.refused
        """How many events were not accepted, by reason."""

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
            inputs: The messages that the model was given.
            outputs: The messages that it gave back.
            system_instruction: What it was told to be.
            tool_definitions: The tools that it had.
            span: The span of the call.
            log_record: The event that the instrumentation emits for it.
        """
        said = getattr(span, "attributes", None) or getattr(log_record, "attributes", None)
        fields = _kept(said if isinstance(said, Mapping) else {})
        fields["event_type"] = "model_response"
        content = {
            "input_messages": inputs,
            "output_messages": outputs,
            "system_instructions": system_instruction,
            "tool_definitions": tool_definitions,
        }
        fields["payload"] = {
            key: [_given(message) for message in value] for key, value in content.items() if value
        }
        with trace.use_span(span or trace.get_current_span(), end_on_exit=False):
            self._recorder.record(
                s.SCOPE_NAME, None, fields, severity_number=None, severity_text=""
            )


def _kept(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in _KEPT if said.get(name) is not None}


def _given(message: Any) -> Any:
    """Return what a message says, without the optional fields that it does not have."""
    if not is_dataclass(message) or isinstance(message, type):
        return message
    values = {field.name: getattr(message, field.name) for field in fields_of(message)}
    return {name: value for name, value in values.items() if value is not None}
