"""A buffer before the journal: what is accepted, what is not, and that the rest stays as it was."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

from tests.support.waiting import until
from wakelog import (
    AgentLogger,
    AsyncAgentLogger,
    Buffer,
    BufferFullError,
    Durability,
    JournalError,
    OTelSink,
)
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor

LONG = 60.0


class Held:
    """A provider with a buffered processor whose journal can be held."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.exporter = InMemoryLogRecordExporter()
        self.processor = DurableLogRecordProcessor(self.exporter, directory=directory, **options)
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(self.processor)
        self.logger = self.provider.get_logger("others")
        self.log = AgentLogger("a", sink=OTelSink(self.provider, required=True))
        assert self.processor.buffer is not None
        self.queue = self.processor.buffer
        self.gate, self.entered = threading.Semaphore(10_000), threading.Semaphore(0)
        self.fails: set[str] = set()
        real = self.processor.journal.write

        def write(record_id: str, *rest: Any) -> Any:
            self.entered.release()
            assert self.gate.acquire(timeout=LONG)
            if record_id in self.fails:
                raise JournalError("write to", directory, "the disk is full")
            return real(record_id, *rest)

        self.processor.journal.write = write  # type: ignore[method-assign, assignment]

    def hold(self) -> None:
        """Have the worker hold record "0", and nothing else wait."""
        self.gate = threading.Semaphore(0)
        self.emit("0")
        assert self.entered.acquire(timeout=LONG)

    def let(self) -> None:
        self.gate.release(10_000)

    def emit(self, *names: str) -> None:
        for name in names:
            self.logger.emit(event_name=name, attributes={"log.record.uid": name})

    def written(self) -> list[str | None]:
        assert self.queue.settle(LONG)
        return [entry.record.event_name for entry in read(self.directory)]

    def exported(self) -> list[str | None]:
        return [log.log_record.event_name for log in self.exporter.get_finished_logs()]


