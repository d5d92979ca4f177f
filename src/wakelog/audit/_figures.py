"""What became of audit records in this process, for metrics: by where they go, and never by whose they are."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter, defaultdict, deque
from typing import Protocol

from opentelemetry.metrics import MeterProvider, Observation

from wakelog.audit import _metric_table as t
from wakelog.otel._instruments import Instruments, Observations, observe, samples

MEASURE_EACH = 16


class Waiting(Protocol):
    """Something that records may wait in."""

    max_pending: int

    @property
    def pending(self) -> int:
        """How many wait."""
        ...


class Figures:
    """What became of the records for one kind of destination.

    ``_lock`` guards the counts and the queues, and may be taken twice by a thread: a signal handler may
    record.

    Args:
        backend: Where they go, by the name that metrics have for it.
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._queues: weakref.WeakSet[Waiting] = weakref.WeakSet()
        self.begin()

    def begin(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
        self._lock = threading.RLock()
        self.appended = self.dropped = 0
        self.failed: Counter[str] = Counter()
        self.durations: deque[float] = samples()

    def watch(self, queue: Waiting) -> None:
        """Count a queue too, for as long as it lives."""
        with self._lock:
            self._queues.add(queue)

    def queues(self) -> list[Waiting]:
        """Return the queues there are."""
        with self._lock:
            return list(self._queues)

    def note_appended(self, count: int) -> None:
        """Note that records were accepted."""
        with self._lock:
            self.appended += count

    def note_failed(self, count: int, error: Exception) -> None:
        """Note that records were not."""
        reason = t.REASONS.get(type(error).__name__, t.OTHER)
        with self._lock:
            self.failed[reason] += count

    def note_dropped(self) -> None:
        """Note that a record found the queue full."""
        with self._lock:
            self.dropped += 1


def _observe_on(provider: MeterProvider) -> None:
    instruments = Instruments(provider, t.TABLE, _look)
    os.register_at_fork(after_in_child=instruments.begin)


def _look(instruments: Instruments) -> Observations:
    found: Observations = defaultdict(list)
    for figures in list(_figures.values()):
        on = {t.BACKEND: figures.backend}
        instruments.drain(t.DURATION, figures.durations, {**on})
        found[t.APPENDED].append(Observation(figures.appended, on))
        for reason in (*t.REASONS.values(), t.OTHER):
            failed = Observation(figures.failed[reason], {**on, t.REASON: reason})
            found[t.FAILED].append(failed)
        if figures.backend != t.LOGGER:
            queues = figures.queues()
            found[t.QUEUE_SIZE].append(Observation(sum(one.pending for one in queues), on))
            found[t.QUEUE_CAPACITY].append(Observation(sum(one.max_pending for one in queues), on))
            found[t.QUEUE_DROPPED].append(Observation(figures.dropped, on))
    return found


_figures: dict[str, Figures] = {}
_making = threading.Lock()


def figures_of(destination: object) -> Figures:
    """Return the figures of a session log's kind, or of the logger's, which have metrics from then on."""
    names = (kind.__name__ for kind in type(destination).__mro__)
    backend = next((t.BACKENDS[name] for name in names if name in t.BACKENDS), t.OTHER)
    with _making:
        first = not _figures
        figures = _figures.setdefault(backend, Figures(backend))
    if first:
        observe(_observe_on)
    return figures


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - a forked child may have inherited it locked
    _making = threading.Lock()
    for figures in _figures.values():
        figures.begin()


os.register_at_fork(after_in_child=_after_fork)
