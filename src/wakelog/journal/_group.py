"""Group commit: threads that want something synced at the same time share one sync."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wakelog.errors import JournalError


class _Waiter:
    """A thread that waits for somebody else's sync."""

    __slots__ = ("answered", "batch", "error", "seq")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.answered = threading.Lock()
        self.answered.acquire()
        # For the one that has to sync next: those that it syncs for.
        self.batch: list[_Waiter] | None = None
        self.error: JournalError | None = None


class GroupCommit:
    """Has one thread sync at a time, for all that have come while the last sync was under way.

    A thread that finds nobody syncing does it itself, without any hand-over. The others queue up;
    when a sync ends, the first of the queue syncs for the whole queue and answers everyone at once.

    ``_lock`` guards who leads and who waits; nothing is synced under it.

    Args:
        sync: Makes everything written so far durable and returns up to which sequence number.
        written: Returns the sequence number of the last line written.
    """

    def __init__(self, sync: Callable[[], int], written: Callable[[], int]) -> None:
        self._sync, self._written = sync, written
        self._lock = threading.Lock()
        self._leading = False
        self._waiters: list[_Waiter] = []
        self._synced = 0
        # Which lines failed syncs have left out: after one number, up to another.
        self._failures: list[tuple[int, int, JournalError]] = []

    @property
    def synced(self) -> int:
        """The sequence number up to which everything that was waited for is durable."""
        return self._synced

    def wait(self, seq: int) -> None:
        """Return when a line is durable.

        Args:
            seq: The line's sequence number.

        Raises:
            JournalError: When the sync that should have covered the line failed.
        """
        with self._lock:
            for after, up_to, failure in self._failures:
                if after < seq <= up_to:
                    # Another sync might claim success for pages that the kernel has dropped.
                    raise failure
            if self._synced >= seq:
                return
            if self._leading:
                waiter = _Waiter(seq)
                self._waiters.append(waiter)
            else:
                self._leading = True
                waiter = None
        if waiter is None:
            self._lead([])
        else:
            self._follow(waiter)

    def _follow(self, waiter: _Waiter) -> None:
        try:
            waiter.answered.acquire()
        except BaseException:
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                    raise
            if waiter.batch is not None:
                self._lead(waiter.batch)  # others rely on it, interrupted or not
            raise
        if waiter.batch is not None:
            self._lead(waiter.batch)
        elif waiter.error is not None:
            raise waiter.error

    def _lead(self, batch: list[_Waiter]) -> None:
        error: JournalError | None = None
        interrupted = True
        try:
            reached = self._sync()
            interrupted = False
        except JournalError as failure:
            error, interrupted, reached = failure, False, 0
        finally:
            with self._lock:
                if interrupted:
                    self._waiters[:0] = batch
                    batch = []
                elif error is None:
                    self._synced = max(self._synced, reached)
                else:
                    # Those who came meanwhile have had their lines saved, and lost, with ours.
                    batch, self._waiters = [*batch, *self._waiters], []
                    if self._failures and self._failures[-1][0] == self._synced:
                        self._failures.pop()
                    self._failures.append((self._synced, self._written(), error))
                covered = [w for w in self._waiters if w.seq <= self._synced]
                left = [w for w in self._waiters if w.seq > self._synced]
                self._waiters = []
                self._leading = bool(left)
                if left:
                    left[0].batch = left[1:]
            for waiter in batch:
                waiter.error = error
            for waiter in (*batch, *covered, *left[:1]):
                waiter.answered.release()
        if error is not None:
            raise error
