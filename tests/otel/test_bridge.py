"""The bridge: each condition of the specification's "Event to span event bridge", one by one.

A record is bridged if it has an event name, valid ids, a recording current span in its context,
and the ids are that span's. Then it becomes one span event, and goes on through the pipeline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from wakelog import ConfigurationError, EventToSpanEventBridge
from wakelog.otel._bridge import ContentAwareBridge
from wakelog.otel._content import ContentPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

POLICY = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Pipeline:
    """A bridge, an exporter after it that keeps records, and a tracer."""

    def __init__(
        self, bridge: EventToSpanEventBridge | None = None, *, sampled: bool = True
    ) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(bridge or EventToSpanEventBridge())
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.log: Logger = self.provider.get_logger("app")
        sampler = ALWAYS_ON if sampled else ALWAYS_OFF
        self.tracer = TracerProvider(sampler, shutdown_on_exit=False).get_tracer("app")

    def exported(self) -> list[LogRecord]:
        return [data.log_record for data in self.exporter.get_finished_logs()]


def events_of(span: Span) -> list[Event]:
    assert isinstance(span, ReadableSpan)
    return list(span.events)


def attributes_of(event: Event) -> Mapping[str, Any]:
    return dict(event.attributes or {})


def test_an_event_becomes_one_event_of_the_span_that_is_running() -> None:
    pipeline = Pipeline()

    with pipeline.tracer.start_as_current_span("work") as span:
        pipeline.log.emit(event_name="order.sent", timestamp=42, attributes={"id": 7})

    [event] = events_of(span)
    assert (event.name, event.timestamp, attributes_of(event)) == ("order.sent", 42, {"id": 7})
    assert len(pipeline.exported()) == 1


@pytest.mark.parametrize("name", [None, ""])
def test_a_record_without_an_event_name_is_not_bridged(name: str | None) -> None:
    pipeline = Pipeline()

    with pipeline.tracer.start_as_current_span("work") as span:
        pipeline.log.emit(event_name=name, body="a plain log line")

    assert events_of(span) == []
    assert len(pipeline.exported()) == 1


def test_an_event_outside_any_span_is_not_bridged() -> None:
    pipeline = Pipeline()

    pipeline.log.emit(event_name="order.sent")

    [record] = pipeline.exported()
    assert record.trace_id == 0


@pytest.mark.parametrize("missing", ["trace_id", "span_id"])
def test_an_event_without_a_valid_id_is_not_bridged(missing: str) -> None:
    pipeline = Pipeline()

    with pipeline.tracer.start_as_current_span("work") as span:
        record = LogRecord(event_name="order.sent")
        setattr(record, missing, 0)
        pipeline.log.emit(record)

    assert events_of(span) == []
    assert len(pipeline.exported()) == 1


@pytest.mark.parametrize("other", ["trace_id", "span_id"])
def test_an_event_that_names_another_span_is_not_bridged(other: str) -> None:
    pipeline = Pipeline()

    with pipeline.tracer.start_as_current_span("work") as span:
        record = LogRecord(event_name="order.sent")
        setattr(record, other, 0xABC)
        pipeline.log.emit(record)

    assert events_of(span) == []
    assert len(pipeline.exported()) == 1


def test_an_event_after_the_end_of_its_span_is_not_bridged() -> None:
    pipeline = Pipeline()
    span = pipeline.tracer.start_span("work")

    with trace.use_span(span, end_on_exit=False):
        span.end()
        pipeline.log.emit(event_name="order.sent")

    assert events_of(span) == []
    assert len(pipeline.exported()) == 1


def test_an_event_in_a_span_that_is_sampled_out_goes_on_without_it() -> None:
    pipeline = Pipeline(sampled=False)

    with pipeline.tracer.start_as_current_span("work") as span:
        pipeline.log.emit(event_name="order.sent")

    assert not span.is_recording()
    [record] = pipeline.exported()
    assert record.trace_id == span.get_span_context().trace_id


def test_the_context_that_is_passed_decides_and_not_the_current_one() -> None:
    pipeline = Pipeline()
    named = pipeline.tracer.start_span("named")
    context = trace.set_span_in_context(named)

    with pipeline.tracer.start_as_current_span("current") as current:
        pipeline.log.emit(event_name="order.sent", context=context)

    assert [event.name for event in events_of(named)] == ["order.sent"]
    assert events_of(current) == []


def test_a_context_without_a_span_bridges_nothing() -> None:
    pipeline = Pipeline()
    without = Context({"something": "else"})

    with pipeline.tracer.start_as_current_span("current") as current:
        pipeline.log.emit(event_name="order.sent", context=without)

    assert events_of(current) == []
    assert len(pipeline.exported()) == 1


def test_the_time_is_the_timestamp_or_else_the_observed_one() -> None:
    pipeline = Pipeline()

    with pipeline.tracer.start_as_current_span("work") as span:
        pipeline.log.emit(event_name="both", timestamp=1, observed_timestamp=2)
        pipeline.log.emit(event_name="observed", observed_timestamp=2)

    assert [event.timestamp for event in events_of(span)] == [1, 2]


def test_all_attributes_are_copied_and_body_and_severity_are_not() -> None:
    pipeline = Pipeline()
    given: dict[str, Any] = {
        "text": "a",
        "number": 1.5,
        "yes": True,
        "bytes": b"\xff",
        "list": [1, 2],
        "mixed": [1, "a", None],
        "nested": {"deeper": {"x": 1}},
        "exception.type": "ValueError",
        "wakelog.payload": {"kept": "as it is foreign"},
    }

    with pipeline.tracer.start_as_current_span("work") as span:
        pipeline.log.emit(
            event_name="order.sent",
            body="the body",
            severity_number=SeverityNumber.ERROR,
            severity_text="ERROR",
            attributes=given,
        )

    [event] = events_of(span)
    expected = {**given, "list": (1, 2), "mixed": (1, "a", None)}
    assert attributes_of(event) == expected
    assert "the body" not in repr(attributes_of(event))


class Before(LogRecordProcessor):
    """Notes every record as it is before the bridge sees it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self.seen.append(state_of(log_record.log_record))

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def state_of(record: LogRecord) -> dict[str, Any]:
    return {**vars(record), "attributes": dict(record.attributes or {})}


