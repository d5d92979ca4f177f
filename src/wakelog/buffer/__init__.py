"""The bounded queue in memory for a slower destination, for threads and for asyncio."""

from wakelog.buffer._async_queue import AsyncQueue
from wakelog.buffer._policy import Buffer, OverflowPolicy
from wakelog.buffer._queue import Queue, QueueClosedError
from wakelog.buffer._room import DROPPED, TAKEN, WAIT, Room

__all__ = [
    "DROPPED",
    "TAKEN",
    "WAIT",
    "AsyncQueue",
    "Buffer",
    "OverflowPolicy",
    "Queue",
    "QueueClosedError",
    "Room",
]
