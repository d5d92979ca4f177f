"""One event that is never taken costs itself, and not its session; an outage costs nothing."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.figures import Meter
from tests.support.waiting import until_in_loop as until
from wakelog.cli import main
from wakelog.errors import ConfigurationError
from wakelog.gateway import (
    CallbackTransport,
    EventSessionLogger,
    ForwardedEvent,
    SerializationError,
    TransportInterface,
)
from wakelog.gateway._books import GatewayBooks, GatewayCounters
from wakelog.gateway._downstream import Downstream, Trial
from wakelog.gateway._settings import Settings
from wakelog.runtime import _burst

SECONDS = 60
QUICK: dict[str, Any] = {
    "retry_delay_seconds": 0.005,
    "send_timeout_seconds": 0.1,
    "max_retry_attempts": 1,
    "max_probe_attempts": 2,
}
FATES = ("forwarded", "pending", "rejected", "dead_lettered", "corrupt", "dropped")


class Hop:
    """A callback that never takes some events, and nothing while it is down."""

    def __init__(self, *poison: int, how: str = "raises") -> None:
        self.poison, self.how = set(poison), how
        self.down: str | None = None
        self.ends_at: int | None = None
        self.taken: list[tuple[str, int]] = []
        self.asked: list[int] = []

    async def __call__(self, event: Any) -> bool:
        self.asked.append(event.n)
        if event.n == self.ends_at:
            self.down = None
        mood = self.down or (self.how if event.n in self.poison else None)
        if mood == "raises":
            raise RuntimeError(f"poison {event.n}")
        if mood == "breaks its connection":
            raise ConnectionError("reset by peer")
        if mood == "hangs":
            await asyncio.Event().wait()
        if mood == "rejects":
            raise SerializationError(f"never {event.n}")
        if mood == "says no":
            return False
        self.taken.append((event.session_id, event.n))
        return True

    def of(self, session: str) -> list[int]:
        return [n for name, n in self.taken if name == session]


async def log(logger: EventSessionLogger, numbers: range, session: str = "s") -> None:
    for n in numbers:
        assert await logger({"session_id": session, "n": n, "type": "message"})


def balanced(meter: Meter) -> dict[str, float]:
    scrape = meter.read()
    books = {name: scrape(f"wakelog.gateway.events.{name}") for name in ("accepted", *FATES)}
    assert books["accepted"] == sum(books[name] for name in FATES), books
    return books


@pytest.mark.parametrize("how", ["raises", "says no", "breaks its connection"])
@pytest.mark.parametrize(
    "poison", [(0,), (3,), (3, 4), (0, 1, 5), (0, 2, 4, 6)], ids=lambda p: ",".join(map(str, p))
)
@pytest.mark.parametrize(
    "kind",
    [{}, {"log_format": "json"}, {"enable_local_logging": False}, {"log_format": "custom"}],
    ids=["lines", "document", "memory", "custom"],
)
def test_the_session_goes_on_in_order_after_an_event_that_is_never_taken(
    tmp_path: Path, how: str, poison: tuple[int, ...], kind: dict[str, Any]
) -> None:
    hop, meter = Hop(*poison, how=how), Meter()
    settings = {**QUICK, **kind, "formatter": str, "meter_provider": meter.provider}

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, **settings) as logger:
            await log(logger, range(8))
            assert await logger.flush(SECONDS)
            stats = logger.stats()
            assert (stats.forwarded, stats.dead_lettered) == (8 - len(poison), len(poison))
            assert stats.pending == stats.rejected == 0
            letters = logger.dead_letters("s")
            assert [json.loads(one.line)["event"]["n"] for one in letters] == list(poison)
            assert {one.outcome for one in letters} == {"refused"}
            assert logger.dead_letters("another") == []

    asyncio.run(run())

    assert hop.of("s") == [n for n in range(8) if n not in poison]
    books = balanced(meter)
    assert (books["accepted"], books["dead_lettered"]) == (8, len(poison))


@pytest.mark.parametrize("down", ["raises", "says no", "breaks its connection", "hangs"])
@pytest.mark.parametrize("sessions", [1, 3])
def test_an_outage_however_long_sets_nothing_aside(
    tmp_path: Path, down: str, sessions: int
) -> None:
    hop = Hop()
    hop.down = down

    async def run() -> None:
        settings = {**QUICK, "send_timeout_seconds": 0.02}
        async with EventSessionLogger(tmp_path, hop, **settings) as logger:
            for k in range(sessions):
                await log(logger, range(6), f"s{k}")
            deadline = time.monotonic() + SECONDS
            while len(hop.asked) < 60 and time.monotonic() < deadline:
                await logger.flush(0.01)  # which has it look again at once
            assert len(hop.asked) >= 60, "far more than an event may fail"
            assert logger.stats().dead_lettered == 0
            # A machine under load may be slow, and nothing has hung then.
            downstream = logger._forwarder.downstream  # type: ignore[union-attr]
            downstream._settings = replace(downstream._settings, send_timeout_seconds=SECONDS)
            hop.ends_at = 0  # not between a session's first event and what is tried behind it
            # A probe that hangs just now is followed by a pause of up to 30 s, which the next flush ends.
            while not await logger.flush(1) and time.monotonic() < deadline + SECONDS:
                pass
            assert await logger.flush(0)
            assert logger.stats().dead_lettered == 0
            assert logger.dead_letters() == []

    asyncio.run(run())

    for k in range(sessions):
        assert hop.of(f"s{k}") == list(range(6))


@pytest.mark.parametrize("down", ["raises", "says no"])
@pytest.mark.parametrize("ends_at", [1, 2])
def test_an_outage_that_ends_at_the_worst_moment_costs_order_and_no_event(
    tmp_path: Path, down: str, ends_at: int
) -> None:
    hop = Hop()
    hop.down, hop.ends_at = down, ends_at

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, range(5))
            assert await logger.flush(SECONDS)
            assert (logger.stats().forwarded, logger.stats().dead_lettered) == (5, 0)

    asyncio.run(run())

    late = list(range(ends_at))
    assert hop.of("s") == [ends_at, *late, *range(ends_at + 1, 5)]


def test_a_sessions_own_destination_that_is_down_sets_nothing_aside(tmp_path: Path) -> None:
    hop = Hop()
    tenant_is_down = True

    async def callback(event: Any) -> bool:
        if tenant_is_down and event.session_id == "tenant":
            hop.asked.append(event.n)
            return False
        return await hop(event)

    async def run() -> None:
        nonlocal tenant_is_down
        async with EventSessionLogger(tmp_path, callback, **QUICK) as logger:
            await log(logger, range(4), "tenant")
            for n in range(100, 100_000):
                await log(logger, range(n, n + 1), "other")
                await asyncio.sleep(0.001)
                if len([n for n in hop.asked if n < 100]) >= 12:
                    break
            tenant_is_down = False
            assert await logger.flush(SECONDS)
            assert logger.stats().dead_lettered == 0

    asyncio.run(run())

    # The destination may come back just when a later event is tried, to learn what is at fault.
    assert sorted(hop.of("tenant")) == list(range(4))


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_the_last_event_of_a_session_is_judged_by_what_others_get_through(
    tmp_path: Path, how: str
) -> None:
    hop = Hop(1, how=how)

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, range(2), "short")
            deadline = time.monotonic() + SECONDS
            n = 100
            while not logger.stats().dead_lettered and time.monotonic() < deadline:
                await log(logger, range(n, n + 1), "long")
                n += 1
                await asyncio.sleep(0.002)
            assert await logger.flush(SECONDS)
            assert [one.id for one in logger.dead_letters("short")]
            assert hop.of("long") == list(range(100, n))

    asyncio.run(run())

    assert hop.of("short") == [0]


def test_one_event_alone_waits_because_it_cannot_be_told_from_an_outage(tmp_path: Path) -> None:
    hop = Hop(0)

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, range(1))
            await until(lambda: len(hop.asked) > 8)
            assert (logger.stats().dead_lettered, logger.stats().pending) == (0, 1)
            await log(logger, range(1, 3))
            assert await logger.flush(SECONDS)
            assert logger.stats().dead_lettered == 1

    asyncio.run(run())

    assert hop.of("s") == [1, 2]


@pytest.mark.parametrize("most", [0, 4, None])
def test_the_bound_can_be_set(tmp_path: Path, most: int | None) -> None:
    hop = Hop(0)
    settings = {**QUICK, "max_probe_attempts": most}

    async def run() -> None:
        logger = EventSessionLogger(tmp_path, hop, **settings)
        await log(logger, range(2))
        if most is None:
            await until(lambda: len(hop.asked) > 8)
            assert logger.stats().pending == 2
        else:
            assert await logger.flush(SECONDS)
            assert hop.asked.count(0) == 2 + most + 1, "and once more after another was taken"
        await logger.close()

    asyncio.run(run())

    assert hop.of("s") == ([1] if most is not None else [])


def test_what_a_transport_rejects_for_good_is_a_dead_letter_at_once(tmp_path: Path) -> None:
    hop = Hop(1, how="rejects")

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, range(3))
            assert await logger.flush(SECONDS)
            (letter,) = logger.dead_letters()
            assert (letter.outcome, letter.reason) == ("rejected", "never 1")
            assert (logger.stats().rejected, logger.stats().dead_lettered) == (1, 0)

    asyncio.run(run())

    assert hop.asked == [0, 1, 2]


def test_an_event_behind_the_poison_that_is_rejected_stops_nothing(tmp_path: Path) -> None:
    hop = Hop(0)

    async def callback(event: Any) -> bool:
        if event.n == 1:
            raise SerializationError("never")
        return await hop(event)

    async def run() -> None:
        async with EventSessionLogger(tmp_path, callback, **QUICK) as logger:
            await log(logger, range(4))
            assert await logger.flush(SECONDS)
            assert (logger.stats().rejected, logger.stats().dead_lettered) == (1, 1)

    asyncio.run(run())

    assert hop.of("s") == [2, 3]


def test_after_a_restart_a_dead_letter_is_listed_not_sent_and_replayed_on_request(
    tmp_path: Path,
) -> None:
    hop = Hop(1)

    async def first() -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, range(3))
            assert await logger.flush(SECONDS)

    async def second() -> None:
        meter = Meter()
        settings = {**QUICK, "meter_provider": meter.provider}
        async with EventSessionLogger(tmp_path, hop, **settings) as logger:
            await log(logger, range(3, 5))
            assert await logger.flush(SECONDS)
            assert hop.of("s") == [0, 2, 3, 4]
            assert hop.asked.count(1) == asked
            (letter,) = logger.dead_letters()
            ((same, reason),) = await logger.replay_dead_letters()
            assert same == letter
            assert reason is not None
            assert "poison 1" in reason
            hop.poison.clear()
            assert await logger.replay_dead_letters("s", id="another") == []
            assert await logger.replay_dead_letters("s", id=letter.id) == [(letter, None)]
            assert logger.dead_letters() == []
            assert await logger.replay_dead_letters() == []
            assert balanced(meter)["accepted"] == 2

    asyncio.run(first())
    asked = hop.asked.count(1)
    asyncio.run(second())

    assert hop.of("s") == [0, 2, 3, 4, 1]


def test_a_process_that_dies_before_it_noted_a_dead_letter_does_not_send_it_again(
    tmp_path: Path,
) -> None:
    hop = Hop(1)

    async def run(numbers: range) -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, numbers)
            assert await logger.flush(SECONDS)

    asyncio.run(run(range(3)))
    asked = hop.asked.count(1)
    for note in tmp_path.rglob(".*.forwarded"):
        note.unlink()
    asyncio.run(run(range(0)))

    assert hop.asked.count(1) == asked
    assert hop.of("s") == [0, 2, 0, 2]


def test_lives_too_short_to_judge_an_event_judge_it_together(tmp_path: Path) -> None:
    hop = Hop(0)

    async def life(n: int) -> None:
        logger = EventSessionLogger(tmp_path, hop, **{**QUICK, "max_retry_attempts": 3})
        await log(logger, range(n, n + 1))
        await until(lambda: len(hop.asked) > asked)
        await logger.close()

    for n in range(12):
        asked = len(hop.asked)
        asyncio.run(life(n))

    taken = list(dict.fromkeys(hop.of("s")))  # where a call took longer than it may, it came twice
    assert taken[:3] == [1, 2, 3]
    assert len(taken) >= 6


PROGRAM = """
import asyncio, sys
from wakelog.gateway import EventSessionLogger

