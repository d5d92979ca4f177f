"""What tests of loggers share: records with their spans, a sink that fails, and what is attached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from wakelog import AgentEvent, AgentLogger, MemorySink, context
from wakelog.journal import read

if TYPE_CHECKING:
    from wakelog.record import Record


class Recorded:
    """A logger, the events that it wrote and the spans that it opened."""

    def __init__(self, agent_name: str | None = "planner", **given: Any) -> None:
        self.sink = MemorySink()
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        given = {"sink": self.sink, "tracer_provider": provider, **given}
        self.log = AgentLogger(agent_name, **given)

    @property
    def events(self) -> list[AgentEvent]:
        return self.sink.events

    def types(self) -> list[str]:
        return [event.event_type for event in self.events]

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


def records_of(path: Path) -> list[Record]:
    return [entry.record for entry in read(path)]


def nothing_is_attached() -> bool:
    variables = (context.parent_id, context.run_id, context.agent, context.session_id)
    return trace.get_current_span() is trace.INVALID_SPAN and not any(v.get() for v in variables)


class OwnError(Exception):
    """An error with a qualified name."""
