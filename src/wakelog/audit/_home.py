"""The event loop to which a session log belongs, for example by its pool of connections."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Final

# The interval, in seconds, of checks whether the loop still runs; the end of the work is noticed at
# once.
_LOOK_SECONDS: Final = 0.1
# The loops of the queues' threads, to which no application's log belongs.
_ours: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
# Objects that a forked child has inherited: deleting them there would wake the parent's loop.
_inherited: list[object] = []


def own_loop() -> asyncio.AbstractEventLoop:
    """Create an event loop for the thread of a queue."""
    loop = asyncio.new_event_loop()
    _ours.add(loop)
    return loop


def running() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def leave_to_parent(*inherited: object) -> None:
    """Keep inherited objects of event loops alive in a forked child, which must not close them."""
    _inherited.append(inherited)


class Home:
    """Finds the event loop to which a session log belongs, and runs coroutines in it.

    It is the loop in which the first sink of the log was created, or else the one in which the
    first record was made. If that loop has been closed, the next one replaces it.

    Args:
        before_end: Called and awaited when the loop is about to end: ``asyncio.run`` lets
            asynchronous generators finish.
    """

    def __init__(self, before_end: Callable[[], Awaitable[object]]) -> None:
        self._before_end = before_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: AsyncGenerator[None, None] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop, unless it is closed."""
        loop = self._loop
        return None if loop is None or loop.is_closed() else loop

    @property
    def is_here(self) -> bool:
        """Whether the loop runs in this thread, where waiting for it would be a deadlock."""
        loop = self._loop
        return loop is not None and running() is loop

    def notice_loop(self) -> None:
        """Use the running loop of this thread, if none is known."""
        if self.loop is not None:
            return
        loop = running()
        if loop is None or loop in _ours:
            return
        self._loop = loop
        self._end = _until_end(self._before_end)
        with contextlib.suppress(StopIteration):
            self._end.__anext__().send(None)  # starts the generator, so that the loop finalizes it

    def forget(self) -> None:
        """Forget the parent's loop in a forked child, where it does not run."""
        leave_to_parent(self._loop, self._end)
        self._loop = self._end = None

    def run(
        self, work: Callable[[], Coroutine[Any, Any, None]], is_ending: Callable[[], bool]
    ) -> bool:
        """Run a coroutine in the loop and wait for its end.

        Args:
            work: Returns the coroutine.
            is_ending: Tells whether the program ends, so that a loop that does not run will not run
                again.

        Returns:
            Whether it has ended or was cancelled. False if the loop has ended, or there is none.
        """
        loop = self.loop
        if loop is None or running() is not None:
            return False
        done = threading.Event()
        tasks: list[asyncio.Task[None]] = []
        given_up = False

        def begin() -> None:
            if not given_up:
                tasks.append(loop.create_task(work()))
                tasks[0].add_done_callback(lambda _: done.set())

        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError:  # it was just closed
            return False
        while not done.wait(_LOOK_SECONDS):
            if loop.is_closed() or (is_ending() and not loop.is_running()):
                given_up = True
                return False
        return True


async def _until_end(before_end: Callable[[], Awaitable[object]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await before_end()
