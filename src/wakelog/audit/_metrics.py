"""Metrics of audit records in this process, by backend, and never by tenant or thread."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, deque
from typing import TYPE_CHECKING

from wakelog.audit import _metric_table as t
from wakelog.runtime import ForkOrder, reset_in_child
from wakelog.telemetry import OTHER, reason_of, samples
from wakelog.telemetry.instruments import Instruments, Observations, observe

if TYPE_CHECKING:
    from wakelog.audit._channel import AuditQueue

MEASURE_EACH = 16


class AuditMetrics:
    """The counts of one kind of backend.

    ``_lock`` guards the counts and the queues. A thread may take it twice, because a signal handler
    may record.

    Args:
        backend: The backend's name in metrics.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._queues: weakref.WeakSet[AuditQueue] = weakref.WeakSet()
        self.reset()

    def reset(self) -> None:
        """Reset to zero, at the start and in a forked child."""
        self._lock = threading.RLock()
        self.appended = self.dropped = 0
        self.failed: Counter[str] = Counter()
        self.durations: deque[float] = samples()

    def watch(self, queue: AuditQueue) -> None:
        """Include a queue's figures."""
        with self._lock:
            self._queues.add(queue)

    def unwatch(self, queue: AuditQueue) -> None:
        """Stop including a queue, because no sink uses it any more."""
        with self._lock:
            self._queues.discard(queue)

    def queues(self) -> list[AuditQueue]:
        """Return the included queues."""
        with self._lock:
            return list(self._queues)

    def note_appended(self, count: int) -> None:
        """Count records that were accepted."""
        with self._lock:
            self.appended += count

    def note_failed(self, count: int, error: Exception) -> None:
        """Count records that were not accepted."""
        reason = reason_of(error, t.REASONS)
        with self._lock:
            self.failed[reason] += count

    def note_dropped(self) -> None:
        """Count a record that arrived when the queue was full."""
        with self._lock:
            self.dropped += 1


def _collect(instruments: Instruments) -> Observations:
    found = Observations()
    for metrics in list(_metrics.values()):
        on = {t.BACKEND: metrics.backend}
        instruments.drain(t.DURATION, metrics.durations, {**on})
        found.say(t.APPENDED, metrics.appended, **on)
        for reason in (*t.REASONS, OTHER):
            found.say(t.FAILED, metrics.failed[reason], **on, reason=reason)
        if metrics.backend != t.LOGGER:
            queues = metrics.queues()
            found.say(t.QUEUE_SIZE, sum(one.pending for one in queues), **on)
            found.say(t.QUEUE_CAPACITY, sum(one.max_pending for one in queues), **on)
            found.say(t.QUEUE_DROPPED, metrics.dropped, **on)
    return found


_metrics: dict[str, AuditMetrics] = {}
_making = threading.Lock()


def metrics_of(destination: object) -> AuditMetrics:
    """Return the metrics of a session log's or logger's backend, and begin to export them."""
    names = (kind.__name__ for kind in type(destination).__mro__)
    backend = next((t.BACKENDS[name] for name in names if name in t.BACKENDS), OTHER)
    with _making:
        first = not _metrics
        metrics = _metrics.setdefault(backend, AuditMetrics(backend))
    if first:
        observe(t.TABLE, _collect)
    return metrics


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - a forked child may have inherited it locked
    _making = threading.Lock()
    for metrics in _metrics.values():
        metrics.reset()


reset_in_child(_after_fork, ForkOrder.METRICS)
