"""What redaction costs: an ordinary event, prose, and texts made to be slow.

    python benchmarks/bench_redaction.py [--all]

Milliseconds of CPU for 1 MB, the best of three; ``--all`` prints every hostile value. Most of these
repeat a few characters that begin what a detector looks for; the others are mixtures, and many
shorter texts in one value. agentlogsafe 0.2 is measured on 20 kB of the former, since on some of
them its time grows with the square of the length.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agentlogsafe

import wakelog

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.redaction_corpus import HOSTILE

MEGABYTE, SMALL, LIMIT, LONGEST = 1_000_000, 20_000, 100, 36
JUDGED = wakelog.RedactionConfig().max_candidates or 0
PROSE = "Show me flights from Lisbon to Oslo on 3 May, e.g. before noon. Two seats, by the window: "
CUSTOMER = "4711,Ann,Smith,ann.smith@example.com,312-555-0199,12 Main St,Springfield,62704,183.25\n"
EVENT = {"args": {"query": "flights to Lisbon", "limit": 3, "note": "confirm to ann@example.com"}}


def milliseconds(redact: Callable[[Any], Any], value: Any) -> float:
    """Return the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = time.thread_time()
        redact(value)
        best = min(best, time.thread_time() - begin)
    return best * 1e3


def patiently(value: Any) -> float:
    """Return the same for Wakelog; again up to three times if another program may have been busy."""
    best = float("inf")
    for _ in range(4):
        best = min(best, milliseconds(wakelog.redact, value))
        if best < LIMIT:
            return best
        time.sleep(1)
    return best


def of_length(unit: str, length: int) -> str:
    """Return a text that repeats a unit."""
    return (unit * (length // len(unit) + 1))[:length]


def mixtures() -> dict[str, Any]:
    """Return values of 1 MB that are made to be slow in more than one way."""
    rng = random.Random(1)
    soup = "".join(rng.choice(HOSTILE[:-8]) for _ in range(MEGABYTE // 4))[:MEGABYTE]
    names = "".join(f"a{n:06} token= a1b2c3d4, " for n in range(MEGABYTE // 24))
    made: dict[str, Any] = {
        "soup": soup,
        "soup in lines": "\n".join(soup[at : at + 80] for at in range(0, MEGABYTE, 80)),
        "distinct names": names,
        "distinct parameters": "".join(f"?a{n:06}sid=a1" for n in range(MEGABYTE // 14)),
    }
    # As many candidates as are judged, the dearest first, and then what is dearest to pass over.
    dear = {
        unit: unit * JUDGED for unit in ("4111 ", "://a@", "a@b.cd ", "gb82west12345698765432 ")
    }
    dear |= {"password=x ": "password=x " * JUDGED, "distinct names": names[: 24 * JUDGED]}
    for unit, judged in dear.items():
        for rest in ("@A", "AB12", ":Se", "300 "):
            scanned = of_length(rest, MEGABYTE - len(judged))
            made[f"{unit!r}, then {rest!r}"] = f"{judged}\n{scanned}"
    for size in (10_000, 1_000, 100):
        for unit in ("4111 ", "key: password=x1 ", "a@b.cd ", "@A"):
            texts = [of_length(unit, size)] * (MEGABYTE // size)
            made[f"{MEGABYTE // size} texts of {unit!r}"] = {"rows": [{"text": t} for t in texts]}
    return made


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
    table = of_length(CUSTOMER, MEGABYTE)
    legible = wakelog.redact(table).count("Main St") * len(CUSTOMER) / 1000
    print(
        f"{'Wakelog':12} 1 MB of customers {milliseconds(wakelog.redact, table):6.1f} ms, "
        f"judged one by one up to {legible:.0f} kB"
    )
    rows = [
        (
            patiently(of_length(unit, MEGABYTE)),
            milliseconds(wakelog.redact, of_length(unit, SMALL)),
            milliseconds(agentlogsafe.redact, of_length(unit, SMALL)),
            repr(unit if len(unit) <= LONGEST else unit[: LONGEST - 3] + "..."),
        )
        for unit in HOSTILE
    ]
    mixed = [(patiently(value), name) for name, value in mixtures().items()]
    below = sum(ours < LIMIT for ours, *_ in (*rows, *mixed))
    print(f"hostile: {below} of {len(rows) + len(mixed)} below {LIMIT} ms")
    print(f"{'repeated':36} {'1 MB, ms':>9} {'20 kB, ms':>10} {'agentlogsafe, 20 kB':>20}")
    for ours, small, theirs, unit in sorted(rows, reverse=True)[: None if options.all else 5]:
        print(f"{unit:36} {ours:9.1f} {small:10.2f} {theirs:20.2f}")
    print("mixed")
    for ours, name in sorted(mixed, reverse=True)[: None if options.all else 5]:
        print(f"{name:36} {ours:9.1f}")
    print("many short texts, 1 MB in all")
    for name, value in {
        "a list of 100,000, plain": [f"field{n:05}" for n in range(100_000)],
        "a list of 100,000, each an address": ["a@b.cd xxx"] * 100_000,
        "a dict with 100,000 keys": {f"field{n:05}": 1 for n in range(100_000)},
        "a dict with 59,000 addresses as keys": {f"u{n:05}@x.example": 1 for n in range(59_000)},
    }.items():
        print(f"{name:36} {milliseconds(wakelog.redact, value):9.1f}")
    worst = max(rows, key=lambda row: row[2])
    print(f"agentlogsafe's worst: {worst[3]}, {worst[2]:.1f} ms for 20 kB, ours {worst[1]:.2f} ms")


if __name__ == "__main__":
    main()
