"""The smallest engine that replays: a workflow's code runs again, finished steps give what they gave.

    python -m tests.support.replay_engine FOLDER KILLED_IN[,KILLED_IN...]

One child process for each KILLED_IN runs the workflow of twenty steps, and kills itself inside that step; 0
lets it end. What a step returned is in SQLite before the workflow goes on, as engines have it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import wakelog

STEPS, RUN = 20, "wf-1"


class Engine:
    """Remembers the results of steps."""

    def __init__(self, path: Path, killed_in: int) -> None:
        self._results = sqlite3.connect(path, isolation_level=None)
        self._results.execute(
            "CREATE TABLE IF NOT EXISTS results (step INTEGER PRIMARY KEY, result)"
        )
        self._killed_in = killed_in

    def step(self, number: int, work: Callable[[int], int]) -> int:
        known = self._results.execute("SELECT result FROM results WHERE step = ?", (number,))
        if (row := known.fetchone()) is not None:
            return int(row[0])
        if number == self._killed_in:
            os.kill(os.getpid(), signal.SIGKILL)
        result = work(number)
        self._results.execute("INSERT INTO results VALUES (?, ?)", (number, result))
        return result


def workflow(folder: Path, killed_in: int) -> None:
    log = wakelog.configure("worker", directory=folder / "journal", service_name="replay")
    engine = Engine(folder / "results.sqlite", killed_in)
    with log.run(run_id=RUN, session_id="s-1", event_key="run"):
        for number in range(1, STEPS + 1):
            with log.tool("work", {"n": number}, event_key=f"step-{number}") as call:
                call.result(engine.step(number, lambda n: n * n))


def main() -> None:
    """Run the workflow in one process after the other."""
    for killed_in in sys.argv[2].split(","):
        child = multiprocessing.get_context("fork").Process(
            target=workflow, args=(Path(sys.argv[1]), int(killed_in))
        )
        child.start()
        child.join(60)
        assert child.exitcode == (-signal.SIGKILL if killed_in != "0" else 0), child.exitcode


if __name__ == "__main__":
    main()
