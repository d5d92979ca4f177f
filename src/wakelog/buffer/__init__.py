"""The bounded queue in memory for a slower destination, for threads and for asyncio."""

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names

if TYPE_CHECKING:
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

# Most programs have no buffer.
__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.buffer._async_queue": ["AsyncQueue"],
        "wakelog.buffer._policy": ["Buffer", "OverflowPolicy"],
        "wakelog.buffer._queue": ["Queue", "QueueClosedError"],
        "wakelog.buffer._room": ["DROPPED", "TAKEN", "WAIT", "Room"],
    },
)
