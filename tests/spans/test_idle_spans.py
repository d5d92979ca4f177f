"""Open spans in which nothing happens: they are ended with outcome unknown, and their own end still counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, set_span_in_context

from tests.support.waiting import until
from wakelog import ConfigurationError
from wakelog.journal import books, folders, open_spans
from wakelog.otel import DurableSpanProcessor
from wakelog.otel._idle_spans import IdleSpans

RESOURCE = Resource({"service.name": "shop"})
TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("t")


class Watching:
    """Idle spans on a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ended: list[str] = []
        self.idle = IdleSpans(10.0, self._end, lambda: self.now)

    def _end(self, _: int, span: ReadableSpan, at: int) -> None:
        assert at >= (span.start_time or 0)
        self.ended.append(span.name)

    def start(self, name: str, parent: Span | None = None) -> Span:
        context = None if parent is None else set_span_in_context(parent)
        span = TRACER.start_span(name, context)
        self.idle.add(span.get_span_context().span_id, span)  # type: ignore[arg-type] # the SDK's
        return span

    def end(self, span: Span) -> None:
        self.idle.remove(span.get_span_context().span_id)

    def at(self, now: float) -> list[str]:
        self.now, self.ended = now, []
        self.idle.check()
        return sorted(self.ended)


def test_a_span_is_idle_when_nothing_has_happened_in_it_or_below_it() -> None:
    watching = Watching()
    outer = watching.start("outer")
    stream = watching.start("stream", outer)
    other = watching.start("other")
    assert watching.at(0) == []

    watching.now = 8
    stream.set_attribute("tokens", 1)
    assert watching.at(9) == []
    assert watching.at(12) == ["other"]
    stream.set_attribute("tokens", 2)
    assert watching.at(18) == []
    child = watching.start("child", stream)
    assert watching.at(27) == []
    watching.end(child)
    other.add_event("nobody looks any more")
    assert watching.at(36) == []
    assert watching.at(38) == ["outer", "stream"]
    assert watching.at(100) == []


def settings(directory: Path) -> dict[str, Any]:
    return {
        "directory": directory,
        "resource": RESOURCE,
        "pipeline": "p",
        "schedule_delay_millis": 20,
        "idle_limit": 0.2,
    }


def test_an_idle_span_is_exported_once_and_so_is_its_own_end(tmp_path: Path) -> None:
    hop = InMemorySpanExporter()
    processor = DurableSpanProcessor(hop, **settings(tmp_path))
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    span = provider.get_tracer("t").start_span("stream", attributes={"a": 1})
    span.set_attribute("later", 2)
    span.add_event("noted")
    until(hop.get_finished_spans, "the idle span's end")

    [idle] = hop.get_finished_spans()
    said = dict(idle.attributes or {})
    assert said.pop("wakelog.span.outcome") == "unknown"
    assert said.pop("wakelog.span.outcome_reason") == "idle"
    assert said == {"a": 1, "later": 2}
    assert [event.name for event in idle.events] == ["noted"]
    assert idle.status.status_code.name == "ERROR"
    assert (idle.end_time or 0) >= (idle.start_time or 0)
    assert len(processor.open_spans) == 0
    assert all(not open_spans(folder).starts for folder in folders(tmp_path))

    span.set_attribute("last", 3)
    span.end()
    processor.shutdown()

    _, own = hop.get_finished_spans()
    assert own.context == idle.context
    assert dict(own.attributes or {}) == {"a": 1, "later": 2, "last": 3}
    assert own.status.status_code.name == "UNSET"
    assert (own.end_time or 0) > (idle.end_time or 0)
    [kept] = books(tmp_path)
    assert (kept.accepted, kept.delivered, kept.pending) == (2, 2, 0)


KILLED = """
import os, signal, sys, time
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from wakelog.journal import read
from wakelog.otel import DurableSpanProcessor

processor = DurableSpanProcessor(None, directory=sys.argv[1], pipeline="p", idle_limit=0.1)
provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
provider.add_span_processor(processor)
span = provider.get_tracer("t").start_span("stream")
if os.fork() == 0:
    time.sleep(0.3)  # the child has no open span, so it ends none
    print(len(processor.open_spans), flush=True)
    os._exit(0)
os.wait()
while not list(read(sys.argv[1], signal="spans")):
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_idle_span_of_a_process_that_is_killed_is_not_ended_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == "0\n"

    hop = InMemorySpanExporter()
    DurableSpanProcessor(hop, **settings(tmp_path)).shutdown()

    [span] = hop.get_finished_spans()
    assert (span.attributes or {})["wakelog.span.outcome_reason"] == "idle"


@pytest.mark.parametrize(
    "wrong", [{"idle_limit": 0}, {"starts": False}, {"unknown_outcome": "drop"}]
)
def test_a_limit_that_cannot_be_kept_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"idle_limit=.* cannot be used"):
        DurableSpanProcessor(None, **{**settings(tmp_path), **wrong})
    assert os.listdir(tmp_path) == []
