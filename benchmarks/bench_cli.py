"""What the command line costs on a large journal: the index, and the questions that people ask.

    python benchmarks/bench_cli.py [--events N] [--directory DIR] [--keep]

Writes a journal of N events (1,000,000 unless told otherwise) in a new directory inside DIR: four writers,
in each of which eight runs are under way at once, with prompts, answers, tools that fail and tokens, and one
session of 10,000 events. Then each command runs in a process of its own, as a user would run it, and its
time on the clock, time of the processor and peak memory are printed. The directory is deleted at the end, unless --keep.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wakelog.events import AgentEvent, fields_of
from wakelog.journal import Folder, Journal, Owner, Service
from wakelog.record import Resource, encode, seal, seal_header

SEGMENT_BYTES = 16 << 20
WRITERS, AT_ONCE = 4, 8
LONG_SESSION = "the-long-one"
LONG = 10_000
RESOURCE = Resource({"service.name": "bench"})
TOOLS = ("search_flights", "book", "pay", "read_mail", "weather", "calendar")
MODELS = ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro")
WORDS = [
    "reservation",
    "passenger",
    "luggage",
    "Lisbon",
    "Porto",
    "economy",
    "cabin",
    "refund",
    "policy",
    "the",
    "a",
    "to",
    "of",
    "with",
    "seat",
    "window",
    "aisle",
    "morning",
    "evening",
    "flight",
    "number",
    "payment",
    "card",
    "certificate",
    "membership",
    "silver",
    "gold",
]
GROUP_BY = (
    "SELECT agent, model, count(*) AS calls, sum(input_tokens) AS tokens FROM events "
    "WHERE type = 'model_response' GROUP BY agent, model ORDER BY tokens DESC LIMIT 5"
)
SECOND = 1_000_000_000
BEGIN = 1_795_000_000 * SECOND


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def a_run(rng: random.Random, number: str, session: str | None, steps: int) -> Iterator[dict]:
    """Yield the arguments of a run's events."""
    run, agent = f"run-{number}", f"agent-{rng.randrange(12)}"
    common = {"run_id": run, "agent_name": agent, "session_id": session}
    start = f"{number}-start"
    yield {"event_type": "run_start", "event_id": start, "status": "started", **common}
    for step in range(steps):
        begin = f"{number}-{step}"
        if step % 2:
            tool = rng.choice(TOOLS)
            failed = rng.random() < 0.03
            yield {
                "event_type": "tool_call", "event_id": begin, "tool_name": tool, "status": "started",
                "parent_event_id": start, "call_id": f"call-{begin}",
                "payload": {"args": {"query": text(rng, 8), "number": step}}, **common,
            }  # fmt: skip
            result = {"error_type": "TimeoutError"} if failed else {"result": text(rng, 30)}
            yield {
                "event_type": "tool_result", "tool_name": tool, "parent_event_id": begin,
                "status": "error" if failed else "success", "call_id": f"call-{begin}",
                "payload": result, **common,
            }  # fmt: skip
        else:
            model = rng.choice(MODELS)
            yield {
                "event_type": "model_call", "event_id": begin, "model": model, "status": "started",
                "parent_event_id": start, "payload": {"input_messages": text(rng, 60)}, **common,
            }  # fmt: skip
            yield {
                "event_type": "model_response", "model": model, "parent_event_id": begin,
                "status": "success",
                "payload": {
                    "output_messages": text(rng, 30), "input_tokens": rng.randrange(200, 4000),
                    "output_tokens": rng.randrange(10, 400),
                },
                **common,
            }  # fmt: skip
    yield {"event_type": "run_end", "status": "success", "parent_event_id": start, **common}


