"""Group commit: threads that need a sync at the same time share one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

from wakelog.errors import JournalError

# How often a waiting thread checks that the leader still exists, in seconds.
_LOOK_SECONDS = 1.0


class _Waiter:
    """A thread that waits for another thread's sync."""

    __slots__ = ("answered", "batch", "error", "gone", "next", "seq", "thread")

    def __init__(self, seq: int, thread: int) -> None:
        self.seq, self.thread = seq, thread
        self.answered = threading.Lock()
        self.answered.acquire()
        # The next leader's batch: the waiters for which it syncs.
        self.batch: list[_Waiter] | None = None
        self.error: JournalError | None = None
        # The waiter that this one wakes when it is woken itself, and whether it has been interrupted.
        self.next: _Waiter | None = None
        self.gone = False


class GroupCommit:
    """Lets one thread, the leader, sync for all threads that have called during the last sync.

    Without a leader, a calling thread syncs directly. Otherwise it joins the queue. When a sync
    ends, the first thread of the queue becomes the leader, and syncs for the whole queue. The old
    one wakes the first thread for which it has synced, and each wakes the next, with the leader in
    their middle: if all were awake at once, they would pass the interpreter lock on to one another
    at each system call. A thread that calls again from a signal handler or a finalizer never waits,
    because it might wait for itself.

    ``_lock`` guards the leader and the queue; nothing is synced under it.

    Args:
        sync: Syncs everything written so far, and returns the last sequence number.
        beside: Syncs everything written so far, even during a ``sync``, and changes no state.
        written: Returns the sequence number of the last line written.
    """

    def __init__(
        self, sync: Callable[[], int], beside: Callable[[], None], written: Callable[[], int]
    ) -> None:
        self._sync, self._beside, self._written = sync, beside, written
        self._lock = threading.Lock()
        self._inside: set[int] = set()
        # The thread that syncs, or that has to sync next. If it was interrupted before it could
        # resign, it is no longer in `_inside`.
        self._leader: int | None = None
        self._waiters: list[_Waiter] = []
        self._synced = 0
        # Lines whose sync has failed: after one number, up to another, with the error.
        self._failures: list[tuple[int, int, JournalError]] = []

    @property
    def synced(self) -> int:
        """The sequence number up to which everything is synced."""
        return self._synced

    def wait(self, seq: int) -> None:
        """Return when a line is synced.

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
            # A thread that is the leader already was interrupted before it could sync.
            if leads := self._leader == me or self._leader not in self._inside:
                self._leader = me
            else:
                self._waiters.append(waiter)
        if leads:
            self._lead([])
        else:
            self._follow(waiter)

    def _is_synced(self, seq: int) -> bool:
        """Return whether a line is synced; raise its sync's error. The caller holds the lock."""
        for after, up_to, failure in self._failures:
            if after < seq <= up_to:
                # Another sync might report success for pages that the kernel has dropped.
                raise failure
        return self._synced >= seq

    def _follow(self, waiter: _Waiter) -> None:
        try:
            if self._await_answer(waiter):
                return
        finally:
            if waiter.next is not None:
                waiter.next.answered.release()
        if waiter.batch is not None:
            self._lead(waiter.batch)
        elif waiter.error is not None:
            raise waiter.error

    def _await_answer(self, waiter: _Waiter) -> bool:
        """Wait for another thread's sync; return whether the line is known to be synced."""
        try:
            while not waiter.answered.acquire(timeout=_LOOK_SECONDS):
                if self._need_not_wait(waiter):
                    return True
                if self._leader == waiter.thread:
                    waiter.batch = waiter.batch or []
                    break
        except BaseException:
            with self._lock:
                waiter.gone = True
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                    raise
            if waiter.batch is not None:
                self._lead(waiter.batch)  # the batch relies on it, even if it was interrupted
            raise
        return False

    def _need_not_wait(self, waiter: _Waiter) -> bool:
        """Return whether the line is synced by now; if not, replace a leader that has left."""
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
                batch = [waiter for waiter in batch if not waiter.gone]
                if interrupted:
                    self._waiters[:0] = batch
                    batch = []
                elif error is None:
                    self._synced = max(self._synced, reached)
                else:
                    # The lines of threads that have queued up meanwhile were lost together with
                    # these.
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
                woken = [*batch, *covered]
                # The next leader syncs for more threads if it comes after half of them, and the
                # other half go on while it syncs.
                woken[len(woken) // 2 : len(woken) // 2] = left[:1]
                for waiter, following in pairwise(woken):
                    waiter.next = following
            if woken:
                woken[0].answered.release()
        if error is not None:
            raise error
