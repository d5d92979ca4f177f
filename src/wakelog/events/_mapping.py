"""The table of event types, with the attributes and severity of each.

OpenTelemetry's semantic conventions have no events for most actions of agents, so most event names
are Wakelog's own. Attributes are those of the conventions where one fits (see
``semconv.SEMCONV_VERSION``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from wakelog.events import semconv as s
from wakelog.record import Record, loaded_numbers, rfc3339

if TYPE_CHECKING:
    from wakelog.events._event import AgentEvent

# OpenTelemetry's severity numbers and their short names.
_DEBUG: Final = (5, "DEBUG")
_INFO: Final = (9, "INFO")
_WARN: Final = (13, "WARN")
_ERROR: Final = (17, "ERROR")


def _message(role: str) -> Callable[[object], object]:
    """Return a function that converts a text to the conventions' form of a message."""

    def wrap(value: object) -> object:
        if type(value) is str:
            return [{"role": role, "parts": [{"type": "text", "content": value}]}]
        return value

    return wrap


def _double(value: object) -> object:
    kind = type(value)
    if kind is int or (kind is not float and kind in loaded_numbers()):
        return float(cast("float", value))
    return value


def _list(value: object) -> object:
    return [value] if type(value) is str else value


def _only_true(value: object) -> object:
    return value or None


def _instructions(value: object) -> object:
    return [{"type": "text", "content": value}] if type(value) is str else value


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class EventType(NamedTuple):
    """The mapping of one event type to log records.

    Attributes:
        constant: Attributes that every event of the type has.
        payload: The attribute for each key of the payload that has one. The rest of the payload
            goes into ``wakelog.payload``.
        wrap: For some keys of the payload, the function that converts the value to the attribute's
            form. If it returns None, the attribute is left out.
        severity: OpenTelemetry's severity number and text.
        name: The event name of the conventions, if they have the event; else it is
            ``wakelog.<type>``.
    """

    constant: Mapping[str, object] = _NONE
    payload: Mapping[str, str] = _NONE
    wrap: Mapping[str, Callable[[object], object]] = _NONE
    severity: tuple[int, str] = _INFO
    name: str | None = None


