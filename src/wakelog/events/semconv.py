"""All attribute names that Wakelog writes, and the conventions from which they are taken.

The names under ``gen_ai.`` are those of the OpenTelemetry semantic conventions for generative AI,
all of which have the status Development; a rename upstream is a change of this file. Those under
``wakelog.`` are our own, for what the conventions have no name for.
"""

from __future__ import annotations

from typing import Final

SEMCONV_VERSION: Final = "semantic-conventions-genai 0.1.0; core 1.45.0"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai/0.1.0"
"""The schema URL of Wakelog's own loggers and tracers. Lines without it have older names."""

EVENT_PREFIX: Final = "wakelog."
GENAI_PREFIX: Final = "gen_ai."
SCOPE_NAME: Final = "wakelog"

# Core conventions.
LOG_RECORD_UID: Final = "log.record.uid"
ERROR_TYPE: Final = "error.type"
OTEL_COMPONENT_TYPE: Final = "otel.component.type"
OTEL_COMPONENT_NAME: Final = "otel.component.name"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
CODE_STACKTRACE: Final = "code.stacktrace"
SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# Generative AI.
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
OUTPUT_TYPE: Final = "gen_ai.output.type"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
CONVERSATION_COMPACTED: Final = "gen_ai.conversation.compacted"
AGENT_NAME: Final = "gen_ai.agent.name"
PROMPT_NAME: Final = "gen_ai.prompt.name"
PROMPT_VERSION: Final = "gen_ai.prompt.version"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_TOP_K: Final = "gen_ai.request.top_k"
REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
REQUEST_PREVIOUS_RESPONSE_ID: Final = "gen_ai.request.previous_response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
USAGE_TEXT_INPUT: Final = "gen_ai.usage.text.input_tokens"
USAGE_IMAGE_INPUT: Final = "gen_ai.usage.image.input_tokens"
USAGE_AUDIO_INPUT: Final = "gen_ai.usage.audio.input_tokens"
USAGE_TEXT_OUTPUT: Final = "gen_ai.usage.text.output_tokens"
USAGE_IMAGE_OUTPUT: Final = "gen_ai.usage.image.output_tokens"
USAGE_AUDIO_OUTPUT: Final = "gen_ai.usage.audio.output_tokens"
USAGE_TEXT_CACHE_READ: Final = "gen_ai.usage.text.cache_read.input_tokens"
USAGE_IMAGE_CACHE_READ: Final = "gen_ai.usage.image.cache_read.input_tokens"
USAGE_AUDIO_CACHE_READ: Final = "gen_ai.usage.audio.cache_read.input_tokens"
MODALITY: Final = "gen_ai.token.modality"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_DESCRIPTION: Final = "gen_ai.tool.description"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
DATA_SOURCE_ID: Final = "gen_ai.data_source.id"
RETRIEVAL_TOP_K: Final = "gen_ai.retrieval.top_k"
MEMORY_STORE_ID: Final = "gen_ai.memory.store.id"
MEMORY_RECORD_ID: Final = "gen_ai.memory.record.id"
MEMORY_RECORD_COUNT: Final = "gen_ai.memory.record.count"
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_SCORE_VALUE: Final = "gen_ai.evaluation.score.value"
EVALUATION_SCORE_LABEL: Final = "gen_ai.evaluation.score.label"

# Events of the conventions.
INFERENCE_DETAILS_EVENT: Final = "gen_ai.client.inference.operation.details"
INFERENCE_EXCEPTION_EVENT: Final = "gen_ai.client.inference.exception"
TOOL_EXCEPTION_EVENT: Final = "gen_ai.execute_tool.exception"
EVALUATION_EVENT: Final = "gen_ai.evaluation.result"

# Content, which is exported only if the user enables that.
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
RETRIEVAL_QUERY_TEXT: Final = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS: Final = "gen_ai.retrieval.documents"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
MEMORY_QUERY_TEXT: Final = "gen_ai.memory.query.text"
MEMORY_RECORDS: Final = "gen_ai.memory.records"
EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"
PAYLOAD: Final = "wakelog.payload"

# Seals as log records.
CHECKPOINT: Final = "wakelog.checkpoint"
CHECKPOINT_SEAL: Final = "wakelog.checkpoint.seal"
CHECKPOINT_WRITER: Final = "wakelog.checkpoint.writer"
CHECKPOINT_NUMBER: Final = "wakelog.checkpoint.number"
CHECKPOINT_LAST_SEQ: Final = "wakelog.checkpoint.last_seq"
CHECKPOINT_DIGEST: Final = "wakelog.checkpoint.digest"

