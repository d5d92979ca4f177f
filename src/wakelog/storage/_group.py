"""Group commit: threads that want something synced at the same time share one sync."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wakelog.errors import JournalError

# How often those who wait make sure that somebody is syncing for them.
_LOOK_SECONDS = 1.0


class _Waiter:
    """A thread that waits for somebody else's sync."""

    __slots__ = ("answered", "batch", "error", "seq", "thread")

    def __init__(self, seq: int, thread: int) -> None:
        self.seq, self.thread = seq, thread
        self.answered = threading.Lock()
        self.answered.acquire()
        # For the one that has to sync next: those that it syncs for.
        self.batch: list[_Waiter] | None = None
        self.error: JournalError | None = None


class GroupCommit:
    """Has one thread sync at a time, for all that have come while the last sync was under way.

    A thread that finds nobody syncing does it itself, without any hand-over. The others queue up;
    when a sync ends, the first of the queue syncs for the whole queue and answers everyone at once.
    A thread that was in here already, and that the handler of a signal or a finalizer has brought
    here a second time, waits for nobody: it might be itself.

    ``_lock`` guards who leads and who waits; nothing is synced under it.

    Args:
        sync: Makes everything written so far durable and returns up to which sequence number.
        beside: Does so too, while another call of ``sync`` may be under way, and forgets nothing.
        written: Returns the sequence number of the last line written.
    """

    def __init__(
        self, sync: Callable[[], int], beside: Callable[[], None], written: Callable[[], int]
    ) -> None:
        self._sync, self._beside, self._written = sync, beside, written
        self._lock = threading.Lock()
        self._inside: set[int] = set()
        # The thread that syncs, or has to next. It may have been interrupted where it could not
        # say so; then it is inside no more.
        self._leader: int | None = None
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
        me = threading.get_ident()
        if me in self._inside:
            self._beside()
            return
        self._inside.add(me)
        try:
            self._wait(seq, me)
        finally:
            self._inside.discard(me)

    def _wait(self, seq: int, me: int) -> None:
        with self._lock:
            if self._is_synced(seq):
                return
            waiter = _Waiter(seq, me)
            if leads := self._leader not in self._inside:
                self._leader = me
            else:
                self._waiters.append(waiter)
        if leads:
            self._lead([])
        else:
            self._follow(waiter)

    def _is_synced(self, seq: int) -> bool:
        """Return whether a line is durable, and raise when its sync has failed. Under the lock."""
        for after, up_to, failure in self._failures:
            if after < seq <= up_to:
                # Another sync might claim success for pages that the kernel has dropped.
                raise failure
        return self._synced >= seq

    def _follow(self, waiter: _Waiter) -> None:
        try:
            while not waiter.answered.acquire(timeout=_LOOK_SECONDS):
                if self._need_not_wait(waiter):
                    return
                if self._leader == waiter.thread:
                    waiter.batch = waiter.batch or []
                    break
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

    def _need_not_wait(self, waiter: _Waiter) -> bool:
        """Return whether the line is durable by now; else take over from a leader that is gone."""
        with self._lock:
            synced = self._is_synced(waiter.seq)
            gone = self._leader not in self._inside
            if (synced or gone) and waiter in self._waiters:
                self._waiters.remove(waiter)
            if gone and not synced:
                self._leader = waiter.thread
        return synced

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
                self._leader = left[0].thread if left else None
                if left:
                    left[0].batch = left[1:]
            for waiter in batch:
                waiter.error = error
            for waiter in (*batch, *covered, *left[:1]):
                waiter.answered.release()
        if error is not None:
            raise error
