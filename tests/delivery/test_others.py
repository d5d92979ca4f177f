"""Code of others that runs inside ours: what it raises costs nobody a record, and no program its work."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanContext, TraceFlags

import wakelog
from wakelog import AgentLogger, EventToSpanEventBridge, MemorySink
from wakelog.integrations.genai import WakelogCompletionHook
from wakelog.integrations.logging import WakelogHandler
from wakelog.integrations.loguru import WakelogSink
from wakelog.integrations.structlog import WakelogProcessor
from wakelog.otel import DurableLogRecordProcessor

VALID = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
BROKEN = [
    "get_span_context", "is_recording", "add_event", "end", "set_status", "set_attribute",
    "set_attributes",
]  # fmt: skip


class OwnError(Exception):
    """What a bug of somebody else's raises."""


def broken_span(method: str) -> trace.Span:
    """A span of another library, of whose methods one has a bug."""

    class Theirs(trace.NonRecordingSpan):
        def is_recording(self) -> bool:
            return True

        def __getattribute__(self, name: str) -> Any:
            if name == method:
                raise OwnError(name)
            return super().__getattribute__(name)

    return Theirs(VALID)


class Odd(trace.NonRecordingSpan):
    """A span whose context is none of OpenTelemetry's."""

    def get_span_context(self) -> Any:
        return None

    def is_recording(self) -> bool:
        return True


@pytest.mark.parametrize("method", [*BROKEN, "odd"])
def test_a_broken_span_costs_a_bridged_record_nothing(tmp_path: Path, method: str) -> None:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    durable = DurableLogRecordProcessor(None, directory=tmp_path, span_events=True)
    for processor in (EventToSpanEventBridge(), durable, SimpleLogRecordProcessor(exporter)):
        provider.add_log_record_processor(processor)
    record = LogRecord(event_name="order.sent", body="x")
    span = Odd(VALID) if method == "odd" else broken_span(method)
    record.context, record.trace_id, record.span_id = trace.set_span_in_context(span), 1, 2

    provider.get_logger("shop").emit(record)

    assert len(exporter.get_finished_logs()) == 1
    assert durable.journal.writer is not None
    assert durable.journal.writer.seq == 1
    assert durable.refused.total() == 0
    durable.shutdown()


def used(name: str, log: AgentLogger) -> Any:
    if name == "logging":
        handler = WakelogHandler(log=log)
        handler.handle(logging.makeLogRecord({"name": "shop", "msg": "x", "levelno": 20}))
        return handler
    if name == "structlog":
        processor = WakelogProcessor(log)
        processor(None, "info", {"event": "x"})
        return processor
    hook = WakelogCompletionHook(log)
    span = trace.get_current_span()
    hook.on_completion(inputs=["a"], outputs=["b"], system_instruction=[], span=span)
    return hook


@pytest.mark.parametrize("method", [*BROKEN, "attributes", "odd"])
@pytest.mark.parametrize("name", ["event", "blocks", "logging", "structlog", "genai"])
def test_a_broken_span_around_a_call_costs_it_nothing(name: str, method: str) -> None:
    span = Odd(VALID) if method == "odd" else broken_span(method)
    sink = MemorySink()
    log = AgentLogger("a", sink=sink)

    with trace.use_span(span, end_on_exit=False, record_exception=False):
        if name == "event":
            log.user_message("x")
        elif name == "blocks":
            with log.run(), log.tool("search"):
                pass
        else:
            assert used(name, log).refused.total() == 0

    assert len(sink.events) == (4 if name == "blocks" else 1)


class Bad(SpanProcessor):
    """A processor of somebody else's with a bug."""

    def __init__(self, method: str) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OwnError(method)

        setattr(self, method, fail)


@pytest.mark.parametrize("method", ["on_start", "on_end", "_on_ending"])
def test_a_broken_span_processor_keeps_no_tool_from_running(method: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Bad(method))
    sink = MemorySink()
    log = AgentLogger("a", sink=sink, tracer_provider=provider)

    ran = []
    with log.run(), log.model("m") as call:
        call.respond("x", input_tokens=1)
        with log.tool("search"):
            ran.append(1)
    own = OwnError("the agent's own")
    with pytest.raises(OwnError, match="the agent's own"), log.tool("search"):
        raise own

    assert ran == [1]
    assert len(sink.events) == 8


@pytest.mark.parametrize("broken", ["extra", "time", "exception"])
def test_a_broken_message_of_loguru_is_counted_and_raises_nothing(broken: str) -> None:
    class Message(str):
        __slots__ = ()

        @property
        def record(self) -> Any:
            raise OwnError(broken)

    sink = WakelogSink(AgentLogger(sink=MemorySink()))

    sink(Message("x"))

    assert sink.refused == {"OwnError": 1}


@pytest.mark.parametrize("name", ["logging", "structlog", "genai"])
@pytest.mark.parametrize("with_a_provider", [False, True])
def test_integrations_are_silent_while_opentelemetry_is_switched_off(
    name: str,
    with_a_provider: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from wakelog.integrations import _recorder

    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    provider = LoggerProvider(shutdown_on_exit=False) if with_a_provider else object()
    monkeypatch.setattr(_recorder, "get_logger_provider", lambda: provider)
    monkeypatch.setattr(_recorder, "current", lambda: None)

    none: Any = None
    with caplog.at_level(logging.DEBUG, logger="wakelog"):
        assert used(name, none).refused.total() == 0
    assert caplog.records == []


def test_a_provider_that_cannot_be_flushed_is_not_delivered_and_raises_nothing() -> None:
    class Theirs(LoggerProvider):
        def force_flush(self, timeout_millis: int = 0) -> bool:
            raise OwnError

    log = AgentLogger(sink=wakelog.OTelSink(Theirs(shutdown_on_exit=False)))

    assert not log.flush(1)


def test_an_exporter_that_cannot_be_shut_down_keeps_no_journal_open(tmp_path: Path) -> None:
    class Theirs(InMemoryLogRecordExporter):
        def shutdown(self) -> None:
            raise OwnError

    processor = DurableLogRecordProcessor(Theirs(), directory=tmp_path)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    provider.get_logger("x").emit(body="x")
    assert processor.force_flush(60_000)

    assert processor.close(5)
    assert processor.journal.writer is None
