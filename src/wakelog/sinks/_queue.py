"""A bounded queue in memory and the one thread that empties it."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from wakelog.errors import BufferFullError, SinkError
from wakelog.journal._background import Background
from wakelog.sinks._policy import Buffer, OverflowPolicy
from wakelog.sinks._ticket import Ticket, Waker, raise_for, said

_log = logging.getLogger("wakelog")
_EXIT_SECONDS = 5.0

Item = TypeVar("Item")

# What becomes of an item that is offered.
TAKEN, DROPPED, WAIT = "taken", "dropped", "wait"


class QueueClosedError(SinkError):
    """The queue takes no more."""


class Queue(Generic[Item]):
    """Takes items in memory and hands them, in order, to a destination in a thread of its own.

    The thread is made by the first item, in every process anew: what waits in a process that forks
    is written by that process alone. It never ends because a destination fails. At the normal end
    of the program the queue is emptied for five seconds at most; items that come later are handed
    over in the thread that brings them.

    ``lock`` guards everything that waits, and the counters; nothing is delivered or logged
    under it. ``_delivering`` is held while a batch is with the destination. A signal's handler or a
    finalizer may bring an item while its thread holds ``lock``. It is taken, beyond the capacity
    where it would have to wait for room, since that would be to wait for itself.

    Args:
        settings: Capacity and policy.
        deliver: Hands a batch over, and returns what failed: an exception by index.
        most: The most items in a batch.
        name: For the thread and for messages.
        tells: Whether failures are logged, and ``put`` raises once for those since it raised last;
            else ``deliver`` sees to it.

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
        self.lock = threading.RLock()
        self._work = threading.Condition(self.lock)
        self._delivering = threading.RLock()
        self._items: deque[tuple[Item, Ticket | None]] = deque()
        # Positions count items from the first one on: how many have left the queue, and the first
        # of those that are with the destination.
        self._left = 0
        self._writing_from: int | None = None
        self._for_room: deque[Waker] = deque()
        self._for_position: list[tuple[int, Waker]] = []
        self._thread = Background(self._run, self._name)
        self._resting = False
        # Whether those who bring items hand them over themselves: the program is ending.
        self.direct = False
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

    @property
    def capacity(self) -> int:
        """The most items that wait."""
        return self._capacity

    # Bringing items

    def put(self, item: Item) -> bool:
        """Take an item.

        Returns:
            Whether it was taken; False when it was dropped.

        Raises:
            BufferFullError: When there was no room, as the policy says.
            SinkError: When the queue is closed, or to tell that earlier items failed.
        """
        with self.lock:
            answer = self.offer(item, None)
        if answer is WAIT:
            answer = self._wait_for_room(item, None)
        if self.direct:
            self.empty()
        return answer is TAKEN

    def put_through(self, item: Item) -> None:
        """Take an item and return when the destination has taken it.

        Raises:
            BufferFullError: When there was no room, or the item was dropped.
            SinkError: When the queue is closed, or the destination failed.
        """
        if threading.get_ident() == self._deliverer:  # it would wait for itself
            self.put(item)
            return
        if self._is_within():
            raise SinkError(f"{self._name} cannot wait for a thread that it has interrupted itself")
        gate = _shut()
        ticket = Ticket(gate.release)
        with self.lock:
            answer = self.offer(item, ticket)
        if answer is WAIT:
            self._wait_for_room(item, ticket)
        if self.direct:
            self.empty()
        gate.acquire()
        raise_for(ticket)

    def offer(self, item: Item, ticket: Ticket | None) -> str:
        """Take an item if there is room, else do what the policy says. Under the lock."""
        if self._closed:
            raise QueueClosedError(f"{self._name} is closed: the event was not accepted")
        if self._untold is not None:
            failure, self._untold = self._untold, None
            message = (
                f"{self._name}: the worker failed to write an earlier event ({said(failure)}). "
                "It is lost, and this one was not accepted; recording goes on with the next"
            )
            raise SinkError(message) from failure
        items = self._items
        if len(items) >= self._capacity:
            if self._overflow is OverflowPolicy.DROP_OLDEST:
                self._drop_oldest()
            elif self._overflow is OverflowPolicy.DROP_NEWEST and ticket is None:
                self.dropped += 1
                return DROPPED
            elif (
                self._overflow is not OverflowPolicy.BLOCK
                or self._deliverer == threading.get_ident()  # it would wait for itself
            ):
                raise self.full()
            else:
                return WAIT
        items.append((item, ticket))
        if self._resting:
            self._work.notify()
            self._resting = False
        elif not self._thread.running and not self.direct:
            self._start()
        return TAKEN

    def _drop_oldest(self) -> None:
        _, ticket = self._items.popleft()
        self._left += 1
        self.dropped += 1
        if ticket is not None:
            ticket.error = BufferFullError(f"{self._name}: the event was dropped for newer ones")
            ticket.wake()

    def _is_within(self) -> bool:
        """Tell whether this thread holds the lock: it has been interrupted there."""
        try:
            self._work.notify(0)
        except RuntimeError:
            return False
        return True

    def full(self, waited: float | None = None) -> BufferFullError:
        """Count a refusal and return the error that says so. Under the lock."""
        self.refused += 1
        for_how_long = "" if waited is None else f" for {waited:g} s"
        return BufferFullError(
            f"{self._name}: capacity exceeded, {self._capacity} events are waiting{for_how_long}. "
            "The event was not accepted: look why the destination is slow, or raise the capacity"
        )

    def _wait_for_room(self, item: Item, ticket: Ticket | None) -> str:
        timeout = self.settings.timeout
        began = time.monotonic()
        again = False
        if self._is_within():
            self._items.append((item, ticket))
            return TAKEN
        while True:
            gate = _shut()
            wake = gate.release
            try:
                with self.lock:
                    answer = self.offer(item, ticket)
                    if answer is not WAIT:
                        break
                    self.stand(wake, first=again)
                left = -1 if timeout is None else max(0.0, began + timeout - time.monotonic())
                again = gate.acquire(timeout=left)
            except BaseException:
                self.step_aside(wake)
                raise
            if not again:
                self.step_aside(wake)
                self.waited(began)
                with self.lock:
                    raise self.full(timeout)
        self.waited(began)
        return answer

    def waited(self, began: float) -> None:
        """Count a wait for room that has ended."""
        seconds = time.monotonic() - began
        with self.lock:
            self.waits += 1
            self.wait_seconds += seconds
        if self.on_wait is not None:
            self.on_wait(seconds)

    def stand(self, wake: Waker, *, first: bool) -> None:
        """Be woken when there is room. Under the lock."""
        if first:  # it was its turn, and somebody was faster
            self._for_room.appendleft(wake)
        else:
            self._for_room.append(wake)

    def step_aside(self, wake: Waker) -> None:
        """Stop waiting for room, and pass it on if it has just come."""
        with self.lock:
            if wake in self._for_room:
                self._for_room.remove(wake)
                return
        self._give_room(1)

    def _give_room(self, count: int) -> None:
        """Wake as many of those who wait for room; the task of a closed loop does not count."""
        while count:
            with self.lock:
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
        if (wake := self.watch(gate.release)) is None:
            return True
        if self._is_within():
            timeout = 0.0
        if gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            return True
        self.forget(wake)
        return False

    def watch(self, wake: Waker) -> Waker | None:
        """Be woken when everything put so far was handed over; None when it is so already."""
        if self.direct:
            self.empty()
        with self.lock:
            position = self._left + len(self._items)
            if self._reached() >= position:
                return None
            if self._deliverer == threading.get_ident():
                raise SinkError(f"{self._name} cannot wait for itself: its own thread asked it to")
            self._for_position.append((position, wake))
        return wake

    def forget(self, wake: Waker) -> None:
        """Take back what ``watch`` has noted."""
        with self.lock:
            self._for_position = [pair for pair in self._for_position if pair[1] is not wake]

    def raise_failures(self) -> None:
        """Raise when items have failed since this was asked last.

        Raises:
            SinkError: It says how many, and why the last one did.
        """
        with self.lock:
            failures, self._unflushed = self._unflushed, None
            self._untold = None
        if failures is not None:
            count, error = failures
            message = (
                f"{self._name}: the worker failed to write {count} events, which are lost; the "
                f"last one because: {said(error)}"
            )
            raise SinkError(message) from error

    def refuse(self) -> None:
        """Take no more, and end the thread when everything has been handed over."""
        with self.lock:
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
        self.refuse()
        if self._deliverer == threading.get_ident():
            return False
        done = self.settle(timeout)
        if done:
            atexit.unregister(self._at_exit)
            self._thread.join()
        return done

    # The thread

    def _start(self) -> None:
        """Start the thread, or note that none can be started any more. Under the lock."""
        if not self._thread.start():
            self.direct = True
            return
        atexit.register(self._at_exit)
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            from multiprocessing.util import Finalize

            # Before Python 3.13 these processes end without what atexit has noted.
            Finalize(None, self._at_exit, exitpriority=100)

    def _run(self) -> None:
        while True:
            self._hand_over()
            with self.lock:
                while not self._items:
                    if self._closed:
                        return
                    self._resting = True
                    self._work.wait()
                    self._resting = False

    def empty(self) -> None:
        """Hand over what waits in this thread, unless that is what this thread is doing."""
        if self._deliverer != threading.get_ident():
            self._hand_over()

    def _hand_over(self) -> None:
        """Hand over everything that waits, batch by batch."""
        me = threading.get_ident()
        with self._delivering:
            self._deliverer = me
            with self.lock:
                batch = self._take()
            while batch:
                if self._for_room:
                    self._give_room(len(batch))
                failed = self._try([item for item, _ in batch])
                with self.lock:
                    self._writing_from = None
                    if failed:
                        self._note({n: failed[n] for n in failed if batch[n][1] is None})
                    wakers = self._come_to(self._left)
                    before, batch = batch, self._take()
                for number, (_, ticket) in enumerate(before):
                    if ticket is not None:
                        ticket.error = failed.get(number)
                        ticket.wake()
                for wake in wakers:
                    wake()
                if (failed or self._failing) and self._tells:
                    self._report(failed)
            self._deliverer = 0

    def _take(self) -> list[tuple[Item, Ticket | None]]:
        """Return the next batch. Under the lock."""
        items = self._items
        if not items:
            return []
        count = min(len(items), self._most)
        self._writing_from = self._left
        self._left += count
        return [items.popleft() for _ in range(count)]

    def _come_to(self, position: int) -> list[Waker]:
        """Return how to wake those who wait up to a position. Under the lock."""
        waiting = self._for_position
        if not waiting:
            return []
        self._for_position = [pair for pair in waiting if pair[0] > position]
        return [wake for until, wake in waiting if until <= position]

    def _try(self, batch: list[Item]) -> Mapping[int, BaseException]:
        try:
            return self._deliver(batch) or {}
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread has to go on
            return dict.fromkeys(range(len(batch)), error)

    def _note(self, failed: Mapping[int, BaseException]) -> None:
        """Keep failures until somebody can be told. Under the lock."""
        if not failed:
            return
        error = failed[max(failed)]
        self.failed += len(failed)
        before = self._unflushed[0] if self._unflushed else 0
        self._unflushed = (before + len(failed), error)
        if self._tells:
            self._untold = error

    def _report(self, failed: Mapping[int, BaseException]) -> None:
        """Log the first of several failures in a row."""
        if failed and not self._failing:
            error = failed[max(failed)]
            _log.error("%s: the destination did not take an event: %s", self._name, said(error))
        self._failing = bool(failed)

    def _reached(self) -> int:
        """Return up to where everything has been handed over. Under the lock."""
        return self._left if self._writing_from is None else self._writing_from

    def _at_exit(self) -> None:
        """Hand over what waits, while the thread still runs."""
        if self.settle(_EXIT_SECONDS):
            with self.lock:
                self.direct = True
            self.empty()
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
