"""What became of every event, and what each logger has done; in plain numbers that metrics read.

Loggers and forwarders count without a lock. Who reads gets figures that add up whenever he does so,
because what became of events is read before how many there are.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from wakelog.gateway import _metric_table as t
from wakelog.gateway._circuit import CircuitState
from wakelog.otel._metric_table import OTHER

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

FATES: Final = ("forwarded", "rejected", "corrupt")
_MOST_SAMPLES = 8192


class Account:
    """What became of the events of one run that are to be forwarded.

    Attributes:
        noted: How many there are, as far as is known.
        forwarded: Taken by the transport.
        rejected: Never taken by it.
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
        self.noted = self.forwarded = self.rejected = self.corrupt = 0
        self.dropped: Counter[str] = Counter()
        self.left_in: Path | None = None
        self.is_over = False
        self.begun: dict[Path, int] = {}
        self.counted: set[Path] = set()

    @property
    def dealt_with(self) -> int:
        """How many events need nothing more."""
        return self.forwarded + self.rejected + self.corrupt + self.dropped.total()

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
        if self.left_in is not None and not self.left_in.exists():
            self.left_in, self.is_over = None, True
            self.forwarded += self.pending
        found = Counter({name: getattr(self, name) for name in FATES})
        found.update({f"dropped {why}": n for why, n in list(self.dropped.items())})
        dealt_with = found.total()
        # A file may be read before its logger has counted what it wrote.
        found["pending"] = max(0, self.noted - dealt_with)
        found["accepted"] = found["pending"] + dealt_with
        return found


class Books:
    """The accounts of all runs that a process answers for.

    ``_lock`` guards the sums of accounts that are over. Only who reads the books takes it.

    Args:
        are_read: Whether somebody reads them; else nothing is kept of other runs.
    """

    def __init__(self, *, are_read: bool) -> None:
        self.are_read = are_read
        self.begin()

    def begin(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._over: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}

    def open(self, run: str) -> Account:
        """Open the account of a run of this process."""
        account = Account(own=True)
        if self.are_read:
            self._accounts[run] = account
        return account

    def of(self, run: str) -> Account:
        """Return the account of a run that is gone."""
        if not self.are_read:
            return Account(own=False)
        return self._accounts.setdefault(run, Account(own=False))

    def balance(self) -> tuple[Counter[str], Counter[str]]:
        """Return what became of this process's own events, and of adopted ones."""
        with self._lock:
            for run, account in list(self._accounts.items()):
                is_over = account.is_over
                figures = account.figures()
                if is_over and not figures["pending"]:
                    del self._accounts[run]
                    self._over[account.own].update(figures)
            own, adopted = Counter(self._over[True]), Counter(self._over[False])
            for account in list(self._accounts.values()):
                (own if account.own else adopted).update(account.figures())
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
    """

    open_files: int
    circuit: CircuitState = CircuitState.CLOSED
    is_healthy: bool | None = None
    queue_size: int = 0
    queue_capacity: int = 0
    oldest: int = 0


class Tally:
    """What one logger has done.

    Args:
        books: The books of its process.
    """

    def __init__(self, books: Books) -> None:
        self.books = books
        self._state: weakref.WeakMethod[Callable[[], State]] | None = None
        self.begin()

    def begin(self) -> None:
        """Begin at zero: at first, and again in a forked child."""
        self.calls = self.logged = 0
        self.overhead = 0.0
        self.local_errors: Counter[str] = Counter()
        self.transport_errors: Counter[str] = Counter()
        self.overheads: deque[float] = deque(maxlen=_MOST_SAMPLES)
        self.sends: deque[tuple[float, str]] = deque(maxlen=_MOST_SAMPLES)

    def follow(self, state: Callable[[], State]) -> None:
        """Learn whom to ask what the logger is like, for as long as it lives."""
        self._state = weakref.WeakMethod(state)

    def state(self) -> State | None:
        """Return what the logger is like, None when it is gone."""
        ask = self._state() if self._state is not None else None
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
        self.local_errors[t.LOCAL_ERRORS.get(type(cause).__name__, OTHER)] += 1

    def attempted(self, seconds: float, error: Exception | None, *, rejected: bool) -> None:
        """Note an attempt to send."""
        wrong = ""
        if rejected:
            wrong = "rejected"
        elif error is not None:
            wrong = t.TRANSPORT_ERRORS.get(type(error).__name__, OTHER)
            self.transport_errors[wrong] += 1
        if self.books.are_read:
            self.sends.append((seconds, wrong))


def tally_on(provider: MeterProvider | None) -> Tally:
    """Return a tally whose figures are on a MeterProvider, or on the global one if there is one."""
    # Without the SDK nobody can have set one, and it is not loaded to find that out.
    if provider is not None or "opentelemetry.sdk.metrics" in sys.modules:
        from wakelog.gateway._metrics import metrics_on

        if (metrics := metrics_on(provider)) is not None:
            return metrics.tally()
    return Tally(Books(are_read=False))
