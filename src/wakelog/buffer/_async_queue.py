"""A queue for asyncio: tasks wait for room and for the destination without blocking the loop."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Generic

from wakelog.buffer._queue import Item, Queue
from wakelog.buffer._room import TAKEN, WAIT, waker_of
from wakelog.buffer._ticket import Ticket, raise_for

if TYPE_CHECKING:
    import asyncio  # a slow import, which a waiting task has already done


class AsyncQueue(Generic[Item]):
    """Puts items into a queue from asyncio tasks.

    Args:
        queue: The queue, which threads may use at the same time.
    """

    def __init__(self, queue: Queue[Item]) -> None:
        self._queue = queue

    async def put(self, item: Item) -> bool:
        """Put an item as ``Queue.put`` does, without blocking the event loop.

        If a task is cancelled while it waits for room, its item was not accepted, which a note on
        the ``CancelledError`` says.
        """
        return await self._put(item, None) is TAKEN

    async def put_through(self, item: Item) -> None:
        """Put an item as ``Queue.put_through`` does, without blocking the event loop.

        If a task is cancelled after its item was accepted, the item is still written, which a note
        on the ``CancelledError`` says.
        """
        from asyncio import CancelledError, get_running_loop

        future: asyncio.Future[None] = get_running_loop().create_future()
        ticket = Ticket(waker_of(future))
        await self._put(item, ticket)
        try:
            await future
        except CancelledError as error:
            error.add_note("wakelog: the buffer has accepted the event, and writes it")
            raise
        raise_for(ticket)

    async def _put(self, item: Item, ticket: Ticket | None) -> str:
        queue = self._queue
        queue.prepare()
        with queue.lock:
            answer = queue.offer(item, ticket)
        if answer is WAIT:
            began = time.monotonic()
            offer = partial(queue.offer, item, ticket)
            answer = await queue.room.wait_in_task(offer, queue.settings.timeout)
            queue.note_wait(began, answer)
        if queue.direct:
            queue.empty()
        return answer

    async def settle(self) -> None:
        """Wait as ``Queue.settle`` does, without blocking the event loop."""
        from asyncio import get_running_loop

        future: asyncio.Future[None] = get_running_loop().create_future()
        if (wake := self._queue.watch(waker_of(future))) is None:
            return
        try:
            await future
        finally:
            self._queue.forget(wake)
