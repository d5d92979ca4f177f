"""Waiting for room: threads and asyncio tasks stand in one line."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio  # whose import takes long, and is there where a task waits

# What becomes of an item that is offered.
TAKEN, DROPPED, WAIT = "taken", "dropped", "wait"

# Tells somebody who waits that it has come; False when nobody is there any more.
Waker = Callable[[], bool | None]


class Room:
    """The line of threads and tasks that wait for room in something bounded.

    Whoever is woken takes the room itself, in its own thread or task, so a wait that was cancelled can
    never have been accepted. Whoever leaves the line after being woken wakes the next.

    Args:
        lock: Guards what is bounded, and this line.
    """

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self.lock = lock
        self._line: deque[Waker] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def wait(self, offer: Callable[[], str], seconds: float | None) -> str:
        """Wait in this thread until an offer is answered otherwise than with ``WAIT``.

        Args:
            offer: Takes room if there is some. Called under the lock, as often as needed.
            seconds: The longest wait; None waits as long as it takes.

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
        """Wake as many of those who wait; the task of a closed loop does not count."""
        while count:
            with self.lock:
                if not self._line:
                    return
                wake = self._line.popleft()
            if wake() is not False:
                count -= 1

    def _stand(self, wake: Waker, *, first: bool) -> None:
        """Join the line. Under the lock."""
        if first:  # it was its turn, and somebody was faster
            self._line.appendleft(wake)
        else:
            self._line.append(wake)

    def _leave(self, wake: Waker) -> None:
        """Leave the line, and pass the room on if it has just come."""
        with self.lock:
            if wake in self._line:
                self._line.remove(wake)
                return
        self.give(1)


def shut() -> threading.Lock:
    """Return a lock that opens when somebody else releases it."""
    gate = threading.Lock()
    gate.acquire()
    return gate


def waker_of(future: asyncio.Future[None]) -> Waker:
    """Return what resolves a future of a running loop from any thread; False when the loop is closed."""
    return partial(_wake, future)


def _wake(future: asyncio.Future[None]) -> bool:
    try:
        future.get_loop().call_soon_threadsafe(_resolve, future)
    except RuntimeError:  # the loop is closed
        return False
    return True


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():  # its task was cancelled
        future.set_result(None)
