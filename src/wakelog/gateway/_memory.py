"""The queue in memory, for events that cannot be read back from a file."""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import partial

from wakelog.buffer import DROPPED, TAKEN, WAIT, OverflowPolicy, Room
from wakelog.errors import BufferFullError
from wakelog.gateway._books import RunBooks
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._lanes import MemoryLane

_log = logging.getLogger("wakelog")


class MemoryQueue:
    """Limits the number of events in memory, over all sessions.

    It is not a ``wakelog.buffer.Queue``, because the events are in the lanes of their sessions,
    which are emptied concurrently, and an event that is being sent is not dropped for a newer one.
    Waiting for space is the same.

    ``_lock`` guards the count, the order and the waiting line for space.

    Args:
        capacity: The maximum number of events.
        overflow: The policy for an event that arrives when the queue is full.
        books: The books of this run.
    """

    def __init__(self, capacity: int, overflow: OverflowPolicy, books: RunBooks) -> None:
        self.capacity, self._overflow, self._books = capacity, overflow, books
        self._lock = threading.Lock()
        self._count = self._number = 0
        self._order: deque[tuple[int, MemoryLane]] = deque()
        self._room = Room(self._lock)
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many events are in memory."""
        return self._count

    async def put(self, lane: MemoryLane, event: ForwardedEvent) -> bool:
        """Add an event, or apply the policy if the queue is full.

        Returns:
            Whether the event was accepted.

        Raises:
            BufferFullError: If the queue is full and its policy is to raise; or after ``close``.
        """
        with self._lock:
            answer = self._offer(lane, event)
        if answer is WAIT:
            answer = await self._room.wait_in_task(partial(self._offer, lane, event), None)
        return answer is TAKEN

    def _offer(self, lane: MemoryLane, event: ForwardedEvent) -> str:
        """Add an event if there is space, or apply the policy. The caller holds the lock."""
        if self._closed:
            raise BufferFullError("the gateway has been closed: nothing is forwarded")
        if self._count < self.capacity or self._make_room():
            self._books.noted += 1
            self._number += 1
            self._count += 1
            self._order.append((self._number, lane))
            lane.put(self._number, event)
            return TAKEN
        if self._overflow is OverflowPolicy.RAISE:
            raise BufferFullError(
                f"{self._count} events wait to be forwarded, which is what queue_size "
                "allows. Wait, or raise queue_size"
            )
        if self._overflow is OverflowPolicy.BLOCK:
            return WAIT
        self._books.noted += 1
        self._books.dropped[self._overflow.value] += 1
        return DROPPED

    def taken(self) -> None:
        """Note that an event has been forwarded or set aside."""
        with self._lock:
            self._count -= 1
            if len(self._order) > 2 * self.capacity:
                self._order = deque(one for one in self._order if one[1].holds(one[0]))
        self._room.give(1)

    def close(self) -> None:
        """Count the remaining events as dropped, and accept no more."""
        with self._lock:
            self._closed = True
            lost, self._count = self._count, 0
            if lost:
                self._books.dropped["closed"] += lost
        self._room.give(len(self._room))
        if lost:
            _log.warning("%d events were in memory and not forwarded: they are lost", lost)

    def _make_room(self) -> bool:
        if self._overflow is not OverflowPolicy.DROP_OLDEST:
            return False
        in_flight: list[tuple[int, MemoryLane]] = []
        made = False
        while self._order and not made:
            number, lane = self._order.popleft()
            if lane.remove(number):
                lane.settled += 1
                made = True
            elif lane.holds(number):
                in_flight.append((number, lane))
        self._order.extendleft(reversed(in_flight))
        if made:
            self._count -= 1
            self._books.dropped[self._overflow.value] += 1
        return made
