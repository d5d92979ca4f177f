"""Counts and durations of delivery, for metrics."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence

from opentelemetry.sdk._logs import ReadableLogRecord

from wakelog.delivery import DeliveryObserver, ExportOutcome, LanesOf, WriterLanes
from wakelog.journal import Entry
from wakelog.otel._process_books import ProcessBooks
from wakelog.otel._response_capture import ExportAttempt
from wakelog.telemetry import MOST_SAMPLES, samples

_FROM_A_ROUND = 16


class DeliveryCounters(DeliveryObserver):
    """The counters of one processor's delivery.

    Args:
        books: The process's books.
    """

    def __init__(self, books: ProcessBooks) -> None:
        self.books = books
        self.reset()

    def reset(self) -> None:
        """Set all counters to zero: at the start, and in a forked child."""
        self.replayed = 0
        self.inflight = 0
        self.exported: Counter[str] = Counter()
        """Numbers of records by outcome; the key is empty for delivered ones."""
        self.found: Counter[str] = Counter()
        """Numbers of things recovered from processes that have ended, by kind."""
        self.latencies, self.pauses = samples(), samples()
        self.operations: deque[tuple[float, str]] = deque(maxlen=MOST_SAMPLES)

    def follows(self, lanes_of: LanesOf) -> None:
        """Register the lanes by which delivery delivers a folder."""
        self.books.ask(lanes_of)

    def adopted(self, lanes: WriterLanes) -> None:
        """Add a writer of another process to the books."""
        self.books.adopt(lanes)

    def recovered(self, what: str, count: int = 1) -> None:
        """Count what was recovered from processes that have ended."""
        self.found[what] += count

    def paused(self, seconds: float) -> None:
        """Store the duration of a wait after a failed attempt."""
        self.pauses.append(seconds)

    def acknowledged(self, entries: Sequence[Entry], dead: int, *, replayed: bool) -> None:
        """Count records that were delivered, or became dead letters, at this moment."""
        if replayed:
            self.replayed += len(entries) - dead
            return
        now = time.time_ns()
        step = -(-len(entries) // _FROM_A_ROUND) or 1
        for entry in entries[::step]:
            record = entry.record
            began = record.timestamp or record.observed_timestamp or now
            self.latencies.append(max(0, now - began) / 1e9)

    def measuring(self, attempt: ExportAttempt) -> ExportAttempt:
        """Return an attempt that also counts the outcome of each call and measures its duration."""

        def measured(batch: Sequence[ReadableLogRecord]) -> ExportOutcome:
            self.inflight = len(batch)
            began = time.perf_counter()
            try:
                outcome = attempt(batch)
            finally:
                self.inflight = 0
            wrong = outcome.kind.value
            self.exported[wrong] += len(batch) - outcome.rejected
            if outcome.rejected:
                wrong = "rejected"
                self.exported[wrong] += outcome.rejected
            self.operations.append((time.perf_counter() - began, wrong))
            return outcome

        return measured
