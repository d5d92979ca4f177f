"""A program whose run, tool or bound values cross into threads, tasks and processes.

    python -m tests.support.crossing_program DIRECTORY KIND

It launches `work` in every way of `LAUNCHERS` inside a parent of KIND: `run`, `tool` or `bound`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack

import wakelog

BOUND = {"session_id": "s-1", "agent": "booker", "tenant_id": "acme", "app.tier": "gold"}
SECONDS = 60


def work(launcher: str, directory: str, deeper: str = "") -> None:
    """Record a run of a sub-agent, in whatever thread or process this is."""
    log = wakelog.configure(directory=directory, service_name="crossing")
    with log.run(run_id=f"{launcher}{deeper}", session_id="s-sub" if deeper else None):
        with log.tool("search", {"by": launcher}):
            log.decision(launcher)
        if launcher == "subprocess" and not deeper:
            with log.tool("deeper"):
                start(directory, launcher, "/deeper")


async def later(launcher: str, directory: str) -> None:
    work(launcher, directory)


def start(directory: str, launcher: str, deeper: str = "") -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.support.crossing_program", directory, "child", launcher, deeper],
        env={**os.environ, **wakelog.carrier()}, check=True, timeout=SECONDS,
    )  # fmt: skip


def by_create_task(directory: str) -> None:
    async def main() -> None:
        await asyncio.create_task(later("create_task", directory))

    asyncio.run(main())


def by_gather(directory: str) -> None:
    async def main() -> None:
        await asyncio.gather(later("gather", directory))

    asyncio.run(main())


def by_to_thread(directory: str) -> None:
    asyncio.run(asyncio.to_thread(work, "to_thread", directory))


def by_run_in_executor(directory: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, wakelog.propagate(work), "run_in_executor", directory)

    asyncio.run(main())


def by_thread_pool(directory: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        wakelog.propagate(pool).submit(work, "thread_pool", directory).result(SECONDS)


def by_thread(directory: str) -> None:
    thread = threading.Thread(target=wakelog.propagate(work), args=("thread", directory))
    thread.start()
    thread.join(SECONDS)


def by_fork(directory: str) -> None:
    by_multiprocessing("fork", directory)


def by_spawn(directory: str) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        wakelog.propagate(pool).submit(work, "spawn", directory).result(SECONDS)


def by_multiprocessing(method: str, directory: str) -> None:
    context = multiprocessing.get_context(method)
    process = context.Process(  # type: ignore[attr-defined] # of every concrete context
        target=wakelog.propagate(work), args=(method, directory)
    )
    process.start()
    process.join(SECONDS)
    assert process.exitcode == 0


def by_subprocess(directory: str) -> None:
    start(directory, "subprocess")


LAUNCHERS: dict[str, Callable[[str], None]] = {
    "create_task": by_create_task,
    "gather": by_gather,
    "to_thread": by_to_thread,
    "run_in_executor": by_run_in_executor,
    "thread_pool": by_thread_pool,
    "thread": by_thread,
    "fork": by_fork,
    "spawn": by_spawn,
    "subprocess": by_subprocess,
}


def main() -> None:
    """Record in this process, and launch in every way."""
    directory, kind = sys.argv[1:3]
    if kind == "child":
        work(sys.argv[3], directory, sys.argv[4] if len(sys.argv) > 4 else "")
        return
    log = wakelog.configure(directory=directory, service_name="crossing")
    with ExitStack() as stack:
        stack.enter_context(wakelog.bound(**BOUND))
        if kind in ("run", "tool"):
            stack.enter_context(log.run(run_id="parent"))
        if kind == "tool":
            stack.enter_context(log.tool("delegate"))
        if kind == "bound":
            stack.enter_context(wakelog.bound(run_id="parent"))
        for launch in LAUNCHERS.values():
            launch(directory)


if __name__ == "__main__":
    main()
