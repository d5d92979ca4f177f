"""A queue for asyncio: tasks wait for room and for the destination without blocking the loop."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Generic

from wakelog.sinks._queue import TAKEN, WAIT, Item, Queue
from wakelog.sinks._ticket import Ticket, raise_for


class AsyncQueue(Generic[Item]):
    """Brings items to a queue from asyncio tasks.

    Args:
        queue: The queue, which threads may use at the same time.
    """

    def __init__(self, queue: Queue[Item]) -> None:
        self._queue = queue

    async def put(self, item: Item) -> bool:
        """Take an item as ``put`` does, without blocking the event loop.

        A task that is cancelled while it waits for room has not had its item taken, and its
        ``CancelledError`` says so.
        """
        with self._queue.lock:
            answer = self._queue.offer(item, None)
        if answer is WAIT:
            answer = await self._room_comes(item, None)
        if self._queue.direct:
            self._queue.empty()
        return answer is TAKEN

    async def put_through(self, item: Item) -> None:
        """Take an item as ``put_through`` does, without blocking the event loop.

        A task that is cancelled after its item was taken leaves it to be written, and its
        ``CancelledError`` says so.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        ticket = Ticket(partial(_wake, loop, future))
        with self._queue.lock:
            answer = self._queue.offer(item, ticket)
        if answer is WAIT:
            await self._room_comes(item, ticket)
        if self._queue.direct:
            self._queue.empty()
        try:
            await future
        except asyncio.CancelledError as error:
            error.add_note("wakelog: the buffer has accepted the event, and writes it")
            raise
        raise_for(ticket)

    async def _room_comes(self, item: Item, ticket: Ticket | None) -> str:
        timeout = self._queue.settings.timeout
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        again = False
        while True:
            future: asyncio.Future[None] = loop.create_future()
            wake = partial(_wake, loop, future)
            try:
                with self._queue.lock:
                    answer = self._queue.offer(item, ticket)
                    if answer is not WAIT:
                        break
                    self._queue.stand(wake, first=again)
                left = None if timeout is None else began + timeout - time.monotonic()
                async with asyncio.timeout(left):
                    await future
            except TimeoutError:
                self._queue.step_aside(wake)
                self._queue.waited(began)
                with self._queue.lock:
                    raise self._queue.full(timeout) from None
            except BaseException as error:
                self._queue.step_aside(wake)
                if isinstance(error, asyncio.CancelledError):
                    error.add_note("wakelog: the event was not accepted; it waited for room")
                raise
            again = True
        self._queue.waited(began)
        return answer

    async def settle(self) -> None:
        """Wait as ``settle`` does, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if (wake := self._queue.watch(partial(_wake, loop, future))) is None:
            return
        try:
            await future
        finally:
            self._queue.forget(wake)


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> bool:
    """Resolve a future from any thread, and return whether its loop still runs."""
    try:
        loop.call_soon_threadsafe(_resolve, future)
    except RuntimeError:  # the loop is closed
        return False
    return True


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():  # its task was cancelled
        future.set_result(None)
