"""Forwarding: outside the agent's path, in order, and nothing left out, whatever the transport does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.waiting import until_in_loop as until
from wakelog.errors import BufferFullError
from wakelog.gateway import (
    CircuitState,
    EventSessionLogger,
    ForwardedEvent,
    SerializationError,
    TransportInterface,
    TransportTimeoutError,
    create_with_callback,
)
from wakelog.record import verify

SECONDS = 60
QUICK: dict[str, Any] = {"retry_delay_seconds": 0.01, "send_timeout_seconds": 0.1}
MOODS = ["raises", "hangs", "returns False", "is closed", "ignores cancellation"]


class Moody(TransportInterface):
    """Fails as it is told, and notes what it has taken."""

    def __init__(self, mood: str | None = None) -> None:
        self.mood = mood
        self.healthy: bool | None = None
        self.taken: list[ForwardedEvent] = []
        self.sends = self.checks = 0

    async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
        self.sends += 1
        mood = self.mood
        if mood == "raises":
            raise RuntimeError("no")
        if mood == "hangs":
            await asyncio.Event().wait()
        if mood == "ignores cancellation":
            while self.mood == mood:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            return False
        if mood in ("returns False", "is closed"):
            return False
        self.taken.append(event)
        return True

    async def health_check(self) -> bool:
        self.checks += 1
        if self.mood == "hangs":
            await asyncio.Event().wait()
        return self.healthy if self.healthy is not None else self.is_connected

    @property
    def is_connected(self) -> bool:
        return self.mood != "is closed"


class Blocking:
    """A transport of somebody who has never heard of asyncio: it blocks the thread it is in."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.taken: list[ForwardedEvent] = []

    def send(self, event: ForwardedEvent) -> bool:
        self.back.wait(SECONDS)
        self.taken.append(event)
        return True


def by_session(taken: Iterable[ForwardedEvent]) -> dict[str, list[int]]:
    """Return the numbers of each session in the order in which they first came."""
    seen: set[str] = set()
    found: defaultdict[str, list[int]] = defaultdict(list)
    for event in taken:
        if event.id not in seen:
            seen.add(event.id)
            found[event.session_id].append(event["n"])
    return dict(found)


async def log(
    logger: EventSessionLogger, sessions: int, numbers: Iterable[int], prefix: str = "s"
) -> None:
    for n in numbers:
        done = await asyncio.gather(
            *(logger({"session_id": f"{prefix}{k}", "n": n}) for k in range(sessions))
        )
        assert all(done), "local logging failed"


@pytest.mark.parametrize("mood", MOODS)
def test_no_transport_holds_an_agent_up_and_everything_arrives_in_order_once_it_is_back(
    tmp_path: Path, mood: str
) -> None:
    transport = Moody(mood)

    async def run() -> None:
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            await log(logger, 20, range(10))
            await until(lambda: logger.stats().circuit_state is not CircuitState.CLOSED)
            await log(logger, 20, range(10, 20))
            assert transport.taken == []
            assert (logger.stats().logged, logger.stats().pending) == (400, 400)
            assert logger.stats().is_connected is (mood != "is closed")

            transport.mood = None
            assert await logger.flush(SECONDS)

            stats = logger.stats()
            assert (stats.forwarded, stats.pending, stats.local_errors) == (400, 0, 0)
            assert stats.circuit_state is CircuitState.CLOSED

    asyncio.run(run())

    assert by_session(transport.taken) == {f"s{k}": list(range(20)) for k in range(20)}


def test_a_transport_that_blocks_its_thread_does_not_block_the_event_loop(tmp_path: Path) -> None:
    transport: Any = Blocking()

    async def run() -> None:
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            await log(logger, 3, range(5))
            await until(lambda: logger.stats().transport_errors > 2)
            assert transport.taken == []
            transport.back.set()
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    assert by_session(transport.taken) == {f"s{k}": list(range(5)) for k in range(3)}


