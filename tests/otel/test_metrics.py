"""Metrics: the books balance in every collection, and each figure says what its description says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from scripts.build_metrics_page import PAGE, page
from tests.conftest import ROOT
from tests.support.figures import FATES, Hop, Meter, emitting
from tests.support.waiting import until
from wakelog import AgentLogger, Buffer, OTelSink, OverflowPolicy, SinkError
from wakelog.journal import Durability, Mark, QuotaPolicy, Space, books
from wakelog.journal import _deletions as deletions
from wakelog.journal import _ledger as ledger
from wakelog.journal._deletions import Deletion, Tombstone
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel import _metric_table as t
from wakelog.otel._process_books import WriterBooks
from wakelog.otel.shipping import Shipment
from wakelog.telemetry.instruments import PerProvider

EVICT = QuotaPolicy.EVICT_OLDEST


@contextmanager
def processing(hop: Any, directory: Path, **options: Any) -> Iterator[DurableLogRecordProcessor]:
    processor = DurableLogRecordProcessor(hop, 10, directory=directory, **options)
    yield processor
    processor.shutdown()


@pytest.fixture
def meter() -> Meter:
    return Meter()


def test_the_books_say_what_became_of_each_record(tmp_path: Path, meter: Meter) -> None:
    hop = Hop()
    with processing(hop, tmp_path, meter_provider=meter.provider) as processor:
        emit = emitting(processor)
        emit("1", "2", "bad", "3")
        assert not processor.force_flush()

        scrape = meter.read()
        assert scrape.balanced() == {
            "accepted": 4,
            "delivered": 3,
            "dead_lettered": 1,
            "pending": 0,
            "evicted": 0,
            "corrupt": 0,
        }
        assert scrape("wakelog.events.accepted", wakelog__origin="own") == 4
        assert scrape("wakelog.delivery.circuit.state") == 0
        assert scrape("wakelog.delivery.pending.age") == 0
        assert scrape("wakelog.delivery.pending.bytes") == 0
        assert scrape("wakelog.delivery.latency") > 0
        assert scrape("otel.sdk.processor.log.processed") == 4
        assert scrape("otel.sdk.exporter.log.inflight") == 0
        assert scrape("otel.sdk.exporter.log.exported", error__type="refused") > 0
        assert scrape("otel.sdk.exporter.operation.duration") > 1


def test_an_outage_is_seen_and_its_end(tmp_path: Path, meter: Meter) -> None:
    hop = Hop()
    hop.down = True
    with processing(hop, tmp_path, meter_provider=meter.provider) as processor:
        emit = emitting(processor)
        emit(*"12345")
        until(lambda: meter.read()("wakelog.delivery.circuit.state") == 2, "an open circuit")

        scrape = meter.read()
        assert scrape.balanced()["pending"] == 5
        assert 0 < scrape("wakelog.delivery.pending.age") < 300
        assert 500 < scrape("wakelog.delivery.pending.bytes") < 5000
        assert scrape("wakelog.delivery.retry.delay") > 0
        assert scrape("otel.sdk.exporter.log.exported", error__type="pending") > 0

        hop.down = False
        assert processor.force_flush()
        scrape = meter.read()
        assert scrape.balanced()["delivered"] == 5
        assert scrape("wakelog.delivery.circuit.state") == 0


def test_the_books_balance_in_every_collection_while_everything_happens(
    tmp_path: Path, meter: Meter
) -> None:
    hop = Hop()
    space = Space(quota_bytes=60_000, quota_policy=EVICT)
    options: dict[str, Any] = {"segment_bytes": 4000, "space": space}
    with processing(hop, tmp_path, meter_provider=meter.provider, **options) as processor:
        emit = emitting(processor)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                emit(*["good"] * 20, "bad")

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        before = meter.read().balanced()
        scrapes = 0
        try:
            for down in (False, True, False, True, False):
                hop.down = down
                enough = "evicted" if down else "dead_lettered"
                begun = before[enough]
                while before[enough] < begun + 2 or scrapes % 20:
                    now = meter.read().balanced()
                    scrapes += 1
                    back = {name for name in now if name != "pending" and now[name] < before[name]}
                    assert not back, (before, now)
                    before = now
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        processor.force_flush()

        now = meter.read().balanced()
        assert now["pending"] == 0
        assert now["evicted"] > 0
        assert now["evicted"] == meter.read()("wakelog.events.evicted", reason="quota")
        [kept] = books(tmp_path, exact=True)
        assert kept.accepted == now["accepted"]


@pytest.mark.parametrize("kills", [2])
def test_what_a_killed_process_leaves_is_adopted_and_counted_once(
    tmp_path: Path, meter: Meter, kills: int
) -> None:
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.support.figures import emitting\n"
        "from wakelog.otel import DurableLogRecordProcessor\n"
        "processor = DurableLogRecordProcessor(None, directory=sys.argv[1], pipeline='p')\n"
        "emitting(processor)(*'abcdefg')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(kills):
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path, ROOT], check=False, timeout=60
        )
        assert done.returncode == -signal.SIGKILL
    hop = Hop()
    hop.down = True
    with processing(hop, tmp_path, meter_provider=meter.provider, pipeline="p") as processor:
        emitting(processor)("own")

        def adopted() -> bool:
            return meter.read()("wakelog.events.accepted", wakelog__origin="adopted") > 0

        # The others may have been adopted by the time that somebody looks.
        until(lambda: meter.read().balanced()["pending"] >= 1, "the own record being pending")
        hop.down = False
        until(adopted, "an adoption")
        until(lambda: meter.read().balanced()["delivered"] == 1 + 7 * kills, "all delivered")
        # It is in no balance, and counted a moment after the books.
        until(lambda: meter.read()("wakelog.delivery.replayed") == 7 * kills, "all counted")

        scrape = meter.read()
        assert scrape("wakelog.events.accepted", wakelog__origin="own") == 1
        assert scrape("wakelog.events.accepted", wakelog__origin="adopted") == 7 * kills
        assert scrape("wakelog.journal.recovered", kind="writer") == kills
        assert scrape.balanced()["pending"] == 0


def test_a_second_processor_in_the_same_process_goes_on_with_the_books_of_the_first(
    tmp_path: Path, meter: Meter
) -> None:
    hop = Hop()
    hop.down = True
    with processing(hop, tmp_path, meter_provider=meter.provider) as first:
        emitting(first)(*"123")
    assert meter.read().balanced()["pending"] == 3
    hop.down = False
    with processing(hop, tmp_path, meter_provider=meter.provider) as second:
        emitting(second)("4")
        until(lambda: len(hop.taken) == 4, "delivery of all")
        until(lambda: meter.read().balanced()["pending"] == 0, "the ledger")
    scrape = meter.read()
    assert scrape.balanced()["delivered"] == 4
    assert scrape("wakelog.events.accepted", wakelog__origin="own") == 4
    assert scrape("wakelog.events.accepted", wakelog__origin="adopted") == 0


def test_figures_stay_after_shutdown_for_the_last_collection(tmp_path: Path, meter: Meter) -> None:
    with processing(Hop(), tmp_path, meter_provider=meter.provider) as processor:
        emitting(processor)(*"123")
        assert processor.force_flush()
    assert meter.read().balanced()["delivered"] == 3


def test_a_forked_child_counts_what_is_its_own_from_zero(tmp_path: Path, meter: Meter) -> None:
    hop = Hop()
    with processing(hop, tmp_path, meter_provider=meter.provider) as processor:
        emit = emitting(processor)
        emit(*"123", "bad")
        processor.force_flush()
        assert meter.read().balanced()["dead_lettered"] == 1
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                emit("child")
                processor.force_flush()
                scrape = meter.read()
                wrong = scrape("otel.sdk.exporter.log.exported", error__type="refused")
                os.write(write, repr((scrape.balanced(), wrong)).encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)

        figures, wrong = eval(said)
        assert (figures["accepted"], figures["delivered"], wrong) == (1, 1, 0)
        emit("4")
        assert not processor.force_flush()
        assert meter.read().balanced()["accepted"] == 5


def test_what_is_refused_is_counted_by_its_reason(tmp_path: Path, meter: Meter) -> None:
    space = Space(quota_bytes=100_000, quota_policy="refuse")  # local only, else it would evict
    with processing(None, tmp_path, meter_provider=meter.provider, space=space) as processor:
        emit = emitting(processor)
        while not processor.refused:
            emit("x" * 1000)
        provider = processor_in_a_provider(processor)
        with pytest.raises(SinkError):
            AgentLogger("a", sink=OTelSink(provider)).tool_call("t", {"text": "x" * 2000})

        scrape = meter.read()
        assert scrape("wakelog.events.refused", reason="quota") == 2
        assert scrape("wakelog.events.refused") == 2
        assert scrape("otel.sdk.processor.log.processed", error__type="quota") == 2
        assert scrape.balanced()["pending"] == scrape.balanced()["accepted"] > 0
        assert scrape("wakelog.journal.disk.limit") == 100_000
        assert 0 < scrape("wakelog.journal.disk.usage") <= 100_000


def processor_in_a_provider(processor: DurableLogRecordProcessor) -> Any:
    from opentelemetry.sdk._logs import LoggerProvider

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    return provider


@pytest.mark.parametrize("overflow", [OverflowPolicy.DROP_NEWEST, OverflowPolicy.BLOCK])
def test_a_full_buffer_is_seen(tmp_path: Path, meter: Meter, overflow: OverflowPolicy) -> None:
    buffer = Buffer(4, overflow, timeout=0.01 if overflow is OverflowPolicy.BLOCK else None)
    with processing(
        None, tmp_path, meter_provider=meter.provider, buffer=buffer, durability="fsync"
    ) as processor:
        gate, entered = threading.Event(), threading.Event()
        write = processor.journal.write

        def slow(*arguments: Any) -> Any:
            entered.set()
            gate.wait(60)
            return write(*arguments)

        processor.journal.write = slow  # type: ignore[method-assign, assignment]
        emit = emitting(processor)
        emit("1")
        assert entered.wait(60)
        emit(*"2345", *"678")
        scrape = meter.read()
        gate.set()
        assert scrape("otel.sdk.processor.log.queue.size") == 4
        assert scrape("otel.sdk.processor.log.queue.capacity") == 4
        assert scrape("otel.sdk.processor.log.processed", error__type="queue_full") == 3
        if overflow is OverflowPolicy.BLOCK:
            assert scrape("wakelog.buffer.wait.duration") == 3
            assert scrape("wakelog.events.refused", reason="buffer_full") == 3
        else:
            assert scrape("wakelog.buffer.dropped", policy="drop_newest") == 3
        assert processor.buffer is not None
        assert processor.buffer.settle(60)
        scrape = meter.read()
        assert scrape.balanced()["pending"] == 5
        assert scrape("wakelog.journal.fsync.duration") > 0
        assert scrape("wakelog.journal.commit.events") > 0


def test_one_write_in_sixteen_is_measured(tmp_path: Path, meter: Meter) -> None:
    with processing(None, tmp_path, meter_provider=meter.provider) as processor:
        emitting(processor)(*"x" * 64)

    assert meter.read()("wakelog.journal.write.duration") == 4


def test_every_metric_is_what_the_table_says(tmp_path: Path, meter: Meter) -> None:
    hop = Hop()
    buffer = Buffer(1, OverflowPolicy.BLOCK)
    with processing(
        hop, tmp_path, meter_provider=meter.provider, buffer=buffer, durability=Durability.FSYNC
    ) as processor:
        assert processor.buffer is not None
        emit = emitting(processor)
        emit(*["good"] * 32, "bad")
        processor.force_flush()
        hop.down = True
        emit("good")
        until(lambda: meter.read()("wakelog.delivery.circuit.state") == 2, "an open circuit")
        while not processor.buffer.waits:
            emit(*["good"] * 32)
        scrape = meter.read()
    assert set(scrape.points) == {one.name for one in t.TABLE}
    for one in t.TABLE:
        for point in scrape.points[one.name]:
            if one.buckets:
                assert tuple(point.explicit_bounds) == one.buckets, one.name
            for name, value in point.attributes.items():
                allowed = one.attributes[name]
                assert isinstance(allowed, str) or value in allowed, (one.name, name, value)


def test_without_a_meter_provider_nothing_is_measured(tmp_path: Path) -> None:
    with processing(Hop(), tmp_path) as processor:
        assert processor._source is None
        assert processor.journal._observer is None
        assert processor.buffer is None


def test_a_provider_that_collects_nothing_does_no_harm(tmp_path: Path) -> None:
    hop = Hop()
    with processing(hop, tmp_path, meter_provider=NoOpMeterProvider()) as processor:
        emitting(processor)("1")
        assert processor.force_flush()
    assert hop.taken == ["1"]


def test_the_books_hold_at_every_collection_through_outages_and_two_kills(tmp_path: Path) -> None:
    """With evictions, dead letters and an overflowing buffer; the third process delivers the rest."""
    runs: list[list[dict[str, float]]] = []
    hold = tmp_path / "hold"
    left = 0
    for kill in (True, True, False):
        left = sum(one.pending for one in books(tmp_path / "journal")) if runs else 0
        seen: list[dict[str, float]] = []
        runs.append(seen)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.support.metrics_program", tmp_path / "journal", hold],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                wanted = {"evicted", "dead_lettered", "dropped", "own"} if kill else {"own"}
                for line in process.stdout:
                    seen.append(json.loads(line))
                    enough = all(seen[-1][name] for name in wanted) and len(seen) > 50
                    if enough and kill:
                        hold.touch()
                        if seen[-1]["held"] and seen[-1]["pending"]:
                            process.kill()
                    elif enough and not process.stdin.closed:
                        process.stdin.close()
            finally:
                process.kill()
        hold.unlink(missing_ok=True)

    for books_of_a_process in runs:
        for before, now in pairwise([dict.fromkeys(FATES, 0.0), *books_of_a_process]):
            assert now["accepted"] == sum(now[name] for name in FATES), now
            assert min(now.values()) >= 0, now
            assert all(now[name] >= before[name] for name in FATES if name != "pending"), now
    last = runs[-1][-1]
    assert last["pending"] == 0
    # It has taken over what the killed ones had left, if the quota had let them leave anything.
    assert last["accepted"] > last["own"] or not left
    kept = books(tmp_path / "journal", exact=True)
    assert sum(one.pending for one in kept) == 0
    assert sum(one.evicted for one in kept) >= sum(run[-1]["evicted"] for run in runs[:1])
    assert sum(one.accepted for one in kept) >= sum(run[-1]["own"] for run in runs)


def test_what_somebody_else_delivers_is_not_pending(tmp_path: Path, meter: Meter) -> None:
    hop = Hop()
    with processing(None, tmp_path, meter_provider=meter.provider) as processor:
        emitting(processor)(*"123")
        assert meter.read().balanced()["pending"] == 3
        shipment = Shipment(tmp_path, hop)
        until(lambda: meter.read().balanced()["pending"] == 0, "delivery from outside")
        shipment.stop()
        assert meter.read().balanced()["delivered"] == 3


def half_delivered(tmp_path: Path) -> tuple[Path, WriterBooks, Any]:
    """Return the folder of a writer with ten records, its books, and lanes that have delivered five."""
    with processing(None, tmp_path) as gone:
        emitting(gone)(*"abcdefghij")
        assert gone.journal.writer is not None
        folder = gone.journal.writer.folder.path
    account = WriterBooks(folder, (Mark(), ()))
    lanes: Any = SimpleNamespace(marks=(Mark(1, 1000, 5), ()), gone=False)
    account.update(lanes)
    return folder, account, lanes


def test_what_was_delivered_is_not_evicted_as_well(tmp_path: Path) -> None:
    """The ledger of a writer that is let go is one round behind, and its file has been evicted."""
    folder, account, _ = half_delivered(tmp_path)
    assert (account.figures.delivered, account.figures.pending) == (5, 5)

    stone = Tombstone(5, 10, 6, "quota")
    record = Deletion(2, 10, Mark(2, 0, 10, evicted=6), (stone,))
    (folder / deletions.NAME).write_bytes(record.to_bytes(folder.name))
    ledger.save(folder, folder.name, Mark(1, 900, 4))
    account.update(None)

    now = account.figures
    assert (now.accepted, now.delivered, now.evicted["quota"], now.pending) == (10, 5, 5, 0)


@pytest.mark.parametrize("fate", ["dead_lettered", "corrupt"])
def test_what_is_evicted_is_not_set_aside_or_damaged_as_well(tmp_path: Path, fate: str) -> None:
    """The quota deletes a record, its tombstone is read before the mark that says its fate."""
    folder, account, lanes = half_delivered(tmp_path)
    record = Deletion(2, 10, Mark(2, 0, 10), (Tombstone(5, 10, 5, "quota"),))
    (folder / deletions.NAME).write_bytes(record.to_bytes(folder.name))
    account.update(lanes)
    figures = account.figures
    assert (figures.delivered, figures.evicted["quota"], figures.pending) == (5, 5, 0)

    lanes.marks = (Mark(1, 1200, 6, **{fate: 1}), ())
    account.update(lanes)

    assert (figures.accepted, figures.pending) == (10, 0)
    assert figures.accepted == figures.delivered + 5 + figures.dead_lettered + figures.corrupt


def test_a_folder_that_somebody_deletes_is_not_pending_for_ever(
    tmp_path: Path, meter: Meter
) -> None:
    with processing(None, tmp_path, meter_provider=meter.provider) as processor:
        emitting(processor)(*"123")
        assert processor.journal.writer is not None
        shutil.rmtree(processor.journal.writer.folder.path)
        scrape = meter.read()
        assert scrape.balanced()["evicted"] == 3
        assert scrape("wakelog.events.evicted", reason="deleted") == 3


def test_damaged_lines_are_counted_when_they_are_found(tmp_path: Path, meter: Meter) -> None:
    same: dict[str, Any] = {"pipeline": "p", "resource": Resource({})}
    with processing(None, tmp_path, **same) as gone:
        emitting(gone)(*"abc")
    [segment] = tmp_path.glob("*/*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"b"', b'"x"'))
    hop = Hop()
    with processing(hop, tmp_path, meter_provider=meter.provider, **same):
        until(lambda: meter.read().balanced()["delivered"] == 2, "delivery of the rest")
    scrape = meter.read()
    assert scrape.balanced()["corrupt"] == 1
    assert scrape("wakelog.events.accepted", wakelog__origin="adopted") == 3
    assert scrape("wakelog.journal.recovered", kind="damaged_line") == 1


def test_two_readers_see_the_same_and_neither_takes_measurements_from_the_other(
    tmp_path: Path,
) -> None:
    first, second = InMemoryMetricReader(), InMemoryMetricReader()
    meters = MeterProvider([first, second], shutdown_on_exit=False)
    with processing(None, tmp_path, meter_provider=meters) as processor:
        emit = emitting(processor)
        for number in range(1, 4):
            emit(*"x" * 16)
            for reader in (first, second, second):
                scrape = Meter.read_from(reader)
                assert scrape.balanced()["accepted"] == 16 * number
                assert scrape("wakelog.journal.write.duration") == number


def test_a_child_that_is_forked_during_a_collection_is_not_held_up(
    tmp_path: Path, meter: Meter
) -> None:
    with processing(Hop(), tmp_path, meter_provider=meter.provider) as processor:
        emit = emitting(processor)
        emit("parent")
        over = threading.Event()

        def collect() -> None:
            while not over.is_set():
                meter.read()

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            for _ in range(10):
                child = os.fork()
                if child == 0:
                    signal.alarm(60)
                    emit(*"x" * 64)
                    os._exit(0 if processor.force_flush() else 1)
                assert os.waitpid(child, 0)[1] == 0
        finally:
            over.set()
            thread.join()


def test_a_child_that_is_forked_while_instruments_are_made_can_make_its_own() -> None:
    made, go_on = threading.Event(), threading.Event()

    def make(provider: Any) -> Any:
        made.set()
        assert go_on.wait(60)
        return provider

    parents, childs = MeterProvider(), MeterProvider()
    each: PerProvider[Any] = PerProvider(make)
    thread = threading.Thread(target=each.on, args=(parents,))
    thread.start()
    try:
        assert made.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            go_on.set()
            os._exit(0 if each.on(childs) is childs else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        go_on.set()
        thread.join()


def test_the_global_meter_provider_is_used(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from opentelemetry import metrics\n"
        "import wakelog\n"
        "from tests.support.figures import Meter\n"
        "meter = Meter()\n"
        "metrics.set_meter_provider(meter.provider)\n"
        "wakelog.configure('a', directory=sys.argv[1]).decision('yes')\n"
        "assert meter.read().balanced()['pending'] == 1\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path, ROOT], check=True, timeout=60)


def test_the_page_says_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m scripts.build_metrics_page`"
