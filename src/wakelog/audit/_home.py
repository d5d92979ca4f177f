"""The event loop that a session log lives in, which is the application's for a pool of connections."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Final

# How often to look whether the loop is still there, in seconds; the end of the work is not waited for.
_LOOK_SECONDS: Final = 0.1
# Loops of the threads that empty queues, in which no log of an application lives.
_ours: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
# What a forked child has inherited: to let go of it there would wake the parent's loop.
_inherited: list[object] = []


def own_loop() -> asyncio.AbstractEventLoop:
    """Make a loop for a thread that empties a queue."""
    loop = asyncio.new_event_loop()
    _ours.add(loop)
    return loop


def running() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def leave_to_parent(*inherited: object) -> None:
    """Keep what a forked child has inherited of event loops, which it must not close."""
    _inherited.append(inherited)


class Home:
    """Finds out where a session log lives, and runs work there.

    It is the loop in which the first sink over the log was made, else the one in which a record was
    first made. When that loop has been closed, the next one takes its place.

    Args:
        before_end: Called, and awaited, when the loop is about to end: ``asyncio.run`` gives
            asynchronous generators time for that.
    """

    def __init__(self, before_end: Callable[[], Awaitable[object]]) -> None:
        self._before_end = before_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: AsyncGenerator[None, None] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop, as long as it is not closed."""
        loop = self._loop
        return None if loop is None or loop.is_closed() else loop

    @property
    def is_here(self) -> bool:
        """Whether the loop runs in this thread, so that waiting for it would be in vain."""
        loop = self._loop
        return loop is not None and running() is loop

    def notice_loop(self) -> None:
        """Take the loop that runs here, when none is known."""
        if self.loop is not None:
            return
        loop = running()
        if loop is None or loop in _ours:
            return
        self._loop = loop
        self._end = _until_end(self._before_end)
        with contextlib.suppress(StopIteration):
            self._end.__anext__().send(None)  # which makes it known to the loop

    def forget(self) -> None:
        """Begin anew in a forked child, in which the parent's loop does not run."""
        leave_to_parent(self._loop, self._end)
        self._loop = self._end = None

    def run(
        self, work: Callable[[], Coroutine[Any, Any, None]], is_ending: Callable[[], bool]
    ) -> bool:
        """Run a coroutine in the loop and wait for its end.

        Args:
            work: Makes the coroutine.
            is_ending: Whether the program ends, so that a loop that stands still will not go on.

        Returns:
            Whether it has ended or was cancelled. Otherwise the loop has ended, or there is none.
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
        except RuntimeError:  # it was closed in this moment
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
