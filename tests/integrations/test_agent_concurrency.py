"""Agents that run at the same time, inside one another, and that are stopped: each is recorded as its own."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import golden, small_agents
from tests.support.golden import Recorded
from tests.support.journaled import Journaled
from tests.support.small_agents import SmallAgent, Tool, Turn
from wakelog.journal import read


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    yield Recorded()
    small_agents.uninstall()


@pytest.fixture(params=small_agents.FRAMEWORKS)
def make(request: pytest.FixtureRequest, recorded: Recorded) -> Any:
    def agent(name: str, turns: list[Turn], *tools: Tool) -> SmallAgent:
        return small_agents.FRAMEWORKS[request.param](recorded.log, name, turns, list(tools))

    return agent


def outcomes(recorded: Recorded) -> Counter[tuple[str, str | None]]:
    return Counter(
        (event.event_type, event.status)
        for event in recorded.events
        if event.event_type in ("run_end", "model_response", "tool_result")
    )


def test_tool_calls_at_the_same_time_end_as_their_own(make: Any, recorded: Recorded) -> None:
    both = asyncio.Barrier(2)

    async def lookup(order: str) -> str:
        """Looks an order up."""
        await both.wait()
        if order == "1":
            await asyncio.sleep(0.01)  # the first call ends last
        return f"paid {order}"

    turn: Turn = [("lookup", {"order": "1"}), ("lookup", {"order": "2"})]
    assert asyncio.run(make("desk", [turn, "yes"], lookup).run()) == "yes"

    calls = {event.event_id: event for event in recorded.events if event.event_type == "tool_call"}
    results = [event for event in recorded.events if event.event_type == "tool_result"]
    assert len(calls) == len(results) == 2
    for result in results:
        order = calls[result.parent_event_id or ""].payload["args"]["order"]
        assert result.payload["result"] == f"paid {order}"
    assert len({event.run_id for event in [*calls.values(), *results]}) == 1
    assert outcomes(recorded)["tool_result", "success"] == 2


def test_an_agent_inside_a_tool_is_inside_its_run(make: Any, recorded: Recorded) -> None:
    inner = make("clerk", ["refunded"])

    async def ask_the_clerk(order: str) -> str:
        """Asks the clerk."""
        return str(await inner.run())

    outer = make("desk", [[("ask_the_clerk", {"order": "7"})], "done"], ask_the_clerk)
    assert asyncio.run(outer.run()) == "done"

    by_id = {event.event_id: event for event in recorded.events}
    clerk = next(
        e for e in recorded.events if e.agent_name == "clerk" or e.workflow_name == "clerk"
    )
    above, events = set(), [clerk]
    while (parent := events[-1].parent_event_id) is not None:
        events.append(by_id[parent])
        above.add(events[-1].agent_name)
    assert above & {"desk", "of desk"}, above
    assert [depth for depth, _ in recorded.spans()].count(0) == 1
    assert all(status == "success" for _, status in outcomes(recorded))


def test_a_run_that_is_cancelled_in_a_tool_is_cancelled_in_each_step(
    make: Any, recorded: Recorded
) -> None:
    begun = asyncio.Event()

    async def wait(order: str) -> str:
        """Waits."""
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def main() -> None:
        task = asyncio.create_task(make("desk", [[("wait", {"order": "7"})], "yes"], wait).run())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    ended = outcomes(recorded)
    assert ended["tool_result", "cancelled"] == 1
    assert ended["model_response", "success"] == 1
    assert {status for kind, status in ended if kind == "run_end"} == {"cancelled"}
    starts = sum(event.event_type == "run_start" for event in recorded.events)
    assert sum(n for (kind, _), n in ended.items() if kind == "run_end") == starts


def test_runs_of_many_tasks_and_threads_keep_their_own(make: Any, recorded: Recorded) -> None:
    lock = threading.Lock()
    numbers = iter(range(100))

    def agent() -> SmallAgent:
        async def lookup(order: str) -> str:
            """Looks an order up."""
            await asyncio.sleep(0)
            return f"paid {order}"

        with lock:
            number = next(numbers)
            turns: list[Turn] = [[("lookup", {"order": f"{number}"})], f"said {number}"]
            return make(f"agent-{number}", turns, lookup)  # type: ignore[no-any-return]

    async def at_once() -> list[Any]:
        return list(await asyncio.gather(*(agent().run() for _ in range(6))))

    said = asyncio.run(at_once())
    with ThreadPoolExecutor(6) as threads:
        said += threads.map(lambda _: asyncio.run(agent().run()), range(6))

    assert sorted(said) == sorted(f"said {number}" for number in range(12))
    by_run: dict[str | None, list[Any]] = {}
    for event in recorded.events:
        if event.event_type.startswith(("model", "tool")):
            by_run.setdefault(event.run_id, []).append(event)
    assert len(by_run) == 12
    for events in by_run.values():
        [order] = {event.payload["args"]["order"] for event in events if event.payload.get("args")}
        assert Counter(event.event_type for event in events) == {
            "model_call": 2,
            "model_response": 2,
            "tool_call": 1,
            "tool_result": 1,
        }
        assert f"said {order}" in str(events[-1].payload["output_messages"])


def test_a_tool_in_a_thread_of_its_own(make: Any, recorded: Recorded) -> None:
    def lookup(order: str) -> str:
        """Looks an order up."""
        recorded.log.decision(f"{order} is paid")
        return threading.current_thread().name

    turns: list[Turn] = [[("lookup", {"order": "7"})], "yes"]
    assert make("desk", turns, lookup).run_sync() == "yes"

    [decision] = [event for event in recorded.events if event.event_type == "decision"]
    assert all(status == "success" for _, status in outcomes(recorded))
    assert decision.run_id in {event.run_id for event in recorded.events}


# A limit for this process: every journal in it is full.
@pytest.mark.parametrize("framework", golden.FRAMEWORKS)
def test_a_journal_that_is_full_stops_no_agent(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(golden, "effects", [made.append])
    asyncio.run(golden.scenario_of(framework)(Recorded().log))
    usual, made[:] = list(made), []
    journaled = Journaled(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        asyncio.run(golden.scenario_of(framework)(journaled.log))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        journaled.close()

    assert made == usual
    kept = [entry.record for entry in read(tmp_path)]
    assert 0 < len(kept) < len(golden.expected_events(framework))
