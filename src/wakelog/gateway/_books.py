"""What became of every event, and what each logger has done; in plain numbers that metrics read.

Loggers and forwarders count without a lock. Who reads gets figures that add up whenever he does so,
because what became of events is read before how many there are.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from wakelog.delivery import CircuitState
from wakelog.gateway import _metric_table as t
from wakelog.runtime import regular_file
from wakelog.telemetry import MOST_SAMPLES, reason_of, samples

if TYPE_CHECKING:
    pass

FATES: Final = ("forwarded", "rejected", "dead_lettered", "corrupt")


class RunBooks:
    """What became of the events of one run that are to be forwarded.

    Attributes:
        noted: How many there are, as far as is known.
        forwarded: Taken by the transport.
        rejected: Said by it to be none that it ever takes.
        dead_lettered: Refused by it again and again while it took others.
        corrupt: Not to be read back.
        dropped: Dropped from memory, by why.
        own: Whether a logger of this process has logged them.
        left_in: The run's lock, once nobody in this process forwards them; it is gone when somebody
            else has.
        is_over: Whether nothing more will happen to it.
        begun: At which offset this process has begun to read each file of a run that is gone.
        counted: Those of these files whose events are in ``noted``.
    """

    def __init__(self, *, own: bool) -> None:
        self.own = own
        self.noted = self.forwarded = self.rejected = self.dead_lettered = self.corrupt = 0
        self.dropped: Counter[str] = Counter()
        self.left_in: Path | None = None
        self.is_over = False
        self.begun: dict[Path, int] = {}
        self.counted: set[Path] = set()

    @property
    def dealt_with(self) -> int:
        """How many events need nothing more."""
        refused = self.rejected + self.dead_lettered
        return self.forwarded + refused + self.corrupt + self.dropped.total()

    @property
    def pending(self) -> int:
        """How many events still have to be forwarded."""
        dealt_with = self.dealt_with
        return max(0, self.noted - dealt_with)

    def adopt(self, path: Path, count: int) -> None:
        """Answer for what a file of a run that is gone still holds, unless that is so already."""
        if not self.own and path not in self.counted:
            self.counted.add(path)
            self.noted += count

    def finish(self) -> None:
        """Learn that all files of the run have been read through: what is missing cannot be read."""
        self.corrupt += self.pending
        self.is_over = True

    def leave(self, lock: Path | None) -> None:
        """Learn that its logger has been closed.

        Args:
            lock: The run's lock, which is there until somebody has forwarded what is pending.
        """
        if self.pending and lock is not None:
            self.left_in = lock
        else:
            self.is_over = not self.pending

    def figures(self) -> Counter[str]:
        """Return what became of the events, ``pending`` and ``accepted`` with it."""
        if self.left_in is not None and regular_file(self.left_in) is None:
            self.left_in, self.is_over = None, True
            self.forwarded += self.pending
        found = Counter({name: getattr(self, name) for name in FATES})
        found.update({f"dropped {why}": n for why, n in list(self.dropped.items())})
        dealt_with = found.total()
        # A file may be read before its logger has counted what it wrote.
        found["pending"] = max(0, self.noted - dealt_with)
        found["accepted"] = found["pending"] + dealt_with
        return found


class GatewayBooks:
    """The books of all runs that a process answers for.

    ``_lock`` guards the sums of books that are over. Only who reads the books takes it.

    Args:
        are_read: Whether somebody reads them; else nothing is kept of other runs.
    """

    def __init__(self, *, are_read: bool) -> None:
        self.are_read = are_read
        self.reset()

    def reset(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
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
        """Return the books of a run that is gone."""
        if not self.are_read:
            return RunBooks(own=False)
        return self._by_run.setdefault(run, RunBooks(own=False))

    def balance(self) -> tuple[Counter[str], Counter[str]]:
        """Return what became of this process's own events, and of adopted ones."""
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
    """What a logger is like at a moment.

    Attributes:
        open_files: Descriptors that are open.
        circuit: Whether events are sent now.
        is_healthy: Whether the transport did what it was last asked; None without one.
        queue_size: Events in memory.
        queue_capacity: How many may be there; 0 where the files are the queue.
        oldest: When the oldest pending event was logged, in nanoseconds since 1970; 0 without one.
        elsewhere: Events that wait in the same directory for another pipeline, which nobody serves.
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
        """Begin at zero: at first, and again in a forked child."""
        self.calls = self.logged = 0
        self.overhead = 0.0
        self.local_errors: Counter[str] = Counter()
        self.transport_errors: Counter[str] = Counter()
        self.overheads = samples()
        self.sends: deque[tuple[float, str]] = deque(maxlen=MOST_SAMPLES)

    def follow(self, state: Callable[[], State]) -> None:
        """Learn whom to ask what the logger is like, for as long as it lives."""
        self._state = weakref.WeakMethod(state)

    def state(self) -> State | None:
        """Return what the logger is like, None when it is gone."""
        if self._state is None:
            return State(open_files=0)  # it is being made
        ask = self._state()
        return None if ask is None else ask()

    def spent(self, seconds: float) -> None:
        """Note how long an await took."""
        self.overhead += seconds
        self.calls += 1
        if self.books.are_read and not self.calls & 15:
            self.overheads.append(seconds)

    def failed_locally(self, error: Exception) -> None:
        """Note that an await raised."""
        cause = error.__cause__ or error
        self.local_errors[reason_of(cause, t.LOCAL_ERRORS)] += 1

    def attempted(self, seconds: float, error: Exception | None, *, rejected: bool) -> None:
        """Note an attempt to send."""
        wrong = ""
        if rejected:
            wrong = "rejected"
        elif error is not None:
            wrong = reason_of(error, t.TRANSPORT_ERRORS)
            self.transport_errors[wrong] += 1
        if self.books.are_read:
            self.sends.append((seconds, wrong))
