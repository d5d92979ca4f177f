"""A program that records, forks, records in its children and their children, and ends everywhere.

    python -m tests.support.forking_program DOOR FORK DIRECTORY

DOOR is one of `DOORS`; FORK is `c` (as a server in C does, of which Python sees nothing) or `os`. One child, and the
other's child, close the door and end at once; the others end as programs do. Each record says which process
made it, and is printed once the call that records it has returned.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.front_doors import DOORS, says

CHILDREN, RECORDS = 2, 5
SECONDS = 40


def be_still() -> None:
    """Wait until no other thread is doing anything.

    CPython itself cannot bear a fork in C at which another thread is just asking for the interpreter's lock:
    the child waits for it for ever, in whatever code.
    """
    before: dict[str, str] | None = None
    while (now := _switches()) != before:
        before = now
        time.sleep(0.05)


def _switches() -> dict[str, str]:
    found = {}
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != os.getpid():
            try:
                text = (task / "status").read_text()
            except OSError:  # it has ended in between
                continue
            found[task.name] = "".join(line for line in text.splitlines() if "ctxt" in line)
    return found


def main() -> None:
    """Record, fork and end."""
    name, how, directory = *sys.argv[1:3], Path(sys.argv[3])
    # An alarm ends a process that hangs, with what its threads were doing.
    faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)
    signal.alarm(SECONDS)
    door = DOORS[name](directory)
    fork: Callable[[], int] = ctypes.PyDLL(None).fork if how == "c" else os.fork

    def record(who: str) -> None:
        for number in range(RECORDS):
            text = f"{who} {number}"
            door.record(text)
            says(f"accepted {text}")

    def spawn() -> int:
        if how == "c":
            be_still()
        pid = fork()
        if pid == 0:  # the alarm is the parent's
            signal.alarm(SECONDS)
        return pid

    def wait_for(*pids: int) -> None:
        for pid in pids:
            _, status = os.waitpid(pid, 0)
            assert status == 0, f"a child ended with {os.waitstatus_to_exitcode(status)}"

    record("parent")
    children = []
    for number in range(CHILDREN):
        if pid := spawn():
            children.append(pid)
            continue
        record(f"child{number}")
        if grandchild := spawn():
            wait_for(grandchild)
            record(f"child{number} again")
            closes = number == 0
        else:
            record(f"grandchild{number}")
            closes = number == 1
        if closes:
            door.close()
            os._exit(0)
        return
    wait_for(*children)
    record("parent again")
    door.close()


if __name__ == "__main__":
    main()
