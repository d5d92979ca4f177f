"""A workflow of twenty steps under DBOS, whose process is killed in one of them.

    python -m tests.support.replay_program FOLDER KILLED_IN

FOLDER has DBOS's database and the journal. The process kills itself inside step KILLED_IN, before the
step has a result; with 0 it ends by itself. DBOS recovers the workflow in the next process: it runs the
workflow's code again from its beginning, and takes the results of finished steps from its database.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from dbos import DBOS, DBOSConfig, SetWorkflowID

import wakelog

STEPS, RUN = 20, "wf-1"


def main() -> None:
    """Run or recover the workflow."""
    folder, killed_in = Path(sys.argv[1]), int(sys.argv[2])
    log = wakelog.configure("worker", directory=folder / "journal", service_name="replay")
    config: DBOSConfig = {
        "name": "replay",
        "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}",
        "application_version": "1",
        "log_level": "ERROR",
    }
    DBOS(config=config)

    @DBOS.step()
    def step(number: int) -> int:
        if number == killed_in:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    @DBOS.workflow()
    def workflow() -> int:
        total = 0
        with log.run(run_id=RUN, session_id="s-1", event_key="run"):
            for number in range(1, STEPS + 1):
                with (
                    wakelog.bound(event_key=f"step-{number}"),
                    log.tool("work", {"n": number}, event_key="call") as call,
                ):
                    total += call.result(step(number))
                    log.decision(f"go on after {number}", event_key="decision")
        return total

    DBOS.launch()
    with SetWorkflowID(RUN):
        handle = DBOS.start_workflow(workflow)
    print(handle.get_result(), flush=True)
    DBOS.destroy()
    wakelog.shutdown(0.1)
    # DBOS may leave threads behind, which nobody waits for here.
    assert threading.current_thread() is threading.main_thread()


if __name__ == "__main__":
    main()
