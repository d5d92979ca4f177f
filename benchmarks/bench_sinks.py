"""What an event costs through each sink, beside agentlogsafe 0.2.

    python benchmarks/bench_sinks.py [--directory DIR] [--rounds N]

Both loggers record the same tool call, with redaction on in both and an address for it to find. Each
figure is microseconds per event, the median over the rounds; the packages take turns within a round.
The buffered rows count from the first event to the end of ``flush``, when the destination has them
all; "admission" counts the calls alone, with a buffer that holds them all. The FSYNC rows depend on
the disk: the first has one thread, the second sixteen. The last column is agentlogsafe's time by ours.

The last rows have redaction off in both and no address. They are the CPU time of the thread that records, the
median of at least nine rounds, and the last column is our time by agentlogsafe's: the aim is a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import agentlogsafe

import wakelog

ARGUMENTS = {"query": "flights to Lisbon", "limit": 3, "note": "confirm to ann@example.com"}
UNREDACTED = {"query": "flights to Lisbon", "limit": 3}
MANY = 64


def seconds(log: Any, events: int, finish: Callable[[], object], threads: int) -> float:
    """Record events and return how long it took."""

    def record(count: int) -> None:
        for _ in range(count):
            log.tool_call("search", ARGUMENTS)

    begin = time.perf_counter()
    if threads == 1:
        record(events)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(record, [events // threads] * threads))
    finish()
    return time.perf_counter() - begin


def seconds_in_tasks(package: Any, sink: Any, events: int) -> float:
    """Record events in asyncio tasks and return how long it took."""

    async def record() -> None:
        for _ in range(events // MANY):
            payload = package.redact({"args": ARGUMENTS})
            await sink.write(package.AgentEvent("tool_call", tool_name="search", payload=payload))

    async def everybody() -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(record() for _ in range(MANY)))
        await sink.flush()
        return time.perf_counter() - begin

    return asyncio.run(everybody())


def variants(directory: Path) -> list[tuple[str, int, int, bool, Callable[[Any], Any]]]:
    """Return what is measured: name, events, threads, whether ``flush`` counts, and the sink.

    No threads are tasks.
    """
    number = itertools.count()

    def file(package: Any, durability: str) -> Any:
        return package.JSONLSink(directory / f"{next(number)}.jsonl", durability)

    def later(package: Any, name: str, durability: str) -> Any:
        return getattr(package, name)(directory / f"{next(number)}.jsonl", durability)

    def buffered(package: Any, sink: Any) -> Any:
        return package.BufferedSink(sink, capacity=10_000)

    return [
        ("NullSink", 2000, 1, False, lambda p: p.NullSink()),
        ("JSONLSink, OS_BUFFERED", 2000, 1, False, lambda p: file(p, "os_buffered")),
        ("JSONLSink, FLUSH", 2000, 1, False, lambda p: file(p, "flush")),
        ("JSONLSink, FSYNC", 100, 1, False, lambda p: file(p, "fsync")),
        ("JSONLSink, FSYNC, 16 threads", 480, 16, False, lambda p: file(p, "fsync")),
        ("JSONLSink, FSYNC, 64 threads", 960, MANY, False, lambda p: file(p, "fsync")),
        ("BufferedSink(NullSink), admission", 2000, 1, False, lambda p: buffered(p, p.NullSink())),
        ("BufferedSink(NullSink), flush", 2000, 1, True, lambda p: buffered(p, p.NullSink())),
        (
            "BufferedSink(OS_BUFFERED), flush",
            2000,
            1,
            True,
            lambda p: buffered(p, file(p, "flush")),
        ),
        ("BufferedSink(FSYNC), flush", 400, 1, True, lambda p: buffered(p, file(p, "fsync"))),
        ("AsyncJSONLSink, 64 tasks", 1920, 0, True, lambda p: later(p, "AsyncJSONLSink", "flush")),
        (
            "AsyncJSONLSink, FSYNC, 64 tasks",
            960,
            0,
            True,
            lambda p: later(p, "AsyncJSONLSink", "fsync"),
        ),
        (
            "AsyncBufferedSink, 64 tasks",
            1920,
            0,
            True,
            lambda p: p.AsyncBufferedSink(file(p, "flush")),
        ),
    ]


def measure(
    package: Any, events: int, threads: int, make: Callable[[Any], Any], *, flushed: bool
) -> float:
    """Return the microseconds of one event."""
    sink = make(package)
    if not threads:
        taken = seconds_in_tasks(package, sink, events)
        if isinstance(sink, package.AsyncBufferedSink):
            asyncio.run(sink.close())
        return taken / events * 1e6
    log = package.AgentLogger("bench", sink=sink)
    taken = seconds(log, events, sink.flush if flushed else lambda: None, threads)
    getattr(sink, "close", lambda: None)()
    return taken / events * 1e6


def thread_time(log: Any, events: int) -> float:
    """Return the microseconds of CPU that the thread takes for an event."""
    begin = time.thread_time()
    for _ in range(events):
        log.tool_call("search", UNREDACTED)
    return (time.thread_time() - begin) / events * 1e6


def unredacted(directory: Path, rounds: int) -> None:
    """Measure and print the rows without redaction."""
    print(
        f"\n{'µs of CPU per event, redaction off':36} {'agentlogsafe':>12} {'Wakelog':>8} {'ratio':>6}"
    )
    for durability in ("os_buffered", "flush"):
        logs = [
            package.AgentLogger(
                "bench",
                sink=package.JSONLSink(directory / f"{package.__name__}-{durability}", durability),
                redact_payloads=False,
            )
            for package in (agentlogsafe, wakelog)
        ]
        for log in logs:
            thread_time(log, 500)
        found = [[thread_time(log, 2000) for log in logs] for _ in range(rounds)]
        theirs, ours = (statistics.median(values) for values in zip(*found, strict=True))
        name = f"JSONLSink, {durability.upper()}"
        print(f"{name:36} {theirs:12.1f} {ours:8.1f} {ours / theirs:6.3f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=None, help="where to put the files")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        print(f"{'µs per event':36} {'agentlogsafe':>12} {'Wakelog':>8} {'ratio':>6}")
        for name, events, threads, flushed, make in variants(Path(directory)):
            rounds = [
                [
                    measure(package, events, threads, make, flushed=flushed)
                    for package in (agentlogsafe, wakelog)
                ]
                for _ in range(options.rounds)
            ]
            theirs, ours = (statistics.median(values) for values in zip(*rounds, strict=True))
            print(f"{name:36} {theirs:12.1f} {ours:8.1f} {theirs / ours:6.1f}")
        unredacted(Path(directory), max(9, options.rounds))


if __name__ == "__main__":
    main()
