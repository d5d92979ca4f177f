"""Delivered means the next hop said so; in doubt, send again; an outage stops nobody.

The exporters here are scripted, for answers that a real next hop does not give on demand.
``test_end_to_end`` has the real ones.
"""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from wakelog.delivery import _circuit, _writers
from wakelog.journal import Journal, books
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._exporters import endpoint_of
from wakelog.otel._pipeline import NAMES
from wakelog.runtime import Background

OK, FAILED = LogRecordExportResult.SUCCESS, LogRecordExportResult.FAILURE


class Scripted(LogRecordExporter):
    """Answers by script, and keeps what it has accepted."""

    def __init__(self, *answers: LogRecordExportResult | Exception) -> None:
        self.answers = list(answers)
        self.default: LogRecordExportResult | Exception = OK
        self.accepted: list[Any] = []
        self.attempts = 0
        self.attempted = threading.Event()
        self.gate: threading.Event | None = None

    def export(self, batch: Any) -> LogRecordExportResult:
        self.attempts += 1
        self.attempted.set()
        if self.gate is not None:
            self.gate.wait(60)
        answer = self.answers.pop(0) if self.answers else self.default
        if isinstance(answer, Exception):
            raise answer
        if answer is OK:
            self.accepted += [log.log_record.body for log in batch]
        return answer

    def shutdown(self) -> None:
        if self.gate is not None:
            self.gate.set()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_circuit, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(_circuit, "LONGEST_DELAY", 0.05)


