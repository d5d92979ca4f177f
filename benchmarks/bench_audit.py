"""What one audit record costs the agent, beside `AgentLogger.emit` and a bare `queue.put`.

    python benchmarks/bench_audit.py [--directory DIR]

Single calls are timed, in microseconds. They come in bursts, and the variants take turns burst by
burst; between bursts the queues are emptied, so that no call competes with the thread behind them.
The rows of the session log in the journal and of the logger have written to a file when they return,
the one of SQLite has put a record into a queue in memory.
"""

from __future__ import annotations

import argparse
import queue
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wakelog import AgentLogger, JSONLSink
from wakelog.audit import (
    InMemorySessionLog,
    JournalSessionLog,
    SessionAuditSink,
    SQLiteSessionLog,
    ThreadKey,
)

BURST, BURSTS = 400, 40
KEY = ThreadKey("acme", "t-1")
RECALL = {"tier": "semantic", "namespace_key": "user/17", "hits": 3}


def burst(call: Callable[[], object], into: list[int]) -> None:
    """Time single calls."""
    clock = time.perf_counter_ns
    for _ in range(BURST):
        begin = clock()
        call()
        into.append(clock() - begin)


def recall(sink: SessionAuditSink) -> Callable[[], None]:
    """Return a call of one of the sink's methods."""
    return lambda: sink.record_memory_recall("semantic", "user/17", 3)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=None, help="where to put the files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        folder = Path(name)
        sqlite = SQLiteSessionLog(folder / "log.db")
        sinks = {
            "SessionAuditSink, InMemorySessionLog": SessionAuditSink(InMemorySessionLog(), KEY),
            "SessionAuditSink, JournalSessionLog": SessionAuditSink(
                JournalSessionLog(folder / "log"), KEY
            ),
            "SessionAuditSink, SQLiteSessionLog (queue)": SessionAuditSink(sqlite, KEY),
        }
        log = AgentLogger("bench", sink=JSONLSink(folder / "events.jsonl"))
        bare: queue.Queue[Any] = queue.Queue()
        calls: dict[str, Callable[[], object]] = {
            "queue.Queue.put": lambda: bare.put(("memory_recall", RECALL)),
            "AgentLogger.emit, JSONLSink": lambda: log.emit("memory_recall", RECALL),
            **{label: recall(sink) for label, sink in sinks.items()},
        }
        times: dict[str, list[int]] = {label: [] for label in calls}
        for _ in range(BURSTS):
            for label, call in calls.items():
                burst(call, times[label])
            for sink in sinks.values():
                sink.flush()
            while not bare.empty():
                bare.get()
        print(f"{'':44} {'median µs':>10} {'p99 µs':>8}")
        for label, values in times.items():
            p99 = statistics.quantiles(values, n=100)[98]
            print(f"{label:44} {statistics.median(values) / 1e3:10.2f} {p99 / 1e3:8.2f}")
        for sink in sinks.values():
            counts = sink.counts()
            assert counts.appended == BURST * BURSTS, counts
        sqlite.close()


if __name__ == "__main__":
    main()