async def callback(event):
    if event.n % 5 == 3:
        raise ValueError("poison")
    print(event.n, flush=True)

async def run():
    logger = EventSessionLogger(sys.argv[1], callback, retry_delay_seconds=0.002,
                                max_retry_attempts=1, max_probe_attempts=1)
    begin = int(sys.argv[2])
    for n in range(begin, begin + 20):
        await logger({"session_id": "s", "n": n})
    if sys.argv[3] == "end":
        await logger.flush(60)
        print(*sorted(one.id for one in logger.dead_letters()), sep="\\n", file=sys.stderr)
        await logger.close()
    else:
        await asyncio.Event().wait()

asyncio.run(run())
"""


def test_over_kills_and_restarts_each_poison_is_one_dead_letter_and_the_rest_arrives(
    tmp_path: Path,
) -> None:
    seen: list[int] = []
    for life, stop in enumerate([2, 9, 25]):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(20 * life), "wait"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for count, line in enumerate(process.stdout):
            seen.append(int(line))
            if count == stop:
                process.kill()
        process.stdout.close()
        assert process.wait(SECONDS) == -9
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "60", "end"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    seen += map(int, done.stdout.split())

    logged = range(80)
    assert list(dict.fromkeys(seen)) == [n for n in logged if n % 5 != 3]
    letters = [
        line for line in done.stderr.splitlines() if line.count("-") == 4 and " " not in line
    ]
    assert len(letters) == len(set(letters)) == 16


def test_the_command_line_lists_and_shows_them_and_says_how_to_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hop = Hop(1)

    async def run() -> str:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, range(3))
            assert await logger.flush(SECONDS)
            return logger.dead_letters()[0].id

    letter = asyncio.run(run())

    for path in (tmp_path, tmp_path / "s"):
        assert main(["dead-letters", "list", str(path), "--json"]) == 0
        (listed,) = json.loads(capsys.readouterr().out)
        assert (listed["id"], listed["event_name"]) == (letter, "message")
    assert main(["dead-letters", "show", str(tmp_path), "--id", letter]) == 0
    assert "poison 1" in capsys.readouterr().out
    assert main(["dead-letters", "replay", str(tmp_path)]) != 0
    assert "replay_dead_letters()" in capsys.readouterr().err
    assert main(["show", str(tmp_path), "--json"]) == 0
    (session,) = json.loads(capsys.readouterr().out)["sessions"]
    assert len(session["steps"]) == 3, "a dead letter is not shown as one more event"


def test_a_directory_without_dead_letters_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> None:
        async with EventSessionLogger(tmp_path, Hop(), **QUICK) as logger:
            await log(logger, range(1))

    asyncio.run(run())

    assert main(["dead-letters", "list", str(tmp_path)]) == 0
    assert "no dead letters" in capsys.readouterr().out


def test_without_a_downstream_there_is_nothing_to_replay_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="downstream_callback"):
        asyncio.run(EventSessionLogger(tmp_path).replay_dead_letters())


def test_an_event_that_cannot_be_set_aside_stays_pending_and_is_tried_again(tmp_path: Path) -> None:
    hop = Hop(0, how="rejects")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / ".dead_letters").write_text("in the way")

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as logger:
            await log(logger, range(2))
            await until(lambda: len(hop.asked) >= 1)
            assert not await logger.flush(0.05)
            assert logger.stats().pending == 2
            (tmp_path / "s" / ".dead_letters").unlink()
            assert await logger.flush(SECONDS)
            assert logger.stats().rejected == 1

    asyncio.run(run())

    assert hop.of("s") == [1]


class Takes(TransportInterface):
    """Takes everything; or nothing."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.taken: list[int] = []

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        if self.takes:
            self.taken.append(event.n)
        return self.takes


