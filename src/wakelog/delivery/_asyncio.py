"""The driver in an event loop, for destinations that belong to the caller's loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic

from wakelog.delivery._core import AnyLane, DeliveryCore, Send
from wakelog.delivery._destination import ExportRound


class Notifier:
    """Wakes all waiting tasks when something has changed. It belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake all tasks that are waiting now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next change, at most ``seconds``; return whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class AsyncDriver(Generic[AnyLane]):
    """Carries out the steps of a core in the running event loop, in ``concurrency`` tasks.

    Args:
        core: Decides what is sent next.
        send: Sends a round of a lane, and returns the round and whether the lane may have more. It
            must not raise.
        concurrency: The number of tasks.
        name: The name of the tasks.
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
        """Note that a lane may have entries to send."""
        self._core.offer(lane)
        self._wake()

    def hurry(self) -> None:
        """End the pause of every lane."""
        self._core.hurry()
        self._wake()

    async def _work(self) -> None:
        while True:
            step = self._core.step()
            if not isinstance(step, Send):
                await self._sleep(step.seconds)
                continue
            if self._core.is_ready:
                self._wake()  # another task can send the next lane
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
