"""What delivery counts and times, for metrics."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence

from opentelemetry.sdk._logs import ReadableLogRecord

from wakelog.journal import Entry
from wakelog.otel._accounts import Accounts
from wakelog.otel._instruments import MOST_SAMPLES, samples
from wakelog.otel._verdict import Judge, Outcome, Verdict

_FROM_A_ROUND = 16


class Tally:
    """What one processor's delivery has done.

    Args:
        accounts: The process's books.
    """

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.begin()

    def begin(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
        self.replayed = 0
        self.inflight = 0
        self.exported: Counter[str] = Counter()
        """Records, by what was wrong with them; empty for nothing."""
        self.recovered: Counter[str] = Counter()
        self.latencies, self.pauses = samples(), samples()
        self.operations: deque[tuple[float, str]] = deque(maxlen=MOST_SAMPLES)

    def settled(self, entries: Sequence[Entry], dead: int, *, replayed: bool) -> None:
        """Note that records have been dealt with in this moment."""
        if replayed:
            self.replayed += len(entries) - dead
            return
        now = time.time_ns()
        step = -(-len(entries) // _FROM_A_ROUND) or 1
        for entry in entries[::step]:
            began = entry.record.timestamp or entry.record.observed_timestamp or now
            self.latencies.append(max(0, now - began) / 1e9)

    def measuring(self, judge: Judge) -> Judge:
        """Return a judge that notes what becomes of each attempt, and how long it takes."""

        def measured(batch: Sequence[ReadableLogRecord]) -> Verdict:
            self.inflight = len(batch)
            began = time.perf_counter()
            try:
                verdict = judge(batch)
            finally:
                self.inflight = 0
            wrong = "" if verdict.outcome is Outcome.DELIVERED else verdict.outcome.name.lower()
            self.exported[wrong] += len(batch) - verdict.rejected
            if verdict.rejected:
                wrong = "rejected"
                self.exported[wrong] += verdict.rejected
            self.operations.append((time.perf_counter() - began, wrong))
            return verdict

        return measured
