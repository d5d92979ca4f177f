"""The export pipeline: from entries of the journal, through the SDK's batch processor, to outcomes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)

from wakelog._native import native
from wakelog.delivery import BatchBisection, ExportOutcome, ExportRound, Outcome, suppress_recording
from wakelog.errors import WakelogError
from wakelog.journal import Entry, dead_letter_line, write_dead_letter
from wakelog.otel._export_attempt import attempt_through, encode_for
from wakelog.otel._others import asked
from wakelog.otel._rebuilder import Rebuilder
from wakelog.otel._response_capture import ExportAttempt
from wakelog.otel._settings import Batching
from wakelog.otel._substitutes import stand_in
from wakelog.runtime import contained

if TYPE_CHECKING:
    from wakelog.otel._delivery_counters import DeliveryCounters

_log = logging.getLogger("wakelog")

# How many records are rebuilt before the thread sleeps for threads that emit, and for how long.
_TURN_RECORDS, _TURN_SECONDS = 16, 0.0002


class Signal(NamedTuple):
    """How the export pipeline handles one signal: log records, or spans.

    Attributes:
        processor: The class of the SDK's batch processor, called with an exporter.
        feed: Passes a record to the batch processor.
        rebuild: Converts an entry to the record that the SDK would have exported.
        smaller: Returns the record with previews of large values, None if it has none.
        stand_in: Returns the record that reports a missing record downstream, None for none.
        exported_by: Called with the export attempt before the first batch.
        rebuild_some: Converts some entries at once, given all, the number of the first, the maximum
            number of records, and whether they are replayed; returns no record if ``rebuild`` has
            to convert the first one. None if it always has to.
    """

    processor: Callable[..., Any]
    feed: Callable[[Any, Any], object]
    rebuild: Callable[..., Any]
    smaller: Callable[[Entry, bool], Any | None]
    stand_in: Callable[[Entry, Any, str, str, int], Any | None]
    exported_by: Callable[[ExportAttempt], object] = lambda _: None
    rebuild_some: Callable[[Sequence[Entry], int, int, bool], Sequence[Any]] | None = None


def log_records(rebuilder: Rebuilder) -> Signal:
    """Return the signal for log records, which the rebuilder makes from lines."""

    def exported_by(attempt: ExportAttempt) -> None:
        rebuilder.encodes = encode_for(attempt, rebuilder.request)

    return Signal(
        BatchLogRecordProcessor,
        BatchLogRecordProcessor.on_emit,
        rebuilder.prepare,
        rebuilder.smaller,
        stand_in,
        exported_by,
        None if native is None else rebuilder.prepare_some,
    )


class _Batch:
    """A batch of a round: its records, and the entries from which they were made."""

    def __init__(
        self,
        signal: Signal,
        records: Sequence[Any],
        entries: Sequence[Entry],
        sending: ExportRound[Entry],
        moved: Callable[[], None],
    ) -> None:
        self.records = records
        self._signal, self._entries, self._sending = signal, entries, sending
        self._moved = moved

    def smaller(self, number: int) -> Any | None:
        return self._signal.smaller(self._entries[number], self._sending.replayed)

    def stand_in(self, number: int, outcome: str, reason: str) -> Any | None:
        entry = self._entries[number]
        size = len(dead_letter_line(self._sending.folder, entry))
        return self._signal.stand_in(entry, self.records[number], outcome, reason, size)

    def dead_letter(self, number: int, outcome: str, reason: str) -> None:
        write_dead_letter(self._sending.folder, self._entries[number], outcome, reason)

    def acknowledge(self, count: int, dead: int = 0) -> None:
        self._sending.acknowledge(count, dead)
        self._moved()


class CapturingExporter(LogRecordExporter):
    """Wraps an exporter and stores the outcome of each batch of a round.

    The SDK's batch processor discards an exporter's result. It passes on what it was fed in the
    same order, one batch at a time. After the first record that has to be sent again, the rest of
    the round is skipped, so that the finished records are always the first ones of the round.

    Args:
        exporter: The wrapped exporter.
        attempt: Exports a batch through the exporter and returns the outcome.
        signal: The kind of records.
    """

    def __init__(self, exporter: Any, attempt: ExportAttempt, signal: Signal) -> None:
        self._exporter, self._signal = exporter, signal
        self._bisection = BatchBisection(attempt)
        self._round: ExportRound[Entry] = ExportRound([])
        self._exported = 0
        self._attempted = 0.0
        self.last_success = 0.0
        """Time of the last acceptance by the next hop, on the monotonic clock."""
        self.last_answer_seconds = 0.0
        """How long that attempt took."""

    def begin(self, sending: ExportRound[Entry]) -> None:
        """Assign the batches that follow to a round."""
        self._round, self._exported = sending, 0

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        """Export a batch, unless the round has been stopped."""
        sending = self._round
        entries = sending.entries[self._exported : self._exported + len(batch)]
        self._exported += len(batch)
        if sending.stopped is None:
            records = _Batch(self._signal, batch, entries, sending, self._succeeded)
            self._attempted = time.monotonic()
            with suppress_recording():
                try:
                    stopped = self._bisection.send(records)
                except WakelogError as error:
                    stopped = ExportOutcome(Outcome.RETRYABLE, str(error))
            if stopped is not None:
                sending.stop(stopped)
        done = sending.stopped is None
        return LogRecordExportResult.SUCCESS if done else LogRecordExportResult.FAILURE

    def _succeeded(self) -> None:
        self.last_success = now = time.monotonic()
        self.last_answer_seconds, self._attempted = now - self._attempted, now

    def shutdown(self) -> None:
        """Shut down the wrapped exporter."""
        # An exception of a user's exporter must not keep the journal from being closed.
        asked(self._exporter.shutdown, None)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the wrapped exporter."""
        flush = getattr(self._exporter, "force_flush", None)
        return True if flush is None else flush(timeout_millis)


