"""A bounded queue in memory and the one thread that empties it."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Generic, TypeVar

from wakelog.buffer._failures import UntoldFailures
from wakelog.buffer._policy import Buffer, OverflowPolicy
from wakelog.buffer._room import DROPPED, TAKEN, WAIT, Room, Waker, shut
from wakelog.buffer._ticket import Ticket, raise_for
from wakelog.errors import BufferFullError, SinkError
from wakelog.runtime import Background, ForkOrder, notice_fork, reset_in_child

_log = logging.getLogger("wakelog")
_EXIT_SECONDS = 5.0

Item = TypeVar("Item")


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
        counts_batch: Whether what is with the destination counts against the capacity.
        at_exit: Whether the queue is emptied at the end of the program; else its owner calls
            ``finish``.
        at_end: Called when a thread has ended delivering, in that thread.

    Attributes:
        dropped: How many items ``DROP_NEWEST`` or ``DROP_OLDEST`` has dropped.
        refused: How many were refused because there was no room.
        waits: How many had to wait for room.
        wait_seconds: How long, in all.
        on_wait: Called with the seconds of each wait, in the thread that waited.
        closed: Whether it takes no more.
        direct: Whether those who bring items hand them over themselves: the program is ending.
        ending: Whether ``finish`` is under way.
    """

    def __init__(
        self,
        settings: Buffer,
        deliver: Callable[[list[Item]], Mapping[int, BaseException]],
        *,
        most: int,
        name: str,
        tells: bool = True,
        counts_batch: bool = False,
        at_exit: bool = True,
        at_end: Callable[[], object] | None = None,
    ) -> None:
        self.settings = settings
        self.on_wait: Callable[[float], None] | None = None
        self._capacity, self._overflow = settings.capacity, settings.overflow
        self._deliver, self._most, self._name, self._tells = deliver, most, name, tells
        self._counts_batch, self._empties, self._at_end = counts_batch, at_exit, at_end
        self.closed = False
        self._reset()
        reset_in_child(self._reset, ForkOrder.BUFFERS)

    def _reset(self) -> None:
        """Begin empty: at first, and again in a forked child."""
        self._make_locks()
        self.room = Room(self.lock)
        self._items: deque[tuple[Item, Ticket | None]] = deque()
        # Positions count items from the first one on: how many have left the queue, and the first
        # of those that are with the destination.
        self._left = 0
        self._writing_from: int | None = None
        # How many of those count against the capacity.
        self._held = 0
        self._for_position: list[tuple[int, Waker]] = []
        self._thread = Background(self._run, self._name)
        self._resting = False
        self.direct = self.ending = False
        self._deliverer = 0
        self.dropped = self.refused = self.waits = 0
        self.wait_seconds = 0.0
        self._failures = UntoldFailures(self._name, tells=self._tells)

    def _make_locks(self) -> None:
        self.lock = threading.RLock()
        self._work = threading.Condition(self.lock)
        self._delivering = threading.RLock()
        self._made_beside = threading.Lock

    def prepare(self) -> None:
        """Take note of a fork, and of gevent or eventlet, before the lock is taken.

        They replace threads and locks, at any time. All of their threads are one to a lock from before,
        which then keeps nobody out.
        """
        notice_fork()
        if self._made_beside is not threading.Lock and not self._thread.running:
            self._make_locks()
            self.room.lock = self.lock

    @property
    def size(self) -> int:
        """How many items wait."""
        return len(self._items)

    @property
    def failed(self) -> int:
        """How many the destination did not take, of those that nobody waited for."""
        return self._failures.count

    @property
    def unfinished(self) -> int:
        """How many items wait or are with the destination."""
        return self._left + len(self._items) - self._reached()

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
        self.prepare()
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
        self.prepare()
        if threading.get_ident() == self._deliverer:  # it would wait for itself
            self.put(item)
            return
        if self._is_within():
            raise SinkError(f"{self._name} cannot wait for a thread that it has interrupted itself")
        gate = shut()
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
        if self.closed:
            raise QueueClosedError(f"{self._name} is closed: the event was not accepted")
        if self._failures.for_the_next is not None:
            self._failures.raise_for_the_next()
        items = self._items
        if len(items) + self._held >= self._capacity:
            if self._overflow is OverflowPolicy.DROP_OLDEST:
                self._drop_oldest()
            elif self._overflow is OverflowPolicy.DROP_NEWEST and ticket is None:
                self.dropped += 1
                return DROPPED
            elif (
                self._overflow is not OverflowPolicy.BLOCK
                or self._deliverer == threading.get_ident()  # it would wait for itself
            ):
                raise self._full()
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
        """Return whether this thread holds the lock: it has been interrupted there."""
        try:
            self._work.notify(0)
        except RuntimeError:
            return False
        return True

    def _full(self, waited: float | None = None) -> BufferFullError:
        """Count a refusal and return the error that says so. Under the lock."""
        self.refused += 1
        for_how_long = "" if waited is None else f" for {waited:g} s"
        return BufferFullError(
            f"{self._name}: capacity exceeded, {self._capacity} events are waiting{for_how_long}. "
            "The event was not accepted: look why the destination is slow, or raise the capacity"
        )

    def _wait_for_room(self, item: Item, ticket: Ticket | None) -> str:
        if self._is_within():
            self._items.append((item, ticket))
            return TAKEN
        began = time.monotonic()
        answer = self.room.wait(partial(self.offer, item, ticket), self.settings.timeout)
        self.note_wait(began, answer)
        return answer

    def note_wait(self, began: float, answer: str) -> None:
        """Count a wait for room that has ended.

        Raises:
            BufferFullError: When it has ended without room.
        """
        seconds = time.monotonic() - began
        with self.lock:
            self.waits += 1
            self.wait_seconds += seconds
        if self.on_wait is not None:
            self.on_wait(seconds)
        if answer is WAIT:
            with self.lock:
                raise self._full(self.settings.timeout)

    # Waiting for all

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until the destination has been asked to take everything put so far.

        Args:
            timeout: The longest wait, in seconds; None waits as long as it takes.

        Returns:
            Whether that is so.
        """
        notice_fork()
        gate = shut()
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
        notice_fork()
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
            self._failures.raise_for_flush()

    def refuse(self) -> None:
        """Take no more, and end the thread when everything has been handed over."""
        notice_fork()
        with self.lock:
            self.closed = True
            self._work.notify()
        self.room.give(len(self.room))

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
            self._thread.join()
        return done

    def finish(self, timeout: float) -> bool:
        """Hand over what waits and end the thread, which the next item starts again.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether everything has been handed over.
        """
        notice_fork()
        thread = self._thread
        with self.lock:
            self.ending = True
            self._work.notify()
        done = self.settle(timeout)
        if done:
            thread.join()
        with self.lock:
            self.ending = False
        return done

    # The thread

    def _start(self) -> None:
        """Start the thread, or note that none can be started any more. Under the lock."""
        if not self._thread.start():
            self.direct = True
            return
        if not self._empties:
            return
        atexit.register(self._at_exit)
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            from multiprocessing.util import Finalize

            # Before Python 3.13 these processes end without what atexit has noted.
            Finalize(None, self._at_exit, exitpriority=100)

    def _run(self) -> None:
        while not self._is_over():
            self._hand_over()
        if self.closed:
            atexit.unregister(self._at_exit)
        self._end()

    def _is_over(self) -> bool:
        """Wait for items, and return whether the thread ends instead."""
        with self.lock:
            while not self._items:
                if self.closed:
                    return True
                if self.ending:
                    self._thread = Background(self._run, self._name)
                    return True
                self._resting = True
                self._work.wait()
                self._resting = False
        return False

    def empty(self) -> None:
        """Hand over what waits in this thread, unless that is what this thread is doing."""
        if self._deliverer != threading.get_ident():
            self._hand_over()
            self._end()

    def _end(self) -> None:
        if self._at_end is not None:
            with self._delivering:
                self._at_end()

    def _hand_over(self) -> None:
        """Hand over everything that waits, batch by batch."""
        me = threading.get_ident()
        with self._delivering:
            self._deliverer = me
            with self.lock:
                batch = self._take()
            while batch:
                if self.room and not self._counts_batch:
                    self.room.give(len(batch))
                failed = self._try([item for item, _ in batch])
                with self.lock:
                    self._writing_from, self._held = None, 0
                    if failed:
                        unseen = {n: failed[n] for n in failed if batch[n][1] is None}
                        self._failures.note(unseen)
                    wakers = self._come_to(self._left)
                    before, batch = batch, self._take()
                if self.room and self._counts_batch:
                    self.room.give(len(before))
                for number, (_, ticket) in enumerate(before):
                    if ticket is not None:
                        ticket.error = failed.get(number)
                        ticket.wake()
                for wake in wakers:
                    wake()
                if failed or self._failures.is_failing:
                    self._failures.report(failed)
            self._deliverer = 0

    def _take(self) -> list[tuple[Item, Ticket | None]]:
        """Return the next batch. Under the lock."""
        items = self._items
        if not items:
            return []
        count = min(len(items), self._most)
        self._writing_from = self._left
        self._left += count
        self._held = count if self._counts_batch else 0
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

    def _reached(self) -> int:
        """Return up to where everything has been handed over. Under the lock."""
        return self._left if self._writing_from is None else self._writing_from

    def _at_exit(self) -> None:
        """Hand over what waits, while the thread still runs."""
        notice_fork()
        if self.settle(_EXIT_SECONDS):
            with self.lock:
                self.direct = True
            self.empty()
        else:
            _log.error(
                "%s: %d events were still waiting after %g s and are lost, because the "
                "destination does not take them",
                self._name,
                self.unfinished,
                _EXIT_SECONDS,
            )
