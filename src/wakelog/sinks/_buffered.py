"""Buffers in front of other sinks: ``BufferedSink`` and, for asyncio, ``AsyncBufferedSink``."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, cast

from wakelog import _arguments as a
from wakelog.buffer import AsyncQueue, Buffer, OverflowPolicy, Queue
from wakelog.errors import ConfigurationError, SinkError, WakelogError
from wakelog.events import AgentEvent
from wakelog.sinks._protocol import EventSink, flush

_BATCH = 512
_DELIVERY_SECONDS = 5.0


class BufferedSink:
    """Accepts events in memory and writes them to another sink in a separate thread.

    The risk: accepted means in the buffer, and events in it are lost if the process is killed. At
    the normal end of the program the rest is written, for five seconds at most. An event with a
    ``durability`` of its own is accepted once the destination has accepted it.

    The contents of an event are copied when it is accepted. The destination gets the event itself
    and sets its receipt, so its fields must not be changed after ``write``. The thread does not end
    when the destination fails: the event is lost and counted in ``failed_events``; the next
    ``write``, and the next ``flush`` or ``close``, raise the error.

    A forked child begins with an empty buffer; only the parent writes what was in it.

    Args:
        sink: The destination. One with ``write_many``, such as ``JSONLSink``, gets up to 512 events
            at once.
        capacity: The maximum number of waiting events, without those that are being written.
        overflow: What happens to an event when the buffer is full.
        timeout: The longest wait of ``OverflowPolicy.BLOCK``, in seconds; None for no limit.

    Raises:
        ConfigurationError: If a setting is invalid, or if the destination's ``write`` is a
            coroutine.
    """

    # A logger's flush passes its time-out to a sink that has this.
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
        """The maximum number of waiting events."""
        return self.buffer.capacity

    @property
    def overflow(self) -> OverflowPolicy:
        """What happens to an event when the buffer is full."""
        return self.buffer.overflow

    @property
    def size(self) -> int:
        """The number of waiting events."""
        return self.queue.size

    @property
    def dropped_events(self) -> int:
        """The number of events that the policy has dropped."""
        return self.queue.dropped

    @property
    def refused_events(self) -> int:
        """The number of events that were refused because the buffer was full."""
        return self.queue.refused

    @property
    def failed_events(self) -> int:
        """The number of accepted events that the destination refused."""
        return self.queue.failed

    def write(self, event: AgentEvent) -> bool:
        """Add an event to the buffer.

        Returns:
            Whether it was accepted; False if ``DROP_NEWEST`` has dropped it.

        Raises:
            BufferFullError: If the buffer was full, as the policy says.
            SinkError: If the sink is closed, or an earlier event could not be written. The event
                was not accepted.
        """
        event.detach()  # later changes to its contents must not be written
        event.deferred = False  # no caller settles an event that the thread writes
        if event.durability is None:
            return self.queue.put(event)
        self.queue.put_through(event)
        return True

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the destination has accepted everything that was written so far.

        Args:
            timeout: The longest wait, in seconds; None for no limit.

        Returns:
            Whether everything was accepted; False after the time-out.

        Raises:
            SinkError: If events could not be written since the last flush. They are lost.
            ConfigurationError: If the time-out is not a number.
        """
        timeout = None if timeout is None else a.wait_of(timeout)
        began = time.monotonic()
        done = self.queue.settle(timeout)
        self.queue.raise_failures()
        return done and _flush(self.sink, timeout, began)

    def close(self, timeout: float | None = None) -> bool:
        """Write the waiting events, flush the destination, and end the thread. Idempotent.

        The destination stays open, because other code may use it.

        Args:
            timeout: The longest wait, in seconds; None for no limit.

        Returns:
            Whether everything was written.

        Raises:
            SinkError: If events could not be written since the last flush. They are lost.
            ConfigurationError: If the time-out is not a number.
        """
        timeout = None if timeout is None else a.wait_of(timeout)
        began = time.monotonic()
        done = self.queue.close(timeout)
        self.queue.raise_failures()
        # The destination may still have to deliver, which is limited even without a time-out.
        longest = _DELIVERY_SECONDS + time.monotonic() - began if timeout is None else timeout
        return done and _flush(self.sink, longest, began)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close; if an exception is propagating, a failure becomes a note on it."""
        try:
            self.close()
        except WakelogError as failure:
            _yield_to(error, failure)

    def _write_each(self, events: list[AgentEvent]) -> Mapping[int, BaseException]:
        for event in events:  # only one, because `most` is 1
            self._write(event)
        return {}


class AsyncBufferedSink:
    """A ``BufferedSink`` for asyncio: waiting never blocks the event loop.

    If a task is cancelled while it waits for space, its event is not accepted. If it is cancelled
    while it waits for the destination, for an event with a ``durability`` of its own, the event is
    accepted. A note on the ``CancelledError`` tells which. In all other cases ``write`` does not
    wait.

    Args:
        sink: The destination, which is called in the buffer's thread.
        capacity: The maximum number of waiting events, without those that are being written.
        overflow: What happens to an event when the buffer is full.
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
        """The number of events that the policy has dropped."""
        return self.sink.dropped_events

    async def write(self, event: AgentEvent) -> bool:
        """Add an event to the buffer.

        Returns:
            Whether it was accepted; False if ``DROP_NEWEST`` has dropped it.

        Raises:
            BufferFullError: If the buffer was full, as the policy says.
            SinkError: If the sink is closed, or an earlier event could not be written. The event
                was not accepted.
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
            SinkError: If events could not be written since the last flush. They are lost.
        """
        await self._queue.settle()
        self.sink.queue.raise_failures()
        from asyncio import to_thread

        await to_thread(_flush, self.sink.sink, None, 0.0)

    async def close(self) -> None:
        """Write the waiting events, flush the destination, and end the thread. Idempotent.

        Raises:
            SinkError: If events could not be written since the last flush. They are lost.
        """
        self.sink.queue.refuse()
        await self._queue.settle()
        from asyncio import to_thread

        await to_thread(self.sink.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Close; if an exception is propagating, a failure becomes a note on it."""
        try:
            await self.close()
        except WakelogError as failure:
            _yield_to(error, failure)


def _flush(sink: Any, timeout: float | None, began: float) -> bool:
    """Flush a sink, and return whether it succeeded; raise a ``SinkError`` for its exceptions."""
    try:
        return flush(sink, timeout, began)
    except WakelogError:
        raise
    except Exception as error:
        message = f"{type(sink).__name__} could not be flushed: {type(error).__name__}: {error}"
        raise SinkError(message) from error


def _yield_to(error: BaseException | None, failure: WakelogError) -> None:
    if error is None:
        raise failure
    error.add_note(f"wakelog could not write everything: {failure}")