def test_what_a_callback_does_not_take_goes_to_the_transport_after_its_retries(
    tmp_path: Path,
) -> None:
    hop, beside = Hop(1, 2), Takes()

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, beside, **QUICK) as logger:
            await log(logger, range(5))
            assert await logger.flush(SECONDS)
            assert (logger.stats().forwarded, logger.stats().dead_lettered) == (5, 0)

    asyncio.run(run())

    assert (hop.of("s"), beside.taken) == ([0, 3, 4], [1, 2])
    assert hop.asked.count(1) == 2


@pytest.mark.parametrize("first", ["callback", "transport"])
def test_with_one_of_both_down_everything_goes_to_the_other_and_back(
    tmp_path: Path, first: str
) -> None:
    hop, beside = Hop(), Takes(takes=first == "callback")
    hop.down = "raises" if first == "callback" else None

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, beside, **QUICK) as logger:
            for k in range(3):
                await log(logger, range(10), f"s{k}")
            assert await logger.flush(SECONDS)
            assert len(hop.taken if first == "transport" else beside.taken) == 30
            if first == "callback":
                assert len(hop.asked) < 30, "a callback that is down is left alone meanwhile"
            hop.down = None
            for n in range(100, 100_000):
                await log(logger, range(n, n + 1))
                assert await logger.flush(SECONDS)
                if n in hop.of("s"):
                    break

    asyncio.run(run())


