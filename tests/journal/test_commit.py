"""Commit: who waits shares a sync, the event loop never waits, and PERIODIC keeps its interval."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider

from tests.support.interruptions import Interrupted, Interruption, raise_interrupted
from tests.support.waiting import SECONDS as WAIT
from wakelog.errors import JournalError, SinkError
from wakelog.events import AgentEvent
from wakelog.journal import Durability, Journal, Receipt, Space, read
from wakelog.journal._file_rotation import FileRotation
from wakelog.journal._shared_file import SharedFile
from wakelog.logger import AgentLogger, AsyncAgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem
from wakelog.sinks import JSONLSink
from wakelog.storage._committer import Committer

RESOURCE = Resource({})


class Disk:
    """Counts syncs, and holds them up until it is told to let them through."""

    def __init__(self) -> None:
        self.syncs = 0
        self.errors: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def sync(self, fd: int) -> None:
        self.entered.set()
        assert self.open.wait(60)
        self.syncs += 1
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))
        os.fdatasync(fd)

    @property
    def fs(self) -> FileSystem:
        return FileSystem(fdatasync=self.sync)


def content(number: int) -> bytes:
    return encode({"body": number}, 1 << 20)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


def test_threads_that_wait_at_the_same_time_share_a_sync(tmp_path: Path) -> None:
    disk = Disk()
    journal = Journal(tmp_path, durability=Durability.FSYNC, fs=disk.fs)
    journal.append(uuid7(), content(0), RESOURCE)
    disk.open.clear()
    disk.entered.clear()
    threads = [
        threading.Thread(target=journal.append, args=(uuid7(), content(n), RESOURCE))
        for n in range(20)
    ]
    before = disk.syncs
    threads[0].start()
    assert disk.entered.wait(60)
    for thread in threads[1:]:
        thread.start()
    writer = journal.writer
    assert writer is not None
    assert eventually(lambda: writer.seq == 21)
    disk.open.set()
    for thread in threads:
        thread.join()

    assert disk.syncs - before == 2  # the one that was under way, and one for the other nineteen
    journal.close()


def test_no_thread_is_answered_before_its_own_line_is_synced(tmp_path: Path) -> None:
    disk = Disk()
    journal = Journal(tmp_path, durability=Durability.FSYNC, fs=disk.fs)
    disk.open.clear()
    answered: list[int] = []

    def emit(number: int) -> None:
        journal.append(uuid7(), content(number), RESOURCE)
        answered.append(number)

    threads = [threading.Thread(target=emit, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    assert disk.entered.wait(60)

    assert answered == []
    disk.open.set()
    for thread in threads:
        thread.join()
    assert sorted(answered) == [0, 1, 2]
    journal.close()


def durable_logger(tmp_path: Path, disk: Disk) -> tuple[AsyncAgentLogger, Any]:
    durable = DurableLogRecordProcessor(None, directory=tmp_path, durability="fsync")
    durable._journal = Journal(tmp_path, durability=Durability.FSYNC, fs=disk.fs)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    return AsyncAgentLogger("a", sink=OTelSink(provider)), durable


def jsonl_logger(tmp_path: Path, disk: Disk) -> tuple[AsyncAgentLogger, Any]:
    sink = JSONLSink(tmp_path / "events.jsonl", Durability.FSYNC)
    sink._file._fs = disk.fs
    return AsyncAgentLogger("a", sink=sink), sink


MAKERS = [durable_logger, jsonl_logger]


@pytest.mark.parametrize("make", MAKERS)
def test_waiting_for_the_disk_never_blocks_the_event_loop(tmp_path: Path, make: Any) -> None:
    disk = Disk()

    async def main() -> list[AgentEvent]:
        log, _ = make(tmp_path, disk)
        await log.user_message("first")
        disk.open.clear()
        waiting = [asyncio.create_task(log.user_message(str(n))) for n in range(50)]
        for _ in range(200):  # the loop runs on while the disk stands still
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        before = disk.syncs
        disk.open.set()
        events = await asyncio.gather(*waiting)
        assert disk.syncs - before <= 3
        return events

    events = asyncio.run(main())
    assert all(event.receipt and event.receipt.durability == "fsync" for event in events)
    path = tmp_path / "events.jsonl"
    assert len(list(read(path if path.exists() else tmp_path))) == 51


@pytest.mark.parametrize("make", MAKERS)
def test_tasks_that_record_in_the_same_round_of_the_event_loop_share_a_sync(
    tmp_path: Path, make: Any
) -> None:
    disk = Disk()

    async def main() -> int:
        log, _ = make(tmp_path, disk)
        await log.user_message("first")
        before = disk.syncs
        await asyncio.gather(*(log.user_message(str(n)) for n in range(50)))
        return disk.syncs - before

    assert asyncio.run(main()) == 1


async def synced(committer: Committer) -> None:
    await committer.synced()


def test_a_sync_begins_when_half_of_the_tasks_that_the_last_one_served_wait_again() -> None:
    asked = 0
    asked_before: list[int] = []
    committer = Committer(lambda: asked_before.append(asked), 60)

    def ask() -> asyncio.Future[None]:
        nonlocal asked
        asked += 1
        time.sleep(0.0005)  # lets the thread that syncs run
        return committer.synced()

    async def work() -> None:
        await ask()
        await ask()

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(64)))

    asyncio.run(main())
    committer.stop()

    assert asked_before[0] == 64
    assert asked_before[1] >= 64 + 32
    assert asked_before[-1] == 2 * 64


def test_a_loop_at_rest_does_not_hold_up_the_tasks_of_another() -> None:
    committer = Committer(lambda: None, 60)
    resting = asyncio.new_event_loop()
    first = resting.create_task(synced(committer))
    resting.call_soon(resting.stop)
    resting.run_forever()  # the task waits now, and nothing runs this loop

    asyncio.run(asyncio.wait_for(synced(committer), 60))

    resting.run_until_complete(asyncio.wait_for(first, 60))
    resting.close()
    committer.stop()


@pytest.mark.parametrize("make", MAKERS)
def test_few_of_the_tasks_that_waited_run_in_one_round_of_the_event_loop(
    tmp_path: Path, make: Any
) -> None:
    async def main() -> list[int]:
        log, _ = make(tmp_path, Disk())
        rounds = [0]
        watching = True

        def next_round() -> None:
            rounds.append(0)
            if watching:
                asyncio.get_running_loop().call_soon(next_round)

        async def work() -> None:
            for number in range(5):
                await log.user_message(str(number))
                rounds[-1] += 1

        workers = [asyncio.create_task(work()) for _ in range(64)]
        await asyncio.sleep(0)
        next_round()
        await asyncio.gather(*workers)
        watching = False
        return rounds

    rounds = asyncio.run(main())
    assert sum(rounds) == 64 * 5
    assert max(rounds) <= 4  # several syncs may end in one round: they do not add up


@pytest.mark.parametrize("make", MAKERS)
def test_a_disk_that_refuses_is_raised_to_every_task_that_waits(tmp_path: Path, make: Any) -> None:
    disk = Disk()

    async def main() -> list[Any]:
        log, _ = make(tmp_path, disk)
        disk.errors = [errno.EIO] * 10
        calls = [log.user_message(str(n)) for n in range(5)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(main())
    assert [type(answer) for answer in answers] == [JournalError] * 5
    assert "Input/output error" in str(answers[0])


def test_a_block_of_an_async_logger_runs_its_body_after_the_intent_is_on_the_disk(
    tmp_path: Path,
) -> None:
    disk = Disk()

    async def main() -> int:
        log, _ = durable_logger(tmp_path, disk)
        async with log.run(session_id="s"):
            before = disk.syncs
            async with log.tool("charge", {"amount": 5}) as call:
                during = disk.syncs
                call.result("done")
            assert before < during < disk.syncs
        return disk.syncs

    assert asyncio.run(main()) == 4
    names = [entry.record.event_name for entry in read(tmp_path)]
    kinds = ["run_start", "tool_call", "tool_result", "run_end"]
    assert names == [f"wakelog.{kind}" for kind in kinds]


def test_a_block_that_cannot_be_opened_or_closed_says_so_and_leaves_nothing_bound(
    tmp_path: Path,
) -> None:
    from wakelog import context

    disk = Disk()

    async def main() -> None:
        log, _ = durable_logger(tmp_path, disk)
        disk.errors = [errno.EIO] * 2
        with pytest.raises(SinkError):
            async with log.run():
                raise AssertionError
        assert context.run_id.get() is None
        with pytest.raises(SinkError):
            async with log.run():
                disk.errors = [errno.EIO] * 2
        with pytest.raises(ZeroDivisionError) as caught:  # noqa: PT012 - the block is the point
            async with log.run():
                disk.errors = [errno.EIO] * 2
                raise ZeroDivisionError
        assert "could not record how this ended" in caught.value.__notes__[0]

    asyncio.run(main())


def test_a_cancelled_wait_leaves_the_event_written_once(tmp_path: Path) -> None:
    disk = Disk()

    async def main() -> None:
        log, _ = durable_logger(tmp_path, disk)
        disk.open.clear()
        task = asyncio.create_task(log.user_message("cancelled"))
        await asyncio.to_thread(disk.entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        disk.open.set()
        await log.user_message("next")

    asyncio.run(main())
    assert len(list(read(tmp_path))) == 2


def test_a_block_that_is_cancelled_before_its_body_runs_has_a_known_outcome(
    tmp_path: Path,
) -> None:
    disk = Disk()

    async def charge(log: AsyncAgentLogger) -> None:
        async with log.tool("charge"):
            raise AssertionError

    async def main() -> None:
        log, _ = durable_logger(tmp_path, disk)
        disk.open.clear()
        task = asyncio.create_task(charge(log))
        await asyncio.to_thread(disk.entered.wait, 10)
        task.cancel()
        disk.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    call, result = [entry.record for entry in read(tmp_path)]
    assert (call.event_name, result.event_name) == ("wakelog.tool_call", "wakelog.tool_result")
    assert result.attributes["wakelog.status"] == "cancelled"


def test_a_loop_that_closes_while_its_tasks_are_woken_does_not_hold_up_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going_on = threading.Event()

    def sync() -> None:
        going_on.wait(60)

    committer = Committer(sync, 60)
    closing = asyncio.new_event_loop()
    first = closing.create_task(synced(committer))
    closing.run_until_complete(asyncio.sleep(0))

    async def another() -> None:
        waits = asyncio.ensure_future(committer.synced())
        await asyncio.sleep(0)
        going_on.set()
        await asyncio.wait_for(waits, 60)
        await asyncio.wait_for(committer.synced(), 60)

    def refuse(*_: Any) -> None:
        raise RuntimeError("Event loop is closed")

    first.cancel()
    closing.run_until_complete(asyncio.sleep(0))
    with monkeypatch.context() as patch:
        patch.setattr(closing, "is_closed", lambda: False)  # it closes right after the question
        patch.setattr(closing, "call_soon_threadsafe", refuse)
        asyncio.run(another())
    closing.close()
    committer.stop()


def test_after_a_failed_sync_a_named_file_is_rotated_and_begun_anew_with_what_is_waited_for(
    tmp_path: Path,
) -> None:
    disk = Disk()
    sink = JSONLSink(tmp_path / "events.jsonl", Durability.FSYNC)
    sink._file._fs = disk.fs
    sink.write(AgentEvent("custom"))
    disk.errors = [errno.EIO]
    sink.write(AgentEvent("custom"))
    sink.write(AgentEvent("custom"))

    [aside] = [path for path in tmp_path.iterdir() if path.name != "events.jsonl"]
    assert [entry.record.seq for entry in read(aside)] == [1, 2]
    assert [entry.record.seq for entry in read(tmp_path / "events.jsonl")] == [2, 3]


def test_when_a_named_file_cannot_be_saved_nobody_is_told_that_all_is_well(
    tmp_path: Path,
) -> None:
    disk = Disk()
    sink = JSONLSink(tmp_path / "events.jsonl", Durability.FSYNC)
    sink._file._fs = disk.fs
    disk.errors = [errno.EIO, errno.EIO]
    with pytest.raises(JournalError, match="Input/output error"):
        sink.write(AgentEvent("custom"))
    with pytest.raises(JournalError, match="Input/output error"):
        sink._file.commit_written()

    sink.write(AgentEvent("custom"))
    assert [entry.record.seq for entry in read(tmp_path / "events.jsonl")] == [2]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_task_whose_line_was_lost_is_not_answered_by_the_sync_of_a_later_line(
    tmp_path: Path,
) -> None:
    disk = Disk()
    sink = JSONLSink(tmp_path / "events.jsonl", Durability.FSYNC)
    sink._file._fs = disk.fs
    lost, later = AgentEvent("custom"), AgentEvent("custom")

    async def main() -> None:
        lost.deferred = later.deferred = True
        sink.write(lost)
        disk.errors = [errno.EIO, errno.EIO]
        with pytest.raises(JournalError, match="Input/output error"):
            sink.write(AgentEvent("custom"))  # as another thread does
        sink.write(later)
        assert lost.settling is not None
        assert later.settling is not None
        await later.settling()
        with pytest.raises(JournalError, match="Input/output error"):
            await lost.settling()

    asyncio.run(main())
    sink.close()


def test_a_file_that_is_rotated_during_an_interrupted_sync_is_synced_for_those_who_wait(
    tmp_path: Path,
) -> None:
    synced: list[int] = []
    interrupted = False

    def sync(fd: int) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            while len(list(tmp_path.iterdir())) == 1:
                file.write(uuid7(), content(1), Durability.OS_BUFFERED)
            raise KeyboardInterrupt
        synced.append(os.fstat(fd).st_ino)

    rotation = FileRotation(max_bytes=500)
    file = SharedFile(tmp_path / "events.jsonl", rotation=rotation, fs=FileSystem(fdatasync=sync))
    number = os.stat(file.path).st_ino
    waiting = file.write(uuid7(), content(0), Durability.FSYNC)
    with pytest.raises(KeyboardInterrupt):
        file.append(uuid7(), content(0), Durability.FSYNC)

    file.wait(waiting.seq)

    assert number in synced
    file.close()


class CtrlC(KeyboardInterrupt):
    """What a handler raises that ends the event loop, which may run again."""


def ctrl_c() -> None:
    """Do what the handler of Ctrl-C does."""
    raise CtrlC


@pytest.mark.parametrize("happens", [ctrl_c, raise_interrupted])
def test_a_loop_whose_callbacks_are_interrupted_wakes_its_tasks_all_the_same(
    happens: Callable[[], None],
) -> None:
    async def work(committer: Committer) -> None:
        with suppress(CtrlC, Interrupted):
            await synced(committer)
        await synced(committer)

    async def main(committer: Committer) -> None:
        tasks = [asyncio.create_task(work(committer)) for _ in range(3)]
        await asyncio.wait(tasks, timeout=WAIT)
        assert all(task.done() for task in tasks)

    for moment in count():
        committer, loop = Committer(lambda: None, 60), asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # it logs what is raised in a callback
        first = loop.create_task(main(committer))
        interruption = Interruption(happens, moment)
        with suppress(CtrlC):
            interruption.of(lambda: loop.run_until_complete(first))  # noqa: B023
        loop.run_until_complete(asyncio.wait([first], timeout=WAIT))
        loop.run_until_complete(main(committer))
        assert first.done()
        assert first.exception() is None
        committer.stop()
        loop.close()
        if not interruption.came:
            break


def test_a_sink_of_the_callers_own_may_be_a_coroutine(tmp_path: Path) -> None:
    written: list[str] = []

    class Own:
        async def write(self, event: AgentEvent) -> None:
            await asyncio.sleep(0)
            if event.payload["message"] == "bad":
                raise ValueError("no")
            written.append(event.payload["message"])

    async def main() -> None:
        log = AsyncAgentLogger(sink=Own())
        await log.user_message("good")
        with pytest.raises(SinkError, match="Own did not accept"):
            await log.user_message("bad")

    asyncio.run(main())
    assert written == ["good"]


def test_an_async_logger_is_made_of_a_configured_one() -> None:
    log = AgentLogger("agent", "flow", metadata={"k": 1}, redact_payloads=False)
    other = AsyncAgentLogger.over(log)

    event = asyncio.run(other.emit("custom", {"email": "a@example.org"}))
    assert (event.agent_name, event.workflow_name, event.metadata) == ("agent", "flow", {"k": 1})
    assert event.payload == {"email": "a@example.org"}


def test_periodic_syncs_within_its_interval_and_not_for_each_event(tmp_path: Path) -> None:
    disk = Disk()
    journal = Journal(tmp_path, durability=Durability.PERIODIC, sync_interval=0.05, fs=disk.fs)
    for number in range(100):
        journal.append(uuid7(), content(number), RESOURCE)

    assert eventually(lambda: disk.syncs >= 1)
    assert disk.syncs < 50
    journal.close()
    synced = disk.syncs
    journal.close()
    assert disk.syncs == synced


def test_periodic_syncs_what_is_left_when_it_is_closed(tmp_path: Path) -> None:
    disk = Disk()
    journal = Journal(tmp_path, durability=Durability.PERIODIC, sync_interval=60, fs=disk.fs)
    journal.append(uuid7(), content(1), RESOURCE)
    assert disk.syncs == 0

    journal.close()
    assert disk.syncs == 1


def test_a_forked_child_has_a_committing_thread_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path, durability=Durability.PERIODIC, sync_interval=0.01)
    journal.append(uuid7(), content(1), RESOURCE)
    pid = os.fork()
    if pid == 0:
        journal.append(uuid7(), content(2), RESOURCE)
        journal.close()
        os._exit(0)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    journal.close()
    assert len(list(read(tmp_path))) == 2


def test_where_no_thread_can_be_started_any_more_whoever_asks_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the handlers that Python 3.12 runs at its exit."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    disk = Disk()
    journal = Journal(tmp_path, sync_interval=3600, space=Space(), fs=disk.fs)
    journal.append(uuid7(), content(0), RESOURCE)
    before = disk.syncs
    journal.append(uuid7(), content(1), RESOURCE, Durability.PERIODIC)
    assert disk.syncs == before + 1
    asyncio.run(journal.settle(journal.write(uuid7(), content(2), RESOURCE, Durability.FSYNC)))
    assert disk.syncs == before + 2
    journal.close()

    assert [entry.record.body for entry in read(tmp_path)] == [0, 1, 2]


def test_a_file_that_is_begun_during_a_sync_gets_its_name_synced_by_the_next(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    synced: list[Path] = []

    def fsync(fd: int) -> None:
        os.fsync(fd)
        synced.append(path)
        if len(synced) == 1:  # between the sync and what is noted of it
            path.rename(tmp_path / "older.jsonl")
            file._check_at = 0.0
            other = threading.Thread(
                target=file.append, args=("r-2", content(2), Durability.OS_BUFFERED)
            )
            other.start()
            other.join(60)

    file = SharedFile(path, fs=FileSystem(fsync=fsync))
    file.append("r-1", content(1), Durability.FSYNC)
    file.append("r-3", content(3), Durability.FSYNC)
    file.close()

    assert len(synced) == 2
    assert [entry.record.id for entry in read(path)] == ["r-2", "r-3"]


@pytest.mark.parametrize("kind", ["journal", "named file"])
def test_a_line_is_not_acknowledged_if_the_sync_of_a_handlers_line_has_failed_meanwhile(
    tmp_path: Path, kind: str
) -> None:
    handler: list[Callable[[], object]] = []
    failures: list[int] = []

    def write(fd: int, data: bytes) -> int:
        size = os.write(fd, data)
        if handler:  # like a signal handler, once the line is written
            handler.pop()()
        return size

    def fdatasync(fd: int) -> None:
        if failures:
            raise OSError(failures.pop(), "a failed sync")
        os.fdatasync(fd)

    fs = FileSystem(write=write, fdatasync=fdatasync)
    path = tmp_path / "events.jsonl"
    journal, file = Journal(tmp_path / "journal", fs=fs), SharedFile(path, fs=fs)

    def append(number: int) -> Receipt:
        record_id, line = f"r-{number}", content(number)
        if kind == "journal":
            return journal.append(record_id, line, RESOURCE, Durability.FSYNC)
        return file.append(record_id, line, Durability.FSYNC)

    append(1)
    failures.append(errno.EIO)
    handler.append(lambda: append(3))
    with pytest.raises(JournalError, match="signal handler"):
        append(2)
    append(4)
    journal.close()
    file.close()

    kept = read(journal.root if kind == "journal" else path)
    assert {"r-3", "r-4"} <= {entry.record.id for entry in kept}
