"""Wakelog inside an OpenTelemetry pipeline.

The names below load the OpenTelemetry SDK when they are first used, not before. Those that are not in
``__all__`` are for Wakelog's other packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names

if TYPE_CHECKING:
    from wakelog.otel._bridge import ContentAwareBridge as ContentAwareBridge
    from wakelog.otel._bridge import EventToSpanEventBridge
    from wakelog.otel._content import ContentPolicy as ContentPolicy
    from wakelog.otel._durable import REPLAY_RATE as REPLAY_RATE
    from wakelog.otel._export_attempt import attempt_through as attempt_through
    from wakelog.otel._exporters import LOGS_SELECTOR as LOGS_SELECTOR
    from wakelog.otel._exporters import TRACES_SELECTOR as TRACES_SELECTOR
    from wakelog.otel._exporters import endpoint_of as endpoint_of
    from wakelog.otel._exporters import log_exporter as log_exporter
    from wakelog.otel._exporters import log_exporters as log_exporters
    from wakelog.otel._exporters import metric_exporter as metric_exporter
    from wakelog.otel._exporters import names_in as names_in
    from wakelog.otel._exporters import otlp_log_exporter as otlp_log_exporter
    from wakelog.otel._exporters import periodic_metrics as periodic_metrics
    from wakelog.otel._exporters import span_exporter as span_exporter
    from wakelog.otel._exporters import span_exporters as span_exporters
    from wakelog.otel._genai_metrics import GenAIMetrics as GenAIMetrics
    from wakelog.otel._genai_metrics import genai_metrics as genai_metrics
    from wakelog.otel._made import SetUp as SetUp
    from wakelog.otel._made import Spans as Spans
    from wakelog.otel._made import in_time as in_time
    from wakelog.otel._made import made as made
    from wakelog.otel._others import Refusals as Refusals
    from wakelog.otel._others import asked as asked
    from wakelog.otel._others import context_with as context_with
    from wakelog.otel._others import current_context as current_context
    from wakelog.otel._others import failures as failures
    from wakelog.otel._others import span_context_of as span_context_of
    from wakelog.otel._periodic_export import PeriodicMetrics as PeriodicMetrics
    from wakelog.otel._periodic_export import let_exporters_log as let_exporters_log
    from wakelog.otel._pipeline import named_pipeline as named_pipeline
    from wakelog.otel._processor import MAX_RECORD_BYTES as MAX_RECORD_BYTES
    from wakelog.otel._processor import DurableLogRecordProcessor
    from wakelog.otel._redactor import Redactor
    from wakelog.otel._result import DeliveryResult
    from wakelog.otel._settings import ANSWER_TIMEOUT as ANSWER_TIMEOUT
    from wakelog.otel._settings import ATTRIBUTE_LIMITS as ATTRIBUTE_LIMITS
    from wakelog.otel._settings import DIRECTORY_VARIABLE as DIRECTORY_VARIABLE
    from wakelog.otel._settings import EXIT_TIMEOUT as EXIT_TIMEOUT
    from wakelog.otel._settings import FOREIGN_VARIABLES as FOREIGN_VARIABLES
    from wakelog.otel._settings import disabled as disabled
    from wakelog.otel._settings import flag as flag
    from wakelog.otel._settings import for_journal as for_journal
    from wakelog.otel._settings import for_spans as for_spans
    from wakelog.otel._settings import has_limits as has_limits
    from wakelog.otel._settings import misspelt as misspelt
    from wakelog.otel._settings import naming_variables as naming_variables
    from wakelog.otel._settings import on_error_of as on_error_of
    from wakelog.otel._settings import refuse_beside_a_provider as refuse_beside_a_provider
    from wakelog.otel._settings import say_misspelt as say_misspelt
    from wakelog.otel._sink import OTelSink
    from wakelog.otel._span_processor import DurableSpanProcessor
    from wakelog.otel._trace_ids import TraceIds as TraceIds

__all__ = [
    "DeliveryResult",
    "DurableLogRecordProcessor",
    "DurableSpanProcessor",
    "EventToSpanEventBridge",
    "OTelSink",
    "Redactor",
]

__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.otel._bridge": ["ContentAwareBridge", "EventToSpanEventBridge"],
        "wakelog.otel._content": ["ContentPolicy"],
        "wakelog.otel._export_attempt": ["attempt_through"],
        "wakelog.otel._exporters": [
            "LOGS_SELECTOR",
            "TRACES_SELECTOR",
            "endpoint_of",
            "log_exporter",
            "log_exporters",
            "metric_exporter",
            "names_in",
            "otlp_log_exporter",
            "periodic_metrics",
            "span_exporter",
            "span_exporters",
        ],
        "wakelog.otel._genai_metrics": ["GenAIMetrics", "genai_metrics"],
        "wakelog.otel._made": ["SetUp", "Spans", "in_time", "made"],
        "wakelog.otel._others": [
            "Refusals",
            "asked",
            "context_with",
            "current_context",
            "failures",
            "span_context_of",
        ],
        "wakelog.otel._pipeline": ["named_pipeline"],
        "wakelog.otel._durable": ["REPLAY_RATE"],
        "wakelog.otel._processor": ["DurableLogRecordProcessor", "MAX_RECORD_BYTES"],
        "wakelog.otel._periodic_export": ["PeriodicMetrics", "let_exporters_log"],
        "wakelog.otel._redactor": ["Redactor"],
        "wakelog.otel._result": ["DeliveryResult"],
        "wakelog.otel._settings": [
            "ATTRIBUTE_LIMITS",
            "ANSWER_TIMEOUT",
            "DIRECTORY_VARIABLE",
            "EXIT_TIMEOUT",
            "FOREIGN_VARIABLES",
            "disabled",
            "flag",
            "for_journal",
            "for_spans",
            "has_limits",
            "misspelt",
            "naming_variables",
            "on_error_of",
            "refuse_beside_a_provider",
            "say_misspelt",
        ],
        "wakelog.otel._sink": ["OTelSink"],
        "wakelog.otel._span_processor": ["DurableSpanProcessor"],
        "wakelog.otel._trace_ids": ["TraceIds"],
    },
)
