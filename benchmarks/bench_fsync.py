"""How many events a second reach the disk, beside a bare loop and agentlogsafe.

    python benchmarks/bench_fsync.py [--directory DIR] [--seconds S]

Every figure is events per second with each event on the disk before its call returns. The bare loop
is ``os.write`` and ``os.fdatasync`` of a line of the same length, under one lock where there are
threads. The variants take turns; the last line says for how long the event loop was held up, at
the 99th percentile, while 64 tasks were recording.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import agentlogsafe

from wakelog import AgentLogger, AsyncAgentLogger, Durability, JSONLSink
from wakelog.journal import Journal
from wakelog.record import Resource, encode, uuid7

ROUNDS = 3
LINE = b"x" * 420 + b"\n"
CONTENT = encode({"event_name": "bench", "body": "x" * 330}, 1 << 20)
RESOURCE = Resource({"service.name": "bench"})


def rate(threads: int, seconds: float, emit: Callable[[], object]) -> float:
    """Return how many calls a second some threads make together."""
    counts = [0] * threads
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            emit()
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begin)


async def task_rate(tasks: int, seconds: float, path: Path) -> tuple[float, list[float]]:
    """Return how many events a second some tasks record, and how late the loop's ticks came."""
    sink = JSONLSink(path, Durability.FSYNC)
    log = AsyncAgentLogger("bench", sink=sink, redact_payloads=False)
    late: list[float] = []
    count = 0
    end = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await log.emit("custom", {"text": "x" * 60})
            count += 1

    async def tick() -> None:
        while time.perf_counter() < end:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - before - 0.001)

    begin = time.perf_counter()
    await asyncio.gather(tick(), *(work() for _ in range(tasks)))
    took = time.perf_counter() - begin
    sink.close()
    return count / took, late


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=None, help="where to write")
    parser.add_argument("--seconds", type=float, default=1.0, help="per figure and round")
    options = parser.parse_args()
    found: dict[tuple[int, str], list[float]] = {}
    late: list[float] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        fd = os.open(directory / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lock = threading.Lock()

        def bare() -> None:
            with lock:
                os.write(fd, LINE)
                os.fdatasync(fd)

        journal = Journal(directory / "journal", durability=Durability.FSYNC)
        ours = AgentLogger(
            "bench", sink=JSONLSink(directory / "ours", Durability.FSYNC), redact_payloads=False
        )
        theirs = agentlogsafe.AgentLogger(
            "bench",
            sink=agentlogsafe.JSONLSink(directory / "theirs", agentlogsafe.Durability.FSYNC),
            redact_payloads=False,
        )
        variants: dict[str, Callable[[], object]] = {
            "write + fdatasync": bare,
            "agentlogsafe JSONLSink": lambda: theirs.emit("custom", {"text": "x" * 60}),
            "Journal.append": lambda: journal.append(uuid7(), CONTENT, RESOURCE),
            "JSONLSink": lambda: ours.emit("custom", {"text": "x" * 60}),
        }
        for _ in range(ROUNDS):
            for threads in (1, 16, 64):
                for variant, emit in variants.items():
                    figure = rate(threads, options.seconds, emit)
                    found.setdefault((threads, variant), []).append(figure)
            figure, ticks = asyncio.run(task_rate(64, options.seconds, directory / "tasks"))
            found.setdefault((64, "JSONLSink, 64 tasks"), []).append(figure)
            late += ticks
        journal.close()
        os.close(fd)
    print(f"{'threads':>7} {'variant':24} {'events/s':>9} {'x bare':>7} {'x agentlogsafe':>14}")
    for (threads, variant), figures in sorted(found.items(), key=lambda item: item[0][0]):
        median = statistics.median(figures)
        bare_ = statistics.median(found[threads, "write + fdatasync"])
        theirs_ = statistics.median(found[threads, "agentlogsafe JSONLSink"])
        print(
            f"{threads:7} {variant:24} {median:9.0f} {median / bare_:7.2f} {median / theirs_:14.2f}"
        )
    p99 = statistics.quantiles(late, n=100)[98] * 1000
    print(f"event loop held up while 64 tasks record: {p99:.2f} ms (p99 of {len(late)} ticks)")


if __name__ == "__main__":
    main()
