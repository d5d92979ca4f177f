"""What happens now goes first, what was left behind follows oldest first, and nothing is skipped.

Time is turned by hand here: outages of days take no time.
"""

from __future__ import annotations

import errno
import logging
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.attack import times
from tests.support.delivering import DOWN, TAKEN, Bench, Hop, refuses
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.delivery._circuit import LONGEST_DELAY, Circuit
from wakelog.delivery._journal_lanes import MOST_RANGES
from wakelog.events import semconv as s
from wakelog.journal import _cursor, books
from wakelog.journal._ledger import load_with_ranges
from wakelog.runtime import open_file

Make = Callable[..., Bench]
DAY = 24 * 3600.0


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


def balanced(root: Path) -> tuple[int, int, int]:
    found = books(root, exact=True)
    assert all(b.pending >= 0 for b in found)
    return (
        sum(b.accepted for b in found),
        sum(b.delivered for b in found),
        sum(b.pending for b in found),
    )


def outage(one: Bench, count: int, seconds: float = 60.0) -> list[str]:
    """Record during an outage, and return what was recorded."""
    before, one.hop.script = one.hop.script, lambda _: DOWN
    until = one.clock.now + seconds
    bodies = [f"{one.clock.now:.0f}-{number}" for number in range(count)]
    one.record(*bodies)
    while one.clock.now < until:
        one.step()
    one.hop.script = before
    return bodies


def replayed(one: Bench) -> list[Any]:
    return [
        r.log_record.body
        for r in one.hop.records
        if (r.log_record.attributes or {}).get(s.REPLAYED) is True
    ]


def test_after_an_outage_what_happens_now_goes_before_what_was_left_behind(
    tmp_path: Path, bench: Make
) -> None:
    one = bench()
    one.record(0)
    one.drain()
    missed = outage(one, 500)
    one.step(2)  # it works again
    one.record("now")
    one.step(2)

    assert "now" in one.hop.bodies
    assert len(one.hop.bodies) < 100
    accepted, delivered, pending = balanced(tmp_path)
    assert accepted == 502
    assert delivered == len(set(one.hop.bodies))
    assert pending == 502 - delivered

    one.drain()
    assert sorted(one.hop.bodies, key=str) == sorted([0, *missed, "now"], key=str)
    assert [body for body in one.hop.bodies if body in missed] == missed
    assert balanced(tmp_path) == (502, 502, 0)


def test_what_was_left_behind_is_marked_and_keeps_its_time(bench: Make) -> None:
    one = bench()
    missed = outage(one, 100)
    one.drain()
    one.record("after")
    one.drain()

    marked = replayed(one)
    assert set(marked) <= set(missed)
    # All but the probe, which went while the outage was not yet known to be over.
    assert len(marked) >= 90
    assert "after" not in marked


@pytest.mark.attack
@pytest.mark.parametrize("seed", range(times(100)))
def test_whatever_happens_everything_arrives_and_the_books_balance(
    tmp_path: Path, bench: Make, seed: int
) -> None:
    """Outages, restarts, poison and lost ledgers by chance."""
    choose = random.Random(seed)
    one = bench(refuses("poison"), max_batch=4, max_queue=8)
    recorded: list[Any] = []
    poison = 0
    for step in range(40):
        match choose.randrange(7):
            case 0 | 1:
                new = [f"{step}-{n}" for n in range(choose.randrange(60))]
                one.record(*new)
                recorded += new
            case 2:
                one.record("poison")
                poison += 1
            case 3:
                recorded += outage(one, choose.randrange(80), choose.choice([1.0, 100.0]))
            case 4:
                one.step(choose.randrange(5))
            case 5:
                one.close()
                for ledger in tmp_path.glob("*/ledger") if choose.random() < 0.3 else ():
                    ledger.unlink()
                hop = one.hop
                one = bench(refuses("poison"), max_batch=4, max_queue=8)
                one.hop.records = hop.records
            case 6:
                ledger_copy = {f: f.read_bytes() for f in tmp_path.glob("*/ledger")}
                one.step(choose.randrange(3))
                if choose.random() < 0.5:
                    one.close()
                    for file, content in ledger_copy.items():
                        file.write_bytes(content)  # rolled back
                    hop = one.hop
                    one = bench(refuses("poison"), max_batch=4, max_queue=8)
                    one.hop.records = hop.records
        assert balanced(tmp_path)[0] == len(recorded) + poison
    one.clock.now += 100
    one.drain()

    assert set(one.hop.bodies) == set(recorded)
    found = books(tmp_path, exact=True)
    assert sum(b.pending for b in found) == sum(b.corrupt for b in found) == 0
    assert sum(b.dead_lettered for b in found) == poison
    assert sum(b.delivered for b in found) == len(recorded)


