"""The books of every event, and what each logger has done, as numbers that metrics read.

Loggers and forwarders count without a lock. A reader nevertheless gets figures that add up, because
it reads what became of the events before it reads how many there are.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from wakelog.delivery import CircuitState
from wakelog.gateway import _metric_table as t
from wakelog.runtime import regular_file
from wakelog.telemetry import MOST_SAMPLES, reason_of, samples

FATES: Final = ("forwarded", "rejected", "dead_lettered", "corrupt")


class RunBooks:
    """What became of one run's events that are to be forwarded.

    Attributes:
        noted: The number of events, as far as known.
        fates: How many of them were ``forwarded`` (the transport accepted them), ``rejected`` (it
            declared them unacceptable), ``dead_lettered`` (it repeatedly refused them while it
            accepted others), or are ``corrupt`` (they cannot be read back).
        dropped: Events dropped from memory, by reason.
        own: Whether a logger of this process logged the events.
        left_in: The run's lock file, once this process has stopped forwarding; another process
            deletes it when it has forwarded the rest.
        is_over: Whether the figures no longer change.
        begun: For each file of a dead run, the offset at which this process began to read.
        counted: Those of these files whose events are included in ``noted``.
    """

    def __init__(self, *, own: bool) -> None:
        self.own = own
        self.noted = 0
        self.fates: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.left_in: Path | None = None
        self.is_over = False
        self.begun: dict[Path, int] = {}
        self.counted: set[Path] = set()

    @property
    def acknowledged(self) -> int:
        """How many events are no longer pending."""
        return self.fates.total() + self.dropped.total()

    @property
    def pending(self) -> int:
        """How many events still have to be forwarded."""
        acknowledged = self.acknowledged
        return max(0, self.noted - acknowledged)

    def adopt(self, path: Path, count: int) -> None:
        """Include the events that a dead run left in a file, unless they are included already."""
        if not self.own and path not in self.counted:
            self.counted.add(path)
            self.noted += count

    def finish(self) -> None:
        """Note that all files of the run have been read; events still missing are corrupt."""
        self.fates["corrupt"] += self.pending
        self.is_over = True

    def leave(self, lock: Path | None) -> None:
        """Note that the run's logger has been closed.

        Args:
            lock: The run's lock file, which exists until some process has forwarded the pending
                events.
        """
        if self.pending and lock is not None:
            self.left_in = lock
        else:
            self.is_over = not self.pending

    def figures(self) -> Counter[str]:
        """Return the figures, including ``pending`` and ``accepted``."""
        if self.left_in is not None and regular_file(self.left_in) is None:
            self.left_in, self.is_over = None, True
            self.fates["forwarded"] += self.pending
        found = self.fates.copy()
        found.update({f"dropped {why}": n for why, n in list(self.dropped.items())})
        acknowledged = found.total()
        # A file may be read before its logger has counted the event that it wrote.
        found["pending"] = max(0, self.noted - acknowledged)
        found["accepted"] = found["pending"] + acknowledged
        return found


class GatewayBooks:
    """The books of all runs for which a process is responsible.

    ``_lock`` guards the sums of books that are over. Only readers of the books take it.

    Args:
        are_read: Whether metrics read the books; if not, those of other runs are not kept.
    """

    def __init__(self, *, are_read: bool) -> None:
        self.are_read = are_read
        self.reset()

    def reset(self) -> None:
        """Reset to zero, at the start and in a forked child."""
        self._lock = threading.Lock()
        self._by_run: dict[str, RunBooks] = {}
        self._over: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}

    def open(self, run: str) -> RunBooks:
        """Open the books of a run of this process."""
        books = RunBooks(own=True)
        if self.are_read:
            self._by_run[run] = books
        return books

    def of(self, run: str) -> RunBooks:
        """Return the books of a dead run."""
        if not self.are_read:
            return RunBooks(own=False)
        return self._by_run.setdefault(run, RunBooks(own=False))

    def balance(self) -> tuple[Counter[str], Counter[str]]:
        """Return the figures of this process's own events, and of adopted ones."""
        with self._lock:
            for run, books in list(self._by_run.items()):
                is_over = books.is_over
                figures = books.figures()
                if is_over and not figures["pending"]:
                    del self._by_run[run]
                    self._over[books.own].update(figures)
            own, adopted = Counter(self._over[True]), Counter(self._over[False])
            for books in list(self._by_run.values()):
                (own if books.own else adopted).update(books.figures())
        return own, adopted


class State(NamedTuple):
    """The state of a logger at one time.

    Attributes:
        open_files: The number of open file descriptors.
        circuit: The state of the circuit.
        is_healthy: Whether the last call of the transport succeeded; None without a transport.
        queue_size: The number of events in memory.
        queue_capacity: The maximum number of events in memory; 0 if the files are the queue.
        oldest: When the oldest pending event was logged, in nanoseconds since 1970; 0 if none is
            pending.
        elsewhere: Events in the same directory that wait for another pipeline without a process.
    """

    open_files: int
    circuit: CircuitState = CircuitState.CLOSED
    is_healthy: bool | None = None
    queue_size: int = 0
    queue_capacity: int = 0
    oldest: int = 0
    elsewhere: int = 0


class GatewayCounters:
    """What one logger has done.

    Args:
        books: The books of its process.
    """

    def __init__(self, books: GatewayBooks) -> None:
        self.books = books
        self._state: weakref.WeakMethod[Callable[[], State]] | None = None
        self.reset()

    def reset(self) -> None:
        """Reset to zero, at the start and in a forked child."""
        self.calls = self.logged = 0
        self.overhead = 0.0
        self.local_errors: Counter[str] = Counter()
        self.transport_errors: Counter[str] = Counter()
        self.overheads = samples()
        self.sends: deque[tuple[float, str]] = deque(maxlen=MOST_SAMPLES)

    def follow(self, state: Callable[[], State]) -> None:
        """Set the method that returns the logger's state, by a weak reference."""
        self._state = weakref.WeakMethod(state)

    def state(self) -> State | None:
        """Return the logger's state; None if the logger is gone."""
        if self._state is None:
            return State(open_files=0)  # its constructor is still running
        ask = self._state()
        return None if ask is None else ask()

    def spent(self, seconds: float) -> None:
        """Count an await and its duration."""
        self.overhead += seconds
        self.calls += 1
        if self.books.are_read and not self.calls & 15:
            self.overheads.append(seconds)

    def failed_locally(self, error: Exception) -> None:
        """Count an await that raised."""
        cause = error.__cause__ or error
        self.local_errors[reason_of(cause, t.LOCAL_ERRORS)] += 1

    def attempted(self, seconds: float, error: Exception | None, *, rejected: bool) -> None:
        """Count an attempt to send."""
        wrong = ""
        if rejected:
            wrong = "rejected"
        elif error is not None:
            wrong = reason_of(error, t.TRANSPORT_ERRORS)
            self.transport_errors[wrong] += 1
        if self.books.are_read:
            self.sends.append((seconds, wrong))
