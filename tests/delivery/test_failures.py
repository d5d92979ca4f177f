"""The fifteen ways in which other systems lose data, tried on delivery.

Row 2 (power loss) is about the journal alone, see ``test_power_loss``. Row 8 (an outage longer than the
quota) is a matter of retention. What an answer proves (row 10) is tried answer by answer in the tests of
verdicts; here it is what follows from it.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.delivering import DOWN, RESOURCE, TAKEN, Bench, Hop, refuses
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.events import semconv as s
from wakelog.journal import Entry, books
from wakelog.record import encode, uuid7

Make = Callable[..., Bench]
HERE = str(ROOT)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def make(script: Any = lambda _: TAKEN, **options: Any) -> Bench:
        options = {"max_batch": 8, "max_queue": 16, "segment_bytes": 3000, **options}
        made.append(Bench(tmp_path, Hop(script), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def left_behind(make: Make, count: int, **options: Any) -> None:
    one = make(lambda _: DOWN, **options)
    one.record(*range(count))
    one.step(3)
    one.close()


def figures(root: Path) -> tuple[int, int, int, int]:
    found = books(root, exact=True)
    return (
        sum(b.accepted for b in found),
        sum(b.delivered for b in found),
        sum(b.pending for b in found),
        sum(b.corrupt for b in found),
    )


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
from tests.support import faults
faults.install()
from pathlib import Path
from tests.support.delivering import Bench, Hop
bench = Bench(Path(sys.argv[1]), Hop(), max_batch=2, max_queue=4)
if sys.argv[3] == "record":
    for number in range(12):
        bench.record(number)
        print(number, flush=True)
        if number % 3 == 2:
            bench.step()
    sys.stdin.read()
else:
    bench.drain()
    print(bench.hop.bodies)
"""


def test_row_1_kill_9_right_after_an_emit_returned(tmp_path: Path, bench: Make) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), HERE, "record"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "11\n":
            pass
        process.kill()

    one = bench()
    one.drain()
    # What the ledger of the one that was killed did not say, and nothing else is missing.
    assert one.hop.bodies == list(range(12))[12 - len(one.hop.bodies) :]
    assert figures(tmp_path) == (12, 12, 0, 0)


def test_row_3_a_torn_last_line(tmp_path: Path, bench: Make) -> None:
    left_behind(bench, 10)
    last = max(tmp_path.glob("*/*.jsonl"))
    with last.open("ab") as file:
        file.write(b'{"id":"torn","seq":11,"bo')
    one = bench()
    one.record("next")
    one.drain()

    assert sorted(one.hop.bodies, key=str) == [*range(10), "next"]
    assert last.with_suffix(".torn").read_bytes() == b'{"id":"torn","seq":11,"bo'


@pytest.mark.parametrize("place", range(0, 3000, 293))
def test_row_4_a_flipped_byte_anywhere(tmp_path: Path, bench: Make, place: int) -> None:
    left_behind(bench, 40)
    segment = min(tmp_path.glob("*/*.jsonl"))
    content = bytearray(segment.read_bytes())
    content[place] ^= 1
    segment.write_bytes(content)
    one = bench()
    one.drain()

    assert len(set(one.hop.bodies)) >= 39
    accepted, delivered, pending, corrupt = figures(tmp_path)
    assert (accepted, pending) == (40, 0)
    assert delivered + corrupt == 40
    assert corrupt <= 1


@pytest.mark.parametrize("ledger", ["missing", "empty", "older", "of another writer"])
def test_row_5_a_ledger_that_is_wrong(tmp_path: Path, bench: Make, ledger: str) -> None:
    one = bench()
    one.record(*range(20))
    one.drain()
    [file] = tmp_path.glob("*/ledger")
    older = file.read_bytes()
    one.record(*range(20, 50))
    one.drain()
    one.close()
    match ledger:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "older":
            file.write_bytes(older)
        case _:
            file.write_bytes(older.replace(file.parent.name.encode(), uuid7().encode()))
    other = bench()
    other.drain()

    assert set(one.hop.bodies) | set(other.hop.bodies) == set(range(50))
    assert other.hop.bodies == list(range(20 if ledger == "older" else 0, 50))
    assert figures(tmp_path) == (50, 50, 0, 0)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["open:1", "open:2", "write:1", "write:3", "rename:1", "rename:4"])
def test_row_6_a_crash_between_any_two_system_calls(
    tmp_path: Path, bench: Make, when: str, call: str
) -> None:
    left_behind(bench, 20)
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), HERE, "deliver"],
        env={**os.environ, "WAKELOG_TEST_FAULT": f"{when}:{call}"},
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    one = bench()
    one.drain()
    one.close()
    two = bench()  # restart twice
    two.drain()

    assert figures(tmp_path) == (20, 20, 0, 0)
    assert two.hop.bodies == []