def test_two_lanes_survive_a_restart_without_skipping_anything(tmp_path: Path, bench: Make) -> None:
    one = bench()
    missed = outage(one, 200)
    one.step(3)
    one.record(*range(30))
    one.step(3)
    folder = next(tmp_path.glob("*-*"))
    mark, parts = load_with_ranges(folder, folder.name)
    assert len(parts) == 1
    assert mark.seq < parts[0].start.seq < parts[0].end.seq
    one.close()

    other = bench()
    other.drain()
    assert set(one.hop.bodies) | set(other.hop.bodies) == {*missed, *range(30)}
    # What both lanes had brought is not brought again.
    assert not set(one.hop.bodies) & set(other.hop.bodies)
    assert balanced(tmp_path) == (230, 230, 0)
    assert load_with_ranges(folder, folder.name)[1] == []


@pytest.mark.parametrize("damage", ["drop spans", "move span", "nonsense", "swap", "old format"])
def test_a_ledger_with_ranges_that_is_wrong_costs_duplicates_and_skips_nothing(
    tmp_path: Path, bench: Make, damage: str
) -> None:
    one = bench()
    missed = outage(one, 100)
    one.step(3)
    one.record(*range(30))
    one.step(2)
    one.close()
    [ledger] = tmp_path.glob("*/ledger")
    data = orjson.loads(ledger.read_bytes())
    assert data["ahead"]
    match damage:
        case "drop spans" | "old format":
            del data["ahead"]
        case "move span":
            data["ahead"][0][1]["offset"] += 3
        case "nonsense":
            data["ahead"] = [["x"]]
        case "swap":
            data["ahead"][0].reverse()
    ledger.write_bytes(orjson.dumps(data))

    other = bench()
    other.drain()
    assert set(one.hop.bodies) | set(other.hop.bodies) == {*missed, *range(30)}
    assert balanced(tmp_path) == (130, 130, 0)


def test_many_outages_leave_a_ledger_of_bounded_size(tmp_path: Path, bench: Make) -> None:
    one = bench(replay_rate=0.001)
    recorded = []
    for _ in range(MOST_RANGES + 10):
        recorded += outage(one, 20, 100)
        one.record("now")
        one.step(4)
    folder = next(tmp_path.glob("*-*"))
    assert len(load_with_ranges(folder, folder.name)[1]) <= MOST_RANGES
    assert balanced(tmp_path)[0] == len(recorded) + MOST_RANGES + 10


def test_a_damaged_part_of_the_backlog_costs_what_is_damaged(tmp_path: Path, bench: Make) -> None:
    one = bench()
    outage(one, 100)
    segment = sorted(tmp_path.glob("*/*.jsonl"))[1]
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"body":"', b'"body":"!')
    segment.write_bytes(b"".join(lines))
    one.record("now")
    one.drain()

    [found] = books(tmp_path, exact=True)
    assert (found.accepted, found.delivered, found.corrupt, found.pending) == (101, 100, 1, 0)


