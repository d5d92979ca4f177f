"""The road: from records that were read, through the SDK's batch processor, to verdicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)

from wakelog.errors import WakelogError
from wakelog.journal import Entry, set_aside
from wakelog.otel._judging import judge_for
from wakelog.otel._poison import Sorter
from wakelog.otel._quiet import quietly
from wakelog.otel._records import Rebuilder
from wakelog.otel._tally import Tally
from wakelog.otel._verdict import Judge, Outcome, Verdict

# How many records are rebuilt before threads that are emitting get a turn, and for how long.
_TURN_RECORDS, _TURN_SECONDS = 16, 0.0002


class Round:
    """Some records of one writer, in order, and how far they got.

    Attributes:
        entries: The records.
        settled: How many from the first on have been dealt with.
        dead: How many of those were set aside.
        stopped: The verdict at which it ended, None while every record gets through.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path) -> None:
        self.entries = entries
        self.folder = folder
        self.taken = 0
        self.settled = self.dead = 0
        self.stopped: Verdict | None = None

    def settle(self, count: int, dead: int) -> None:
        """Note that the next records have been dealt with."""
        self.settled += count
        self.dead += dead


class VerdictExporter(LogRecordExporter):
    """Stands in front of an exporter and notes what became of each batch of a round.

    The batch processor hands over what it was fed in the same order, one batch at a time. After the
    first record that stays pending the rest of the round is not tried, so that what has been dealt
    with is always the beginning of what was fed.

    Args:
        exporter: The real one.
        judge: Exports through it and says what came of it.
    """

    def __init__(self, exporter: LogRecordExporter, judge: Judge) -> None:
        self._exporter = exporter
        self._sorter = Sorter(judge)
        self.round = Round([], Path())
        self.last_success = 0.0
        """When the next hop last accepted something, by the monotonic clock."""

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export a batch, unless the round has been stopped."""
        now = self.round
        entries = now.entries[now.taken : now.taken + len(batch)]
        now.taken += len(batch)
        if now.stopped is None:
            with quietly():
                try:
                    now.stopped = self._sorter.send(batch, entries, now.folder, self._settle)
                except WakelogError as error:
                    now.stopped = Verdict(Outcome.PENDING, str(error))
        done = now.stopped is None
        return LogRecordExportResult.SUCCESS if done else LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the real exporter down."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the real exporter."""
        return self._exporter.force_flush(timeout_millis)

    def _settle(self, count: int, dead: int) -> None:
        self.round.settle(count, dead)
        self.last_success = time.monotonic()


class Road:
    """Feeds rounds of records to the SDK's batch processor, never more than it has room for.

    Args:
        exporter: The exporter to the next hop.
        rebuilder: Makes log records from lines.
        schedule_delay: Seconds, handed on to the batch processor.
        max_batch: The most records in a batch.
        max_queue: The most records that the batch processor holds at once.
        export_timeout: Seconds, handed on to the batch processor.
        judge: Exports a batch through the exporter and says what came of it; a test's own.
        tally: Where attempts are counted, if they are.
    """

    def __init__(
        self,
        exporter: LogRecordExporter,
        rebuilder: Rebuilder,
        *,
        schedule_delay: float,
        max_batch: int,
        max_queue: int,
        export_timeout: float,
        judge: Judge | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.max_batch, self.max_queue = max_batch, max_queue
        self._rebuilder = rebuilder
        judge = judge or judge_for(exporter)
        if tally is not None:
            judge = tally.measuring(judge)
        self._verdicts = VerdictExporter(exporter, judge)
        self._batches = BatchLogRecordProcessor(
            self._verdicts,
            schedule_delay_millis=schedule_delay * 1000,
            max_export_batch_size=max_batch,
            export_timeout_millis=export_timeout * 1000,
            max_queue_size=max_queue,
            # Its own metrics would say the same as ours once more, of a queue that is never full.
            meter_provider=NoOpMeterProvider(),
        )

    @property
    def last_success(self) -> float:
        """When the next hop last accepted something, by the monotonic clock."""
        return self._verdicts.last_success

    def send(
        self,
        entries: Sequence[Entry],
        folder: Path,
        *,
        replayed: bool,
        position: Callable[[], int] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Round:
        """Send records, in order, until one stays pending.

        Args:
            entries: At most ``max_queue`` records of one writer.
            folder: The writer's folder.
            replayed: Whether they are marked as having waited for an outage to end.
            position: Tells how far the threads that emit have got, which are let through.
            meanwhile: Something to do while the next hop is waited for.

        Returns:
            What came of it. It may end early without having been stopped.

        Raises:
            JournalError: When a record could not be set aside.
        """
        now = self._verdicts.round = Round(entries, folder)
        seen = position() if position else 0
        broken: str | None = None
        for number, entry in enumerate(entries):
            if now.stopped is not None:
                break
            try:
                record = self._rebuilder.rebuild(entry, replayed=replayed)
            except Exception as error:  # noqa: BLE001 - one record costs one record
                broken = f"no log record can be made of it: {type(error).__name__}: {error}"
                break
            self._batches.on_emit(record)
            if number % _TURN_RECORDS == 0 and position is not None and position() != seen:
                seen = position()
                time.sleep(_TURN_SECONDS)
        if meanwhile is not None and now.stopped is None:
            meanwhile()
        self._batches.force_flush()
        if now.stopped is None and broken is not None:
            set_aside(folder, entries[now.settled], "refused", broken)
            now.settle(1, 1)
        elif now.stopped is None and now.settled < len(entries):
            now.stopped = Verdict(Outcome.PENDING, "the batch processor did not export everything")
        return now

    def interrupt(self) -> None:
        """Have the attempt that is under way end soon, by shutting the exporter down."""
        self._verdicts.shutdown()

    def shutdown(self) -> None:
        """Shut the batch processor and the exporter down."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]
