"""Replay-safe ids: a durable-execution engine runs code again, and each event is recorded once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import wakelog
from tests.support.attack import ATTACKING
from tests.support.collector import Collector
from tests.support.journaled import Journaled
from tests.support.programs import environment
from tests.support.replay_engine import RUN, STEPS
from wakelog import AgentEvent, AgentLogger, AsyncAgentLogger, Budget, JSONLSink, MemorySink
from wakelog.errors import JournalError, SinkError
from wakelog.journal import read
from wakelog.logger import _keys
from wakelog.logger._keys import keys_of
from wakelog.record import uuid8
from wakelog.viewer import load

KILLED_IN = (1, 2, 4, 5, 7, 8, 10, 11, 13, 15, 17, 19)


def shipped(journal: Path, collector: Collector) -> list[Any]:
    """Sends the journal to a Collector, and returns what it received."""
    subprocess.run(
        [sys.executable, "-m", "wakelog", "ship", str(journal), "--endpoint",
         collector.http_endpoint, "--protocol", "http/protobuf"],
        env=environment(), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    return collector.log_records()


def check_received(received: list[Any], per_step: int) -> None:
    counted = Counter(one.event_name for one in received)
    assert counted["wakelog.tool_call"] == counted["wakelog.tool_result"] == STEPS
    assert counted["wakelog.run_start"] == counted["wakelog.run_end"] == 1
    assert len(received) == 2 + per_step * STEPS
    assert len({one.uid for one in received}) == len(received)
    assert {uuid.UUID(one.uid).version for one in received} == {8}


def check_tree(journal: Path) -> None:
    ((run,),) = [session.runs for session in load(journal, attributes=True).sessions]
    assert (run.id, run.status) == (RUN, "success")
    assert [step.status for step in run.steps] == ["success"] * STEPS
    results = [(step.attributes or {})["gen_ai.tool.call.result"] for step in run.steps]
    assert results == [n * n for n in range(1, STEPS + 1)]


def test_twenty_steps_replayed_in_thirteen_processes_are_twenty_records(
    tmp_path: Path, collector: Collector
) -> None:
    kills = ",".join(map(str, (*KILLED_IN, 0)))

    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.replay_engine", str(tmp_path), kills],
        env=environment(), timeout=120, check=True,
    )  # fmt: skip

    check_received(shipped(tmp_path / "journal", collector), per_step=2)
    check_tree(tmp_path / "journal")


@pytest.mark.attack
@pytest.mark.skipif(not ATTACKING, reason="13 starts of DBOS take a minute: make attack")
def test_a_workflow_that_dbos_recovers_is_recorded_once(
    tmp_path: Path, collector: Collector
) -> None:
    pytest.importorskip("dbos")
    for killed_in in (*KILLED_IN, 0):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.support.replay_program", str(tmp_path),
             str(killed_in)],
            env=environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == (-signal.SIGKILL if killed_in else 0), done.stderr

    check_received(shipped(tmp_path / "journal", collector), per_step=3)
    check_tree(tmp_path / "journal")


# --- ids -----------------------------------------------------------------------------------------


def test_an_id_is_made_of_run_key_and_type_and_never_of_content() -> None:
    one = AgentEvent("decision", run_id="r", event_key="k", payload={"decision": "a"})

    same = AgentEvent("decision", run_id="r", event_key="k", payload={"decision": "b"})
    others = [
        AgentEvent("decision", run_id="r2", event_key="k"),
        AgentEvent("decision", run_id="r", event_key="k2"),
        AgentEvent("checkpoint", run_id="r", event_key="k"),
        AgentEvent("decision", run_id="r", event_id=uuid8("rk", "", "decision")),
    ]

    assert one.event_id == same.event_id == uuid8("r", "k", "decision")
    assert len({one.event_id, *(other.event_id for other in others)}) == 5
    assert uuid.UUID(one.event_id).version == 8
    assert uuid.UUID(one.event_id).variant == uuid.RFC_4122
    assert one.to_dict()["event_key"] == "k"
    assert AgentEvent.from_dict(one.to_dict()) == one


def test_prefixes_stand_before_each_other_and_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = MemorySink()
    log = AgentLogger(sink=sink)

    with log.run(run_id="r"), wakelog.bound(event_key="outer"):
        with wakelog.bound(event_key="inner"):
            log.decision("d", event_key="k")
            carrier = wakelog.carrier()
        log.decision("d")
    with wakelog.carried(carrier):
        log.decision("e", event_key="k2")

    keys = [event.event_key for event in sink.events if event.event_type == "decision"]
    assert keys == ["outer/inner/k", None, "outer/inner/k2"]


def test_a_key_needs_a_run_that_is_the_same_each_time() -> None:
    log = AgentLogger(sink=MemorySink())

    with pytest.raises(TypeError, match="run_id="):
        log.decision("d", event_key="k")
    with pytest.raises(TypeError, match="run_id="):
        log.run(event_key="k")


# --- what is recorded ----------------------------------------------------------------------------


def test_a_replay_in_another_process_is_seen_in_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = f"""
import wakelog
log = wakelog.AgentLogger(sink={str(path)!r})
with log.run(run_id="r", event_key="run"), log.model("m", "p", event_key="ask") as call:
    call.respond("x" * 10, time_to_first_chunk=0.5, odd=(1, 2), deep={{"a": [None, 1.5, b"b"]}})