_RUN: Final = EventType({s.OPERATION_NAME: s.INVOKE_AGENT}, {"error_type": s.ERROR_TYPE})
# The parameters of a request to a model.
REQUEST: Final[Mapping[str, str]] = {
    "max_tokens": s.REQUEST_MAX_TOKENS,
    "choice_count": s.REQUEST_CHOICE_COUNT,
    "temperature": s.REQUEST_TEMPERATURE,
    "top_p": s.REQUEST_TOP_P,
    "top_k": s.REQUEST_TOP_K,
    "stop_sequences": s.REQUEST_STOP_SEQUENCES,
    "frequency_penalty": s.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": s.REQUEST_PRESENCE_PENALTY,
    "encoding_formats": s.REQUEST_ENCODING_FORMATS,
    "seed": s.REQUEST_SEED,
    "stream": s.REQUEST_STREAM,
    "reasoning_level": s.REQUEST_REASONING_LEVEL,
    "previous_response_id": s.REQUEST_PREVIOUS_RESPONSE_ID,
    "output_type": s.OUTPUT_TYPE,
    "dimension_count": s.EMBEDDINGS_DIMENSION_COUNT,
    "compacted": s.CONVERSATION_COMPACTED,
    "prompt_name": s.PROMPT_NAME,
    "prompt_version": s.PROMPT_VERSION,
    "server_address": s.SERVER_ADDRESS,
    "server_port": s.SERVER_PORT,
}
# Token counts. Each is named like its attribute, with ``_`` for the dots.
USAGE: Final[Mapping[str, str]] = {
    "input_tokens": s.USAGE_INPUT_TOKENS,
    "output_tokens": s.USAGE_OUTPUT_TOKENS,
    "cache_read_input_tokens": s.USAGE_CACHE_READ,
    "cache_write_input_tokens": s.USAGE_CACHE_WRITE,
    "reasoning_output_tokens": s.USAGE_REASONING,
    "text_input_tokens": s.USAGE_TEXT_INPUT,
    "image_input_tokens": s.USAGE_IMAGE_INPUT,
    "audio_input_tokens": s.USAGE_AUDIO_INPUT,
    "text_output_tokens": s.USAGE_TEXT_OUTPUT,
    "image_output_tokens": s.USAGE_IMAGE_OUTPUT,
    "audio_output_tokens": s.USAGE_AUDIO_OUTPUT,
    "text_cache_read_input_tokens": s.USAGE_TEXT_CACHE_READ,
    "image_cache_read_input_tokens": s.USAGE_IMAGE_CACHE_READ,
    "audio_cache_read_input_tokens": s.USAGE_AUDIO_CACHE_READ,
    "cache_write_1h_input_tokens": s.USAGE_CACHE_WRITE_1H,
}
_MODEL_PAYLOAD: Final = {
    **REQUEST,
    **USAGE,
    "cost_usd": s.COST_USD,
    "price_list": s.COST_PRICES,
    "time_to_first_chunk": s.RESPONSE_TIME_TO_FIRST_CHUNK,
    "tool_definitions": s.TOOL_DEFINITIONS,
    "response_id": s.RESPONSE_ID,
    "response_model": s.RESPONSE_MODEL,
    "finish_reasons": s.RESPONSE_FINISH_REASONS,
    "input_messages": s.INPUT_MESSAGES,
    "output_messages": s.OUTPUT_MESSAGES,
    "system_instructions": s.SYSTEM_INSTRUCTIONS,
    "error_type": s.ERROR_TYPE,
}
_MODEL_WRAP: Final = {
    "cost_usd": _double,
    "temperature": _double,
    "top_p": _double,
    "frequency_penalty": _double,
    "presence_penalty": _double,
    "stop_sequences": _list,
    "encoding_formats": _list,
    "compacted": _only_true,
    "stream": _only_true,
    "input_messages": _message("user"),
    "output_messages": _message("assistant"),
    "system_instructions": _instructions,
}
_CHAT: Final = {s.OPERATION_NAME: s.CHAT}
_MODEL: Final = EventType(_CHAT, _MODEL_PAYLOAD, _MODEL_WRAP)
_TOOL: Final = EventType(
    {s.OPERATION_NAME: s.EXECUTE_TOOL},
    {
        "args": s.TOOL_CALL_ARGUMENTS,
        "result": s.TOOL_CALL_RESULT,
        "tool_type": s.TOOL_TYPE,
        "tool_description": s.TOOL_DESCRIPTION,
        "error_type": s.ERROR_TYPE,
    },
)
_RETRIEVAL: Final = EventType(
    {s.OPERATION_NAME: s.RETRIEVAL},
    {
        "query": s.RETRIEVAL_QUERY_TEXT,
        "source": s.DATA_SOURCE_ID,
        "top_k": s.RETRIEVAL_TOP_K,
        "result": s.RETRIEVAL_DOCUMENTS,
    },
)
_STREAM: Final = EventType(
    payload={
        "stream_id": s.STREAM_ID,
        "chunks": s.STREAM_CHUNKS,
        "reason": s.STREAM_REASON,
        "message": s.OUTPUT_MESSAGES,
    },
    wrap={"message": _message("assistant")},
)

_MEMORY: Final = {
    "store": s.MEMORY_STORE_ID,
    "record_id": s.MEMORY_RECORD_ID,
    "query": s.MEMORY_QUERY_TEXT,
    "records": s.MEMORY_RECORDS,
}
_EXCEPTION: Final = {
    "error": s.EXCEPTION_MESSAGE,
    "error_type": s.ERROR_TYPE,
    "exception_type": s.EXCEPTION_TYPE,
    "stacktrace": s.EXCEPTION_STACKTRACE,
}