CONTENT: Final = frozenset(
    {
        INPUT_MESSAGES,
        OUTPUT_MESSAGES,
        SYSTEM_INSTRUCTIONS,
        TOOL_CALL_ARGUMENTS,
        TOOL_CALL_RESULT,
        RETRIEVAL_QUERY_TEXT,
        RETRIEVAL_DOCUMENTS,
        TOOL_DEFINITIONS,
        MEMORY_QUERY_TEXT,
        MEMORY_RECORDS,
        EVALUATION_EXPLANATION,
        PAYLOAD,
    }
)
"""Attributes with content: messages, model answers, tool arguments and results."""
EVENT_NAME: Final = "event.name"
FOREIGN_CONTENT: Final = (
    *sorted(CONTENT),
    # Older versions of the conventions, OpenLLMetry.
    "gen_ai.prompt",
    "gen_ai.prompt.[0-9]*",
    "gen_ai.completion",
    "gen_ai.completion.*",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "traceloop.prompt.*",
    # OpenInference.
    "input.value",
    "output.value",
    "llm.input_messages*",
    "llm.output_messages*",
    "llm.prompts*",
    "llm.choices*",
    "llm.prompt_template.*",
    "llm.invocation_parameters",
    "llm.function_call",
    "llm.tools*",
    "tool.parameters",
    "retrieval.documents*",
    "embedding.embeddings*",
    "embedding.text",
    "reranker.input_documents*",
    "reranker.output_documents*",
    "reranker.query",
    # Pydantic AI.
    "all_messages_events",
    "pydantic_ai.all_messages",
    "tool_arguments",
    "tool_response",
    "final_result",
)
"""Attributes in which other instrumentations record content, as patterns (``fnmatch``)."""

# Operations.
INVOKE_AGENT: Final = "invoke_agent"
INVOKE_WORKFLOW: Final = "invoke_workflow"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
RETRIEVAL: Final = "retrieval"
SEARCH_MEMORY: Final = "search_memory"

# Metrics of generative AI.
METRIC_INPUT_TOKENS: Final = "gen_ai.client.inference.usage.input_tokens"
METRIC_OUTPUT_TOKENS: Final = "gen_ai.client.inference.usage.output_tokens"
METRIC_CACHE_READ: Final = "gen_ai.client.inference.usage.cache_read.input_tokens"
METRIC_CACHE_WRITE: Final = "gen_ai.client.inference.usage.cache_write.input_tokens"
METRIC_REASONING: Final = "gen_ai.client.inference.usage.reasoning.output_tokens"
METRIC_INFERENCE_DURATION: Final = "gen_ai.client.inference.duration"
METRIC_TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.inference.time_to_first_chunk"
METRIC_TOOL_DURATION: Final = "gen_ai.execute_tool.duration"
METRIC_AGENT_DURATION: Final = "gen_ai.invoke_agent.duration"

# Older names in lines of Wakelog, and the current ones.
RENAMED: Final = {
    "gen_ai.workflow.name": "wakelog.workflow.name",
    "gen_ai.usage.cache_creation.input_tokens": USAGE_CACHE_WRITE,
}

# Metrics of SDK components.
OTEL_PROCESSOR_QUEUE_SIZE: Final = "otel.sdk.processor.log.queue.size"
OTEL_PROCESSOR_QUEUE_CAPACITY: Final = "otel.sdk.processor.log.queue.capacity"
OTEL_PROCESSOR_PROCESSED: Final = "otel.sdk.processor.log.processed"
OTEL_EXPORTER_INFLIGHT: Final = "otel.sdk.exporter.log.inflight"
OTEL_EXPORTER_EXPORTED: Final = "otel.sdk.exporter.log.exported"
OTEL_EXPORTER_DURATION: Final = "otel.sdk.exporter.operation.duration"