def test_row_7_a_disk_that_is_full(
    tmp_path: Path, bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench()
    one.record(*range(5))
    [folder] = tmp_path.glob("*-*")
    (folder / "ledger").mkdir()  # the ledger cannot be written
    one.step(5)
    assert set(one.hop.bodies) == set(range(5))

    (folder / "ledger").rmdir()
    one.record(5)
    one.drain()
    assert one.hop.bodies[-1] == 5
    assert figures(tmp_path) == (6, 6, 0, 0)


def test_row_9_a_poison_record(tmp_path: Path, bench: Make) -> None:
    one = bench(refuses(300), max_batch=512, max_queue=2048)
    one.record(*range(512))
    one.drain()

    assert len(set(one.hop.bodies)) == 511
    assert books(tmp_path)[0].dead_lettered == 1


@pytest.mark.parametrize(
    "outcome",
    [
        ExportOutcome(Outcome.RETRYABLE, "302"),
        ExportOutcome(Outcome.RETRYABLE, "no answer"),
        ExportOutcome(Outcome.DELIVERED, "partial", rejected=3),
        ExportOutcome(Outcome.REJECTED, "400"),
    ],
)
def test_row_10_a_lying_or_partial_answer(
    tmp_path: Path, bench: Make, outcome: ExportOutcome
) -> None:
    one = bench(lambda batch: ExportOutcome(outcome.kind, outcome.reason, None, len(batch)))
    one.record(1, 2, 3)
    one.step(10)
    assert figures(tmp_path) == (3, 0, 3, 0)

    one.hop.script = lambda _: TAKEN
    one.drain()
    assert one.hop.bodies == [1, 2, 3]


def test_row_11_two_openers_of_one_folder(tmp_path: Path, bench: Make) -> None:
    left_behind(bench, 100)
    one, two = bench(), bench()
    one.record("one")
    two.record("two")
    for _ in range(100):
        one.step()
        two.step()

    arrived = one.hop.bodies + two.hop.bodies
    assert len(arrived) == len(set(arrived)) == 102
    assert figures(tmp_path) == (102, 102, 0, 0)


def test_row_12_shutdown_during_an_outage_leaves_nothing_unaccounted(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(lambda _: DOWN)
    one.record(*range(30))
    one.step(2)
    begun = time.monotonic()
    one.delivery.shutdown(60)
    one.record("after")

    assert time.monotonic() - begun < 30
    assert figures(tmp_path) == (31, 0, 31, 0)


def test_row_13_a_backlog_of_any_size_is_held_in_memory_two_rounds_at_a_time(
    tmp_path: Path, bench: Make
) -> None:
    most = 0

    def entries() -> int:
        return sum(issubclass(type(thing), Entry) for thing in gc.get_objects())

    def count(_: Any) -> ExportOutcome:
        nonlocal most
        if len(one.hop.batches) % 50 == 0:
            most = max(most, entries() - others)
        return TAKEN

    left_behind(bench, 3000, segment_bytes=1 << 20)
    gc.collect()
    others = entries()  # of tests before this one
    one = bench(count)
    one.drain()

    assert one.hop.bodies == list(range(3000))
    assert 0 < most <= 3 * 16


@pytest.mark.parametrize("offset", [-86_400, 86_400])
def test_row_14_an_ambiguous_acknowledgement_and_a_clock_that_moved(
    tmp_path: Path, bench: Make, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    one = bench()
    content = encode({"body": "the same"}, 1 << 20)
    one.journal.append(uuid7(), content, RESOURCE)
    one.journal.append(uuid7(), content, RESOURCE)
    one.hop.script = lambda _: DOWN  # it took them, and the connection broke before it said so
    one.step()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + offset * 10**9)
    one.hop.script = lambda _: TAKEN
    one.record("later")
    one.drain()

    ids = [(r.log_record.attributes or {})[s.LOG_RECORD_UID] for r in one.hop.records]
    assert [batch[:2] for batch in one.hop.batches[:2]] == [["the same"] * 2] * 2
    assert len(ids) == len(set(ids)) == 3
    assert one.hop.bodies == ["the same", "the same", "later"]


def test_row_15_what_delivery_logs_is_no_event_and_the_counts_survive_a_restart(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(lambda _: DOWN)
    one.record(*range(10))
    one.step(5)
    assert figures(tmp_path) == (10, 0, 10, 0)
    one.hop.script = lambda _: TAKEN
    one.drain()
    one.close()

    assert figures(tmp_path) == (10, 10, 0, 0)
    bench()
    assert figures(tmp_path) == (10, 10, 0, 0)
