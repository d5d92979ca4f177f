"""The thread that syncs for ``PERIODIC`` appends and for asyncio tasks."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from wakelog.errors import JournalError
from wakelog.runtime import Background, complete, running_loop
from wakelog.storage._append_file import AppendFile

if TYPE_CHECKING:
    import asyncio  # a slow import, which a waiting task has already done

    _Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]
    _Answer = tuple[asyncio.Future[None], JournalError | None]

_log = logging.getLogger("wakelog")

# How many tasks one call of `_wake` wakes. Two calls take turns, see `Committer`.
_WOKEN_AT_ONCE = 2


class Committer:
    """Syncs for ``PERIODIC`` appends and for asyncio tasks.

    One sync serves all tasks that wait at that moment. It begins when the sync before it has ended,
    the event loop has run the tasks that were ready, and at least half of the tasks wait that are
    not woken yet or wait again: a sync for each few of them would cost more than it saves. Without
    tasks, a sync follows ``interval`` seconds after the first ``PERIODIC`` append. The thread is
    started when it is first needed. If no thread can be started, because the interpreter is
    exiting, the caller syncs.

    ``_lock`` guards the tasks and the due time; nothing is synced under it. It is reentrant
    for signal handlers and finalizers. A handler that raises, as Ctrl-C does, may end a callback of
    the event loop at any moment, even before its first line. So each callback is scheduled twice,
    and either of the two does what the other has left undone.

    Args:
        sync: Syncs everything written so far.
        interval: Maximum delay of a ``PERIODIC`` sync, in seconds.
    """

    def __init__(self, sync: Callable[[], None], interval: float) -> None:
        self._sync = sync
        self._interval = interval
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiters: list[_Waiter] = []
        self._begun = False  # whether to sync for them at once
        # Tasks whose sync has ended, and that are still to be woken.
        self._answered: dict[asyncio.AbstractEventLoop, deque[_Answer]] = {}
        self._due: float | None = None
        self._stopping = False
        self._thread = Background(self._run, "wakelog-commit")
        self._failing = False

    def sync_soon(self) -> None:
        """Schedule a sync of everything written so far within the interval."""
        if self._due is not None:
            return
        # No thread is started under the lock, because a greenlet (gevent) may run at once.
        started = self._start()
        with self._lock:
            started = started and not self._stopping
            if started and self._due is None:
                self._due = time.monotonic() + self._interval
                self._changed.notify()
        if not started:
            self._try_sync()

    def synced(self) -> asyncio.Future[None]:
        """Return a future that is done when everything written so far is synced.

        If the sync fails, it raises a ``JournalError``.
        """
        loop = running_loop()
        future: asyncio.Future[None] = loop.create_future()
        started = self._start()
        with self._lock:
            started = started and not self._stopping
            if started:
                # The sync begins when the other tasks of this round have written, too. That must not
                # depend on another loop, which may have been stopped.
                first = not self._waiters or self._waiters[-1][0] is not loop
                if first and loop not in self._answered:
                    loop.call_soon(self._begin, loop)
                    loop.call_soon(self._begin, loop)
                self._waiters.append((loop, future))
        if not started:
            self._answer([(loop, future)], self._try_sync())
        return future

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake the thread to sync, unless most tasks of a loop are still to be woken themselves."""
        with self._lock:
            if self._waiters and len(self._waiters) >= len(self._answered.get(loop, ())):
                self._begun = True
                self._changed.notify()

    def stop(self) -> None:
        """Sync a last time if a sync is due, and end the thread."""
        with self._lock:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _start(self) -> bool:
        """Start the thread if necessary, and return whether it runs."""
        return not self._stopping and self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._begun and not self._stopping:
                    left = None if self._due is None else self._due - time.monotonic()
                    if left is not None and left <= 0:
                        break
                    self._changed.wait(left)
                waiters, self._waiters, self._begun = self._waiters, [], False
                wanted = bool(waiters) or self._due is not None
                self._due = None
                if self._stopping and not wanted:
                    return
            self._answer(waiters, self._try_sync())

    def _try_sync(self) -> JournalError | None:
        try:
            self._sync()
        except JournalError as error:
            if not self._failing:
                _log.error("recorded events are not synced to disk yet: %s", error)
            self._failing = True
            return error
        self._failing = False
        return None

    def _answer(self, waiters: list[_Waiter], error: JournalError | None) -> None:
        """Wake waiting tasks, a few in each round of their event loop.

        All tasks that are woken run in the loop's next round, and most of them record another
        event. All at once would hold up everything else that the loop does.
        """
        begun: list[tuple[asyncio.AbstractEventLoop, deque[_Answer]]] = []
        with self._lock:
            self._answered = {
                loop: futures for loop, futures in self._answered.items() if not loop.is_closed()
            }
            for loop, future in waiters:
                if loop not in self._answered:
                    self._answered[loop] = deque()
                    begun.append((loop, self._answered[loop]))
                self._answered[loop].append((future, error))
        for loop, futures in begun:
            with suppress(RuntimeError):  # the loop is closed, and so nobody waits
                loop.call_soon_threadsafe(self._wake, loop, futures)
                loop.call_soon_threadsafe(self._wake, loop, futures)

    def _wake(self, loop: asyncio.AbstractEventLoop, futures: deque[_Answer]) -> None:
        with self._lock:
            for _ in range(min(_WOKEN_AT_ONCE, len(futures))):
                future, error = futures[0]
                complete(future, None, error)
                futures.popleft()  # only now, so that an interruption leaves it to the other call
            if not futures and self._answered.get(loop) is futures:
                del self._answered[loop]
            begins = len(self._waiters) >= len(futures)
        if begins:
            loop.call_soon(self._begin, loop)
        if futures:
            loop.call_soon(self._wake, loop, futures)


class FilesCommitter(Committer):
    """Syncs several append files, those for which a sync was requested.

    Args:
        interval: Maximum delay of a sync that ``file_soon`` requests, in seconds.
    """

    def __init__(self, interval: float) -> None:
        super().__init__(self.sync_due, interval)
        self._files: dict[AppendFile, int] = {}

    def file_soon(self, file: AppendFile, ticket: int) -> None:
        """Schedule a sync of the lines up to a ticket within the interval."""
        self._want(file, ticket)
        self.sync_soon()

    async def file_synced(self, file: AppendFile, ticket: int) -> None:
        """Wait, without blocking the event loop, until the lines up to a ticket are synced.

        Raises:
            JournalError: When the sync fails.
        """
        self._want(file, ticket)
        with suppress(JournalError):  # it may concern another file
            await self.synced()
        file.wait(ticket)  # returns at once, or raises the sync's error

    def sync_due(self) -> None:
        """Sync the files for which a sync was requested.

        Raises:
            JournalError: When the sync of a file fails. The others are still synced.
        """
        with self._lock:
            files, self._files = self._files, {}
        failure: JournalError | None = None
        for file, ticket in files.items():
            try:
                file.wait(ticket)
            except JournalError as error:
                failure = error
        if failure is not None:
            raise failure

    def _want(self, file: AppendFile, ticket: int) -> None:
        with self._lock:
            self._files[file] = max(ticket, self._files.get(file, 0))
