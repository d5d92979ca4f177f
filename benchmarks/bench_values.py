"""What recording costs the caller, whatever the value: per MB, per million values, and the worst of a search.

    python benchmarks/bench_values.py [--search N] [--seed S]

Seconds of CPU in the calling thread for one event in a journal with redaction, of values of about 4 MB or a
million nodes. ``--search`` generates N values of about 64 kB, grows the ten that cost most for their size to
4 MB or a million nodes, and prints the worst of these with what it is made of.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import wakelog
from tests.support.generated_values import Recipe, made

MEGABYTES, NODES, SMALL, LIMIT = 4, 1_000_000, 64 * 1024, 1.5
DAY = dt.date(2026, 1, 1)


class Endless(Mapping[str, Any]):
    """A mapping that never ends, nor do those in it."""

    def __getitem__(self, key: str) -> Any:
        return Endless()

    def __iter__(self) -> Iterator[str]:
        return map(str, iter(int, 1))

    def __len__(self) -> int:
        return 1 << 40


class Counting(Endless):
    """A mapping of ever new names."""

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            yield f"name{number}"
            number += 1


@dataclasses.dataclass
class Row:
    id: int
    name: str


def of_length(unit: str) -> str:
    return unit * (MEGABYTES * 1_000_000 // len(unit.encode("utf-8", "surrogatepass")) + 1)


def rows() -> dict[str, Any]:
    """Return the values of the table."""
    wide = [0] * 100_000
    return {
        "one text, prose": of_length("Show me flights from Lisbon to Oslo on 3 May. "),
        "one text, a character and one without width": of_length("a\u200b"),
        "one text, `>;\\|,=` and line ends": of_length(">;\\|,=\n-"),
        "one text, lone surrogates": of_length("\u00e9\ud800"),
        "bytes": bytes(range(256)) * (MEGABYTES * 4_000),
        "keys that differ in lone surrogates": json.loads(
            "{" + ",".join(f'"\\ud8{i // 256 % 256:02x}{i}":1' for i in range(200_000)) + "}"
        ),
        "a million numbers": list(range(NODES)),
        "a million small dicts": [{"a": 1} for _ in range(NODES)],
        "a million different keys": {f"name{i}": i for i in range(NODES)},
        "a million dates": [DAY] * NODES,
        "250,000 dataclasses": [Row(i, "x") for i in range(NODES // 4)],
        "lists, shared 20^5 times": shared(20, 5),
        "a list of 100,000, shared a million times": [wide] * NODES,
        "a text of 1 MB, shared a million times": ["x y " * 250_000] * NODES,
        "a subclass of dict, shared 300 times": [collections.OrderedDict.fromkeys(wide)] * 300,
        "sets of 100,000": [frozenset(range(100_000))] * 10,
        "a mapping without an end": Counting(),
        "mappings without an end in one": Endless(),
    }


def shared(width: int, depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value] * width
    return value


def seconds(log: Any, value: Any) -> float:
    begin = time.thread_time()
    log.emit("custom", {"v": value})
    return time.thread_time() - begin


def search(log: Any, count: int, seed: int) -> None:
    """Print the worst of so many generated values, when they are grown."""
    chance = random.Random(seed)
    found: list[tuple[float, Recipe]] = []
    for _ in range(count):
        recipe = Recipe.by(chance)
        value, size = made(recipe, SMALL)
        found.append((seconds(log, value) / size, recipe))
    found.sort(key=lambda pair: -pair[0])
    worst = 0.0
    for _, recipe in found[:10]:
        value, size = made(recipe, MEGABYTES * 1_000_000)
        took = min(seconds(log, value) for _ in range(2))
        print(f"{took:7.2f} s  {size:>10,}  {recipe}")
        worst = max(worst, took)
    print(f"worst of {count:,} (seed {seed}): {worst:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--search", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        log = wakelog.configure("a", directory=Path(folder) / "journal", on_error="log")
        seconds(log, "warm")
        if arguments.search:
            search(log, arguments.search, arguments.seed)
        else:
            slow = 0
            for name, value in rows().items():
                took = min(seconds(log, value) for _ in range(2))
                slow += took > LIMIT
                print(f"{took:7.2f} s  {name}", flush=True)
            print(f"above {LIMIT} s: {slow}")
        wakelog.shutdown()


if __name__ == "__main__":
    main()