# Wakelog's own.
WRITER_ID: Final = "wakelog.writer.id"
SEQ: Final = "wakelog.seq"
# The prefix of a log record's field name, for an invalid value that was given for the field.
GIVEN: Final = "wakelog.given."
RUN_ID: Final = "wakelog.run.id"
EVENT_KEY: Final = "wakelog.event.key"
WORKFLOW_NAME: Final = "wakelog.workflow.name"
COST_USD: Final = "wakelog.cost.usd"
COST_PRICES: Final = "wakelog.cost.prices"
USAGE_CACHE_WRITE_1H: Final = "wakelog.usage.cache_write_1h.input_tokens"
PARENT_ID: Final = "wakelog.parent.id"
PARENT_SESSION_ID: Final = "wakelog.parent.session.id"
TENANT_ID: Final = "wakelog.tenant.id"
STATUS: Final = "wakelog.status"
RISK: Final = "wakelog.risk"
METADATA: Final = "wakelog.metadata"
POLICY_NAME: Final = "wakelog.policy.name"
APPROVER: Final = "wakelog.approver"
DECISION: Final = "wakelog.decision.text"
DECISION_NEEDS_REVIEW: Final = "wakelog.decision.requires_human_review"
SUB_THREAD_ID: Final = "wakelog.sub_thread.id"
HANDOFF_FROM: Final = "wakelog.handoff.from"
HANDOFF_TO: Final = "wakelog.handoff.to"
CHECKPOINT_ID: Final = "wakelog.checkpoint.id"
MEMORY_TIER: Final = "wakelog.memory.tier"
MEMORY_NAMESPACE: Final = "wakelog.memory.namespace"
USAGE_LIMIT_KIND: Final = "wakelog.usage_limit.kind"
USAGE_LIMIT_LIMIT: Final = "wakelog.usage_limit.limit"
USAGE_LIMIT_OBSERVED: Final = "wakelog.usage_limit.observed"
CONTEXT_DROPPED_CHARS: Final = "wakelog.context.dropped_chars"
CONTEXT_RETAINED_CHARS: Final = "wakelog.context.retained_chars"
BRANCH_ID: Final = "wakelog.branch.id"
BRANCH_AT: Final = "wakelog.branch.at"
CHECKPOINT_LABEL: Final = "wakelog.checkpoint.label"
WARNING_KIND: Final = "wakelog.warning.kind"
RATE_LIMIT_KIND: Final = "wakelog.rate_limit.kind"
RATE_LIMIT_LIMIT: Final = "wakelog.rate_limit.limit"
RATE_LIMIT_REMAINING: Final = "wakelog.rate_limit.remaining"
RATE_LIMIT_RESET_SECONDS: Final = "wakelog.rate_limit.reset_seconds"
INTERRUPT_KIND: Final = "wakelog.interrupt.kind"
CANCELLED_REASON: Final = "wakelog.cancelled.reason"
STREAM_ID: Final = "wakelog.stream.id"
STREAM_CHUNKS: Final = "wakelog.stream.chunks"
STREAM_REASON: Final = "wakelog.stream.reason"
STREAM_PART: Final = "wakelog.stream.part"
STREAM_PARTS: Final = "wakelog.stream.parts"
GATEWAY_FORWARD: Final = "wakelog.gateway.forward"
GATEWAY_METADATA: Final = "wakelog.gateway.metadata"
REPLAYED: Final = "wakelog.replayed"
DEAD_LETTER_EVENT: Final = "wakelog.dead_letter"
DEAD_LETTER_UID: Final = "wakelog.dead_letter.uid"
DEAD_LETTER_EVENT_NAME: Final = "wakelog.dead_letter.event_name"
DEAD_LETTER_OUTCOME: Final = "wakelog.dead_letter.outcome"
DEAD_LETTER_REASON: Final = "wakelog.dead_letter.reason"
DEAD_LETTER_SIZE: Final = "wakelog.dead_letter.size"
TRUNCATED_BYTES: Final = "wakelog.truncated_bytes"
SPAN_OUTCOME: Final = "wakelog.span.outcome"
SPAN_OUTCOME_REASON: Final = "wakelog.span.outcome_reason"
EVENTS_MISSING: Final = "wakelog.events.missing"

IDENTITY: Final = frozenset(
    {
        LOG_RECORD_UID,
        CONVERSATION_ID,
        AGENT_NAME,
        TOOL_NAME,
        TOOL_CALL_ID,
        RUN_ID,
        EVENT_KEY,
        PARENT_ID,
        PARENT_SESSION_ID,
        TENANT_ID,
        SUB_THREAD_ID,
        CHECKPOINT_ID,
        BRANCH_ID,
        STREAM_ID,
        STREAM_PART,
        STREAM_PARTS,
        GATEWAY_FORWARD,
        OPERATION_NAME,
        STATUS,
        ERROR_TYPE,
    }
)
"""Attributes that identify an event and its context. They are never shortened or moved."""
