"""A session log that is bound to the application's event loop is appended to there."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.conftest import ROOT
from wakelog import AgentEvent, ConfigurationError
from wakelog.audit import InMemorySessionLog, SessionAuditSink, ThreadKey

KEY = ThreadKey("acme", "t-1")
SECONDS = 60


class Bound(InMemorySessionLog):
    """A log with what a pool of connections has: futures and tasks of the loop that it was made in."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.requests: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.connection = self.loop.create_task(self.serve())

    async def serve(self) -> None:
        while True:
            key, events, answer = await self.requests.get()
            await asyncio.sleep(0)
            answer.set_result(InMemorySessionLog.append_now(self, key, events, 0))

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("attached to a different loop")
        answer: asyncio.Future[int] = self.loop.create_future()
        self.requests.put_nowait((key, events, answer))
        return await answer


class Slow(Bound):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        self.asked.set()
        return await super().append(key, events)

    async def serve(self) -> None:
        await asyncio.sleep(SECONDS)


def hits(log: Any, key: ThreadKey = KEY) -> list[int]:
    return [one.event.payload["hits"] for one in asyncio.run(log.load_since(key))]


def record(sink: SessionAuditSink, *numbers: int) -> None:
    for number in numbers:
        sink.record_memory_recall("semantic", "u", number)


def test_records_of_a_coroutine_and_of_its_threads_reach_a_log_of_its_loop() -> None:
    async def application() -> tuple[Bound, SessionAuditSink]:
        log = Bound()
        sink = SessionAuditSink(log, KEY)
        record(sink, *range(50))
        other = sink.with_thread_key(ThreadKey("acme", "t-2"))
        await asyncio.to_thread(record, other, *range(50))
        assert await asyncio.to_thread(sink.flush, SECONDS)
        return log, sink

    log, sink = asyncio.run(application())

    assert sink.counts() == (100, 0, 0, 0)
    assert hits(log) == hits(log, ThreadKey("acme", "t-2")) == list(range(50))


def test_a_sink_that_was_made_before_the_loop_appends_where_its_records_are_made() -> None:
    class Later(Bound):
        def __init__(self) -> None:
            InMemorySessionLog.__init__(self)

        def open(self) -> None:
            Bound.__init__(self)

    log = Later()
    sink = SessionAuditSink(log, KEY)

    async def application() -> None:
        log.open()
        record(sink, 1, 2)
        await asyncio.to_thread(sink.flush, SECONDS)

    asyncio.run(application())

    assert sink.counts() == (2, 0, 0, 0)


class Pool(InMemorySessionLog):
    """A log that lives in the loop that it was made in and needs no task of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()

    async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("attached to a different loop")
        for _ in range(3):
            await asyncio.sleep(0)
        return InMemorySessionLog.append_now(self, key, events, 0)


def test_what_waits_when_the_loop_ends_is_appended_before_it_has_ended() -> None:
    async def application() -> tuple[Pool, SessionAuditSink]:
        log = Pool()
        sink = SessionAuditSink(log, KEY)
        record(sink, *range(2000))
        return log, sink

    log, sink = asyncio.run(application())

    counts = sink.counts()
    assert counts.appended + counts.failed == 2000
    assert counts.pending == 0
    # At most what was under way when the loop cancelled it can be lost, and it is counted.
    assert hits(log)[-1] == 1999


def test_an_append_that_the_end_of_the_loop_cancels_is_counted_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def application() -> SessionAuditSink:
        log = Slow()
        sink = SessionAuditSink(log, KEY)
        record(sink, 1)
        await log.asked.wait()
        return sink

    with caplog.at_level(logging.WARNING, "wakelog"):
        sink = asyncio.run(application())
        assert sink.flush(SECONDS)

    assert sink.counts() == (0, 0, 1, 0)
    (said,) = [r for r in caplog.records if "lost so far" in r.message]
    assert "the event loop that the log lives in ended" in said.message
    assert "tenant 'acme', thread 't-1'" in said.message


def test_a_loop_that_is_closed_without_a_word_costs_what_was_under_way_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> tuple[Slow, SessionAuditSink]:
        log = Slow()
        sink = SessionAuditSink(log, KEY)
        record(sink, 1, 2)
        await log.asked.wait()
        return log, sink

    with caplog.at_level(logging.WARNING, "wakelog"):
        _, sink = loop.run_until_complete(begin())
        loop.close()
        record(sink, 3)
        assert sink.flush(SECONDS)

    assert sink.counts() == (0, 0, 3, 0)
    assert "tenant 'acme', thread 't-1'" in caplog.text


def test_a_log_of_the_next_loop_is_appended_to_in_the_next_loop() -> None:
    log: Any = None

    async def application(number: int) -> SessionAuditSink:
        log.loop = asyncio.get_running_loop()
        sink = SessionAuditSink(log, KEY)
        record(sink, number)
        await asyncio.to_thread(sink.flush, SECONDS)
        return sink

    async def make() -> Pool:
        return Pool()

    log = asyncio.run(make())
    for number in range(3):
        sink = asyncio.run(application(number))

    assert sink.counts().failed == 0
    assert hits(log) == [0, 1, 2]


def test_flush_in_the_loop_of_the_log_does_not_hold_it_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def application() -> SessionAuditSink:
        sink = SessionAuditSink(Bound(), KEY)
        record(sink, 1)
        assert not sink.flush(SECONDS)
        assert await asyncio.to_thread(sink.flush, SECONDS)
        assert sink.flush(SECONDS)
        return sink

    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "wakelog"):
        sink = asyncio.run(application())

    assert time.monotonic() - began < SECONDS
    assert sink.counts() == (1, 0, 0, 0)
    assert "asyncio.to_thread(sink.flush)" in caplog.text


def test_a_log_that_is_at_home_everywhere_does_not_use_the_applications_loop() -> None:
    class Anywhere(InMemorySessionLog):
        any_event_loop = True

        def __init__(self) -> None:
            super().__init__()
            self.threads: set[str] = set()

        async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
            self.threads.add(threading.current_thread().name)
            return InMemorySessionLog.append_now(self, key, events, 0)

    async def application() -> set[str]:
        log = Anywhere()
        sink = SessionAuditSink(log, KEY)
        record(sink, 1)
        assert sink.flush(SECONDS)  # it can be waited for in a coroutine, though it blocks
        return log.threads

    assert asyncio.run(application()) == {"wakelog-audit"}


def test_a_log_that_raises_cancelled_error_costs_its_records_and_not_the_thread() -> None:
    class Odd(InMemorySessionLog):
        async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
            if any(event.payload.get("hits") == 1 for event in events):
                raise asyncio.CancelledError
            return InMemorySessionLog.append_now(self, key, events, 0)

    log = Odd()
    sink = SessionAuditSink(log, KEY)
    record(sink, 1)
    assert sink.flush(SECONDS)
    record(sink, 2)
    assert sink.flush(SECONDS)

    assert sink.counts() == (1, 0, 1, 0)
    assert hits(log) == [2]


PROGRAM = """
import asyncio, sys
from tests.audit.test_audit_loops import KEY, Bound, Pool, Slow, record
from wakelog.audit import SessionAuditSink