print([event.repeated for event in [log.decision("d", run_id="r", event_key="k")]])
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=environment(), check=True, stdout=subprocess.PIPE,
            text=True, timeout=60,
        ).stdout.strip()
        for _ in range(2)
    ]  # fmt: skip

    assert said == ["[False]", "[True]"]
    names = [entry.record.event_name for entry in read(path)]
    assert len(names) == len(set(names)) == 5


def test_a_second_content_under_a_key_is_counted_and_the_first_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"odd": (1, 2), "deep": {"a": [None, 1.5, b"b"]}, "big": 2**70, "when": Path("x")}
    repeated, counts = [], []
    for number in range(2):
        it = Journaled(tmp_path)
        sink = wakelog.OTelSink(it.provider, required=True, processors=[it.processor])
        log = AgentLogger(sink=sink)
        log.emit("custom", odd, run_id="r", event_key="same", metadata={"m": 1})
        repeated += [
            log.decision(text, run_id="r", event_key="k").repeated
            for text in (f"by {number}", "another")[: number + 1]
        ]
        counts.append(dict(keys_of(sink).counts))
        it.close()

    assert repeated == [False, True, True]
    assert counts == [{}, {"repeated": 3, "other_content": 2}]
    (kept,) = [one for one in it.records() if one.event_name == "wakelog.decision"]
    assert kept.attributes["wakelog.decision.text"] == "by 0"
    assert kept.attributes["wakelog.event.key"] == "k"
    said = [record for record in caplog.records if "other content" in record.getMessage()]
    assert len(said) == 1


def test_a_replayed_span_is_linked_to_the_earlier_one(tmp_path: Path) -> None:
    spans = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    for _ in range(2):
        log = AgentLogger(sink=JSONLSink(tmp_path / "e.jsonl"), tracer_provider=tracers)
        with log.run(run_id="r", event_key="run"), log.tool("t", event_key="call"):
            pass

    tool, run, tool_again, run_again = spans.get_finished_spans()
    for first, second in ((tool, tool_again), (run, run_again)):
        assert first.links == ()
        (link,) = second.links
        assert first.context is not None
        assert link.context.span_id == first.context.span_id
        assert dict(link.attributes or {}) == {"wakelog.replayed": True}
        assert second.context is not None
        assert second.context.span_id != first.context.span_id


def test_an_event_that_was_not_accepted_can_be_recorded_later() -> None:
    class Full(MemorySink):
        full = True

        def write(self, event: AgentEvent) -> None:
            if self.full:
                raise SinkError("no room")
            super().write(event)

    sink = Full()
    log = AgentLogger(sink=sink)
    with pytest.raises(SinkError):
        log.decision("d", run_id="r", event_key="k")
    sink.full = False

    assert not log.decision("d", run_id="r", event_key="k").repeated
    assert log.decision("d", run_id="r", event_key="k").repeated
    assert len(sink.events) == 1


def test_asyncio_records_once_too(tmp_path: Path) -> None:
    it = Journaled(tmp_path, durability="fsync")
    log = AsyncAgentLogger.over(it.log)

    async def workflow() -> None:
        async with log.run(run_id="r", event_key="run"), log.tool("t", event_key="call"):
            await log.decision("d", event_key="k")

    for _ in range(3):
        asyncio.run(workflow())

    assert len(it.records()) == 5
    it.close()


def test_a_budget_of_a_replayed_run_is_overrun_once(tmp_path: Path) -> None:
    told: list[Any] = []
    for _ in range(2):
        log = AgentLogger(sink=JSONLSink(tmp_path / "e.jsonl"))
        with log.run(run_id="r", event_key="run", budget=Budget(tokens=1, on_limit=told.append)):
            # Which call of several at once overruns it is another one each time.
            log.model_response("p", "m", {"input_tokens": 5}, event_key=f"ask-{len(told)}")

    names = [entry.record.event_name for entry in read(tmp_path / "e.jsonl")]
    assert names.count("wakelog.usage_limit_exceeded") == 1
    assert [one.observed for one in told] == [5, 5], "each process is told"


def test_beyond_the_bound_on_keys_events_are_recorded_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_keys, "MOST_KEYS", 2)
    sink = MemorySink()
    log = AgentLogger(sink=sink)
    for _ in range(2):
        for key in ("a", "b", "c"):
            log.decision(key, run_id="r", event_key=key)

    ids = [event.event_id for event in sink.events]
    assert len(ids) == 4
    assert ids[2] == ids[3], "the backend can drop the copy by its id"


def test_a_journal_that_cannot_be_read_costs_a_copy_and_no_event(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "e.jsonl"
    AgentLogger(sink=JSONLSink(path)).decision("d", run_id="r", event_key="k")

    def refuses(*_: Any) -> Any:
        raise JournalError("read", path, "permission denied")

    monkeypatch.setattr("wakelog.journal.holding", refuses)

    assert not AgentLogger(sink=JSONLSink(path)).decision("d", run_id="r", event_key="k").repeated
    assert len(list(read(path))) == 2
    assert "may be recorded again" in caplog.text