def test_after_a_dead_letter_of_both_the_transport_still_takes_what_the_callback_does_not(
    tmp_path: Path,
) -> None:
    hop, beside = Hop(0), Hop(0)

    class Beside(TransportInterface):
        async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
            return await beside(event)

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, Beside(), retry_delay_seconds=0) as logger:
            await log(logger, range(2))
            assert await logger.flush(SECONDS)
            assert logger.stats().dead_lettered == 1
            hop.down = "raises"
            for n in range(2, 5):
                await log(logger, range(n, n + 1), f"s{n}")
            assert await logger.flush(5)

    asyncio.run(run())

    assert sorted(n for _, n in beside.taken if n > 1) == [2, 3, 4]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_burst_of_rejected_events_is_said_once_and_then_with_its_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(_burst, "time", clock)
    hop = Hop(*range(500), how="rejects")

    async def run() -> None:
        async with EventSessionLogger(tmp_path, hop, **QUICK) as log:
            for n in range(200):
                await log({"session_id": f"s-{n % 3}", "n": n})
            await log.flush(timeout=SECONDS)
            clock.now += 61
            for n in range(200, 400):
                await log({"session_id": "s", "n": n})
            await log.flush(timeout=SECONDS)

    asyncio.run(run())

    said = [r.getMessage() for r in caplog.records if "set aside" in r.getMessage()]
    assert len(said) == 3
    # Sessions are forwarded side by side, so it may be the first one of each.
    assert re.search(
        r"an event of session s-([012]) is set aside as a dead letter: never \1$", said[0]
    )
    assert said[1].startswith("200 more events are set aside")
    assert said[2].startswith(
        "199 more events are set aside as dead letters, the last one of session s"
    )
    assert {
        record.levelname for record in caplog.records if "set aside" in record.getMessage()
    } == {"ERROR"}


