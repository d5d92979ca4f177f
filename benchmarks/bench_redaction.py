"""What redaction costs: an ordinary event, prose, and texts made to be slow.

    python benchmarks/bench_redaction.py [--all]

Milliseconds of CPU for one text of 1 MB, the best of three; ``--all`` prints every hostile text. The
hostile ones repeat a few characters that begin what a detector looks for. agentlogsafe 0.2 is
measured on 20 kB of the same, since on some of them its time grows with the square of the length.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agentlogsafe

import wakelog

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.redaction_corpus import HOSTILE

MEGABYTE, SMALL = 1_000_000, 20_000
PROSE = "Show me flights from Lisbon to Oslo on 3 May, e.g. before noon. Two seats, by the window: "
EVENT = {"args": {"query": "flights to Lisbon", "limit": 3, "note": "confirm to ann@example.com"}}


def milliseconds(redact: Callable[[Any], Any], value: Any) -> float:
    """Return the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.thread_time()
        redact(value)
        best = min(best, time.thread_time() - begin)
    return best * 1e3


def of_length(unit: str, length: int) -> str:
    """Return a text that repeats a unit."""
    return (unit * (length // len(unit) + 1))[:length]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="print every hostile text")
    options = parser.parse_args()
    for name, package in (("agentlogsafe", agentlogsafe), ("Wakelog", wakelog)):
        many = milliseconds(lambda _, p=package: [p.redact(EVENT) for _ in range(2000)], None)
        print(f"{name:12} an event {many / 2:8.2f} µs")
    print(
        f"{'Wakelog':12} 1 MB of prose {milliseconds(wakelog.redact, of_length(PROSE, MEGABYTE)):6.1f} ms"
    )
    rows = sorted(
        (
            (
                milliseconds(wakelog.redact, of_length(unit, MEGABYTE)),
                milliseconds(wakelog.redact, of_length(unit, SMALL)),
                milliseconds(agentlogsafe.redact, of_length(unit, SMALL)),
                unit,
            )
            for unit in HOSTILE
        ),
        reverse=True,
    )
    below = sum(ours < 100 for ours, *_ in rows)
    print(f"hostile: {below} of {len(rows)} below 100 ms for 1 MB")
    print(f"{'repeated':32} {'1 MB, ms':>9} {'20 kB, ms':>10} {'agentlogsafe, 20 kB':>20}")
    for ours, small, theirs, unit in rows if options.all else rows[:5]:
        print(f"{unit!r:32} {ours:9.1f} {small:10.2f} {theirs:20.2f}")
    worst = max(rows, key=lambda row: row[2])
    print(
        f"agentlogsafe's worst: {worst[3]!r}, {worst[2]:.1f} ms for 20 kB, ours {worst[1]:.2f} ms"
    )


if __name__ == "__main__":
    main()
