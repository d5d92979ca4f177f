"""The example of the audit channel: killed, started again, and whole in the log and in the trace."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

from tests.conftest import ROOT
from tests.support.collector import Collector
from tests.support.otlp import ExportedSpan
from tests.support.programs import LONG_EXIT
from wakelog.audit import JournalSessionLog, Logged, SessionGraph, ThreadKey, UsageLimitBreach

EXAMPLE = ROOT / "examples" / "multi_agent_handoff.py"
TRIP = ThreadKey("acme", "trip-7")
SECONDS = 60

BEFORE = [
    "user_message",
    "sub_agent_invoked",
    "memory_recall",
    "checkpoint",
    "context_compacted",
    "agent_handoff",
    "tool_call",
]
AFTER = ["resumed", "tool_call", "usage_limit_exceeded", "tool_result", "assistant_message"]


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), str(folder), *arguments],
        env={**os.environ, **LONG_EXIT, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def logged(folder: Path) -> list[Logged]:
    return asyncio.run(JournalSessionLog(folder / "sessions").load_since(TRIP))


def kinds(events: list[Logged]) -> list[str]:
    return [one.event.event_type for one in events]


def test_a_killed_conversation_finds_its_state_in_the_log_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    crashed = run(tmp_path, "--crash")
    at_the_crash = logged(tmp_path)
    resumed = run(tmp_path)
    again = run(tmp_path)

    assert crashed.returncode == -signal.SIGKILL
    assert kinds(at_the_crash) == BEFORE
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.endswith("booked TP-579, resumed 1, over budget 1\n")
    whole = logged(tmp_path)
    assert kinds(whole) == BEFORE + AFTER
    assert whole[: len(BEFORE)] == at_the_crash
    breach = UsageLimitBreach.from_payload(whole[9].event.payload)
    assert (breach.limit, breach.observed) == (Decimal("0.05"), Decimal("0.0612"))
    graph = asyncio.run(SessionGraph.hydrate(JournalSessionLog(tmp_path / "sessions"), TRIP))
    said = [message["role"] for message in graph.current_branch_messages()]
    # The call that was made again after the crash has the same id, and models take one of it.
    assert said == ["user", "assistant", "tool", "assistant"]
    # And there is nothing left to do.
    assert again.stdout == resumed.stdout
    assert kinds(logged(tmp_path)) == BEFORE + AFTER


def test_without_a_crash_the_booker_is_linked_to_the_span_that_handed_over(
    tmp_path: Path, collector: Collector
) -> None:
    done = run(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.grpc_endpoint)

    assert done.returncode == 0, done.stderr
    events = {one.event.event_type: one.event for one in logged(tmp_path)}
    spans = spans_of(collector, {"invoke_agent booker", "invoke_agent searcher"})
    booker, supervisor = spans["invoke_agent booker"], spans["invoke_agent supervisor"]
    context = events["agent_handoff"].span_context
    assert context is not None
    assert context[:2] == (int(supervisor.trace_id, 16), int(supervisor.span_id, 16))
    assert [(link.trace_id, link.span_id) for link in booker.links] == [
        (supervisor.trace_id, supervisor.span_id)
    ]
    # The sub-agent's run is a child of the span that called it.
    assert spans["invoke_agent searcher"].parent_span_id == spans["execute_tool delegate"].span_id
    assert spans["execute_tool delegate"].parent_span_id == supervisor.span_id
    # The audit records travel as every other event, under the ids that they have in the log.
    wanted = {event.event_id for event in events.values()}
    deadline = time.monotonic() + SECONDS
    while not wanted <= {log.uid for log in collector.log_records()}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_resumed_run_is_linked_to_the_span_that_the_crash_broke_off(
    tmp_path: Path, collector: Collector
) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_endpoint}
    run(tmp_path, "--crash", **endpoint)
    broken_off = logged(tmp_path)[-1].event.span_context

    done = run(tmp_path, **endpoint)

    assert done.returncode == 0, done.stderr
    booker = spans_of(collector, {"invoke_agent booker"})["invoke_agent booker"]
    assert broken_off is not None
    assert [(int(link.trace_id, 16), int(link.span_id, 16)) for link in booker.links] == [
        broken_off[:2]
    ]
    assert int(booker.trace_id, 16) != broken_off[0]
    # The span that it is linked to arrives, too.
    collector.wait_for_spans({f"{broken_off[1]:016x}"})


def spans_of(collector: Collector, names: set[str]) -> dict[str, ExportedSpan]:
    deadline = time.monotonic() + SECONDS
    while True:
        found = {
            span.name: span
            for span in collector.spans()
            if "wakelog.span.outcome" not in span.attributes
        }
        if names <= found.keys():
            return found
        assert time.monotonic() < deadline, found.keys()
        time.sleep(0.05)
