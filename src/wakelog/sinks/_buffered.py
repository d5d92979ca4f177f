"""Buffers before other sinks: ``BufferedSink`` and, for asyncio, ``AsyncBufferedSink``."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

from wakelog import _arguments as a
from wakelog.buffer import AsyncQueue, Buffer, OverflowPolicy, Queue
from wakelog.errors import ConfigurationError, SinkError, WakelogError
from wakelog.events import AgentEvent
from wakelog.sinks._protocol import EventSink

_BATCH = 512
_DELIVERY_SECONDS = 5.0


class BufferedSink:
    """Accepts events in memory and writes them to another sink in a separate thread.

    This is a trade: accepted means in the buffer, and what is there when the process is killed is
    lost. At the normal end of the program what is left is written, for five seconds at most. An
    event with a ``durability`` of its own is accepted when the destination has accepted it.

    What an event holds is copied when it is taken; the event itself, with its receipt, is the one that
    the destination gets, so its fields must not be changed after it was written. The thread never ends because the destination
    fails: the event is lost and counted in ``failed_events``; the next ``write``, and the next
    ``flush`` or ``close``, raise what went wrong.

    A forked child begins with an empty buffer; what was in it is written by the parent alone.

    Args:
        sink: The destination. One with ``write_many`` (``JSONLSink`` has it) gets up to 512 events
            at once.
        capacity: The most events that wait; what is being written comes on top.
        overflow: What happens to an event beyond that.
        timeout: The longest wait of ``OverflowPolicy.BLOCK``, in seconds; None waits as long as it
            takes.

    Raises:
        ConfigurationError: For a setting that cannot be used, or a destination that has to be
            awaited.
    """

    # A logger's flush hands its time-out on to a sink that has this.
    delivers = True

    def __init__(
        self,
        sink: EventSink,
        capacity: int = 1024,
        overflow: OverflowPolicy | str = OverflowPolicy.BLOCK,
        *,
        timeout: float | None = None,
    ) -> None:
        a.check(
            sink=(sink, a.With("write", "a sink, which has a method write")),
            capacity=(capacity, int),
            overflow=(overflow, str),
            timeout=(timeout, *a.NUMBER),
        )
        if inspect.iscoroutinefunction(sink.write):
            message = f"{type(sink).__name__} has to be awaited, which a buffer's thread cannot do"
            raise ConfigurationError(message)
        self.sink = sink
        self._write = sink.write
        self._write_many: Callable[[list[AgentEvent]], Mapping[int, BaseException]] | None
        self._write_many = getattr(sink, "write_many", None)
        self.buffer = Buffer(capacity, cast("OverflowPolicy", overflow), timeout)
        self.queue: Queue[AgentEvent] = Queue(
            self.buffer,
            self._write_many or self._write_each,
            most=_BATCH if self._write_many else 1,
            name=f"BufferedSink({type(sink).__name__})",
        )

    @property
    def capacity(self) -> int:
        """The most events that wait."""
        return self.buffer.capacity

    @property
    def overflow(self) -> OverflowPolicy:
        """What happens to an event beyond that."""
        return self.buffer.overflow

    @property
    def size(self) -> int:
        """How many events wait."""
        return self.queue.size

    @property
    def dropped_events(self) -> int:
        """How many events the policy has dropped."""
        return self.queue.dropped

    @property
    def refused_events(self) -> int:
        """How many events were refused because there was no room."""
        return self.queue.refused

    @property
    def failed_events(self) -> int:
        """How many accepted events the destination did not take."""
        return self.queue.failed

    def write(self, event: AgentEvent) -> bool:
        """Take an event.

        Returns:
            Whether it was taken; False when ``DROP_NEWEST`` has dropped it.

        Raises:
            BufferFullError: When there was no room, as the policy says.
            SinkError: When the sink is closed, or an earlier event could not be written. The event
                was not accepted then.
        """
        event.detach()  # the thread writes what the event says now
        event.deferred = False  # nobody is going to settle what the thread writes
        if event.durability is None:
            return self.queue.put(event)
        self.queue.put_through(event)
        return True

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the destination has accepted everything that was written so far.

        Args:
            timeout: The longest wait, in seconds; None waits as long as it takes.

        Returns:
            Whether that is so; False after the time-out.

        Raises:
            SinkError: When events could not be written since the last flush. They are lost.
        """
        began = time.monotonic()
        done = self.queue.settle(timeout)
        self.queue.raise_failures()
        return done and _flush(self.sink, timeout, began)

    def close(self, timeout: float | None = None) -> bool:
        """Write what waits, flush the destination, and end the thread. Twice is harmless.

        The destination stays open, as whoever made it may still use it.

        Args:
            timeout: The longest wait, in seconds; None waits as long as it takes.

        Returns:
            Whether everything was written.

        Raises:
            SinkError: When events could not be written since the last flush. They are lost.
        """
        began = time.monotonic()
        done = self.queue.close(timeout)
        self.queue.raise_failures()
        # What a destination has accepted it may still deliver, which nobody should wait for long.
        longest = _DELIVERY_SECONDS + time.monotonic() - began if timeout is None else timeout
        return done and _flush(self.sink, longest, began)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close; a failure of ours is a note on the exception that is on its way, if there is one."""
        try:
            self.close()
        except WakelogError as failure:
            _yield_to(error, failure)

    def _write_each(self, events: list[AgentEvent]) -> Mapping[int, BaseException]:
        for event in events:  # one, as no more are asked for
            self._write(event)
        return {}


class AsyncBufferedSink:
    """A ``BufferedSink`` for asyncio: waiting for room or for the destination never blocks the loop.

    A task that is cancelled while it waits for room has not had its event accepted. One that is
    cancelled while it waits for the destination, for an event with a ``durability`` of its own, has.
    A note on the ``CancelledError`` says which. In any other case an event is taken without waiting.

    Args:
        sink: The destination, which is called in the buffer's thread.
        capacity: The most events that wait; what is being written comes on top.
        overflow: What happens to an event beyond that.
        timeout: The longest wait of ``OverflowPolicy.BLOCK``, in seconds.

    Attributes:
        sink: The buffer, a ``BufferedSink``.

    Raises:
        ConfigurationError: As ``BufferedSink`` does.
    """

    def __init__(
        self,
        sink: EventSink,
        capacity: int = 1024,
        overflow: OverflowPolicy | str = OverflowPolicy.BLOCK,
        *,
        timeout: float | None = None,
    ) -> None:
        self.sink = BufferedSink(sink, capacity, overflow, timeout=timeout)
        self._queue = AsyncQueue(self.sink.queue)

    @property
    def dropped_events(self) -> int:
        """How many events the policy has dropped."""
        return self.sink.dropped_events

    async def write(self, event: AgentEvent) -> bool:
        """Take an event.

        Returns:
            Whether it was taken; False when ``DROP_NEWEST`` has dropped it.

        Raises:
            BufferFullError: When there was no room, as the policy says.
            SinkError: When the sink is closed, or an earlier event could not be written. The event
                was not accepted then.
        """
        event.detach()
        event.deferred = False
        if event.durability is None:
            return await self._queue.put(event)
        await self._queue.put_through(event)
        return True

    async def flush(self) -> None:
        """Wait until the destination has accepted everything that was written so far.

        Raises:
            SinkError: When events could not be written since the last flush. They are lost.
        """
        await self._queue.settle()
        self.sink.queue.raise_failures()
        from asyncio import to_thread

        await to_thread(_flush, self.sink.sink, None, 0.0)

    async def close(self) -> None:
        """Write what waits, flush the destination, and end the thread. Twice is harmless.

        Raises:
            SinkError: When events could not be written since the last flush. They are lost.
        """
        self.sink.queue.refuse()
        await self._queue.settle()
        from asyncio import to_thread

        await to_thread(self.sink.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close; a failure of ours is a note on the exception that is on its way, if there is one."""
        try:
            await self.close()
        except WakelogError as failure:
            _yield_to(error, failure)


def _flush(sink: Any, timeout: float | None, began: float) -> bool:
    """Flush a sink if it can be, and return what it says."""
    flush = getattr(sink, "flush", None)
    if flush is None:
        return True
    try:
        if timeout is None or not getattr(sink, "delivers", False):
            return flush() is not False
        return flush(max(0.0, began + timeout - time.monotonic())) is not False
    except WakelogError:
        raise
    except Exception as error:
        message = f"{type(sink).__name__} could not be flushed: {type(error).__name__}: {error}"
        raise SinkError(message) from error


def _yield_to(error: BaseException | None, failure: WakelogError) -> None:
    if error is None:
        raise failure
    error.add_note(f"wakelog could not write everything: {failure}")
