"""Metrics of session streams in this process, without session ids."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING

from wakelog.journal import Observer
from wakelog.runtime import ForkOrder, reset_in_child
from wakelog.streams import _metric_table as t
from wakelog.telemetry import OTHER, reason_of, samples
from wakelog.telemetry.instruments import Instruments, Observations, observe

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams


class StreamMetrics:
    """The figures of this process. ``_lock`` guards the counts and the observed objects."""

    def __init__(self) -> None:
        self._shown: weakref.WeakSet[SessionStreams] = weakref.WeakSet()
        self._observed = False
        self._writes = samples()
        self.observer = Observer(self._writes.append, _ignore, _ignore)
        self._reset()
        reset_in_child(self._reset, ForkOrder.METRICS)

    def _reset(self) -> None:
        """Reset to zero, at the start and in a forked child."""
        self._lock = threading.RLock()
        self._written = 0
        self._refused: Counter[str] = Counter()
        self._writes.clear()

    def show(self, one: SessionStreams) -> None:
        """Include an object's figures until it is garbage-collected."""
        with self._lock:
            self._shown.add(one)
            first, self._observed = not self._observed, True
        if first:
            observe(t.TABLE, self._collect)

    def note_written(self) -> None:
        """Count a line that was written."""
        with self._lock:
            self._written += 1

    def note_refused(self, error: Exception) -> None:
        """Count a line that was refused."""
        with self._lock:
            self._refused[reason_of(error, t.REASONS)] += 1

    def _collect(self, instruments: Instruments) -> Observations:
        instruments.drain(t.DURATION, self._writes)
        with self._lock:
            shown = list(self._shown)
        found = Observations()
        found.say(t.WRITTEN, self._written)
        for reason in (*t.REASONS, OTHER):
            found.say(t.REFUSED, self._refused[reason], reason=reason)
        found.say(t.OPEN, sum(one.open_streams for one in shown))
        found.say(t.READ, sum(one.read_sessions for one in shown))
        roots = {journal.root: journal for one in shown if (journal := one.journal) is not None}
        found.say(t.USAGE, sum(one.disk_usage for one in roots.values()))
        found.say(t.LIMIT, sum(one.disk_limit for one in roots.values()))
        return found


def _ignore(_: float) -> None:
    """Ignore a measurement."""


METRICS = StreamMetrics()