def test_the_record_goes_on_unchanged() -> None:
    before, exporter = Before(), InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    for processor in (before, EventToSpanEventBridge(), SimpleLogRecordProcessor(exporter)):
        provider.add_log_record_processor(processor)
    pipeline = Pipeline()

    with pipeline.tracer.start_as_current_span("work") as span:
        provider.get_logger("app").emit(event_name="e", body={"b": 1}, attributes={"a": [1]})

    [after] = exporter.get_finished_logs()
    assert state_of(after.log_record) == before.seen[0]
    assert len(events_of(span)) == 1


@pytest.mark.parametrize("first", [True, False])
def test_it_works_before_and_after_a_batch_processor(first: bool) -> None:
    exporter = InMemoryLogRecordExporter()
    batch, bridge = BatchLogRecordProcessor(exporter), EventToSpanEventBridge()
    provider = LoggerProvider(shutdown_on_exit=False)
    for processor in (bridge, batch) if first else (batch, bridge):
        provider.add_log_record_processor(processor)
    pipeline = Pipeline()

    with pipeline.tracer.start_as_current_span("work") as span:
        provider.get_logger("app").emit(event_name="order.sent")
    provider.force_flush()
    provider.shutdown()

    assert [event.name for event in events_of(span)] == ["order.sent"]
    assert len(exporter.get_finished_logs()) == 1


def test_flushing_and_shutting_down_hold_nothing_up() -> None:
    pipeline = Pipeline()
    bridge = EventToSpanEventBridge()

    bridge.shutdown()

    assert bridge.force_flush()
    with pipeline.tracer.start_as_current_span("work") as span:
        pipeline.log.emit(event_name="order.sent")
    assert len(events_of(span)) == 1


CONTENT = {
    "gen_ai.input.messages": "i",
    "gen_ai.output.messages": "o",
    "gen_ai.system_instructions": "s",
    "gen_ai.tool.call.arguments": "a",
    "gen_ai.tool.call.result": "r",
    "gen_ai.retrieval.query.text": "q",
    "gen_ai.retrieval.documents": "d",
    "wakelog.payload": "p",
}


@pytest.mark.parametrize(
    "value, in_spans, in_events",
    [
        (None, False, False),
        ("", False, False),
        ("NO_CONTENT", False, False),
        ("SPAN_ONLY", True, False),
        ("EVENT_ONLY", False, True),
        ("SPAN_AND_EVENT", True, True),
        ("span_and_event", True, True),
        ("true", True, True),
        ("false", False, False),
    ],
)
def test_content_of_our_own_events_reaches_spans_only_where_the_variable_says_so(
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    in_spans: bool,
    in_events: bool,
) -> None:
    monkeypatch.delenv(POLICY, raising=False)
    if value is not None:
        monkeypatch.setenv(POLICY, value)
    policy = ContentPolicy.from_environment()
    pipeline = Pipeline(ContentAwareBridge(policy))
    attributes = {"gen_ai.tool.name": "search", **CONTENT}

    with pipeline.tracer.start_as_current_span("work") as span:
        own = pipeline.provider.get_logger("wakelog")
        own.emit(event_name="wakelog.tool_call", attributes=attributes)
        pipeline.log.emit(event_name="foreign", attributes=attributes)

    ours, foreign = events_of(span)
    assert attributes_of(ours) == (attributes if in_spans else {"gen_ai.tool.name": "search"})
    assert attributes_of(foreign) == attributes
    assert policy.events is in_events
    assert all(dict(record.attributes or {}) == attributes for record in pipeline.exported())


def test_a_policy_that_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POLICY, "SPANS")

    with pytest.raises(ConfigurationError) as caught:
        ContentPolicy.from_environment()

    assert f"{POLICY}='SPANS'" in str(caught.value)
    assert "SPAN_ONLY" in str(caught.value)