@contextmanager
def held(directory: Path, capacity: int, overflow: str = "block", **options: Any) -> Iterator[Held]:
    timeout = options.pop("timeout", None)
    made = Held(directory, buffer=Buffer(capacity, overflow, timeout), **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.let()
        made.provider.shutdown()


def test_what_was_emitted_is_delivered_as_without_a_buffer(tmp_path: Path) -> None:
    names = [str(n) for n in range(2000)]
    with held(tmp_path, 100) as made:
        made.emit(*names)

        assert made.provider.force_flush(60_000)

        assert made.exported() == names
        assert made.written() == names
        assert (made.queue.size, made.queue.capacity) == (0, 100)


def test_block_waits_for_room(tmp_path: Path) -> None:
    with held(tmp_path, 2) as made:
        made.hold()
        made.emit("1", "2")
        waits: list[float] = []
        made.queue.on_wait = waits.append

        emitter = threading.Thread(target=made.emit, args=("3", "4"))
        emitter.start()
        until(lambda: len(made.queue.room) == 1)
        made.let()
        emitter.join(LONG)

        assert made.written() == ["0", "1", "2", "3", "4"]
        assert made.queue.waits == len(waits) >= 1
        assert made.queue.wait_seconds == pytest.approx(sum(waits))
        assert not made.processor.refused


def test_block_with_a_timeout_counts_others_records_and_raises_for_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with held(tmp_path, 2, timeout=0.01) as made:
        made.hold()
        made.emit("1", "2")

        made.emit("3")
        with pytest.raises(BufferFullError, match="2 events are waiting"):
            made.log.user_message("hi")
        made.let()

        assert made.written() == ["0", "1", "2"]
        assert made.processor.refused == {"BufferFullError": 1}
        assert (made.queue.refused, made.queue.dropped) == (2, 0)
        assert "not recorded so far" in caplog.text


def test_drop_newest_drops_and_counts_and_raises_for_nobody(tmp_path: Path) -> None:
    with held(tmp_path, 2, "drop_newest") as made:
        made.hold()
        made.emit("1", "2", "3")
        made.log.user_message("hi")
        made.let()

        assert made.written() == ["0", "1", "2"]
        assert (made.queue.dropped, made.queue.refused) == (2, 0)
        assert not made.processor.refused


def test_drop_oldest_keeps_the_newest(tmp_path: Path) -> None:
    with held(tmp_path, 2, "drop_oldest") as made:
        made.hold()
        made.emit("1", "2", "3")
        made.log.user_message("hi")
        made.let()

        assert made.written() == ["0", "3", "wakelog.user_message"]
        assert (made.queue.dropped, made.queue.refused) == (2, 0)


def test_raise_counts_others_records_and_raises_for_ours(tmp_path: Path) -> None:
    with held(tmp_path, 2, "raise") as made:
        made.hold()
        made.emit("1", "2", "3")
        with pytest.raises(BufferFullError):
            made.log.user_message("hi")
        made.let()

        assert made.written() == ["0", "1", "2"]
        assert made.processor.refused == {"BufferFullError": 1}
        assert (made.queue.dropped, made.queue.refused) == (0, 2)


def test_an_event_that_asks_for_the_disk_is_accepted_when_the_journal_has_it(
    tmp_path: Path,
) -> None:
    with held(tmp_path, 100) as made:
        plain = made.log.user_message("hi")
        event = made.log.tool_call("pay", durability=Durability.FSYNC)

        assert event.receipt is not None
        assert (event.receipt.seq, event.receipt.durability) == (2, Durability.FSYNC)
        assert plain.receipt is None  # the buffer has it, which is no receipt
        made.fails.add("mine")
        with pytest.raises(JournalError, match="the disk is full"):
            made.log.tool_call("pay", event_id="mine", durability=Durability.FSYNC)
        assert not made.processor.refused


def test_a_record_that_the_journal_refuses_costs_one_record_and_is_counted(tmp_path: Path) -> None:
    with held(tmp_path, 100) as made:
        made.fails.add("1")
        made.emit("0", "1", "2")

        assert made.written() == ["0", "2"]
        assert made.processor.refused == {"JournalError": 1}


def test_with_fsync_a_batch_costs_one_sync_and_a_failing_one_is_counted(tmp_path: Path) -> None:
    with held(tmp_path, 100, durability=Durability.FSYNC) as made:
        made.hold()
        made.emit("1", "2", "3")
        syncs = []
        made.let()
        assert made.queue.settle(LONG)
        writer = made.processor.journal.writer
        assert writer is not None
        real = writer.commit_written

        def commit() -> None:
            syncs.append(writer.seq)
            if len(syncs) == 2:
                raise JournalError("sync", tmp_path, "the disk is gone")
            real()

        writer.commit_written = commit  # type: ignore[method-assign]
        made.emit("4")
        made.queue.settle(LONG)
        made.emit("5")
        made.queue.settle(LONG)

        assert syncs == [5, 6]
        assert made.processor.refused == {"JournalError": 1}


def test_flush_counts_what_waits_in_the_buffer(tmp_path: Path) -> None:
    with held(tmp_path, 100) as made:
        made.hold()

        assert made.provider.force_flush(10) is False
        made.let()

        assert made.provider.force_flush(60_000) is True
        assert made.exported() == ["0"]


def test_shutdown_writes_what_waits_and_later_records_are_still_written(tmp_path: Path) -> None:
    with held(tmp_path, 100) as made:
        made.hold()
        made.emit("1", "2")
        made.let()

        assert made.processor.close(LONG) is True
        made.emit("3")

        assert made.written() == ["0", "1", "2", "3"]
        assert made.exported() == ["0", "1", "2"]


def test_a_record_that_waits_for_room_at_shutdown_is_written(tmp_path: Path) -> None:
    with held(tmp_path, 1) as made:
        made.hold()
        made.emit("1")
        emitter = threading.Thread(target=made.emit, args=("2",))
        emitter.start()
        until(lambda: len(made.queue.room) == 1)

        closing = threading.Thread(target=made.processor.close, args=(LONG,))
        closing.start()
        until(lambda: made.queue.closed)
        made.let()
        closing.join(LONG)
        emitter.join(LONG)

        assert sorted(made.written(), key=str) == ["0", "1", "2"]
        assert not made.processor.refused


def test_an_async_logger_waits_for_room_without_blocking_the_loop(tmp_path: Path) -> None:
    async def main(made: Held) -> tuple[Any, Any]:
        log = AsyncAgentLogger.over(made.log)
        made.hold()
        made.emit("1")
        waiting = asyncio.create_task(log.user_message("hi"))
        cancelled = asyncio.create_task(log.user_message("no"))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await cancelled
        made.let()
        await waiting
        return caught.value.__notes__, await log.tool_call("pay", durability=Durability.FSYNC)

    with held(tmp_path, 1) as made:
        notes, event = asyncio.run(main(made))

        assert "not accepted" in notes[0]
        assert event.receipt is not None
        assert made.written() == ["0", "1", "wakelog.user_message", "wakelog.tool_call"]


def _emit_in_child(made: Held) -> None:
    made.emit("child")
    made.provider.force_flush(0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_writes_its_own_records_only(tmp_path: Path) -> None:
    with held(tmp_path, 100) as made:
        made.hold()
        made.emit("1")
        parents_gate, made.gate = made.gate, threading.Semaphore(10_000)
        child = multiprocessing.get_context("fork").Process(target=_emit_in_child, args=(made,))
        child.start()
        child.join(LONG)
        parents_gate.release(10_000)

        assert child.exitcode == 0
        assert sorted(made.written(), key=str) == ["0", "1", "child"]