def test_an_outage_in_the_middle_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    transport = Moody()

    async def run() -> None:
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            for round_, mood in enumerate([None, *MOODS, None]):
                transport.mood = mood
                await log(logger, 5, range(10 * round_, 10 * round_ + 10))
                await until(lambda: transport.mood is None or logger.stats().transport_errors)
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    expected = list(range(10 * (len(MOODS) + 2)))
    assert by_session(transport.taken) == {f"s{k}": expected for k in range(5)}


def test_what_was_not_forwarded_is_by_the_next_process_before_the_sessions_new_events(
    tmp_path: Path,
) -> None:
    down, up = Moody("returns False"), Moody()

    async def first() -> None:
        logger = EventSessionLogger(tmp_path, None, down, **QUICK)
        await log(logger, 5, range(10))
        await until(lambda: logger.stats().circuit_state is not CircuitState.CLOSED)
        await logger.close()

    async def second() -> None:
        async with EventSessionLogger(tmp_path, None, up, **QUICK) as logger:
            await log(logger, 3, range(10, 20))
            assert await logger.flush(SECONDS)

    asyncio.run(first())
    asyncio.run(second())

    found = by_session(up.taken)
    assert {k: found[f"s{k}"] for k in range(5)} == {
        k: list(range(20 if k < 3 else 10)) for k in range(5)
    }
    taken = len(up.taken)
    asyncio.run(second())
    assert len(up.taken) == taken + 30, "what had been forwarded was sent again"


def forget_everything(base: Path) -> None:
    for path in base.rglob(".*"):
        if path.is_file():
            path.unlink()
    for path in (base / ".wakelog").glob("*"):
        path.unlink()


def fill_with(content: bytes) -> Callable[[Path], None]:
    def fill(base: Path) -> None:
        ledgers = list(base.rglob(".*.forwarded"))
        assert ledgers
        for path in ledgers:
            path.write_bytes(content)

    return fill


def change(field: str, value: object) -> Callable[[Path], None]:
    def change_it(base: Path) -> None:
        for path in base.rglob(".*.forwarded"):
            path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))

    return change_it


# In the line's beginning, {"id":"...","seq":
OFFSET_AFTER_A_COMMA = len('{"id":"01a1fd3c-3119-79a6-b8a8-6a57108589e9",')