EVENT_TYPES: Final[Mapping[str, EventType]] = {
    "run_start": _RUN,
    "run_end": _RUN,
    "user_message": EventType(_CHAT, {"message": s.INPUT_MESSAGES}, {"message": _message("user")}),
    "system_instruction": EventType(
        _CHAT, {"instruction": s.SYSTEM_INSTRUCTIONS}, {"instruction": _instructions}
    ),
    "model_call": _MODEL,
    "model_response": _MODEL,
    "tool_call": _TOOL,
    "tool_result": _TOOL,
    "retrieval_query": _RETRIEVAL,
    "retrieval_result": _RETRIEVAL,
    "policy_check": EventType(payload={"policy_name": s.POLICY_NAME}),
    "human_approval": EventType(payload={"approver": s.APPROVER}),
    "decision": EventType(
        payload={"decision": s.DECISION, "requires_human_review": s.DECISION_NEEDS_REVIEW}
    ),
    "error": EventType(payload=_EXCEPTION, severity=_ERROR),
    "evaluation": EventType(
        payload={
            "name": s.EVALUATION_NAME,
            "score": s.EVALUATION_SCORE_VALUE,
            "label": s.EVALUATION_SCORE_LABEL,
            "explanation": s.EVALUATION_EXPLANATION,
            "response_id": s.RESPONSE_ID,
            "error_type": s.ERROR_TYPE,
        },
        wrap={"score": _double},
        name=s.EVALUATION_EVENT,
    ),
    # Events of the conventions that repeat the content of other events are optional.
    "inference_details": EventType(
        _CHAT, _MODEL_PAYLOAD, _MODEL_WRAP, _DEBUG, s.INFERENCE_DETAILS_EVENT
    ),
    "inference_exception": EventType(
        _CHAT, {**REQUEST, **_EXCEPTION}, _MODEL_WRAP, _WARN, s.INFERENCE_EXCEPTION_EVENT
    ),
    "tool_exception": EventType(
        {s.OPERATION_NAME: s.EXECUTE_TOOL}, _EXCEPTION, {}, _WARN, s.TOOL_EXCEPTION_EVENT
    ),
    "sub_agent_invoked": EventType(
        payload={"agent_id": s.AGENT_NAME, "sub_thread_id": s.SUB_THREAD_ID}
    ),
    "agent_handoff": EventType(payload={"from": s.HANDOFF_FROM, "to": s.HANDOFF_TO}),
    "resumed": EventType(payload={"from_checkpoint": s.CHECKPOINT_ID}),
    "memory_recall": EventType(
        {s.OPERATION_NAME: s.SEARCH_MEMORY},
        {
            "tier": s.MEMORY_TIER,
            "namespace_key": s.MEMORY_NAMESPACE,
            "hits": s.MEMORY_RECORD_COUNT,
            **_MEMORY,
        },
    ),
    "memory_write": EventType(payload={"count": s.MEMORY_RECORD_COUNT, **_MEMORY}),
    "usage_limit_exceeded": EventType(
        {s.ERROR_TYPE: "usage_limit_exceeded"},
        {
            "kind": s.USAGE_LIMIT_KIND,
            "limit": s.USAGE_LIMIT_LIMIT,
            "observed": s.USAGE_LIMIT_OBSERVED,
        },
        severity=_WARN,
    ),
    "context_compacted": EventType(
        payload={
            "dropped_chars": s.CONTEXT_DROPPED_CHARS,
            "retained_chars": s.CONTEXT_RETAINED_CHARS,
        }
    ),
    "assistant_message": EventType(
        _CHAT, {"message": s.OUTPUT_MESSAGES}, {"message": _message("assistant")}
    ),
    "branch_created": EventType(payload={"thread_id": s.BRANCH_ID, "at": s.BRANCH_AT}),
    "checkpoint": EventType(
        payload={"checkpoint_id": s.CHECKPOINT_ID, "label": s.CHECKPOINT_LABEL}
    ),
    "warning": EventType(payload={"kind": s.WARNING_KIND}, severity=_WARN),
    "thinking_delta": EventType(),
    "rate_limit": EventType(
        payload={
            "kind": s.RATE_LIMIT_KIND,
            "limit": s.RATE_LIMIT_LIMIT,
            "remaining": s.RATE_LIMIT_REMAINING,
            "reset_seconds": s.RATE_LIMIT_RESET_SECONDS,
        }
    ),
    "interrupt": EventType(payload={"kind": s.INTERRUPT_KIND}),
    "cancelled": EventType(payload={"reason": s.CANCELLED_REASON}),
    "stream_start": _STREAM,
    "stream_chunk": _STREAM,
    "stream_end": _STREAM,
    "reasoning_start": _STREAM,
    "reasoning_stop": _STREAM,
    "custom": EventType(),
}

_OTHER: Final = EVENT_TYPES["custom"]
# A cache of the event names.
_event_names: dict[str, str] = {
    name: kind.name or s.EVENT_PREFIX + name for name, kind in EVENT_TYPES.items()
}
_types_of_names: Final = {name: kind for kind, name in _event_names.items()}


def event_name_of(event_type: str) -> str:
    """Return the event name of an event type."""
    return _event_names.get(event_type) or s.EVENT_PREFIX + event_type


def event_type_of(event_name: str) -> str:
    """Return the event type of an event name; for another library's event, the name itself."""
    return _types_of_names.get(event_name) or event_name.removeprefix(s.EVENT_PREFIX)


REPEATS: Final = frozenset({"inference_details", "inference_exception", "tool_exception"})
"""The types of Wakelog's events that repeat others of its own, and would be counted twice."""


