"""Delivery: from the journal to the next hop, with proof.

A thread reads the journal by position and feeds the SDK's own batch processor, never more than it
has room for. What each batch came to is noted by an exporter that stands in front of the real one,
and only what the next hop has accepted moves the ledger.
"""

from __future__ import annotations

import enum
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)

from wakelog.errors import WakelogError
from wakelog.journal import Cursor, Folder, Journal, Mark, set_aside_torn_tail
from wakelog.journal._ledger import load, save
from wakelog.otel._quiet import quietly
from wakelog.otel._records import Rebuilder

_log = logging.getLogger("wakelog")

_CHUNK_BYTES = 4 * 1024 * 1024
_FIRST_SEARCH_PAUSE, _ORPHAN_SEARCH_SECONDS = 0.5, 10.0
# How long an exit waits for a sign of life from the next hop.
_PATIENCE_SECONDS = 0.8
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
# How many records are rebuilt before threads that are emitting get a turn, and for how long.
_TURN_RECORDS, _TURN_SECONDS = 16, 0.0002


class VerdictExporter(LogRecordExporter):
    """Stands in front of an exporter and notes what became of each batch.

    Batches come in the order in which their records were fed, one at a time. After the first one
    that was not delivered, the rest of the round is not tried, so that what has been delivered is
    always the beginning of what was fed.

    Args:
        exporter: The real one.
    """

    def __init__(self, exporter: LogRecordExporter) -> None:
        self.exporter = exporter
        self.last_success = 0.0
        self.begin_round()

    def begin_round(self) -> None:
        """Forget the last round."""
        self.delivered = 0
        self.failure: str | None = None

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export a batch, unless one before it in this round has failed."""
        if self.failure is not None:
            return LogRecordExportResult.FAILURE
        with quietly():
            try:
                result = self.exporter.export(batch)
            except Exception as error:  # noqa: BLE001 - any exporter may raise anything; the batch stays pending and the failure is reported
                self.failure = f"{type(error).__name__}: {error}"
                return LogRecordExportResult.FAILURE
        if result is LogRecordExportResult.SUCCESS:
            self.delivered += len(batch)
            self.last_success = time.monotonic()
        else:
            self.failure = f"{type(self.exporter).__name__} reported a failure"
        return result

    def shutdown(self) -> None:
        """Shut the real exporter down."""
        self.exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the real exporter."""
        return self.exporter.force_flush(timeout_millis)


class _Sent(enum.Enum):
    """What one round of a lane came to."""

    ALL = enum.auto()
    NOTHING = enum.auto()
    FAILED = enum.auto()


class _Lane:
    """The records of one writer on their way.

    Args:
        path: The writer's folder.
        orphan: The folder, when its writer is gone and this process has adopted it.
    """

    def __init__(self, path: Path, orphan: Folder | None = None) -> None:
        self.path = path
        self.writer = path.name
        self.orphan = orphan
        self.mark = load(path, self.writer)
        self.cursor = Cursor(path, self.mark, complete=orphan is not None)

    def advance(self, mark: Mark) -> None:
        """Note that everything before a mark has been dealt with."""
        if mark == self.mark:
            return
        self.mark = mark
        save(self.path, self.writer, mark)

    def close(self) -> None:
        self.cursor.close()
        if self.orphan is not None:
            self.orphan.release()