class ExportPipeline:
    """The destination of a signal: feeds the SDK's batch processor within the size of its queue.

    Args:
        exporter: The exporter to the next hop.
        signal: The kind of records.
        batches: The settings of the batch processor.
        attempt: Exports a batch through the exporter and returns the outcome.
        counters: Where attempts are counted, if anywhere.
    """

    def __init__(
        self,
        exporter: Any,
        signal: Signal,
        batches: Batching,
        *,
        attempt: ExportAttempt | None = None,
        counters: DeliveryCounters | None = None,
    ) -> None:
        self.max_batch, self.max_round = batches.batch, batches.queue
        self._signal = signal
        attempt = attempt or attempt_through(exporter)
        signal.exported_by(attempt)
        if counters is not None:
            attempt = counters.measuring(attempt)
        self._capture = CapturingExporter(exporter, attempt, signal)
        self._batches = signal.processor(
            self._capture,
            schedule_delay_millis=batches.delay,
            max_export_batch_size=batches.batch,
            export_timeout_millis=batches.timeout,
            max_queue_size=batches.queue,
            # Its metrics would repeat Wakelog's, for a queue that is never full.
            meter_provider=NoOpMeterProvider(),
        )

    @property
    def last_success(self) -> float:
        """Time of the last acceptance by the next hop, on the monotonic clock."""
        return self._capture.last_success

    @property
    def last_answer_seconds(self) -> float:
        """How long the next hop took to respond at that time; 0 before the first time."""
        return self._capture.last_answer_seconds

    def send(self, sending: ExportRound[Entry]) -> None:
        """Send records in order, until one has to be sent again.

        The round may also end early without having been stopped: after an entry that cannot be
        rebuilt, the rest is left to the next round.
        """
        self._capture.begin(sending)
        broken = self._feed(sending)
        if sending.meanwhile is not None and sending.stopped is None:
            sending.meanwhile()
        self._batches.force_flush()
        if sending.stopped is not None or sending.is_complete:
            return
        if broken is None:
            reason = "the batch processor did not export everything"
            sending.stop(ExportOutcome(Outcome.RETRYABLE, reason))
            return
        write_dead_letter(sending.folder, sending.entries[sending.acknowledged], "refused", broken)
        sending.acknowledge(1, 1)

    def _feed(self, sending: ExportRound[Entry]) -> str | None:
        """Feed the batch processor; return why the next entry cannot be rebuilt, None if it can."""
        signal, batches, position = self._signal, self._batches, sending.position
        rebuild, rebuild_some, feed = signal.rebuild, signal.rebuild_some, signal.feed
        entries, replayed = sending.entries, sending.replayed
        seen = position() if position else 0
        fed = turn_ends = 0
        while fed < len(entries) and sending.stopped is None:
            records: Sequence[Any] = ()
            try:
                if rebuild_some is not None:
                    records = rebuild_some(entries, fed, _TURN_RECORDS, replayed)
                if not records:
                    records = (rebuild(entries[fed], replayed),)
            except Exception as error:  # noqa: BLE001 - one bad record must not cost the others
                return f"no log record can be made of it: {type(error).__name__}: {error}"
            for record in records:
                feed(batches, record)
            if fed >= turn_ends:
                turn_ends += _TURN_RECORDS
                if position is not None and position() != seen:
                    seen = position()
                    time.sleep(_TURN_SECONDS)
            fed += len(records)
        return None

    def flush(self, timeout: float) -> bool:
        """Flush what the exporter itself may hold back.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether the exporter reports that everything is flushed.
        """
        with suppress_recording():
            done: object = contained(lambda: self._capture.force_flush(int(timeout * 1000)))
            if isinstance(done, BaseException):
                said = f"{type(done).__name__}: {done}"
                _log.warning("the exporter could not be flushed: %s", said)
                done = False
        return done is not False

    def interrupt(self) -> None:
        """End the current attempt soon, by shutting down the exporter."""
        self._capture.shutdown()

    def shutdown(self) -> None:
        """Shut down the batch processor and the exporter."""
        self._batches.shutdown()
