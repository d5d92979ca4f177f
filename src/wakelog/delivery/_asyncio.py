"""The driver in an event loop: for destinations that belong to the caller's."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic

from wakelog.delivery._core import AnyLane, DeliveryCore, Send
from wakelog.delivery._destination import ExportRound


class Notifier:
    """Wakes everybody who waits when something has changed. It belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake everybody who waits now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next change, for so many seconds at most; return whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class AsyncDriver(Generic[AnyLane]):
    """Takes the steps of a core in the running event loop, in as many tasks as rounds may be under way.

    Args:
        core: Says what is sent next.
        send: Sends a round of a lane. Returns the round, and whether the lane may have more. It does
            not raise.
        concurrency: How many tasks.
        name: What they are called.
    """

    def __init__(
        self,
        core: DeliveryCore[AnyLane],
        send: Callable[[AnyLane], Awaitable[tuple[ExportRound[Any], bool]]],
        concurrency: int,
        name: str,
    ) -> None:
        self._core, self._send = core, send
        self._loop = asyncio.get_running_loop()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.tasks = [self._loop.create_task(self._work(), name=name) for _ in range(concurrency)]

    def offer(self, lane: AnyLane) -> None:
        """Learn that there may be something in a lane."""
        self._core.offer(lane)
        self._wake()

    def hurry(self) -> None:
        """End every lane's rest."""
        self._core.hurry()
        self._wake()

    async def _work(self) -> None:
        while True:
            step = self._core.step()
            if not isinstance(step, Send):
                await self._sleep(step.seconds)
                continue
            if self._core.is_ready:
                self._wake()  # there is something for another task, too
            sent, more = await self._send(step.lane)
            self._core.report(step.lane, sent, more=more)

    async def _sleep(self, seconds: float) -> None:
        if seconds < math.inf:
            at = self._loop.time() + seconds
            if self._timer is None or at < self._timer.when():
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_at(at, self._ring)
        future = self._loop.create_future()
        self._idle.append(future)
        await future

    def _ring(self) -> None:
        self._timer = None
        self._wake()

    def _wake(self) -> None:
        while self._idle:
            future = self._idle.popleft()
            if not future.done():  # its task may have been cancelled
                future.set_result(None)
                return
