"""Context that crosses threads and processes: no run is an orphan, in the tree or in the trace."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import wakelog
from tests.support.crossing_program import BOUND, LAUNCHERS
from tests.support.programs import environment
from wakelog import AgentLogger, MemorySink, context, propagation
from wakelog.journal import read
from wakelog.viewer import every_step, load


@pytest.mark.parametrize("kind", ["run", "tool", "bound"])
def test_no_launcher_makes_an_orphan(tmp_path: Path, kind: str) -> None:
    journal = tmp_path / "journal"
    subprocess.run(
        [sys.executable, "-m", "tests.support.crossing_program", str(journal), kind],
        env=environment(), check=True, timeout=120,
    )  # fmt: skip

    records = [entry.record for entry in read(journal)]
    view = load(journal)

    starts = {
        record.attributes["wakelog.run.id"]: record
        for record in records
        if record.event_name == "wakelog.run_start"
    }
    children = set(LAUNCHERS) | {"subprocess/deeper"}
    assert set(starts) == children | ({"parent"} if kind != "bound" else set())
    opened = {"run": "wakelog.run_start", "tool": "wakelog.tool_call"}.get(kind)
    parents = {
        record.id
        for record in records
        if record.event_name == opened and record.attributes["wakelog.run.id"] == "parent"
    }
    traces = {
        record.trace_id
        for record in records
        if record.attributes["wakelog.run.id"] == "parent" and record.trace_id
    }
    for record in records:
        attributes = record.attributes
        assert attributes["gen_ai.agent.name"] == BOUND["agent"]
        assert attributes["wakelog.tenant.id"] == BOUND["tenant_id"]
        assert attributes["app.tier"] == "gold"
        if attributes["wakelog.run.id"] != "subprocess/deeper":
            assert attributes["gen_ai.conversation.id"] == BOUND["session_id"]
        if kind != "bound":
            assert {record.trace_id} == traces
    for launcher in LAUNCHERS:
        if kind == "bound":
            assert "wakelog.parent.id" not in starts[launcher].attributes
        else:
            assert starts[launcher].attributes["wakelog.parent.id"] in parents
    # Across three processes: the run in the subprocess's own subprocess hangs under its tool.
    deeper = starts["subprocess/deeper"].attributes
    tool = next(record for record in records if record.id == deeper["wakelog.parent.id"])
    assert tool.attributes["gen_ai.tool.name"] == "deeper"
    assert deeper["gen_ai.conversation.id"] == "s-sub"
    assert deeper["wakelog.parent.session.id"] == "s-1"
    if kind == "bound":
        tops = [run.id for session in view.sessions for run in session.runs]
        assert set(tops) == set(LAUNCHERS)
    else:
        ((parent,),) = [session.runs for session in view.sessions]
        assert parent.id == "parent"
        inside = {step.id for step in every_step(parent.steps) if step.type == "run"}
        assert inside == children


def test_three_processes_are_one_tree_in_show(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    code = f"""
import wakelog
from tests.support.crossing_program import start
log = wakelog.configure("main", directory={str(journal)!r}, service_name="crossing")
with log.run(session_id="s-1", run_id="first"), log.tool("delegate"):
    start({str(journal)!r}, "subprocess")
