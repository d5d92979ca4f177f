"""Agent frameworks: the same conversation is recorded the same way through each of them."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import golden
from tests.support.attack import ATTACKING, SEED
from tests.support.golden import Recorded
from wakelog import AgentLogger, Budget
from wakelog.integrations._steps import Steps
from wakelog.journal import read
from wakelog.viewer import RUN, every_step, load


@pytest.mark.parametrize("framework", golden.FRAMEWORKS)
def test_one_conversation_is_recorded_the_same_way_through_each_framework(framework: str) -> None:
    recorded = Recorded()

    asyncio.run(golden.scenario_of(framework)(recorded.log))

    assert recorded.lines() == golden.expected_events(framework)
    assert recorded.spans() == golden.expected_spans(framework)


@pytest.mark.parametrize("framework", ["openai_agents", "langchain", "pydantic_ai", "mcp"])
def test_the_start_of_a_call_is_recorded_before_it_is_made(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, made = Recorded(), []

    def see(name: str) -> None:
        last = recorded.events[-1]
        made.append((name, last.event_type, last.tool_name or last.model))

    monkeypatch.setattr(golden, "effects", [see])
    asyncio.run(golden.scenario_of(framework)(recorded.log))

    models = [one for one in made if one[0] == golden.MODEL]
    tools = [one for one in made if one[0] != golden.MODEL]
    assert models == [(golden.MODEL, "model_call", golden.MODEL)] * (0 if framework == "mcp" else 6)
    assert tools == [(name, "tool_call", name) for name in ("lookup", "lookup", "refund")]


LEAST_CALLBACKS = 12
OPENING = {"run_start", "model_call", "tool_call"}
CLOSING = {"run_end", "model_response", "tool_result"}


@pytest.mark.attack
@pytest.mark.parametrize("framework", [*golden.FRAMEWORKS, "mcp", "clients"])
def test_a_kill_at_any_callback_loses_nothing_acknowledged_and_open_steps_are_shown(
    framework: str, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    callbacks = LEAST_CALLBACKS
    moments = ["all"] if ATTACKING else [str(chance.randint(1, callbacks)) for _ in range(2)]
    program = [sys.executable, "-m", "tests.support.killed_agents", framework, str(tmp_path)]

    subprocess.run([*program, *dict.fromkeys(moments)], timeout=200, check=True)

    folders = list(tmp_path.iterdir())
    assert len(folders) == len(set(moments)) if not ATTACKING else len(folders) >= callbacks
    for folder in folders:
        acknowledged = [line.split() for line in (folder / "acknowledged").read_text().splitlines()]
        recorded = {entry.record.id for entry in read(folder / "journal")}
        assert {event_id for event_id, *_ in acknowledged} <= recorded
        ended = {parent for _, kind, parent in acknowledged if kind in CLOSING}
        begun = {event_id: kind for event_id, kind, _ in acknowledged if kind in OPENING}
        view = load(folder / "journal")
        shown = [
            step
            for session in view.sessions
            for step in every_step([*session.runs, *session.steps])
        ]
        open_calls = {one for one, kind in begun.items() if kind != "run_start"} - ended
        assert {
            step.id for step in shown if step.outcome_unknown and step.type != RUN
        } == open_calls
        open_runs = [one for one, kind in begun.items() if kind == "run_start" and one not in ended]
        assert len([s for s in shown if s.outcome_unknown and s.type == RUN]) == len(open_runs)


class Refusing:
    """A sink that takes nothing."""

    def write(self, event: Any) -> None:
        raise OSError("no space left on device")


@pytest.mark.parametrize("framework", golden.FRAMEWORKS)
def test_what_cannot_be_recorded_is_counted_and_said_once_and_the_agent_goes_on(
    framework: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(golden.scenario_of(framework)(AgentLogger(sink=Refusing())))

    said = [one.getMessage() for one in caplog.records if one.name == "wakelog"]
    # With Claude's SDK, each of the agents has hooks of its own.
    assert len(said) == (2 if framework == "claude" else 1)
    assert "not recorded" in said[0]
    assert "no space left on device" in said[0]


def test_a_broken_object_of_the_framework_is_counted_and_the_agent_goes_on() -> None:
    steps = Steps(Recorded().log, spans=True, framework="a test")

    def broken(_: Any) -> Any:
        raise ZeroDivisionError

    assert steps.open("a", None, broken) is None
    step = steps.open("b", None, lambda log: log.tool("search"))
    steps.end("b", None, broken)
    with steps.guarded():
        broken(None)

    assert step is not None
    assert dict(steps.refused) == {"ZeroDivisionError": 3}


def test_what_is_open_when_its_run_ends_ends_with_it() -> None:
    recorded = Recorded()
    steps = Steps(recorded.log, spans=True, framework="a test")

    run = steps.open("run", None, lambda log: log.run(agent="clerk"))
    steps.open("call", run, lambda log: log.model("scripted"))
    steps.end("run")
    steps.end("call")

    assert [line[0::3] for line in recorded.lines()] == [
        ("run_start", "started"),
        ("model_call", "started"),
        ("model_response", "cancelled"),
        ("run_end", "success"),
    ]


def test_a_framework_that_ends_nothing_does_not_fill_the_memory() -> None:
    recorded = Recorded()
    steps = Steps(recorded.log, spans=True, framework="a test")

    for number in range(10_003):
        steps.open(number, None, lambda log: log.tool("search"))

    assert [event.status for event in recorded.events if event.event_type == "tool_result"] == [
        "cancelled"
    ] * 3


def test_a_budget_counts_what_an_adapter_records_and_stops_nothing() -> None:
    recorded = Recorded()
    steps = Steps(recorded.log, spans=True, framework="a test")

    with recorded.log.run(budget=Budget(tool_calls=1, enforce=True)):
        for number in range(3):
            steps.open(number, None, lambda log: log.tool("search"))
            steps.end(number)

    types = [event.event_type for event in recorded.events]
    assert types.count("usage_limit_exceeded") == 1
    assert types.count("tool_result") == 3
    assert not steps.refused


def test_a_tool_call_crosses_to_the_server_that_answers_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded = Recorded()

    asyncio.run(golden.scenario_of("mcp")(recorded.log))

    client, server = "extension", "function"
    assert [
        (event.event_type, event.tool_name, event.payload.get("tool_type"), event.status)
        for event in recorded.events
        if event.event_type in ("tool_call", "tool_result")
    ] == [
        ("tool_call", "lookup", client, "started"),
        ("tool_call", "lookup", server, "started"),
        ("tool_result", "lookup", server, "error"),
        ("tool_result", "lookup", client, "error"),
        ("tool_call", "lookup", client, "started"),
        ("tool_call", "lookup", server, "started"),
        ("tool_result", "lookup", server, "success"),
        ("tool_result", "lookup", client, "success"),
        ("tool_call", "refund", client, "started"),
        ("tool_call", "refund", server, "started"),
        ("tool_result", "refund", server, "cancelled"),
        ("tool_result", "refund", client, "cancelled"),
    ]
    by_id = {event.event_id: event for event in recorded.events}
    [decision] = [event for event in recorded.events if event.event_type == "decision"]
    answered = by_id[decision.parent_event_id or ""]
    asked = by_id[answered.parent_event_id or ""]
    assert (answered.payload["tool_type"], asked.payload["tool_type"]) == (server, client)
    assert {event.agent_name for event in recorded.events} == {golden.CLERK}
    assert recorded.spans() == [(0, "invoke_agent clerk")]
