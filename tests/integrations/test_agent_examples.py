"""The examples of agent frameworks: they run without a network, and their journals say what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.support.programs import LONG_EXIT
from wakelog.viewer import every_step, load

EXAMPLES = ROOT / "examples"
SECONDS = 60


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        env={k: v for k, v in os.environ.items() if "API_KEY" not in k} | LONG_EXIT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def steps_of(directory: Path) -> list[tuple[str, str | None, str | None]]:
    view = load(directory)
    return [
        (step.type, step.name, "unknown" if step.outcome_unknown else step.status)
        for session in view.sessions
        for step in every_step([*session.runs, *session.steps])
    ]


BEFORE = [
    ("run", "orders", "interrupted"),
    ("run", "desk", "success"),
    ("model_call", "scripted", "success"),
    ("tool_call", "lookup", "error"),
    ("model_call", "scripted", "success"),
    ("tool_call", "lookup", "success"),
    ("model_call", "scripted", "success"),
    ("agent_handoff", None, None),
    ("run", "clerk", "interrupted"),
    ("model_call", "scripted", "success"),
    ("human_approval", None, "requested"),
]


def test_the_order_desk_and_a_kill_inside_its_refund(tmp_path: Path) -> None:
    done = run("order_desk.py", str(tmp_path / "whole"))
    killed = run("order_desk.py", str(tmp_path / "killed"), "--crash")

    assert (done.returncode, done.stdout) == (0, "Your money is on its way.\n"), done.stderr
    assert killed.returncode == -signal.SIGKILL
    after = [
        ("run", "orders", "success"),
        ("run", "clerk", "success"),
        ("human_approval", None, "approved"),
        ("tool_call", "refund", "success"),
        ("model_call", "scripted", "success"),
    ]
    assert steps_of(tmp_path / "whole") == BEFORE + after
    open_steps = [
        ("run", "orders", "unknown"),
        ("run", "clerk", "unknown"),
        ("human_approval", None, "approved"),
        ("tool_call", "refund", "unknown"),
    ]
    assert steps_of(tmp_path / "killed") == BEFORE + open_steps


def test_a_recorded_agent_runs_again_without_its_model(tmp_path: Path) -> None:
    done = run("replayed_agent.py", str(tmp_path))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "recorded: Take your sunglasses: it is sunny, 24 degrees.",
        "again:    Take your sunglasses: it is sunny, 24 degrees.",
        "the tool was called 1 time; left in the record: []",
        "changed: ",
        "  model_call gpt-5 is not as in the record: its message 1 differs",
        '    recorded: ["system", "Answer in one sentence."]',
        '    asked:    ["system", "Answer in one word."]',
    ]