class Delivery:
    """The thread that delivers, and what others may ask of it.

    ``_changed`` is a condition that guards nothing but waiting: the thread announces through it
    that it has got further or failed.

    Args:
        journal: What to deliver: this process's writer, and writers that are gone.
        exporter: The exporter to the next hop.
        rebuilder: Makes log records from lines.
        schedule_delay: Seconds between two looks into the journal while little is emitted.
        max_batch: The most records in a batch.
        max_queue: The most records that the batch processor holds at once.
        export_timeout: Seconds, handed on to the batch processor.
        meter_provider: Handed on to the batch processor.
    """

    def __init__(
        self,
        journal: Journal,
        exporter: LogRecordExporter,
        rebuilder: Rebuilder,
        *,
        schedule_delay: float,
        max_batch: int,
        max_queue: int,
        export_timeout: float,
        meter_provider: MeterProvider | None,
    ) -> None:
        self._journal = journal
        self._rebuilder = rebuilder
        self._schedule_delay = schedule_delay
        self._max_batch, self._max_queue = max_batch, max_queue
        self._verdicts = VerdictExporter(exporter)
        self._batches = BatchLogRecordProcessor(
            self._verdicts,
            schedule_delay_millis=schedule_delay * 1000,
            max_export_batch_size=max_batch,
            export_timeout_millis=export_timeout * 1000,
            max_queue_size=max_queue,
            meter_provider=meter_provider,
        )
        self._reset()
        after_fork = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())
        self._start()

    def _reset(self) -> None:
        self._live: _Lane | None = None
        # One orphan at a time is adopted: there may be more of them than descriptors.
        self._orphan: _Lane | None = None
        self._candidates: Iterator[Folder] | None = None
        self._next_search, self._search_pause = 0.0, _FIRST_SEARCH_PAUSE
        self._failures = 0
        self._not_before = 0.0
        self._stopping = self._finished = False
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._wake_at = self._max_batch
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    def accepted(self, seq: int) -> None:
        """Learn that this process's writer has got to ``seq``. Cheap: called for every record."""
        if seq >= self._wake_at:
            self._wake_at = seq + self._max_batch
            self._wake.set()
        if self._thread is None:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until the next hop has accepted what this process has recorded so far.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether that is so.
        """
        writer = self._journal.writer
        if writer is None:
            return True
        target, name = writer.seq, writer.id
        if self._has_delivered(name, target):
            return True
        self._not_before = 0.0
        self._wake.set()
        deadline = time.monotonic() + timeout
        with self._changed:
            while not self._has_delivered(name, target):
                left = deadline - time.monotonic()
                if left <= 0 or self._finished:
                    return False
                self._changed.wait(left)
        return True

    def shutdown(self, timeout: float) -> bool:
        """Deliver what is pending, if the next hop takes it, and stop.

        Args:
            timeout: The longest wait, in seconds. It ends earlier when the next hop is known to
                fail or accepts nothing for 0.8 s: what is pending is in the journal.

        Returns:
            Whether the next hop has accepted everything that this process has recorded.
        """
        self._stopping = True
        self._wake.set()
        begun = time.monotonic()
        with self._changed:
            while not self._at_rest() and not self.failing:
                alive = max(begun, self._verdicts.last_success)
                left = min(begun + timeout, alive + _PATIENCE_SECONDS) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        if self._at_rest():
            self._batches.shutdown()  # type: ignore[no-untyped-call]
        else:
            # An attempt is under way. Shutting the exporter down ends its waiting, and what this
            # attempt would have proved is left for the next process to find out.
            self._verdicts.failure = "shut down"
            self._verdicts.shutdown()
        writer = self._journal.writer
        return writer is None or self._has_delivered(writer.id, writer.seq)

    def _at_rest(self) -> bool:
        """Tell whether the thread has ended, or never begun, as in a forked child."""
        return self._finished or self._thread is None

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(
                    target=self._run, name="wakelog-delivery", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        with quietly():
            while not self._stopping:
                self._wake.wait(self._pause())
                self._wake.clear()
                if self._stopping and self.failing:
                    break
                if time.monotonic() >= self._not_before:
                    self._work_guarded()
            if not self.failing:
                self._work_guarded()  # what was accepted while the last round was under way
            for lane in self._lanes():
                lane.close()
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _pause(self) -> float:
        if self.failing:
            return max(0.0, self._not_before - time.monotonic())
        return self._schedule_delay

    def _work_guarded(self) -> None:
        """Do what there is to do; whatever goes wrong, the thread lives and tries again."""
        try:
            self._work()
        except WakelogError as error:
            self._failed(str(error))
        except Exception:  # noqa: BLE001 - a delivery thread that dies once would stay dead
            self._failed("an error inside Wakelog, which is worth a report")
            _log.exception("delivery hit an unexpected error and goes on")

    def _work(self) -> None:
        while True:
            live = self._live_lane()
            sent = self._send(live) if live is not None else _Sent.NOTHING
            if sent is _Sent.NOTHING and (orphan := self._next_orphan()) is not None:
                sent = self._send(orphan)
                if sent is _Sent.NOTHING:
                    if set_aside_torn_tail(orphan.path) is not None:
                        _log.warning("a line that a crash cut off is set aside in %s", orphan.path)
                    orphan.close()
                    self._orphan = None
                    continue
            if sent is not _Sent.ALL:
                return

    def _live_lane(self) -> _Lane | None:
        writer = self._journal.writer
        if writer is None or writer.seq == 0:
            return None
        if self._live is None or self._live.writer != writer.id:
            if self._live is not None:
                self._live.close()
            self._live = _Lane(writer.folder.path)
        return self._live

    def _next_orphan(self) -> _Lane | None:
        """Return the oldest writer that is gone and not dealt with in this search."""
        if self._orphan is None:
            if self._candidates is None:
                now = time.monotonic()
                if now < self._next_search:
                    return None
                # Somebody who looks whether a folder is free holds its lock for that moment, so
                # the second look comes soon after the first.
                self._next_search = now + self._search_pause
                self._search_pause = min(2 * self._search_pause, _ORPHAN_SEARCH_SECONDS)
                self._candidates = self._journal.orphans()
            folder = next(self._candidates, None)
            if folder is None:
                self._candidates = None
                return None
            self._orphan = _Lane(folder.path, folder)
        return self._orphan

    def _lanes(self) -> list[_Lane]:
        return [lane for lane in (self._live, self._orphan) if lane is not None]

    def _send(self, lane: _Lane) -> _Sent:
        chunk = lane.cursor.read(self._max_queue, _CHUNK_BYTES)
        if lane is self._live:
            self._wake_at = chunk.mark.seq + self._max_batch
        if not chunk.entries:
            lane.advance(chunk.mark)
            return _Sent.NOTHING
        self._verdicts.begin_round()
        writer = self._journal.writer
        seen = writer.seq if writer else 0
        for number, entry in enumerate(chunk.entries):
            self._batches.on_emit(self._rebuilder.rebuild(entry))
            if number % _TURN_RECORDS == 0 and writer is not None and writer.seq != seen:
                seen = writer.seq
                time.sleep(_TURN_SECONDS)
        self._batches.force_flush()
        delivered = self._verdicts.delivered
        if delivered >= len(chunk.entries):
            lane.advance(chunk.mark)
            self._succeeded()
            return _Sent.ALL
        if delivered:
            lane.advance(chunk.entries[delivered - 1].mark)
        lane.cursor.rewind(lane.mark)
        self._failed(self._verdicts.failure or "the batch processor did not export everything")
        return _Sent.FAILED

    def _succeeded(self) -> None:
        if self._failures:
            _log.warning("delivering again, after %d failed attempts", self._failures)
        self._failures, self._not_before = 0, 0.0
        with self._changed:
            self._changed.notify_all()

    def _failed(self, reason: str) -> None:
        self._failures += 1
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._failures - 1, 10))
        self._not_before = time.monotonic() + random.uniform(0, longest)  # noqa: S311 - jitter
        if self._failures == 1:
            _log.warning(
                "cannot deliver (%s); events are kept in %s and sent when it works again",
                reason,
                self._journal.root,
            )
        with self._changed:
            self._changed.notify_all()

    def _has_delivered(self, writer: str, seq: int) -> bool:
        lane = self._live
        return seq == 0 or (lane is not None and lane.writer == writer and lane.mark.seq >= seq)

    def _after_fork(self) -> None:
        lanes = self._lanes()
        self._reset()
        for lane in lanes:  # the descriptors are the parent's; closing ours leaves its locks alone
            lane.close()
