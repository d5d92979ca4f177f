"""What session streams have done in this process, for metrics: never which sessions they are."""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter, defaultdict
from typing import Protocol

from opentelemetry.metrics import MeterProvider, Observation

from wakelog.journal import Journal, Observer
from wakelog.otel._instruments import Instruments, Observations, observe, samples
from wakelog.streams import _metric_table as t


class Shown(Protocol):
    """What has figures of its own."""

    @property
    def open_streams(self) -> int:
        """How many streams have begun and not ended."""
        ...

    @property
    def read_sessions(self) -> int:
        """How many sessions somebody reads."""
        ...

    @property
    def journal(self) -> Journal | None:
        """The journal, once there is one."""
        ...


class Figures:
    """Everything of this process. ``_lock`` guards the counts, and who is shown."""

    def __init__(self) -> None:
        self._shown: weakref.WeakSet[Shown] = weakref.WeakSet()
        self._observed = False
        self._writes = samples()
        self.observer = Observer(self._writes.append, _ignore, _ignore)
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
        self._lock = threading.RLock()
        self._written = 0
        self._refused: Counter[str] = Counter()
        self._writes.clear()

    def show(self, one: Shown) -> None:
        """Count somebody too, for as long as he lives."""
        with self._lock:
            self._shown.add(one)
            first, self._observed = not self._observed, True
        if first:
            observe(self._observe_on)

    def note_written(self) -> None:
        """Note that a line was written."""
        with self._lock:
            self._written += 1

    def note_refused(self, error: Exception) -> None:
        """Note that a line was not."""
        with self._lock:
            self._refused[t.REASONS.get(type(error).__name__, t.OTHER)] += 1

    def _observe_on(self, provider: MeterProvider) -> None:
        instruments = Instruments(provider, t.TABLE, self._look)
        os.register_at_fork(after_in_child=instruments.begin)

    def _look(self, instruments: Instruments) -> Observations:
        instruments.drain(t.DURATION, self._writes)
        with self._lock:
            shown = list(self._shown)
        found: Observations = defaultdict(list)
        found[t.WRITTEN].append(Observation(self._written))
        for reason in (*t.REASONS.values(), t.OTHER):
            found[t.REFUSED].append(Observation(self._refused[reason], {t.REASON: reason}))
        found[t.OPEN].append(Observation(sum(one.open_streams for one in shown)))
        found[t.READ].append(Observation(sum(one.read_sessions for one in shown)))
        roots = {journal.root: journal for one in shown if (journal := one.journal) is not None}
        found[t.USAGE].append(Observation(sum(one.disk_usage for one in roots.values())))
        found[t.LIMIT].append(Observation(sum(one.disk_limit for one in roots.values())))
        return found


def _ignore(_: float) -> None:
    """Measure nothing of this."""


FIGURES = Figures()