@pytest.mark.parametrize(
    "harm",
    [
        forget_everything,
        fill_with(b""),
        fill_with(b'{"writer": "'),
        fill_with(b"[]"),
        change("writer", "another"),
        change("offset", 10**9),
        change("offset", 17),
        change("offset", -5),
        change("offset", "x"),
        change("offset", OFFSET_AFTER_A_COMMA),
        change("crc", None),
        change("crc", 7),
    ],
    ids=[
        "gone",
        "empty",
        "torn",
        "list",
        "other",
        "beyond",
        "inside",
        "negative",
        "text",
        "comma",
        "crc",
        "rotten",
    ],
)
def test_whatever_becomes_of_the_ledger_no_event_is_left_out(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    transport = Moody()

    async def run(numbers: range) -> None:
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            await log(logger, 3, numbers)
            if transport.mood is None:
                assert await logger.flush(SECONDS)
                transport.mood = "returns False"
                await log(logger, 3, range(5, 10))

    asyncio.run(run(range(5)))
    harm(tmp_path)
    transport.mood = None
    asyncio.run(run(range(0)))
    assert transport.mood == "returns False"

    assert {k: set(v) for k, v in by_session(transport.taken).items()} == {
        f"s{k}": set(range(10)) for k in range(3)
    }


def test_a_damaged_line_costs_one_event_which_is_counted(tmp_path: Path) -> None:
    transport = Moody("returns False")

    async def first() -> None:
        logger = EventSessionLogger(tmp_path, None, transport, **QUICK, close_timeout_seconds=0)
        await log(logger, 1, range(10))
        await logger.close()

    async def second() -> int:
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            assert await logger.flush(SECONDS)
            return logger.stats().corrupt

    asyncio.run(first())
    (file,) = (tmp_path / "s0").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"n":4', b'"n":7'))
    transport.mood = None

    assert asyncio.run(second()) == 1
    assert by_session(transport.taken) == {"s0": [0, 1, 2, 3, 5, 6, 7, 8, 9]}


def test_an_event_that_cannot_be_sent_is_set_aside_and_counted(tmp_path: Path) -> None:
    told: list[tuple[Exception, str]] = []

    class Picky(Moody):
        async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
            if event["n"] == 3:
                raise SerializationError("not this one")
            return await super().send(event)

    transport = Picky()

    async def run() -> None:
        async with EventSessionLogger(
            tmp_path, None, transport, error_handler=lambda *e: told.append(e), **QUICK
        ) as logger:
            await log(logger, 1, range(6))
            assert await logger.flush(SECONDS)
            stats = logger.stats()
            assert (stats.logged, stats.forwarded, stats.rejected, stats.pending) == (6, 5, 1, 0)

    asyncio.run(run())

    assert by_session(transport.taken) == {"s0": [0, 1, 2, 4, 5]}
    ((error, text),) = told
    assert isinstance(error, SerializationError)
    assert re.fullmatch(r"downstream_transport: event [\w-]{36} of session s0", text)


@pytest.mark.parametrize("concurrency", [1, 8])
def test_a_session_that_is_never_taken_does_not_hold_the_others_up(
    tmp_path: Path, concurrency: int
) -> None:
    class Grudging(Moody):
        async def send(self, event: Any, metadata: dict[str, Any] | None = None) -> bool:
            self.sends += 1
            return event.session_id != "s0" and await super().send(event)

    transport = Grudging()

    async def run() -> None:
        logger = EventSessionLogger(tmp_path, None, transport, concurrency=concurrency, **QUICK)
        for n in range(30):
            await log(logger, 4, [n])
            await asyncio.sleep(0)
        await until(lambda: logger.stats().pending == 30)
        assert not await logger.flush(0.05)
        await logger.close()

    asyncio.run(run())

    assert by_session(transport.taken) == {f"s{k}": list(range(30)) for k in (1, 2, 3)}


def test_an_open_circuit_sends_nothing_until_the_health_check_says_yes_and_then_one(
    tmp_path: Path,
) -> None:
    transport = Moody("returns False")
    transport.healthy = False

    async def run() -> None:
        async with EventSessionLogger(
            tmp_path, None, transport, concurrency=1, max_retry_attempts=2, **QUICK
        ) as logger:
            await log(logger, 5, range(3))
            await until(lambda: logger.stats().circuit_state is CircuitState.OPEN)
            assert transport.sends == 3, "one attempt and two more"
            await until(lambda: transport.checks >= 3)
            assert transport.sends == 3
            transport.healthy = True
            await until(lambda: transport.sends == 4)
            transport.mood = None
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    assert by_session(transport.taken) == {f"s{k}": list(range(3)) for k in range(5)}


def test_a_hanging_send_is_told_as_a_time_out(tmp_path: Path) -> None:
    told: list[Exception] = []

    def handler(error: Exception, event: object) -> None:
        told.append(error)
        raise RuntimeError("a handler that fails")

    async def run() -> None:
        logger = EventSessionLogger(tmp_path, None, Moody("hangs"), error_handler=handler, **QUICK)
        assert await logger({"session_id": "s"})
        await until(lambda: told)
        await logger.close()

    asyncio.run(run())

    assert isinstance(told[0], TransportTimeoutError)


def test_another_living_processs_events_are_left_to_it(tmp_path: Path) -> None:
    down, up, later = Moody("returns False"), Moody(), Moody()

    async def run() -> None:
        first = EventSessionLogger(tmp_path, None, down, **QUICK)
        await log(first, 2, range(5))
        async with EventSessionLogger(tmp_path, None, up, **QUICK) as second:
            await log(second, 2, range(5, 8))
            assert await second.flush(SECONDS)
            assert by_session(up.taken) == {"s0": [5, 6, 7], "s1": [5, 6, 7]}
        await first.close()
        async with EventSessionLogger(tmp_path, None, later, **QUICK) as third:
            assert await third.flush(SECONDS)

    asyncio.run(run())

    assert by_session(later.taken) == {f"s{k}": list(range(5)) for k in range(2)}


def test_what_was_logged_with_nowhere_to_go_is_not_forwarded_later(tmp_path: Path) -> None:
    transport = Moody()

    async def run() -> None:
        async with EventSessionLogger(tmp_path, **QUICK) as logger:
            await log(logger, 2, range(5))
            assert await logger.flush(SECONDS), "there is nothing to wait for"
            assert not (tmp_path / ".wakelog").exists()
            logger.update_downstream_transport(transport)
            await log(logger, 2, range(5, 10))
            assert await logger.flush(SECONDS)
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as other:
            assert await other.flush(SECONDS)

    asyncio.run(run())

    assert by_session(transport.taken) == {f"s{k}": list(range(5, 10)) for k in range(2)}


def test_what_waits_goes_to_the_transport_that_takes_the_others_place(tmp_path: Path) -> None:
    broken, whole = Moody("raises"), Moody()

    async def run() -> None:
        async with EventSessionLogger(tmp_path, None, broken, **QUICK) as logger:
            await log(logger, 3, range(5))
            await until(lambda: logger.stats().circuit_state is not CircuitState.CLOSED)
            logger.update_downstream_transport(None)
            logger.update_downstream_callback(whole.send)
            assert logger.downstream_transport is None
            assert logger.downstream_callback == whole.send
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    assert by_session(whole.taken) == {f"s{k}": list(range(5)) for k in range(3)}


def test_one_logger_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    transport = Moody("returns False")
    logger = EventSessionLogger(tmp_path, None, transport, **QUICK)

    async def first() -> None:
        await log(logger, 2, range(5))
        await until(lambda: transport.sends)

    async def second() -> None:
        transport.mood = None
        await log(logger, 2, range(5, 10))
        assert await logger.flush(SECONDS)
        await logger.close()

    asyncio.run(first())
    asyncio.run(second())

    assert by_session(transport.taken) == {f"s{k}": list(range(10)) for k in range(2)}


def test_tasks_in_other_threads_are_served_too(tmp_path: Path) -> None:
    transport = Moody()

    async def run() -> None:
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            await asyncio.gather(
                *(
                    asyncio.to_thread(asyncio.run, log(logger, 2, range(20), f"thread{t}-"))
                    for t in range(4)
                )
            )
            assert await asyncio.to_thread(asyncio.run, logger.flush(SECONDS))

    asyncio.run(run())

    expected = {f"thread{t}-{k}": list(range(20)) for t in range(4) for k in range(2)}
    assert by_session(transport.taken) == expected


@pytest.mark.parametrize("answer", [None, True])
def test_a_plain_function_is_called_outside_the_event_loops_thread(
    tmp_path: Path, answer: object
) -> None:
    threads: set[int] = set()
    taken: list[ForwardedEvent] = []

    def callback(event: ForwardedEvent) -> object:
        threads.add(threading.get_ident())
        taken.append(event)
        return answer

    async def run() -> None:
        async with create_with_callback(callback, tmp_path, **QUICK) as logger:
            await log(logger, 3, range(5))
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    assert threading.get_ident() not in threads
    assert len(threads) == 1
    assert by_session(taken) == {f"s{k}": list(range(5)) for k in range(3)}


def test_a_coroutine_function_that_says_no_is_asked_again(tmp_path: Path) -> None:
    asked: list[int] = []

    async def callback(event: ForwardedEvent) -> bool:
        asked.append(event["n"])
        return len(asked) > 3

    async def run() -> None:
        async with create_with_callback(callback, tmp_path, **QUICK) as logger:
            await log(logger, 1, range(2))
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    assert asked == [0, 0, 0, 0, 1]


def test_closing_does_not_wait_for_a_transport_that_is_down(tmp_path: Path) -> None:
    async def run() -> None:
        logger = EventSessionLogger(
            tmp_path, None, Moody("raises"), close_timeout_seconds=10 * SECONDS, **QUICK
        )
        await log(logger, 3, range(5))
        await until(lambda: logger.stats().circuit_state is not CircuitState.CLOSED)
        assert not await logger.flush(0.05)
        async with asyncio.timeout(SECONDS):
            await logger.close()
            await logger.close()

    asyncio.run(run())


@pytest.mark.parametrize("log_format", ["json", "custom"])
def test_other_formats_are_forwarded_too(tmp_path: Path, log_format: str) -> None:
    transport = Moody("returns False")

    async def run() -> None:
        settings: dict[str, Any] = {"log_format": log_format, "formatter": str}
        async with EventSessionLogger(tmp_path, None, transport, **settings, **QUICK) as logger:
            for n in range(10):
                await log(logger, 2, [n])
                await asyncio.sleep(0)
            transport.mood = None
            await log(logger, 2, range(10, 15))
            assert await logger.flush(SECONDS)

    asyncio.run(run())

    assert by_session(transport.taken) == {f"s{k}": list(range(15)) for k in range(2)}


def test_a_json_document_is_forwarded_after_a_restart(tmp_path: Path) -> None:
    transport = Moody("returns False")

    async def first() -> None:
        logger = EventSessionLogger(tmp_path, None, transport, log_format="json", **QUICK)
        await log(logger, 2, range(10))
        await until(lambda: logger.stats().circuit_state is not CircuitState.CLOSED)
        await logger.close()

    async def second() -> None:
        transport.mood = None
        async with EventSessionLogger(tmp_path, None, transport, **QUICK) as logger:
            assert await logger.flush(SECONDS)

    asyncio.run(first())
    asyncio.run(second())
    asyncio.run(second())

    assert len(transport.taken) == 20
    assert by_session(transport.taken) == {f"s{k}": list(range(10)) for k in range(2)}


@pytest.mark.parametrize(
    "overflow, kept, dropped",
    [("drop_newest", [0, 1, 2, 3, 4], 5), ("drop_oldest", [0, 6, 7, 8, 9], 5)],
)
def test_without_files_the_queue_is_bounded_and_says_what_it_dropped(
    tmp_path: Path, overflow: str, kept: list[int], dropped: int
) -> None:
    transport = Moody("hangs")

    async def run() -> list[bool]:
        async with EventSessionLogger(
            tmp_path,
            None,
            transport,
            enable_local_logging=False,
            queue_size=5,
            overflow=overflow,
            retry_delay_seconds=0.01,
            send_timeout_seconds=1,
        ) as logger:
            told = [await logger({"session_id": "s", "n": 0})]
            await until(lambda: transport.sends)  # the first one is under way
            told += [await logger({"session_id": "s", "n": n}) for n in range(1, 10)]
            assert logger.stats().pending == 5
            assert logger.stats().dropped == dropped
            transport.mood = None
            assert await logger.flush(SECONDS)
            return told

    told = asyncio.run(run())

    assert by_session(transport.taken) == {"s": kept}
    assert told.count(True) == (5 if overflow == "drop_newest" else 10)
    assert not any(tmp_path.iterdir())


def test_without_files_a_full_queue_raises_or_waits_as_asked(tmp_path: Path) -> None:
    told: list[Exception] = []

    async def run(overflow: str) -> Moody:
        transport = Moody("returns False")
        async with EventSessionLogger(
            tmp_path,
            None,
            transport,
            error_handler=lambda error, _: told.append(error),
            enable_local_logging=False,
            queue_size=2,
            overflow=overflow,
            **QUICK,
        ) as logger:
            assert await logger({"session_id": "s", "n": 0})
            assert await logger({"session_id": "s", "n": 1})
            if overflow == "raise":
                with pytest.raises(BufferFullError):
                    await logger({"session_id": "s", "n": 2})
                assert any(isinstance(error, BufferFullError) for error in told)
                transport.mood = None
            else:
                waiting = asyncio.ensure_future(logger({"session_id": "s", "n": 2}))
                await until(lambda: transport.sends > 3)
                assert not waiting.done()
                transport.mood = None
                assert await asyncio.wait_for(waiting, SECONDS)
            assert await logger.flush(SECONDS)
        return transport

    assert by_session(asyncio.run(run("raise")).taken) == {"s": [0, 1]}
    assert by_session(asyncio.run(run("block")).taken) == {"s": [0, 1, 2]}


PROGRAM = """
import asyncio, os, random, sys
from wakelog.gateway import EventSessionLogger

base, out, begin, sessions, events = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
luck = random.Random(begin)

async def callback(event):
    if luck.random() < 0.1:
        return False
    await asyncio.sleep(0)
    os.write(target, b"%s %d\\n" % (event.session_id.encode(), event["n"]))

async def agent(logger, session):
    for n in range(begin, begin + events):
        assert await logger({"session_id": session, "n": n})
        os.write(1, b"%s %d\\n" % (session.encode(), n))
        await asyncio.sleep(0)

async def run():
    async with EventSessionLogger(base, callback, retry_delay_seconds=0.001) as logger:
        await asyncio.gather(*(agent(logger, f"s{k}") for k in range(sessions)))
        assert await logger.flush(60)
        if sys.argv[6] == "wait":  # to be killed, however slow who reads our lines is
            await asyncio.Event().wait()

asyncio.run(run())
"""


def test_kill_and_restart_leave_no_file_torn_and_no_event_out(tmp_path: Path) -> None:
    base, out, sessions, events = tmp_path / "base", tmp_path / "out", 40, 30
    accepted: set[str] = set()
    for life in range(4):
        last = life == 3
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM, str(base), str(out), str(life * events)),
                *(str(sessions), str(events), "end" if last else "wait"),
            ],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        for count, line in enumerate(process.stdout):
            accepted.add(line.decode().strip())
            if not last and count == 150 + 250 * life:
                process.kill()
        process.stdout.close()
        assert process.wait(SECONDS) == (0 if last else -9)

    arrived = out.read_text().split("\n")[:-1]
    assert accepted - set(arrived) == set(), "accepted and not forwarded"
    seen: defaultdict[str, list[int]] = defaultdict(list)
    for one in dict.fromkeys(arrived):
        session, _, number = one.partition(" ")
        seen[session].append(int(number))
    assert all(numbers == sorted(numbers) for numbers in seen.values()), "out of order"
    for file in base.rglob("*.jsonl"):
        crc: int | None = 0
        for raw in file.read_bytes().splitlines(keepends=True):
            assert raw.endswith(b"\n")
            assert crc is not None
            crc = verify(raw[:-1], crc)
            assert crc is not None, f"{file} is damaged"
    (left,) = (base / ".wakelog").iterdir()
    assert left.name.startswith("recovery."), "a dead run is still waited for"


def test_the_example_does_what_it_says() -> None:
    example = ROOT / "examples" / "gateway.py"
    done = subprocess.run(
        [sys.executable, example], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert "webhook down: 30 events logged, 30 waiting" in done.stdout
    assert "everything forwarded: True" in done.stdout
    assert "bob: question 0, answer 0, question 1, answer 1, ..." in done.stdout
