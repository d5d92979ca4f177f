"""Where nobody delivers, the newest is kept, the agent goes on, and both are said."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import wakelog
from wakelog import QuotaPolicy, Space
from wakelog.cli import main
from wakelog.journal import DeliveryLock, books, read
from wakelog.journal import _deletions as deletions
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._made import made

QUOTA = 400_000
SMALL = Space(quota_bytes=QUOTA)
TEXT = "x" * 1000
PLENTY = 1000


class Emitting:
    """Emits into a processor until something comes of it."""

    def __init__(self, processor: DurableLogRecordProcessor) -> None:
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(processor)
        self.processor, self._log = processor, provider.get_logger("x")

    def __call__(self, times: int = PLENTY) -> None:
        for number in range(times):
            self._log.emit(body=f"{number} {TEXT}")


def reasons(root: Path) -> set[str]:
    return {
        stone.reason
        for folder in root.iterdir()
        if folder.is_dir()
        for stone in deletions.load(folder).tombstones
    }


def test_the_oldest_makes_room_and_the_books_balance(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = DurableLogRecordProcessor(None, directory=tmp_path, space=SMALL)

    with caplog.at_level(logging.WARNING, logger="wakelog"):
        Emitting(processor)()

    assert processor.refused.total() == 0
    assert processor.journal.evicted["retention"] > 0
    assert reasons(tmp_path) == {"retention"}
    last = list(read(tmp_path))[-1]
    assert str(last.record.body).startswith(f"{PLENTY - 1} ")
    [book] = [one for one in books(tmp_path) if one.accepted]
    assert (book.accepted, book.delivered) == (PLENTY, 0)
    assert book.pending + book.evicted == PLENTY
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert f"{tmp_path} is 8" in said[0]
    assert all("no process delivers" in line and "WAKELOG_QUOTA_BYTES" in line for line in said)
    assert "are deleted for new ones" in said[1]
    processor.close(0)


def test_an_agent_of_configure_records_on_past_the_quota(tmp_path: Path) -> None:
    log = wakelog.configure("a", directory=tmp_path, space=SMALL)

    events = [log.user_message(TEXT) for _ in range(500)]

    assert all(event.receipt is not None for event in events)
    assert log.refused.total() == 0
    made.end_recording(0)


@pytest.mark.parametrize("policy", ["refuse", QuotaPolicy.REFUSE])
def test_a_policy_that_was_chosen_holds(tmp_path: Path, policy: Any) -> None:
    space = Space(quota_bytes=QUOTA, quota_policy=policy)
    processor = DurableLogRecordProcessor(None, directory=tmp_path, space=space)

    Emitting(processor)()

    assert processor.refused["QuotaExceededError"] > 0
    assert processor.journal.evicted.total() == 0
    processor.close(0)


class Down(InMemoryLogRecordExporter):
    """A next hop that takes nothing."""

    def export(self, batch: Any) -> Any:
        raise ConnectionError


@pytest.mark.parametrize("who", ["its exporter", "a lock beside it", "a ledger"])
def test_where_somebody_delivers_nothing_undelivered_is_deleted(tmp_path: Path, who: str) -> None:
    exporter = Down() if who == "its exporter" else None
    processor = DurableLogRecordProcessor(exporter, directory=tmp_path, space=SMALL)
    emit = Emitting(processor)
    emit(1)
    assert processor.journal.writer is not None
    folder = processor.journal.writer.folder.path
    if who == "a lock beside it":
        lock = DeliveryLock.take(folder)
        assert lock is not None
        lock.release()
    elif who == "a ledger":
        (folder / "ledger").write_text("{}")

    emit()

    assert processor.refused["QuotaExceededError"] > 0
    assert processor.journal.evicted.total() == 0
    processor.close(0)


@pytest.mark.parametrize("delivering", [False, True])
def test_status_says_that_it_is_kept_here(
    tmp_path: Path, delivering: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    exporter = InMemoryLogRecordExporter() if delivering else None
    processor = DurableLogRecordProcessor(exporter, directory=tmp_path)
    Emitting(processor)(3)
    if delivering:
        assert processor.force_flush(60_000)
    processor.close(5)

    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert ("kept here" in shown.replace("\n", " ") or "kept" in shown) is not delivering
    assert ("pending" in shown) is delivering
    assert main(["status", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["kept_here"] is not delivering
    assert data["balances"]


@pytest.mark.parametrize("delivering", [False, True])
def test_the_age_of_what_waits_for_nobody_is_not_reported(tmp_path: Path, delivering: bool) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    exporter = Down() if delivering else None
    processor = DurableLogRecordProcessor(exporter, meter_provider=meters, directory=tmp_path)
    Emitting(processor)(3)

    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.data.data_points
    }

    assert "wakelog.events.pending" in found
    assert ("wakelog.delivery.pending.age" in found) is delivering
    processor.close(0)
