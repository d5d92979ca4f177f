"""What delivery counts and times, for metrics."""

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
    """What one processor's delivery has done.

    Args:
        books: The process's books.
    """

    def __init__(self, books: ProcessBooks) -> None:
        self.books = books
        self.reset()

    def reset(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
        self.replayed = 0
        self.inflight = 0
        self.exported: Counter[str] = Counter()
        """Records, by what was wrong with them; empty for nothing."""
        self.found: Counter[str] = Counter()
        """What was recovered of processes that are gone, by its kind."""
        self.latencies, self.pauses = samples(), samples()
        self.operations: deque[tuple[float, str]] = deque(maxlen=MOST_SAMPLES)

    def follows(self, lanes_of: LanesOf) -> None:
        """Ask a delivery for the lanes by which it delivers a folder."""
        self.books.ask(lanes_of)

    def adopted(self, lanes: WriterLanes) -> None:
        """Answer for a writer of another process."""
        self.books.adopt(lanes)

    def recovered(self, what: str, count: int = 1) -> None:
        """Count what was found of processes that are gone."""
        self.found[what] += count

    def paused(self, seconds: float) -> None:
        """Note a wait after an attempt that failed."""
        self.pauses.append(seconds)

    def acknowledged(self, entries: Sequence[Entry], dead: int, *, replayed: bool) -> None:
        """Note that records have been dealt with in this moment."""
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
        """Return an attempt that notes what becomes of each attempt, and how long it takes."""

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
