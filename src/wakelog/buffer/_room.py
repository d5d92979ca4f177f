"""Waiting for room: one waiting line for threads and asyncio tasks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from wakelog.runtime import complete_soon

if TYPE_CHECKING:
    import asyncio  # a slow import, which a waiting task has already done

# The answers to an offered item.
TAKEN, DROPPED, WAIT = "taken", "dropped", "wait"

# Wakes a waiting thread or task; returns False if that no longer exists.
Waker = Callable[[], bool | None]


class Room:
    """The waiting line of threads and tasks that need free space in something bounded.

    A woken thread or task offers its item itself, so an item whose wait was cancelled is never
    accepted. A thread or task that leaves the line after being woken wakes the next one.

    Args:
        lock: Guards the bounded object, and this line.
    """

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self.lock = lock
        self._line: deque[Waker] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def wait(self, offer: Callable[[], str], seconds: float | None) -> str:
        """Wait in this thread until an offer's answer is not ``WAIT``.

        Args:
            offer: Takes room if there is some, and returns the answer. Called repeatedly, under the
                lock.
            seconds: Maximum wait; None for no limit.

        Returns:
            The answer; ``WAIT`` after the time-out.
        """
        until = None if seconds is None else time.monotonic() + seconds
        was_woken = False
        while True:
            gate = shut()
            wake = gate.release
            try:
                with self.lock:
                    if (answer := offer()) is not WAIT:
                        return answer
                    self._stand(wake, first=was_woken)
                left = -1 if until is None else max(0.0, until - time.monotonic())
                was_woken = gate.acquire(timeout=left)
            except BaseException:
                self._leave(wake)
                raise
            if not was_woken:
                self._leave(wake)
                return WAIT

    async def wait_in_task(self, offer: Callable[[], str], seconds: float | None) -> str:
        """Wait as ``wait`` does, without blocking the event loop."""
        from asyncio import CancelledError, get_running_loop, timeout_at

        loop = get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        was_woken = False
        while True:
            future: asyncio.Future[None] = loop.create_future()
            wake = waker_of(future)
            try:
                with self.lock:
                    if (answer := offer()) is not WAIT:
                        return answer
                    self._stand(wake, first=was_woken)
                async with timeout_at(until):
                    await future
            except TimeoutError:
                self._leave(wake)
                return WAIT
            except BaseException as error:
                self._leave(wake)
                if isinstance(error, CancelledError):
                    error.add_note("wakelog: the event was not accepted; it waited for room")
                raise
            was_woken = True

    def give(self, count: int) -> None:
        """Wake ``count`` waiting threads or tasks, not counting tasks of closed loops."""
        while count:
            with self.lock:
                if not self._line:
                    return
                wake = self._line.popleft()
            if wake() is not False:
                count -= 1

    def _stand(self, wake: Waker, *, first: bool) -> None:
        """Join the line. The caller holds the lock."""
        if first:  # it was woken, but another one has taken the room
            self._line.appendleft(wake)
        else:
            self._line.append(wake)

    def _leave(self, wake: Waker) -> None:
        """Leave the line, and wake the next one if this one was already woken."""
        with self.lock:
            if wake in self._line:
                self._line.remove(wake)
                return
        self.give(1)


def shut() -> threading.Lock:
    """Return a locked lock, to be released by another thread."""
    gate = threading.Lock()
    gate.acquire()
    return gate


def waker_of(future: asyncio.Future[None]) -> Waker:
    """Return a waker for a future, callable from any thread; False means a closed loop."""
    return partial(complete_soon, future)
