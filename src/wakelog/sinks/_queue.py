"""A bounded queue in memory and the one thread that empties it."""

from __future__ import annotations

import asyncio
import atexit
import enum
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from wakelog.errors import BufferFullError, ConfigurationError, SinkError

_log = logging.getLogger("wakelog")
_EXIT_SECONDS = 5.0

Item = TypeVar("Item")
# Tells somebody who waits that it has come; False when nobody is there any more.
_Waker = Callable[[], bool | None]


class OverflowPolicy(enum.StrEnum):
    """What happens to an event that finds the buffer full."""

    BLOCK = "block"
    """It waits for room, for the buffer's time-out at most; after that it is refused."""
    DROP_NEWEST = "drop_newest"
    """It is dropped and counted."""
    DROP_OLDEST = "drop_oldest"
    """The event that has waited longest is dropped and counted, and this one is taken."""
    RAISE = "raise"
    """It is refused at once with ``BufferFullError``."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """How much waits in memory, and what happens beyond that.

    Args:
        capacity: The most events that wait. What is being written just now comes on top: one event,
            or a batch of up to 512 where the destination takes batches.
        overflow: What happens to an event beyond that.
        timeout: The longest wait of ``OverflowPolicy.BLOCK``, in seconds; None waits as long as it
            takes.

    Raises:
        ConfigurationError: For a capacity below 1, a negative time-out or a policy that does not
            exist.
    """

    capacity: int = 1024
    overflow: OverflowPolicy = OverflowPolicy.BLOCK
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ConfigurationError(f"capacity={self.capacity} is no capacity: use at least 1")
        if self.timeout is not None and self.timeout < 0:
            raise ConfigurationError(f"timeout={self.timeout} is negative: use seconds, or None")
        try:
            object.__setattr__(self, "overflow", OverflowPolicy(self.overflow))
        except ValueError:
            message = (
                f"overflow={self.overflow!r} is not known: use one of {', '.join(OverflowPolicy)}"
            )
            raise ConfigurationError(message) from None


_TAKEN, _DROPPED, _WAIT = "taken", "dropped", "wait"


class _Ticket:
    """Stands for one item whose destination somebody waits for."""

    __slots__ = ("error", "wake")

    def __init__(self, wake: _Waker) -> None:
        self.wake = wake
        self.error: BaseException | None = None


class Queue(Generic[Item]):
    """Takes items in memory and hands them, in order, to a destination in a thread of its own.

    The thread is made by the first item, in every process anew: what waits in a process that forks
    is written by that process alone. It never ends because a destination fails. At the normal end
    of the program the queue is emptied for five seconds at most; items that come later are handed
    over in the thread that brings them.

    ``_lock`` guards everything that waits, and the counters; nothing is delivered or logged
    under it. ``_delivering`` is held while a batch is with the destination.

    Args:
        settings: Capacity and policy.
        deliver: Hands a batch over, and returns what failed: an exception by index.
        most: The most items in a batch.
        name: For the thread and for messages.
        tells: Whether ``put`` raises once for items that failed since the last one that it raised
            for.

    Attributes:
        dropped: How many items ``DROP_NEWEST`` or ``DROP_OLDEST`` has dropped.
        refused: How many were refused because there was no room.
        failed: How many the destination did not take.
        waits: How many had to wait for room.
        wait_seconds: How long, in all.
        on_wait: Called with the seconds of each wait, in the thread that waited.
    """

    def __init__(
        self,
        settings: Buffer,
        deliver: Callable[[list[Item]], Mapping[int, BaseException]],
        *,
        most: int,
        name: str,
        tells: bool = True,
    ) -> None:
        self.settings = settings
        self.on_wait: Callable[[float], None] | None = None
        self._capacity, self._overflow = settings.capacity, settings.overflow
        self._deliver, self._most, self._name, self._tells = deliver, most, name, tells
        self._closed = False
        self._begin()
        after_fork = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _begin(self) -> None:
        """Begin empty: at first, and again in a forked child."""
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._delivering = threading.Lock()
        self._items: deque[Item] = deque()
        # Positions count items from the first one on: how many have left the queue, and the first
        # of those that are with the destination.
        self._left = 0
        self._writing_from: int | None = None
        self._tickets: dict[int, _Ticket] = {}
        self._for_room: deque[_Waker] = deque()
        self._for_position: list[tuple[int, _Waker]] = []
        self._thread: threading.Thread | None = None
        self._resting = False
        # Whether those who bring items hand them over themselves: the program is ending.
        self._direct = False
        self._deliverer = 0
        self.dropped = self.refused = self.failed = self.waits = 0
        self.wait_seconds = 0.0
        self._untold: BaseException | None = None
        self._unflushed: tuple[int, BaseException] | None = None
        self._failing = False

    @property
    def size(self) -> int:
        """How many items wait."""
        return len(self._items)

    # Bringing items

    def put(self, item: Item) -> bool:
        """Take an item.

        Returns:
            Whether it was taken; False when it was dropped.

        Raises:
            BufferFullError: When there was no room, as the policy says.
            SinkError: When the queue is closed, or to tell that earlier items failed.
        """
        with self._lock:
            answer = self._offer(item, None)
        if answer is _WAIT:
            answer = self._wait_for_room(item, None)
        if self._direct:
            self._empty()
        return answer is _TAKEN

    def put_through(self, item: Item) -> None:
        """Take an item and return when the destination has taken it.

        Raises:
            BufferFullError: When there was no room, or the item was dropped.
            SinkError: When the queue is closed, or the destination failed.
        """
        if threading.get_ident() == self._deliverer:  # it would wait for itself
            self.put(item)
            return
        gate = _shut()
        ticket = _Ticket(gate.release)
        with self._lock:
            answer = self._offer(item, ticket)
        if answer is _WAIT:
            self._wait_for_room(item, ticket)
        if self._direct:
            self._empty()
        gate.acquire()
        _raise_for(ticket)

    async def put_async(self, item: Item) -> bool:
        """Take an item as ``put`` does, without blocking the event loop.

        A task that is cancelled while it waits for room has not had its item taken, and its
        ``CancelledError`` says so.
        """
        with self._lock:
            answer = self._offer(item, None)
        if answer is _WAIT:
            answer = await self._room_comes(item, None)
        if self._direct:
            self._empty()
        return answer is _TAKEN

    async def put_through_async(self, item: Item) -> None:
        """Take an item as ``put_through`` does, without blocking the event loop.

        A task that is cancelled after its item was taken leaves it to be written, and its
        ``CancelledError`` says so.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        ticket = _Ticket(partial(_wake, loop, future))
        with self._lock:
            answer = self._offer(item, ticket)
        if answer is _WAIT:
            await self._room_comes(item, ticket)
        if self._direct:
            self._empty()
        try:
            await future
        except asyncio.CancelledError as error:
            error.add_note("wakelog: the buffer has accepted the event, and writes it")
            raise
        _raise_for(ticket)

    def _offer(self, item: Item, ticket: _Ticket | None) -> str:
        """Take an item if there is room, else do what the policy says. Under the lock."""
        if self._closed:
            raise SinkError(f"{self._name} is closed: the event was not accepted")
        if self._untold is not None:
            failure, self._untold = self._untold, None
            message = (
                f"{self._name}: the worker failed to write an earlier event ({_said(failure)}). "
                "It is lost, and this one was not accepted; recording goes on with the next"
            )
            raise SinkError(message) from failure
        items = self._items
        if len(items) >= self._capacity:
            if self._overflow is OverflowPolicy.DROP_OLDEST:
                self._drop_oldest()
            elif self._overflow is OverflowPolicy.DROP_NEWEST and ticket is None:
                self.dropped += 1
                return _DROPPED
            elif (
                self._overflow is not OverflowPolicy.BLOCK
                or self._thread is threading.current_thread()  # it would wait for itself
            ):
                raise self._full()
            else:
                return _WAIT
        if ticket is not None:
            self._tickets[self._left + len(items)] = ticket
        items.append(item)
        if self._resting:
            self._resting = False
            self._work.notify()
        elif self._thread is None and not self._direct:
            self._start()
        return _TAKEN

    def _drop_oldest(self) -> None:
        self._items.popleft()
        ticket = self._tickets.pop(self._left, None) if self._tickets else None
        self._left += 1
        self.dropped += 1
        if ticket is not None:
            ticket.error = BufferFullError(f"{self._name}: the event was dropped for newer ones")
            ticket.wake()

    def _full(self, waited: float | None = None) -> BufferFullError:
        self.refused += 1
        for_how_long = "" if waited is None else f" for {waited:g} s"
        return BufferFullError(
            f"{self._name}: capacity exceeded, {self._capacity} events are waiting{for_how_long}. "
            "The event was not accepted: look why the destination is slow, or raise the capacity"
        )

    def _wait_for_room(self, item: Item, ticket: _Ticket | None) -> str:
        timeout = self.settings.timeout
        began = time.monotonic()
        again = False
        while True:
            gate = _shut()
            wake = gate.release
            with self._lock:
                answer = self._offer(item, ticket)
                if answer is _WAIT:
                    self._stand(wake, first=again)
            if answer is not _WAIT:
                break
            left = -1 if timeout is None else max(0.0, began + timeout - time.monotonic())
            try:
                came = gate.acquire(timeout=left)
            except BaseException:
                self._step_aside(wake)
                raise
            if not came:
                self._step_aside(wake)
                self._waited(began)
                with self._lock:
                    raise self._full(timeout)
            again = True
        self._waited(began)
        return answer

    async def _room_comes(self, item: Item, ticket: _Ticket | None) -> str:
        timeout = self.settings.timeout
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        again = False
        while True:
            future: asyncio.Future[None] = loop.create_future()
            wake = partial(_wake, loop, future)
            with self._lock:
                answer = self._offer(item, ticket)
                if answer is _WAIT:
                    self._stand(wake, first=again)
            if answer is not _WAIT:
                break
            left = None if timeout is None else began + timeout - time.monotonic()
            try:
                async with asyncio.timeout(left):
                    await future
            except TimeoutError:
                self._step_aside(wake)
                self._waited(began)
                with self._lock:
                    raise self._full(timeout) from None
            except BaseException as error:
                self._step_aside(wake)
                if isinstance(error, asyncio.CancelledError):
                    error.add_note("wakelog: the event was not accepted; it waited for room")
                raise
            again = True
        self._waited(began)
        return answer

    def _waited(self, began: float) -> None:
        seconds = time.monotonic() - began
        with self._lock:
            self.waits += 1
            self.wait_seconds += seconds
        if self.on_wait is not None:
            self.on_wait(seconds)

    def _stand(self, wake: _Waker, *, first: bool) -> None:
        if first:  # it was its turn, and somebody was faster
            self._for_room.appendleft(wake)
        else:
            self._for_room.append(wake)

    def _step_aside(self, wake: _Waker) -> None:
        """Stop waiting for room, and pass it on if it has just come."""
        with self._lock:
            if wake in self._for_room:
                self._for_room.remove(wake)
                return
        self._give_room(1)

    def _give_room(self, count: int) -> None:
        """Wake as many of those who wait for room; the task of a closed loop does not count."""
        while count:
            with self._lock:
                if not self._for_room:
                    return
                wake = self._for_room.popleft()
            if wake() is not False:
                count -= 1

    # Waiting for all

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until the destination has been asked to take everything put so far.

        Args:
            timeout: The longest wait, in seconds; None waits as long as it takes.

        Returns:
            Whether that is so.
        """
        gate = _shut()
        if (wake := self._watch(gate.release)) is None:
            return True
        if gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            return True
        self._forget(wake)
        return False

    async def settle_async(self) -> None:
        """Wait as ``settle`` does, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if (wake := self._watch(partial(_wake, loop, future))) is None:
            return
        try:
            await future
        finally:
            self._forget(wake)

    def _watch(self, wake: _Waker) -> _Waker | None:
        if self._direct:
            self._empty()
        with self._lock:
            position = self._left + len(self._items)
            if self._reached() >= position:
                return None
            if self._thread is threading.current_thread():
                raise SinkError(f"{self._name} cannot wait for itself: its own thread asked it to")
            self._for_position.append((position, wake))
        return wake

    def _forget(self, wake: _Waker) -> None:
        with self._lock:
            self._for_position = [pair for pair in self._for_position if pair[1] is not wake]

    def raise_failures(self) -> None:
        """Raise when items have failed since this was asked last.

        Raises:
            SinkError: It says how many, and why the last one did.
        """
        with self._lock:
            failures, self._unflushed = self._unflushed, None
            self._untold = None
        if failures is not None:
            count, error = failures
            message = (
                f"{self._name}: the worker failed to write {count} events, which are lost; the "
                f"last one because: {_said(error)}"
            )
            raise SinkError(message) from error

    def refuse(self) -> None:
        """Take no more, and end the thread when everything has been handed over."""
        with self._lock:
            self._closed = True
            waiting, self._for_room = self._for_room, deque()
            self._work.notify()
        for wake in waiting:
            wake()

    def close(self, timeout: float | None = None) -> bool:
        """Take no more, hand over what waits, and end the thread. Twice is harmless.

        Args:
            timeout: The longest wait, in seconds; None waits as long as it takes.

        Returns:
            Whether everything has been handed over.
        """
        thread = self._thread
        self.refuse()
        if thread is threading.current_thread():
            return False
        done = self.settle(timeout)
        if done:
            atexit.unregister(self._at_exit)
            if thread is not None:
                thread.join()
        return done

    # The thread

    def _start(self) -> None:
        """Start the thread, or note that none can be started any more. Under the lock."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending
            self._thread = None
            self._direct = True
            return
        atexit.register(self._at_exit)
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            from multiprocessing.util import Finalize

            # Before Python 3.13 these processes end without what atexit has noted.
            Finalize(None, self._at_exit, exitpriority=100)

    def _run(self) -> None:
        while True:
            while self._hand_over():
                pass
            with self._lock:
                while not self._items:
                    if self._closed:
                        return
                    self._resting = True
                    self._work.wait()
                    self._resting = False

    def _empty(self) -> None:
        """Hand over what waits in this thread, unless it is what this thread is doing."""
        while self._deliverer != threading.get_ident() and self._hand_over():
            pass

    def _hand_over(self) -> bool:
        """Hand one batch over, and return whether there was any."""
        with self._delivering:
            with self._lock:
                items, first = self._items, self._left
                count = min(len(items), self._most)
                batch = [items.popleft() for _ in range(count)]
                self._left += count
                if count:
                    self._writing_from = first
            if not batch:
                return False
            if self._for_room:
                self._give_room(count)
            self._deliverer = threading.get_ident()
            failed = self._try(batch)
            self._deliverer = 0
            with self._lock:
                self._writing_from = None
                tickets = self._tickets_of(first, failed) if self._tickets else {}
                fails_now = self._note({n: failed[n] for n in failed if first + n not in tickets})
                reached = self._reached()
                ready = [wake for at, wake in self._for_position if at <= reached]
                if ready:
                    self._for_position = [p for p in self._for_position if p[0] > reached]
            if fails_now and not self._failing:
                error = failed[max(failed)]
                _log.error(
                    "%s: the destination did not take an event: %s", self._name, _said(error)
                )
            self._failing = fails_now
            for wake in (*tickets.values(), *ready):
                wake()
        return True

    def _try(self, batch: list[Item]) -> Mapping[int, BaseException]:
        try:
            return self._deliver(batch)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread has to go on
            return dict.fromkeys(range(len(batch)), error)

    def _tickets_of(self, first: int, failed: Mapping[int, BaseException]) -> dict[int, _Waker]:
        """Answer those who wait for an item of a batch, and return how to wake them, by position."""
        wakers = {}
        for position in [p for p in self._tickets if p < self._left]:
            ticket = self._tickets.pop(position)
            ticket.error = failed.get(position - first)
            wakers[position] = ticket.wake
        return wakers

    def _note(self, failed: Mapping[int, BaseException]) -> bool:
        """Keep failures until somebody can be told, and return whether there are any."""
        if failed:
            error = failed[max(failed)]
            self.failed += len(failed)
            before = self._unflushed[0] if self._unflushed else 0
            self._unflushed = (before + len(failed), error)
            if self._tells:
                self._untold = error
        return bool(failed)

    def _reached(self) -> int:
        """Return up to where everything has been handed over. Under the lock."""
        return self._left if self._writing_from is None else self._writing_from

    def _at_exit(self) -> None:
        """Hand over what waits, while the thread still runs."""
        if self.settle(_EXIT_SECONDS):
            with self._lock:
                self._direct = True
            self._empty()
        else:
            _log.error(
                "%s: %d events were still waiting after %g s and are lost, because the "
                "destination does not take them",
                self._name,
                self._left + self.size - self._reached(),
                _EXIT_SECONDS,
            )


def _shut() -> threading.Lock:
    """Return a lock that opens when somebody else releases it."""
    gate = threading.Lock()
    gate.acquire()
    return gate


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


def _raise_for(ticket: _Ticket) -> None:
    error = ticket.error
    if isinstance(error, SinkError):
        raise error
    if error is not None:
        raise SinkError(f"the destination did not take the event: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