def repeats(record: Record) -> bool:
    """Return whether a record repeats another event of Wakelog; other instrumentations' do not."""
    return (
        event_type_of(str(record.event_name or "")) in REPEATS
        and record.scope is not None
        and record.scope.name == s.SCOPE_NAME
    )


def type_of(event: AgentEvent) -> EventType:
    """Return the mapping of an event's type; that of ``custom`` for a registered one."""
    return EVENT_TYPES.get(event.event_type, _OTHER)


def severity_of(event: AgentEvent) -> tuple[int, str]:
    """Return OpenTelemetry's severity number and text for an event."""
    return type_of(event).severity


# Long: every event takes this path, and each call costs time.
def attributes_of(event: AgentEvent, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the attributes of an event as a new dict.

    Args:
        event: The event.
        content: The dict for attributes with content. If None, they are among the others.

    Returns:
        The attributes of its type, the common ones that are set, the rest of the payload as
        ``wakelog.payload``, and the caller's own.
    """
    kind = EVENT_TYPES.get(event.event_type, _OTHER)
    attributes: dict[str, Any] = dict(kind.constant)
    if event.tool_name is not None:
        attributes[s.TOOL_NAME] = event.tool_name
    if event.call_id is not None:
        attributes[s.TOOL_CALL_ID] = event.call_id
    if event.provider is not None:
        attributes[s.PROVIDER_NAME] = event.provider
    if event.model is not None:
        attributes[s.REQUEST_MODEL] = event.model
    if event.session_id is not None:
        attributes[s.CONVERSATION_ID] = event.session_id
    if event.agent_name is not None:
        attributes[s.AGENT_NAME] = event.agent_name
    if event.workflow_name is not None:
        attributes[s.WORKFLOW_NAME] = event.workflow_name
    if event.parent_event_id is not None:
        attributes[s.PARENT_ID] = event.parent_event_id
    if event.tenant_id is not None:
        attributes[s.TENANT_ID] = event.tenant_id
    if event.status is not None:
        attributes[s.STATUS] = event.status
    if event.run_id != event.event_id:
        attributes[s.RUN_ID] = event.run_id
    if event.event_key is not None:
        attributes[s.EVENT_KEY] = event.event_key
    said = attributes if content is None else content
    rest: dict[str, Any] = {}
    for key, value in (event.payload or rest).items():
        attribute = kind.payload.get(key)
        if attribute is None:
            rest[key] = value
        elif value is not None:
            wrap = kind.wrap.get(key)
            wrapped = value if wrap is None else wrap(value)
            if wrapped is not None:
                (said if attribute in s.CONTENT else attributes)[attribute] = wrapped
    if rest:
        said[s.PAYLOAD] = rest
    if event.risk:
        attributes[s.RISK] = event.risk
    if event.metadata:
        attributes[s.METADATA] = event.metadata
    if event.attributes:
        attributes.update(event.attributes)
        if content is not None:
            content.update({n: attributes.pop(n) for n in attributes.keys() & s.CONTENT})
    return attributes


def span_attributes(event_type: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a payload for a span, without content."""
    kind = EVENT_TYPES[event_type]
    attributes: dict[str, Any] = {}
    for key, value in payload.items():
        attribute = kind.payload.get(key)
        if value is not None and attribute is not None and attribute not in s.CONTENT:
            wrap = kind.wrap.get(key)
            wrapped = value if wrap is None else wrap(value)
            if wrapped is not None:
                attributes[attribute] = wrapped
    return attributes


def fields_of(event: AgentEvent) -> dict[str, Any]:
    """Return the fields of an event's line, for sinks without OpenTelemetry.

    Args:
        event: The event.

    Returns:
        The fields, for ``wakelog.record.encode``.
    """
    number, text = severity_of(event)
    fields: dict[str, Any] = {
        "timestamp": rfc3339(event.time_unix_nano),
        "event_name": event_name_of(event.event_type),
        "severity_number": number,
        "severity_text": text,
        "attributes": attributes_of(event),
    }
    if event.span_context is not None:
        trace_id, span_id, trace_flags = event.span_context
        fields["trace_id"] = f"{trace_id:032x}"
        fields["span_id"] = f"{span_id:016x}"
        if trace_flags:
            fields["trace_flags"] = trace_flags
    fields["scope"] = {"name": s.SCOPE_NAME, "schema_url": s.SCHEMA_URL}
    return fields