def runs_of(writer: int, rng: random.Random) -> Iterator[Iterator[dict]]:
    if writer == WRITERS - 1:
        yield a_run(rng, f"{writer}-long", LONG_SESSION, (LONG - 2) // 2)
    number = 0
    while True:
        number += 1
        session = f"session-{writer}-{number // 5}" if number % 20 else None
        yield a_run(rng, f"{writer}-{number}", session, rng.randrange(4, 24))


def events_of(writer: int, count: int) -> Iterator[AgentEvent]:
    """Yield a writer's events: eight runs are under way at once."""
    rng = random.Random(writer)
    waiting = runs_of(writer, rng)
    active = [next(waiting) for _ in range(AT_ONCE)]
    when = BEGIN
    while count:
        place = rng.randrange(AT_ONCE)
        given = next(active[place], None)
        if given is None:
            active[place] = next(waiting)
            continue
        when += rng.randrange(1_000_000, 200_000_000)
        count -= 1
        yield AgentEvent(time_unix_nano=when, **given)


def make_journal(root: Path, events: int) -> None:
    """Write a journal, as fast as its lines can be made."""
    Journal(root).close()
    for writer in range(WRITERS):
        owner = Owner(Service("", "bench"), generation=writer + 1, process=f"p-{writer}")
        folder = Folder.create(root, f"01a1fc74-0000-7000-8000-00000000000{writer}", owner=owner)
        crc = segment = length = 0
        file = None
        for seq, event in enumerate(events_of(writer, events // WRITERS), 1):
            if file is None or length >= SEGMENT_BYTES:
                segment += 1
                line, header = seal_header(
                    folder.writer, segment, seq - 1, crc, RESOURCE, generation=writer + 1
                )
                crc, length = header.crc, len(line)
                if file is not None:
                    file.close()
                file = (folder.path / f"{segment:08d}.jsonl").open("wb")
                file.write(line)
            line, crc = seal(event.event_id, seq, encode(fields_of(event), 1 << 20), crc)
            length += len(line)
            file.write(line)
        if file is not None:
            file.close()
        folder.release()


def measured(*arguments: str) -> tuple[float, float, float, int]:
    """Run a command; return its seconds, those of the processor, its peak memory in MB and its lines."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # As a user's: with byte code that is kept from one command to the next.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        process = subprocess.Popen(
            [sys.executable, "-m", "wakelog", *arguments],
            stdout=out,
            stderr=err,
            env=environment,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        took = time.perf_counter() - begin
        out.seek(0)
        err.seek(0)
        lines, said = out.read().count(b"\n"), err.read().decode()
    if status and "there is no text" not in said:
        sys.exit(f"{' '.join(arguments)} failed: {said}")
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--directory", metavar="DIR")
    parser.add_argument(
        "--keep", action="store_true", help="leave the journal, and say where it is"
    )
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="wakelog-bench-", dir=arguments.directory)) / "journal"
    try:
        begin = time.perf_counter()
        make_journal(root, arguments.events)
        size = sum(file.stat().st_size for file in root.glob("*/*.jsonl"))
        took = time.perf_counter() - begin
        print(f"journal: {arguments.events:,} events, {size / 1e6:,.0f} MB, made in {took:.0f} s")
        took, busy, memory, _ = measured("sessions", "--limit", "1", str(root))
        rate = arguments.events / took
        print(
            f"{'first command, builds the index':<44} {took:7.2f} s {busy:7.2f} s {memory:6.0f} MB  {rate:,.0f}/s"
        )
        beside = sum(file.stat().st_size for file in (root / ".index").glob("*"))
        print(f"{'size of the index':<44} {beside / 1e6:7.0f} MB")
        for line in (
            ["sessions"],
            ["sessions", "--runs", "--sort", "tokens"],
            ["show", "--last"],
            ["show", "--session", LONG_SESSION],
            ["show", "--errors", "--type", "tool_call", "--session", LONG_SESSION],
            ["stats"],
            ["show", "--text", "gold silver card"],
            ["show", "--text", "no such words anywhere"],
            ["query", GROUP_BY],
            ["query", GROUP_BY, "--over", "index"],
        ):
            took, busy, memory, lines = min(measured(*line, str(root)) for _ in range(3))
            print(
                f"{' '.join(line):<44.44} {took:7.2f} s {busy:7.2f} s {memory:6.0f} MB  {lines:,} lines"
            )
        if arguments.keep:
            print(root)
    finally:
        if not arguments.keep:
            shutil.rmtree(root.parent)


if __name__ == "__main__":
    main()