Start = Callable[..., tuple[DurableLogRecordProcessor, Callable[..., None]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[DurableLogRecordProcessor] = []

    def begin(
        exporter: LogRecordExporter, **options: Any
    ) -> tuple[DurableLogRecordProcessor, Callable[..., None]]:
        durable = DurableLogRecordProcessor(
            exporter, options.pop("delay", 20), directory=tmp_path, **options
        )
        made.append(durable)
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(durable)
        logger = provider.get_logger("x")

        def emit(*numbers: int) -> None:
            for number in numbers:
                logger.emit(LogRecord(body=number))

        return durable, emit

    yield begin
    for durable in made:
        durable.close(1)


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("answer", [FAILED, ConnectionError("refused"), ValueError("odd")])
def test_what_failed_is_sent_again_until_it_is_accepted(
    tmp_path: Path, start: Start, answer: Any
) -> None:
    exporter = Scripted(answer, answer, answer)
    durable, emit = start(exporter)
    emit(1, 2, 3)

    assert durable.force_flush(60_000)
    assert exporter.accepted == [1, 2, 3]
    assert exporter.attempts == 4
    assert (books(tmp_path)[0].delivered, books(tmp_path)[0].pending) == (3, 0)


def test_a_batch_in_the_middle_that_fails_is_repeated_and_none_before_it(
    tmp_path: Path, start: Start
) -> None:
    exporter = Scripted(OK, OK, FAILED)
    durable, emit = start(exporter, max_export_batch_size=2, delay=60_000)
    emit(*range(10))

    assert durable.force_flush(60_000)
    assert exporter.accepted == list(range(10))


def test_nothing_counts_as_delivered_while_the_next_hop_is_down(
    tmp_path: Path, start: Start
) -> None:
    exporter = Scripted()
    exporter.default = FAILED
    durable, emit = start(exporter)
    emit(1, 2)

    assert not durable.force_flush(100)
    assert books(tmp_path)[0].pending == 2
    exporter.default = OK
    assert durable.force_flush(60_000)
    assert exporter.accepted == [1, 2]


def test_what_one_process_left_is_delivered_by_the_next_oldest_first(
    tmp_path: Path, start: Start
) -> None:
    down = Scripted()
    down.default = FAILED
    for numbers in ((1, 2), (3, 4)):
        durable, emit = start(down)
        emit(*numbers)
        assert not durable.close(0.5)

    exporter = Scripted()
    durable, emit = start(exporter)
    emit(5)
    assert eventually(lambda: len(exporter.accepted) == 5)
    assert sorted(exporter.accepted) == [1, 2, 3, 4, 5]
    assert exporter.accepted.index(1) < exporter.accepted.index(3)
    assert eventually(lambda: all(b.pending == 0 for b in books(tmp_path)))


def test_a_lost_ledger_means_twice_and_never_a_gap(tmp_path: Path, start: Start) -> None:
    first = Scripted()
    durable, emit = start(first)
    emit(1, 2, 3)
    assert durable.force_flush(60_000)
    durable.close(60)
    [ledger] = tmp_path.glob("*/ledger")
    ledger.unlink()

    second = Scripted()
    durable, emit = start(second)
    assert eventually(lambda: second.accepted == [1, 2, 3])


def test_the_ledger_moves_only_after_the_verdict(tmp_path: Path, start: Start) -> None:
    exporter = Scripted()
    exporter.gate = threading.Event()
    durable, emit = start(exporter)
    emit(1)
    assert exporter.attempted.wait(60)

    assert books(tmp_path)[0].delivered == 0
    exporter.gate.set()
    assert durable.force_flush(60_000)
    assert books(tmp_path)[0].delivered == 1


def test_emitting_does_not_wait_for_a_next_hop_that_hangs(tmp_path: Path, start: Start) -> None:
    exporter = Scripted()
    exporter.gate = threading.Event()
    durable, emit = start(exporter, max_export_batch_size=10, max_queue_size=10)
    emit(0)
    assert exporter.attempted.wait(60)
    emit(*range(1, 500))

    assert books(tmp_path)[0].accepted == 500
    assert exporter.attempts == 1
    exporter.gate.set()
    assert durable.force_flush(60_000)
    assert exporter.accepted == list(range(500))


def test_shutting_down_does_not_wait_longer_than_it_may(tmp_path: Path, start: Start) -> None:
    class Hanging(Scripted):
        def shutdown(self) -> None:
            pass  # even an exporter that cannot be interrupted

    exporter = Hanging()
    exporter.gate = threading.Event()
    durable, emit = start(exporter)
    emit(1)
    assert exporter.attempted.wait(60)

    begun = time.monotonic()
    delivered = durable.close(0.3)
    took = time.monotonic() - begun

    assert not delivered
    assert took < 5
    exporter.gate.set()
    assert books(tmp_path)[0].accepted == 1


def test_shutting_down_does_not_wait_at_all_for_a_next_hop_that_is_failing(
    start: Start,
) -> None:
    exporter = Scripted()
    exporter.default = FAILED
    durable, emit = start(exporter)
    emit(1)
    assert exporter.attempted.wait(60)
    assert eventually(lambda: durable._delivery is not None and durable._delivery.failing)

    begun = time.monotonic()
    assert not durable.close(60)
    assert time.monotonic() - begun < 30


def test_shutting_down_delivers_what_is_pending(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKELOG_EXIT_ANSWER_TIMEOUT", "60")
    exporter = Scripted()
    durable, emit = start(exporter, delay=60_000)
    emit(*range(700))

    assert durable.close(60)
    assert exporter.accepted == list(range(700))


def test_an_exit_waits_longer_for_a_next_hop_whose_last_answer_took_longer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKELOG_EXIT_ANSWER_TIMEOUT", "0.05")
    pauses = [2.0, 0.5]

    class Slow(Scripted):
        def export(self, batch: Any) -> LogRecordExportResult:
            time.sleep(pauses.pop(0))
            return super().export(batch)

    exporter = Slow()
    durable, emit = start(exporter)
    emit(1)
    assert durable.force_flush(60_000)
    emit(2)

    assert durable.close(60)
    assert exporter.accepted == [1, 2]


def test_a_run_that_ends_at_once_delivers_what_another_left(start: Start) -> None:
    down = Scripted()
    down.default = FAILED
    durable, emit = start(down)
    emit(1, 2)
    assert not durable.close(60)

    exporter = Scripted()
    durable, emit = start(exporter, delay=60_000)
    emit(3)

    assert durable.close(60)
    assert sorted(exporter.accepted) == [1, 2, 3]


def test_an_outage_is_reported_once_and_so_is_its_end(
    start: Start, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    exporter = Scripted(*[ConnectionError("refused")] * 5)
    with caplog.at_level(logging.WARNING, "wakelog"):
        durable, emit = start(exporter)
        emit(1)
        assert durable.force_flush(60_000)
        assert eventually(lambda: len(caplog.messages) == 2)

    down, up = caplog.messages
    assert "refused" in down
    assert str(tmp_path) in down
    assert "again, after 5 failed attempts" in up
    assert "events caught up: 1" in up


def test_what_delivery_logs_never_becomes_new_records(tmp_path: Path, start: Start) -> None:
    class Chatty(Scripted):
        def export(self, batch: Any) -> LogRecordExportResult:
            logging.getLogger("urllib3").warning("POST /v1/logs")
            return super().export(batch)

    exporter = Chatty(FAILED, FAILED)
    durable, emit = start(exporter)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    with pytest.warns(DeprecationWarning, match="LoggingHandler"):
        handler = LoggingHandler(logger_provider=provider)
    logging.getLogger().addHandler(handler)
    try:
        emit(1)
        assert durable.force_flush(60_000)
    finally:
        logging.getLogger().removeHandler(handler)

    assert books(tmp_path)[0].accepted == 1
    assert exporter.accepted == [1]


def test_a_damaged_record_does_not_hold_up_the_others(tmp_path: Path, start: Start) -> None:
    down = Scripted()
    down.default = FAILED
    durable, emit = start(down)
    emit(*range(5))
    durable.close(0.5)
    [segment] = tmp_path.glob("*/00000001.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"body":2', b'"body":7')
    segment.write_bytes(b"".join(lines))

    exporter = Scripted()
    start(exporter)
    assert eventually(lambda: exporter.accepted == [0, 1, 3, 4])
    assert eventually(lambda: books(tmp_path)[0].pending == 0)
    [after] = books(tmp_path)
    assert (after.accepted, after.delivered, after.corrupt) == (5, 4, 1)


def test_the_thread_survives_an_error_that_nobody_foresaw(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Scripted()
    durable, emit = start(exporter)
    real, calls = Journal.orphans, []

    def unforeseen(self: Journal, wanted: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        return real(self, wanted)

    monkeypatch.setattr(Journal, "orphans", unforeseen)
    monkeypatch.setattr(_writers, "_ORPHAN_SEARCH_SECONDS", 0)
    assert durable._delivery is not None
    durable._delivery._writers._next_search = 0
    assert eventually(lambda: bool(calls))
    emit(1, 2)

    assert durable.force_flush(60_000)
    assert exporter.accepted == [1, 2]


def test_a_background_thread_that_an_exception_ended_can_be_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    runs: list[int] = []

    def run() -> None:
        runs.append(1)
        raise SystemExit

    thread = Background(run, "test")
    for _ in range(2):
        assert thread.start()
        assert eventually(lambda: not thread.running)
    assert runs == [1, 1]


def test_other_processes_orphans_are_found_while_this_one_runs(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writers, "_ORPHAN_SEARCH_SECONDS", 0.05)
    exporter = Scripted()
    running, _ = start(exporter)
    NAMES.release(running)  # in another process the pipeline has the same name
    down = Scripted()
    down.default = FAILED
    durable, emit = start(down)
    emit(1)
    durable.close(0.5)

    assert eventually(lambda: exporter.accepted == [1])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_outage_names_the_endpoint_of_an_official_exporter(protocol: str) -> None:
    """Fails when the attribute that says it, which has no public name, is gone."""
    module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{protocol}._log_exporter")
    exporter = module.OTLPLogExporter(endpoint="http://localhost:15999/v1/logs")

    assert "localhost:15999" in endpoint_of(exporter)
    assert endpoint_of(Scripted()) == "Scripted"
    exporter.shutdown()
