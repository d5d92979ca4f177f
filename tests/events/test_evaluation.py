"""Evaluations after the fact: they belong to what was judged, by its id, in another process too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider

from tests.support.collector import Collector
from tests.support.programs import environment
from wakelog import AgentLogger, DurableLogRecordProcessor, MemorySink, OTelSink
from wakelog.viewer import load

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


class Judging:
    def __init__(self, folder: Path) -> None:
        self.hop = InMemoryLogRecordExporter()
        self.processor = DurableLogRecordProcessor(self.hop, directory=folder)
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(self.processor)
        self.log = AgentLogger(
            "planner",
            sink=OTelSink(provider, required=True),
            tracer_provider=TracerProvider(shutdown_on_exit=False),
        )

    def judged(self) -> Any:
        assert self.processor.force_flush()
        (found,) = [
            one.log_record
            for one in self.hop.get_finished_logs()
            if one.log_record.event_name == "gen_ai.evaluation.result"
        ]
        return found


@pytest.fixture
def judging(tmp_path: Path) -> Any:
    it = Judging(tmp_path / "journal")
    yield it
    it.processor.shutdown()


def test_an_event_is_judged_with_its_span_run_and_response(judging: Any) -> None:
    with judging.log.run(run_id="r-1", session_id="s-1"):
        with judging.log.model("m", "p") as call:
            call.respond("hi", response_id="resp-1")
        answered = judging.log.model_response("p", "m", {"response_id": "resp-2"})

    with judging.log.run(run_id="evaluator"):
        judging.log.evaluation("relevance", 4, "pass", "it fits", of=answered)

    record = judging.judged()
    said = dict(record.attributes)
    assert said["gen_ai.evaluation.name"] == "relevance"
    assert said["gen_ai.evaluation.score.value"] == 4.0
    assert type(said["gen_ai.evaluation.score.value"]) is float
    assert said["gen_ai.evaluation.score.label"] == "pass"
    assert "gen_ai.evaluation.explanation" not in said, "it is content"
    assert said["gen_ai.response.id"] == "resp-2"
    assert said["gen_ai.conversation.id"] == "s-1"
    assert said["wakelog.run.id"] == "r-1"
    assert said["wakelog.parent.id"] == answered.event_id
    assert (record.trace_id, record.span_id) == answered.span_context[:2]
    (session, _) = load(judging.processor.journal.root).sessions
    answers = [step for step in session.runs[0].steps if step.type == "model_response"]
    (verdict,) = answers[0].steps
    assert (verdict.type, verdict.name) == ("evaluation", "relevance")
    assert verdict.summary == "4.0 pass: it fits"


@pytest.mark.parametrize(
    "of",
    [
        trace.SpanContext(TRACE, SPAN, is_remote=True, trace_flags=trace.TraceFlags(1)),
        trace.NonRecordingSpan(trace.SpanContext(TRACE, SPAN, is_remote=True)),
        f"00-{TRACE:032x}-{SPAN:016x}-01",
    ],
    ids=["context", "span", "traceparent"],
)
def test_a_span_is_judged_by_its_ids(judging: Any, of: Any) -> None:
    with judging.log.run():
        judging.log.evaluation("user_feedback", label="thumbs_up", of=of)

    record = judging.judged()
    assert (record.trace_id, record.span_id) == (TRACE, SPAN)
    assert not {"wakelog.run.id", "wakelog.parent.id"} & set(record.attributes)


def test_a_run_and_an_event_are_judged_by_an_id_alone() -> None:
    sink = MemorySink()
    log = AgentLogger(sink=sink)

    of_run = log.evaluation("quality", 0.5, run_id="r-1")
    of_event = log.evaluation("quality", 0.5, of="e-1")
    both = log.evaluation("quality", 0.5, of="e-1", run_id="r-1")
    with log.run(run_id="open"):
        here = log.evaluation("quality", 0.5)

    assert (of_run.run_id, of_run.parent_event_id) == ("r-1", None)
    assert (of_event.run_id, of_event.parent_event_id) == (of_event.event_id, "e-1")
    assert (both.run_id, both.parent_event_id) == ("r-1", "e-1")
    assert here.run_id == "open"


def test_an_evaluation_that_says_nothing_or_judges_nothing_is_refused() -> None:
    log = AgentLogger(sink=MemorySink())

    with pytest.raises(TypeError, match="score"):
        log.evaluation("relevance")
    with pytest.raises(TypeError, match="cannot be evaluated"):
        log.evaluation("relevance", 1, of=5)  # type: ignore[arg-type]
    failed = log.evaluation("relevance", payload={"error_type": "timeout"})
    assert failed.payload == {"name": "relevance", "error_type": "timeout"}


def test_another_process_judges_a_run_by_its_id(tmp_path: Path, collector: Collector) -> None:
    variables = environment(collector, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf")
    first = """
import json, wakelog
log = wakelog.configure("planner", directory="journal")
with log.run(run_id="r-1", session_id="s-1"):
    event = log.decision("take the train")
print(json.dumps(event.event_id))
"""
    second = """
import json, sys, wakelog
log = wakelog.configure("judge", directory="journal")
log.evaluation("user_feedback", label="thumbs_down", of=sys.argv[1], run_id="r-1")
"""

    def ran(code: str, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], env=variables, cwd=tmp_path, check=True,
            stdout=subprocess.PIPE, text=True, timeout=60,
        ).stdout  # fmt: skip

    event_id = json.loads(ran(first))
    ran(second, event_id)

    arrived = {one.event_name: one for one in collector.wait_for_logs(4)}
    verdict = arrived["gen_ai.evaluation.result"]
    assert verdict.attributes["wakelog.parent.id"] == event_id
    ((run,),) = [session.runs for session in load(tmp_path / "journal").sessions]
    (decision,) = run.steps
    assert [step.summary for step in decision.steps] == ["thumbs_down"]