def test_what_is_taken_while_an_attempt_hangs_is_no_evidence_against_its_event() -> None:
    """The attempt may have begun in an outage that has ended meanwhile."""
    settings = Settings(
        max_retry_attempts=0,
        retry_delay_seconds=0.0,
        send_timeout_seconds=0.05,
        concurrency=1,
        max_probe_attempts=2,
    )
    hop = Hop(0, how="hangs")
    counters = GatewayCounters(GatewayBooks(are_read=False))
    downstream = Downstream(CallbackTransport(hop), None, settings, lambda *_: None, counters)
    hangs, other = (ForwardedEvent({"n": n}, f"id-{n}", "s", 1) for n in (0, 1))
    trial = Trial()

    async def deliver(meanwhile: bool) -> bool:
        sending = asyncio.create_task(downstream.deliver(hangs, trial))
        if meanwhile:
            await until(lambda: hop.asked[-1:] == [0])
            assert await downstream.deliver(other, Trial()) is None
        refusal = await sending
        assert refusal is not None
        return refusal.others_got_through

    async def run() -> list[bool]:
        downstream.begin(lambda: None)
        hop.asked.clear()
        found = [await deliver(meanwhile=False), await deliver(meanwhile=True)]
        assert await downstream.deliver(other, Trial()) is None
        return [*found, await deliver(meanwhile=False)]

    assert asyncio.run(run()) == [False, False, True]