loop = asyncio.new_event_loop()

async def application():
    log = {"stopped": Pool, "run": Pool}[sys.argv[1]]()
    sink = SessionAuditSink(log, KEY)
    record(sink, 1, 2, 3)
    return log, sink

if sys.argv[1] == "run":
    log, sink = asyncio.run(application())
    print([one.event.payload["hits"] for one in asyncio.run(log.load_since(KEY))])
else:
    keep = loop.run_until_complete(application())
"""


def test_a_program_that_ends_with_its_loop_standing_still_says_what_it_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "stopped"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "records lost so far, the last of tenant 'acme', thread 't-1'" in done.stderr


def test_a_program_that_ends_with_its_loop_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "[1, 2, 3]\n"


# What is said


def test_each_thread_that_loses_records_is_named_and_a_flood_of_them_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(InMemorySessionLog):
        works = False

        async def append(self, key: ThreadKey, events: Sequence[AgentEvent]) -> int:
            if self.works:
                return InMemorySessionLog.append_now(self, key, events, 0)
            raise OSError("the database is on fire")

    log = Broken()
    sink = SessionAuditSink(log, KEY)
    with caplog.at_level(logging.WARNING, "wakelog"):
        for number in range(100):
            record(sink.with_thread_key(ThreadKey(f"tenant-{number}", "t\n1")), 1, 2)
            assert sink.flush(SECONDS)
    lost = [r for r in caplog.records if "lost so far" in r.message]
    assert 2 <= len(lost) <= 20
    for number in range(2):
        assert f"tenant 'tenant-{number}', thread 't\\n1'" in lost[number].message
        assert lost[number].__dict__["tenant_id"] == f"tenant-{number}"
        assert lost[number].__dict__["thread_id"] == "t\n1"
    assert sink.counts().failed == 200

    caplog.clear()
    log.works = True
    with caplog.at_level(logging.WARNING, "wakelog"):
        record(sink.with_thread_key(ThreadKey("tenant-0", "t\n1")), 3)
        assert sink.flush(SECONDS)
    (again,) = caplog.records
    assert "it works again, after 2 lost records" in again.message
    assert "tenant 'tenant-0'" in again.message


def test_repr_of_a_sink_shows_its_key() -> None:
    from wakelog.audit import FanOutAuditSink

    sink = SessionAuditSink(InMemorySessionLog(), KEY)

    assert repr(sink) == "SessionAuditSink(key=ThreadKey(tenant_id='acme', thread_id='t-1'))"
    assert "thread_id='t-2'" in repr(sink.with_thread_key(ThreadKey("acme", "t-2")))
    assert repr(FanOutAuditSink(sink)) == f"FanOutAuditSink({sink!r})"


def test_a_sink_over_a_logger_names_whose_records_were_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import wakelog
    from wakelog import AgentLogger
    from wakelog.audit import FanOutAuditSink, LoggerAuditSink

    class Broken:
        def write(self, event: AgentEvent) -> None:
            raise OSError("no space")

    class Raising:
        def record_resumed(self, from_checkpoint: str) -> None:
            raise OSError("no sink of ours")

    logger = LoggerAuditSink(AgentLogger("planner", sink=Broken()))
    both = FanOutAuditSink(Raising(), logger)  # type: ignore[arg-type] # it has what is called

    with (
        caplog.at_level(logging.WARNING, "wakelog"),
        wakelog.bound(session_id="t-1", tenant_id="acme"),
    ):
        both.record_resumed("")

    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert all("tenant 'acme', thread 't-1'" in one for one in said)


@pytest.mark.parametrize("log", ["a path", None, object()])
def test_what_is_no_session_log_is_refused_at_once(log: Any) -> None:
    with pytest.raises(ConfigurationError, match="log="):
        SessionAuditSink(log, KEY)
