"""Buffers: what is kept, what is refused, what the caller hears, and that nothing else is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until
from wakelog import (
    AgentEvent,
    AgentLogger,
    AsyncAgentLogger,
    AsyncBufferedSink,
    AsyncJSONLSink,
    BufferedSink,
    BufferFullError,
    ConfigurationError,
    Durability,
    EventSink,
    JSONLSink,
    MemorySink,
    OverflowPolicy,
    SinkError,
)
from wakelog.errors import EventTooLargeError
from wakelog.journal import read

LONG = 60.0


class StallingSink(MemorySink):
    """Takes an event when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def write(self, event: AgentEvent) -> None:
        self.entered.release()
        assert self.gate.acquire(timeout=LONG)
        super().write(event)

    def let(self, count: int = 10_000) -> None:
        self.gate.release(count)

    @property
    def names(self) -> list[str]:
        return [str(event.payload["n"]) for event in self.events]


class FailingSink(MemorySink):
    """Refuses the events that are named."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = refused

    def write(self, event: AgentEvent) -> None:
        if event.payload["n"] in self.refused:
            raise OSError(f"no room for {event.payload['n']}")
        super().write(event)


def named(name: str, **fields: Any) -> AgentEvent:
    return AgentEvent("custom", payload={"n": name}, **fields)


def stalled(
    overflow: str, *, capacity: int = 3, timeout: float | None = None
) -> tuple[StallingSink, BufferedSink]:
    """Return a destination that holds the event "0", and a full buffer of "1", "2", "3" before it."""
    sink = StallingSink()
    buffer = BufferedSink(sink, capacity, overflow, timeout=timeout)
    buffer.write(named("0"))
    assert sink.entered.acquire(timeout=LONG)
    for number in range(1, capacity + 1):
        assert buffer.write(named(str(number))) is True
    return sink, buffer


# --- overflow: one test a policy ----------------------------------------------------------------


def test_block_waits_for_room_and_keeps_everything_in_order() -> None:
    sink, buffer = stalled("block")
    waits: list[float] = []
    buffer.queue.on_wait = waits.append

    writer = threading.Thread(target=lambda: [buffer.write(named(n)) for n in ("4", "5")])
    writer.start()
    until(lambda: len(buffer.queue.room) == 1)
    assert (buffer.size, sink.names) == (3, [])
    sink.let()
    writer.join(LONG)
    buffer.close()

    assert sink.names == ["0", "1", "2", "3", "4", "5"]
    assert (buffer.dropped_events, buffer.refused_events, buffer.failed_events) == (0, 0, 0)
    assert 1 <= buffer.queue.waits == len(waits) <= 2
    assert buffer.queue.wait_seconds == pytest.approx(sum(waits))


def test_block_with_a_timeout_refuses_what_found_no_room_in_time() -> None:
    sink, buffer = stalled("block", timeout=0.01)

    for name in ("4", "5"):
        with pytest.raises(
            BufferFullError, match=r"3 events are waiting for 0\.01 s.*not accepted"
        ):
            buffer.write(named(name))
    sink.let()
    buffer.close()

    assert sink.names == ["0", "1", "2", "3"]
    assert (buffer.refused_events, buffer.dropped_events, buffer.queue.waits) == (2, 0, 2)
    assert buffer.queue.wait_seconds >= 0.02


def test_drop_newest_keeps_what_came_first_and_says_what_it_dropped() -> None:
    sink, buffer = stalled("drop_newest")

    answers = [buffer.write(named(n)) for n in ("4", "5")]
    sink.let()
    buffer.flush()
    answers.append(buffer.write(named("6")))
    buffer.close()

    assert answers == [False, False, True]
    assert sink.names == ["0", "1", "2", "3", "6"]
    assert (buffer.dropped_events, buffer.refused_events, buffer.failed_events) == (2, 0, 0)


def test_drop_oldest_keeps_what_came_last_and_never_what_is_being_written() -> None:
    sink, buffer = stalled("drop_oldest")

    answers = [buffer.write(named(n)) for n in ("4", "5")]
    sink.let()
    buffer.close()

    assert answers == [True, True]
    assert sink.names == ["0", "3", "4", "5"]
    assert (buffer.dropped_events, buffer.refused_events, buffer.failed_events) == (2, 0, 0)


def test_raise_refuses_at_once_and_keeps_what_was_accepted() -> None:
    sink, buffer = stalled("raise")

    for name in ("4", "5"):
        with pytest.raises(BufferFullError, match="capacity exceeded"):
            buffer.write(named(name))
    sink.let()
    buffer.close()

    assert sink.names == ["0", "1", "2", "3"]
    assert (buffer.refused_events, buffer.dropped_events, buffer.queue.waits) == (2, 0, 0)


@pytest.mark.parametrize("policy", OverflowPolicy)
def test_every_event_of_many_threads_is_accounted_for(policy: OverflowPolicy) -> None:
    sink = MemorySink()
    buffer = BufferedSink(sink, 5, policy)

    def record(name: int) -> list[str]:
        accepted = []
        for number in range(200):
            try:
                if buffer.write(named(f"{name}.{number}")):
                    accepted.append(f"{name}.{number}")
            except BufferFullError:
                pass
        return accepted

    with ThreadPoolExecutor(8) as pool:
        accepted = [name for names in pool.map(record, range(8)) for name in names]
    buffer.close()

    written = [event.payload["n"] for event in sink.events]
    counted = buffer.dropped_events + buffer.refused_events
    assert len(written) + counted == 1600
    assert len(set(written)) == len(written)
    assert set(written) <= set(accepted)
    if policy is not OverflowPolicy.DROP_OLDEST:
        assert set(written) == set(accepted)
    for name in range(8):  # in the order of each thread
        mine = [int(n.partition(".")[2]) for n in written if n.startswith(f"{name}.")]
        assert mine == sorted(mine)


@pytest.mark.parametrize(
    "arguments",
    [{"capacity": 0}, {"timeout": -1.0}, {"overflow": "perhaps"}],
)
def test_a_setting_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        BufferedSink(MemorySink(), **arguments)


def test_a_destination_that_has_to_be_awaited_is_refused(tmp_path: Path) -> None:
    sink: Any = AsyncJSONLSink(tmp_path / "events.jsonl")

    with pytest.raises(ConfigurationError, match="AsyncJSONLSink has to be awaited"):
        BufferedSink(sink)


# --- a destination that fails --------------------------------------------------------------------


def test_a_failing_destination_costs_its_event_and_flush_says_so() -> None:
    sink = FailingSink("2")
    buffer = BufferedSink(sink, overflow="raise")
    for number in range(3):
        buffer.write(named(str(number)))
    until(lambda: buffer.failed_events == 1)
    with pytest.raises(SinkError, match="not accepted; recording goes on"):
        buffer.write(named("3"))
    with pytest.raises(
        SinkError, match=r"worker failed to write 1 events.*no room for 2"
    ) as caught:
        buffer.flush()
    buffer.write(named("after"))
    buffer.flush()
    buffer.close()

    assert isinstance(caught.value.__cause__, OSError)
    assert [event.payload["n"] for event in sink.events] == ["0", "1", "after"]
    assert buffer.failed_events == 1


def test_even_an_exit_raised_by_the_destination_does_not_end_the_worker() -> None:
    class Exits(MemorySink):
        def write(self, event: AgentEvent) -> None:
            if not self.events and event.payload["n"] == "0":
                raise SystemExit
            super().write(event)

    sink = Exits()
    buffer = BufferedSink(sink)
    buffer.write(named("0"))

    with pytest.raises(SinkError, match="SystemExit"):
        buffer.flush()
    buffer.write(named("1"))
    buffer.close()

    assert [event.payload["n"] for event in sink.events] == ["1"]


def test_close_raises_what_no_flush_has_raised_and_only_once() -> None:
    buffer = BufferedSink(FailingSink("0"))
    buffer.write(named("0"))

    with pytest.raises(SinkError, match="worker failed"):
        buffer.close()
    buffer.close()

    with pytest.raises(SinkError, match="is closed"):
        buffer.write(named("1"))


def test_a_failure_at_the_end_of_a_block_never_replaces_the_programs_exception() -> None:
    def program() -> None:
        with BufferedSink(FailingSink("0")) as buffer:
            buffer.write(named("0"))
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        program()

    assert "worker failed" in caught.value.__notes__[0]


def test_those_who_wait_for_room_hear_that_the_sink_was_closed() -> None:
    sink, buffer = stalled("block")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(buffer.write, named(n)) for n in ("4", "5")]
        until(lambda: len(buffer.queue.room) == 2)

        closing = threading.Thread(target=buffer.close)
        closing.start()
        for future in waiting:
            with pytest.raises(SinkError, match="is closed"):
                future.result(LONG)
        sink.let()
        closing.join(LONG)

    assert sink.names == ["0", "1", "2", "3"]


def test_a_failure_told_to_one_who_waits_leaves_the_room_to_the_next() -> None:
    sink = StallingSink()
    original = sink.write

    def write(event: AgentEvent) -> None:
        original(event)
        if event.payload["n"] == "0":
            raise OSError("no")

    sink.write = write  # type: ignore[method-assign]
    buffer = BufferedSink(sink, 1)
    buffer.write(named("0"))
    assert sink.entered.acquire(timeout=LONG)
    buffer.write(named("1"))
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(buffer.write, named(n)) for n in ("2", "3", "4")]
        until(lambda: len(buffer.queue.room) == 3)
        sink.let()
        errors = [future.exception(LONG) for future in waiting]

    assert sum(isinstance(error, SinkError) for error in errors) == 1
    with pytest.raises(SinkError):
        buffer.close()


# --- flush ---------------------------------------------------------------------------------------


def test_flush_waits_for_the_destination_and_says_when_it_did_not_answer() -> None:
    sink, buffer = stalled("drop_oldest")

    assert buffer.flush(0.01) is False
    for name in ("4", "5", "6", "7"):  # dropping what waits is not writing what is under way
        buffer.write(named(name))
    assert buffer.flush(0.01) is False
    sink.let()

    assert buffer.flush(LONG) is True
    assert sink.names == ["0", "5", "6", "7"]
    buffer.close()


def test_flush_reaches_the_destinations_own_flush() -> None:
    class Flushes(MemorySink):
        flushed: int = 0

        def flush(self) -> None:
            self.flushed = len(self.events)

    sink = Flushes()
    log = AgentLogger(sink=BufferedSink(sink))
    log.user_message("hi")

    assert log.flush(LONG)
    assert sink.flushed == 1
    log.sink.close()  # type: ignore[attr-defined]


def test_a_loggers_flush_gives_up_on_a_destination_that_stalls() -> None:
    sink, buffer = stalled("block")

    assert not AgentLogger(sink=buffer).flush(0.01)

    sink.let()
    buffer.close()


def test_an_event_that_asks_for_the_disk_is_accepted_when_the_destination_has_it(
    tmp_path: Path,
) -> None:
    sink = JSONLSink(tmp_path / "events.jsonl")
    with BufferedSink(sink) as buffer:
        log = AgentLogger(sink=buffer)

        event = log.tool_call("pay", durability=Durability.FSYNC)

        assert event.receipt is not None
        assert event.receipt.durability is Durability.FSYNC
    refusing = BufferedSink(FailingSink("x"))
    with pytest.raises(SinkError, match="no room for x"):
        refusing.write(named("x", durability=Durability.OS_BUFFERED))
    refusing.close()  # whoever waited has heard of it


def test_a_sink_that_records_through_the_buffer_before_it_never_waits_for_itself() -> None:
    class Echoes(MemorySink):
        def write(self, event: AgentEvent) -> None:
            super().write(event)
            if event.payload["n"] == "0":
                for name in ("1", "2", "3"):
                    buffer.write(named(name))

    sink = Echoes()
    buffer = BufferedSink(sink, 2)
    buffer.write(named("0"))

    with pytest.raises(SinkError, match="capacity exceeded"):
        buffer.flush()
    buffer.close()

    assert [event.payload["n"] for event in sink.events] == ["0", "1", "2"]


# --- batches, fork, exit --------------------------------------------------------------------------


def lines_of(path: Path) -> list[str]:
    return [entry.record.attributes["wakelog.payload"]["n"] for entry in read(path)]


@pytest.mark.parametrize("durability", Durability)
def test_a_file_gets_batches_and_every_line_stays_whole(
    durability: Durability, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    events = [named(str(number)) for number in range(3000)]

    with BufferedSink(JSONLSink(path, durability), 4096) as buffer:
        for event in events:
            buffer.write(event)

    assert lines_of(path) == [str(number) for number in range(3000)]
    assert [event.receipt.seq for event in events if event.receipt] == list(range(1, 3001))


def test_one_bad_event_in_a_batch_costs_one_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JSONLSink(path, max_event_bytes=2000)
    events = [named(str(number)) for number in range(5)]
    events[2].payload["many"] = list(range(2000))

    failed = sink.write_many(events)

    assert list(failed) == [2]
    assert "max_event_bytes" in str(failed[2])
    assert [entry.record.seq for entry in read(path)] == [1, 2, 3, 4, 5]
    stub = [entry.record for entry in read(path)][2]
    assert stub.attributes["wakelog.too_large.bytes"] > 2000
    assert isinstance(failed[2], EventTooLargeError)
    assert failed[2].receipt is not None
    assert failed[2].receipt.seq == stub.seq
    assert [event.receipt is not None for event in events] == [True, True, False, True, True]


FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def _write_ten(buffer: BufferedSink, who: str) -> None:
    for number in range(10):
        buffer.write(named(f"{who}{number}"))


def test_a_destination_that_is_down_does_not_hold_up_the_end_of_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []

    class Down(MemorySink):
        delivers = True

        def flush(self, timeout: float = LONG) -> bool:  # type: ignore[override]
            asked.append(timeout)
            return False

    sink = Down()
    buffer = BufferedSink(sink)
    buffer.write(named("0"))

    assert buffer.close() is False
    assert 0 < asked[0] <= 5
    assert len(sink.events) == 1


@FORKS
def test_a_forked_child_writes_its_own_events_and_none_of_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    stall = threading.Lock()

    class Slow(JSONLSink):
        def write_many(self, events: Any) -> Any:
            with stall if os.getpid() == parent else threading.Lock():
                return super().write_many(events)

    parent = os.getpid()
    buffer = BufferedSink(Slow(path))
    with stall:  # so that the child is forked while events wait and the thread is writing
        _write_ten(buffer, "parent")
        child = multiprocessing.get_context("fork").Process(
            target=_write_ten, args=(buffer, "child")
        )
        child.start()
        child.join(LONG)
    buffer.close()

    assert child.exitcode == 0
    assert sorted(lines_of(path)) == sorted(
        f"{w}{n}" for w in ("parent", "child") for n in range(10)
    )


PROGRAM = """
import atexit, sys, threading
from wakelog import AgentEvent, AgentLogger, BufferedSink, JSONLSink