"""
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, timeout=60)

    done = subprocess.run(
        [sys.executable, "-m", "wakelog", "show", str(journal), "--json"],
        env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    shown = json.loads(done.stdout)
    (session,) = shown["sessions"]
    assert shown["other_records"] == []
    path = []
    step = {"steps": session["runs"]}
    while step["steps"]:
        step = step["steps"][0 if step.get("id") != "subprocess" else 1]
        path.append(f"{step['type']} {step['id'] if step['type'] == 'run' else step['name']}")
    assert path == [
        "run first", "tool_call delegate", "run subprocess", "tool_call deeper",
        "run subprocess/deeper", "tool_call search", "decision None",
    ]  # fmt: skip
    assert len({record.record.writer or record.writer for record in read(journal)}) == 3


# --- in one process ------------------------------------------------------------------------------


def here() -> tuple[str | None, str | None]:
    return context.run_id.get(), context.parent_id.get()


def test_a_function_may_be_called_by_many_threads_at_once() -> None:
    log = AgentLogger(sink=MemorySink())
    barrier = threading.Barrier(4)

    def work() -> tuple[str | None, str | None]:
        barrier.wait(10)
        return here()

    with log.run(run_id="r"):
        inside, carried_work = here(), wakelog.propagate(work)
    with ThreadPoolExecutor(4) as pool:
        assert {one.result(10) for one in [pool.submit(carried_work) for _ in range(4)]} == {inside}
    assert here() == (None, None)


def test_an_executor_takes_the_context_of_each_submit() -> None:
    with ThreadPoolExecutor(1) as plain:
        pool = wakelog.propagate(plain)
        with wakelog.bound(run_id="a"):
            first, mapped = pool.submit(here), pool.map(lambda _: here(), [1, 2])
        second = pool.submit(here)

        assert first.result(10)[0] == "a"
        assert [run for run, _ in mapped] == ["a", "a"]
        assert second.result(10) == (None, None)
        pool.shutdown()


def test_a_coroutine_function_and_a_method_keep_what_they_are() -> None:
    class Agent:
        async def think(self, more: int) -> tuple[Any, int]:
            """Thinks."""
            return context.run_id.get(), more

    with wakelog.bound(run_id="a"):
        carried_think = wakelog.propagate(Agent().think)
        name = wakelog.propagate(here)

    assert asyncio.iscoroutinefunction(carried_think)
    assert asyncio.run(carried_think(2)) == ("a", 2)
    assert name.__name__ == "here"
    with pytest.raises(TypeError, match="neither a function nor an executor"):
        wakelog.propagate(5)  # type: ignore[call-overload]


def test_a_pickled_function_takes_along_what_crosses() -> None:
    log = AgentLogger(sink=MemorySink())
    with wakelog.bound(session_id="s", n=1), log.run(run_id="r"):
        held, parent = pickle.dumps(wakelog.propagate(bound_here)), context.parent_id.get()

    assert pickle.loads(held)() == ("r", parent, "s", {"n": 1})
    assert pickle.loads(pickle.dumps(pickle.loads(held)))() == ("r", parent, "s", {"n": 1})


def bound_here() -> tuple[Any, ...]:
    return (*here(), context.session_id.get(), context.bound_attributes())


# --- carriers ------------------------------------------------------------------------------------


def test_a_carrier_says_nothing_where_nothing_holds() -> None:
    assert wakelog.carrier() == {}


@pytest.mark.parametrize(
    "text", ["{", "[]", "5", '"x"', "x" * 70_000, "[" * 60_000, '{"run_id": 5, "parent_id": [], "attributes": 1}'],
)  # fmt: skip
def test_a_carrier_that_cannot_be_read_changes_nothing(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with wakelog.carried({"WAKELOG_CONTEXT": text, "TRACEPARENT": "nonsense"}):
        assert bound_here() == (None, None, None, None)

    if not text.startswith('{"run'):
        assert "WAKELOG_CONTEXT" in caplog.text


def test_carriers_work_by_the_names_of_headers_too() -> None:
    with wakelog.bound(run_id="r", session_id="s"):
        headers = propagation.headers()
        variables = wakelog.carrier()

    assert list(headers) == ["wakelog_context"]
    for carrier in (headers, variables, {"wakelog-context": headers["wakelog_context"]}):
        with wakelog.carried(carrier):
            assert (context.run_id.get(), context.session_id.get()) == ("r", "s")
        assert context.run_id.get() is None


def test_what_is_large_or_no_ascii_crosses_as_far_as_a_variable_may_hold_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = "sesión \ud83d \n"
    with wakelog.bound(session_id=odd, run_id="r", big="x" * 100_000):
        carrier = wakelog.carrier()
        held = context.session_id.get()

    assert carrier["WAKELOG_CONTEXT"].isascii()
    assert len(carrier["WAKELOG_CONTEXT"]) < 1000
    assert "not propagated to other processes" in caplog.text
    with wakelog.carried(carrier):
        assert bound_here() == ("r", None, held, None)
    subprocess.run([sys.executable, "-c", ""], env={**environment(), **carrier}, check=True)


def test_a_run_that_is_open_already_is_not_moved_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with wakelog.bound(run_id="other"):
        monkeypatch.setenv("WAKELOG_CONTEXT", wakelog.carrier()["WAKELOG_CONTEXT"])
    with wakelog.bound(run_id="mine"):
        propagation.adopt_environment()
        assert context.run_id.get() == "mine"


def test_the_generators_of_a_sub_agent_keep_their_parent_session() -> None:
    sink = MemorySink()
    log = AgentLogger(sink=sink)

    with wakelog.bound(session_id="s-1"), log.run(session_id="s-2"), log.run(session_id="s-2"):
        pass

    named = [(event.attributes or {}).get("wakelog.parent.session.id") for event in sink.events]
    assert named == ["s-1", None, None, "s-1"]


# --- Celery --------------------------------------------------------------------------------------


# In a process of its own: a worker sets up logging for everybody.
CELERY = """
import json
import celery
from celery.contrib.testing.worker import start_worker
from wakelog import AgentLogger, MemorySink, bound, context
from wakelog.integrations import celery as ours

app = celery.Celery("tests", broker="memory://", backend="cache+memory://")
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=False)
log = AgentLogger(sink=MemorySink())

@app.task(name="tests.here")
def here():
    fields = context.run_id.get(), context.parent_id.get(), context.session_id.get()
    return [*fields, context.bound_attributes()]

ours.install()
ours.install()
with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=30):
    with bound(session_id="s", n=1), log.run(run_id="r"):
        parent = context.parent_id.get()
        inside = here.delay()
    outside = here.delay()
    print(json.dumps([parent, inside.get(timeout=30), outside.get(timeout=30)]))
"""


def test_a_task_of_celery_is_a_child_of_who_sent_it() -> None:
    pytest.importorskip("celery")

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CELERY],
        env=environment(), check=True, stdout=subprocess.PIPE, text=True, timeout=90,
    )  # fmt: skip

    parent, inside, outside = json.loads(done.stdout.splitlines()[-1])
    assert inside == ["r", parent, "s", {"n": 1}]
    assert outside == [None, None, None, None]
