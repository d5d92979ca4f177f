"""Every attribute name that Wakelog writes, and the conventions that it was taken from.

The names under ``gen_ai.`` are those of the OpenTelemetry semantic conventions for generative AI,
all of which have the status Development; a rename upstream is a change of this file. Those under
``wakelog.`` are our own, for what the conventions have no name for.
"""

from __future__ import annotations

from typing import Final

SEMCONV_VERSION: Final = "semantic-conventions-genai main of 2026-10-07; core 1.44.0"

EVENT_PREFIX: Final = "wakelog."
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

# Generative AI.
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
AGENT_NAME: Final = "gen_ai.agent.name"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
DATA_SOURCE_ID: Final = "gen_ai.data_source.id"
MEMORY_RECORD_COUNT: Final = "gen_ai.memory.record.count"

# Content: what stays in the journal unless the user wants it exported.
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
RETRIEVAL_QUERY_TEXT: Final = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS: Final = "gen_ai.retrieval.documents"
PAYLOAD: Final = "wakelog.payload"

CONTENT: Final = frozenset(
    {
        INPUT_MESSAGES,
        OUTPUT_MESSAGES,
        SYSTEM_INSTRUCTIONS,
        TOOL_CALL_ARGUMENTS,
        TOOL_CALL_RESULT,
        RETRIEVAL_QUERY_TEXT,
        RETRIEVAL_DOCUMENTS,
        PAYLOAD,
    }
)
"""Attributes that hold what people, models and tools said."""

# Operations.
INVOKE_AGENT: Final = "invoke_agent"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
RETRIEVAL: Final = "retrieval"
SEARCH_MEMORY: Final = "search_memory"

# Metrics of SDK components.
OTEL_PROCESSOR_QUEUE_SIZE: Final = "otel.sdk.processor.log.queue.size"
OTEL_PROCESSOR_QUEUE_CAPACITY: Final = "otel.sdk.processor.log.queue.capacity"
OTEL_PROCESSOR_PROCESSED: Final = "otel.sdk.processor.log.processed"
OTEL_EXPORTER_INFLIGHT: Final = "otel.sdk.exporter.log.inflight"
OTEL_EXPORTER_EXPORTED: Final = "otel.sdk.exporter.log.exported"
OTEL_EXPORTER_DURATION: Final = "otel.sdk.exporter.operation.duration"

# Our own.
WRITER_ID: Final = "wakelog.writer.id"
SEQ: Final = "wakelog.seq"
RUN_ID: Final = "wakelog.run.id"
PARENT_ID: Final = "wakelog.parent.id"
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
GATEWAY_FORWARD: Final = "wakelog.gateway.forward"
REPLAYED: Final = "wakelog.replayed"
DEAD_LETTER_EVENT: Final = "wakelog.dead_letter"
DEAD_LETTER_UID: Final = "wakelog.dead_letter.uid"
DEAD_LETTER_EVENT_NAME: Final = "wakelog.dead_letter.event_name"
DEAD_LETTER_OUTCOME: Final = "wakelog.dead_letter.outcome"
DEAD_LETTER_REASON: Final = "wakelog.dead_letter.reason"
DEAD_LETTER_SIZE: Final = "wakelog.dead_letter.size"