def late():
    log.user_message("from atexit")

atexit.register(late)                      # runs after the buffer's own
log = AgentLogger(sink=BufferedSink(JSONLSink(sys.argv[1]), 100_000))
for number in range(2000):
    log.user_message(str(number))
thread = threading.Thread(target=lambda: [log.user_message("thread") for _ in range(100)])
thread.start()
"""


def test_at_the_end_of_the_program_what_waits_is_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    texts = [
        entry.record.attributes["gen_ai.input.messages"][0]["parts"][0]["content"]
        for entry in read(path)
    ]
    assert [text for text in texts if text.isdecimal()] == [str(n) for n in range(2000)]
    assert texts.count("thread") == 100
    assert texts[-1] == "from atexit"


STALLED = """
import sys, threading
import wakelog.buffer._queue as queue
from wakelog import AgentEvent, BufferedSink

queue._EXIT_SECONDS = 0.05

class Never:
    def write(self, event):
        threading.Event().wait()

sink = BufferedSink(Never())
for _ in range(3):
    sink.write(AgentEvent("custom"))
"""


def test_a_destination_that_never_answers_does_not_keep_the_program_from_ending() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STALLED], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0
    assert "3 events were still waiting after 0.05 s and are lost" in done.stderr


# --- asyncio ---------------------------------------------------------------------------------------

TASKS, EACH = 1000, 100


def random_cancellation(
    make: Callable[[], Any], *, seed: int = 7
) -> tuple[set[str], set[str], set[str]]:
    """Have many tasks write to a sink, cancel some of them at random, and say what became of each.

    Returns:
        The names of the events that were accepted, of those that were cancelled and have a receipt,
        and of the cancelled ones that have none.
    """
    chance = random.Random(seed)
    accepted: set[str] = set()
    cancelled: list[AgentEvent] = []
    notes: list[str] = []

    async def write_all(sink: Any, name: int) -> None:
        for number in range(EACH):
            event = named(f"{name}.{number}")
            try:
                await sink.write(event)
            except asyncio.CancelledError as error:
                notes.extend(error.__notes__)
                cancelled.append(event)
            else:
                accepted.add(event.payload["n"])
            if number % 10 == 9:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)

    async def main() -> None:
        async with make() as sink:
            tasks = [asyncio.create_task(write_all(sink, n)) for n in range(TASKS)]
            while not all(task.done() for task in tasks):
                for task in chance.sample(tasks, 20):
                    task.cancel()
                await asyncio.sleep(0)
            # A task that was cancelled before its first step has written nothing.
            for name, task in enumerate(tasks):
                if task.cancelled():
                    cancelled.extend(named(f"{name}.{n}") for n in range(EACH))
                else:
                    task.result()

    asyncio.run(main())
    assert all(note.startswith("wakelog: ") for note in notes)
    assert len(accepted) + len(cancelled) == TASKS * EACH
    with_receipt = {event.payload["n"] for event in cancelled if event.receipt is not None}
    return accepted, with_receipt, {event.payload["n"] for event in cancelled} - with_receipt


def test_each_of_100000_events_through_an_async_buffer_is_written_or_its_writer_was_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"

    accepted, with_receipt, without = random_cancellation(
        lambda: AsyncBufferedSink(JSONLSink(path), capacity=50)
    )

    lines = lines_of(path)
    assert len(lines) == len(set(lines))
    assert set(lines) == accepted
    assert with_receipt == set()
    assert without


def test_each_of_100000_events_through_an_async_file_is_written_or_its_writer_was_told(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"

    accepted, with_receipt, without = random_cancellation(lambda: AsyncJSONLSink(path, "fsync"))

    lines = lines_of(path)
    assert len(lines) == len(set(lines))
    assert set(lines) == accepted | with_receipt
    assert with_receipt
    assert not set(lines) & without


def test_a_write_that_is_cancelled_while_the_disk_works_leaves_its_event_and_a_receipt(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"

    async def main() -> tuple[AgentEvent, list[str]]:
        async with AsyncJSONLSink(path, Durability.FSYNC) as sink:
            event = named("0")
            task = asyncio.create_task(sink.write(event))
            await asyncio.sleep(0)  # it has written, and waits
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            await sink.write(named("1"))
            return event, caught.value.__notes__

    event, notes = asyncio.run(main())

    assert event.receipt is not None
    assert "is in the file" in notes[0]
    assert lines_of(path) == ["0", "1"]


def test_a_task_that_waits_for_room_does_not_stop_the_others_and_can_time_out() -> None:
    async def main() -> list[str]:
        sink = StallingSink()
        buffer = AsyncBufferedSink(sink, 1, timeout=0.01)
        await buffer.write(named("0"))
        await asyncio.to_thread(sink.entered.acquire)
        await buffer.write(named("1"))
        with pytest.raises(BufferFullError):
            await buffer.write(named("2"))
        sink.let()
        await buffer.flush()
        await buffer.close()
        with pytest.raises(SinkError, match="closed"):
            await buffer.write(named("3"))
        return sink.names

    assert asyncio.run(main()) == ["0", "1"]


def test_a_cancelled_write_of_an_event_that_asked_for_the_disk_says_that_it_is_accepted() -> None:
    async def main() -> tuple[list[str], list[str]]:
        sink = StallingSink()
        buffer = AsyncBufferedSink(sink)
        task = asyncio.create_task(buffer.write(named("0", durability=Durability.FSYNC)))
        await asyncio.to_thread(sink.entered.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        sink.let()
        await buffer.close()
        return sink.names, caught.value.__notes__

    names, notes = asyncio.run(main())

    assert names == ["0"]
    assert "the buffer has accepted the event" in notes[0]


def test_an_event_loop_that_ended_while_its_task_waited_takes_no_room_from_others() -> None:
    sink, buffer = stalled("block", capacity=1)
    loop = asyncio.new_event_loop()
    outer = AsyncBufferedSink(MemorySink())
    outer.sink, outer._queue._queue = buffer, buffer.queue
    task = loop.create_task(outer.write(named("2")))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    writer = threading.Thread(target=buffer.write, args=(named("3"),))
    writer.start()
    until(lambda: len(buffer.queue.room) == 2)
    sink.let()
    writer.join(LONG)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    buffer.close()

    assert not writer.is_alive()
    assert sink.names == ["0", "1", "3"]


@pytest.mark.parametrize("make", [AsyncBufferedSink, BufferedSink])
def test_an_async_logger_records_its_whole_run_through_a_buffer(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    async def agent(log: AsyncAgentLogger) -> None:
        async with log.run():
            await log.user_message("hi")
            raise KeyError

    async def main() -> None:
        sink = make(JSONLSink(path, Durability.FSYNC))
        with pytest.raises(KeyError):
            await agent(AsyncAgentLogger(sink=sink))
        closed = sink.close()
        if make is AsyncBufferedSink:
            await closed

    asyncio.run(main())

    names = [entry.record.event_name for entry in read(path)]
    assert names == [f"wakelog.{n}" for n in ("run_start", "user_message", "error", "run_end")]


def test_the_buffers_are_sinks() -> None:
    assert isinstance(BufferedSink(MemorySink()), EventSink)
    assert isinstance(AsyncBufferedSink(MemorySink()), EventSink)