def test_more_damage_than_one_reading_takes_does_not_end_a_backlog(
    tmp_path: Path, bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part with nothing but damaged lines used to be taken for the end."""
    monkeypatch.setattr("wakelog.delivery._thread._CHUNK_BYTES", 500)
    one = bench(lambda _: DOWN, segment_bytes=1 << 20)
    one.record(*range(100))
    one.close()
    [segment] = tmp_path.glob("*/00000001.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[20:80] = [line.replace(b'"body":', b'"body":9') for line in lines[20:80]]
    segment.write_bytes(b"".join(lines))

    other = bench()
    other.drain()
    assert other.hop.bodies == [*range(19), *range(79, 100)]
    [found] = books(tmp_path, exact=True)
    assert (found.delivered, found.corrupt, found.pending) == (40, 60, 0)


def test_a_rate_bounds_what_was_left_behind_and_not_what_happens_now(
    tmp_path: Path, bench: Make
) -> None:
    one = bench(replay_rate=10)
    outage(one, 400)
    one.step(3)
    begun = one.clock.now
    before = len(one.hop.records)
    while one.clock.now < begun + 10:
        one.step()
    assert 80 <= len(one.hop.records) - before <= 120

    one.record("now")
    one.step(2)
    assert "now" in one.hop.bodies
    assert one.clock.now < begun + 13


def test_orphans_are_drained_oldest_first_while_new_events_pass_them(
    tmp_path: Path, bench: Make
) -> None:
    left: list[Any] = []
    for process in range(3):
        down = bench(lambda _: DOWN)
        bodies = [f"{process}-{number}" for number in range(60)]
        down.record(*bodies)
        left += bodies
        down.close()
    one = bench()
    one.step()
    for number in range(5):
        one.record(number)
        before = len(one.hop.bodies)
        one.step(1)
        assert one.hop.bodies[before] == number
    one.drain()

    assert [body for body in one.hop.bodies if isinstance(body, str)] == left
    assert replayed(one) == left


def test_a_writer_whose_files_cannot_be_read_holds_up_no_other(
    tmp_path: Path,
    bench: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for process in range(3):
        down = bench(lambda _: DOWN)
        down.record(*(f"{process}-{number}" for number in range(30)))
        down.close()
    middle = sorted(tmp_path.glob("*-*"))[1]
    opened = open_file

    def fail(path: Path, flags: int) -> int:
        if path.parent == middle:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, flags)

    monkeypatch.setattr(_cursor, "open_file", fail)
    one = bench()
    one.record("mine")
    one.drain()
    assert len(one.hop.bodies) == 61
    assert not one.delivery.failing
    assert [str(middle) in message for message in caplog.messages] == [True]

    monkeypatch.setattr(_cursor, "open_file", opened)
    one.clock.now += 11  # the next search
    one.drain()
    assert len(set(one.hop.bodies)) == 91
    assert len(caplog.messages) == 1


def test_stopping_does_not_wait_for_what_others_left_behind(tmp_path: Path, bench: Make) -> None:
    down = bench(lambda _: DOWN)
    down.record(*range(1000))
    down.close()
    one = bench()
    one.record("mine")
    one.step()
    one.delivery._stopping = True
    one.drain()

    assert "mine" in one.hop.bodies
    assert len(one.hop.bodies) < 100


# Retry.


def test_an_outage_of_three_days_is_survived_with_few_attempts_and_two_lines(
    tmp_path: Path, bench: Make, caplog: pytest.LogCaptureFixture
) -> None:
    one = bench()
    with caplog.at_level(logging.WARNING, "wakelog"):
        missed = outage(one, 300, 3 * DAY)
        attempts = len(one.hop.batches)
        one.drain()

    assert sorted(one.hop.bodies) == sorted(missed)
    # 30 s at most between two, 15 s on average.
    assert 3 * DAY / LONGEST_DELAY < attempts < 3 * DAY / LONGEST_DELAY * 3
    down, up = caplog.messages
    assert "the hop" in down
    assert "connection refused" in down
    assert "events caught up: 300" in up
    assert "the hop" in up


def test_an_attempt_after_a_failure_is_one_small_batch(bench: Make) -> None:
    one = bench(max_batch=512, max_queue=2048)
    outage(one, 2000)

    assert all(len(batch) <= 8 for batch in one.hop.batches[1:])


@pytest.mark.parametrize("seconds", [60.0, 3600.0, 3 * DAY])
def test_who_asks_to_be_left_alone_is_left_alone_for_that_long(bench: Make, seconds: float) -> None:
    one = bench(lambda _: ExportOutcome(Outcome.RETRYABLE, "429", retry_after=seconds))
    one.record(1)
    begun = one.clock.now
    one.delivery.step()
    one.hop.script = lambda _: TAKEN
    assert not one.delivery.flush(0)  # which is in a hurry, and waits all the same
    while not one.hop.bodies:
        one.step()

    assert len(one.hop.batches) == 2
    assert seconds <= one.clock.now - begun <= seconds + 2


def test_delays_double_with_full_jitter_up_to_thirty_seconds() -> None:
    drawn: list[float] = []

    def choose(low: float, high: float) -> float:
        drawn.append(high)
        return low

    circuit = Circuit(lambda: 0.0, choose)
    for _ in range(10):
        circuit.failed()
    assert drawn == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]

    circuit.succeeded()
    circuit.failed()
    assert drawn[-1] == 0.5
    for _ in range(5000):
        circuit.failed()  # no overflow


def test_a_clock_of_the_wall_that_jumps_changes_nothing(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench()
    missed = outage(one, 30)
    monkeypatch.setattr("time.time", lambda: 0.0)
    monkeypatch.setattr("time.time_ns", lambda: 0)
    one.drain()

    assert one.hop.bodies == missed


def test_an_outage_that_comes_back_before_all_is_caught_up_is_one_outage(
    bench: Make, caplog: pytest.LogCaptureFixture
) -> None:
    one = bench()
    with caplog.at_level(logging.WARNING, "wakelog"):
        for _ in range(5):
            outage(one, 100)
            one.step(2)
        one.drain()

    assert len(caplog.messages) == 2
    assert "events caught up: 500" in caplog.messages[1]


def test_a_journal_without_new_records_is_not_read_and_the_next_record_is(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench()
    one.record(*range(40))  # several segments
    one.drain()
    reads: list[int] = []
    pread = os.pread

    def count(fd: int, size: int, offset: int) -> bytes:
        reads.append(offset)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", count)
    one.step(5)
    assert reads == []

    one.record("next")
    one.drain()
    assert one.hop.bodies == [*range(40), "next"]
    assert reads


@pytest.mark.parametrize("foreign", [b" ", b"x"])
def test_bytes_that_others_append_never_hide_a_record_of_the_same_length(
    tmp_path: Path, bench: Make, foreign: bytes
) -> None:
    one = bench()
    one.record("a", "b")
    one.drain()
    [segment] = tmp_path.glob("*/*.jsonl")
    length = len(segment.read_bytes().splitlines(keepends=True)[-1])

    with segment.open("ab") as file:
        file.write(foreign * (length - 1) + b"\n")
    one.record("c")
    one.drain()
    one.record("d")
    one.drain()

    assert one.hop.bodies == ["a", "b", "c", "d"]
