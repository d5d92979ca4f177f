"""A bounded queue in memory, and the one thread that empties it."""

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
from wakelog.runtime import Background, ForkOrder, notice_fork, noticed, reset_in_child

_log = logging.getLogger("wakelog")
_EXIT_SECONDS = 5.0

Item = TypeVar("Item")


class QueueClosedError(SinkError):
    """The error for an item that is put into a closed queue."""


class Queue(Generic[Item]):
    """Queues items in memory, and delivers them in order to a destination in a thread of its own.

    The first item of each process starts the thread; the items that wait in a process that forks
    are written by that process only. A failing destination does not end the thread. At the normal
    end of the program the queue is emptied, for at most five seconds. Later items are delivered in
    the thread that puts them.

    ``lock`` guards the waiting items and the counters; nothing is delivered or logged under it.
    ``_delivering`` is held during the delivery of a batch. A signal handler or a finalizer may put
    an item while its thread holds ``lock``. It cannot wait for room, because it would wait for
    itself, so its item is accepted beyond the capacity.

    Args:
        settings: Capacity and policy.
        deliver: Delivers a batch, and returns the failures: an exception by index.
        most: Maximum number of items in a batch.
        name: The name of the thread, also for messages.
        tells: Whether failures are logged, and raised once by the next ``put``. If not, ``deliver``
            reports them.
        counts_batch: Whether items that are being delivered count towards the capacity.
        at_exit: Whether the queue is emptied at the end of the program. If not, its owner calls
            ``finish``.
        at_end: Called in the delivering thread at its end.

    Attributes:
        dropped: The number of items that ``DROP_NEWEST`` or ``DROP_OLDEST`` has dropped.
        refused: The number of items that were refused because there was no room.
        waits: The number of items that had to wait for room.
        wait_seconds: The total of these waits in seconds.
        on_wait: Called with the seconds of each wait, in the waiting thread.
        closed: Whether the queue is closed.
        direct: Whether the calling threads deliver their items, because the program is ending.
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
        """Initialize an empty queue, at first and in each forked child."""
        self._make_locks()
        self.room = Room(self.lock)
        self._items: deque[tuple[Item, Ticket | None]] = deque()
        # Positions number all items. `_left` is the number of items that have left the queue, and
        # `_writing_from` the position of the first one that is being delivered.
        self._left = 0
        self._writing_from: int | None = None
        # The number of items being delivered that count towards the capacity.
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
        """Handle a fork, and gevent or eventlet, before the lock is taken.

        gevent and eventlet may replace threads and locks at any time. For an earlier lock all their
        greenlets are the same thread, so it does not exclude any of them.
        """
        if not noticed[0]:
            notice_fork()
        if self._made_beside is not threading.Lock and not self._thread.running:
            self._make_locks()
            self.room.lock = self.lock

    @property
    def size(self) -> int:
        """The number of waiting items."""
        return len(self._items)

    @property
    def failed(self) -> int:
        """The number of failed items for which no caller was waiting."""
        return self._failures.count

    @property
    def unfinished(self) -> int:
        """The number of items that wait or are being delivered."""
        return self._left + len(self._items) - self._reached()

    @property
    def capacity(self) -> int:
        """The maximum number of waiting items."""
        return self._capacity

    # Putting items

    def put(self, item: Item) -> bool:
        """Put an item into the queue.

        Returns:
            Whether it was accepted; False if it was dropped.

        Raises:
            BufferFullError: When there is no room and the policy refuses the item.
            SinkError: When the queue is closed, or earlier items have failed.
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
        """Put an item into the queue, and wait until the destination has accepted it.

        Raises:
            BufferFullError: When there is no room, or the item is dropped.
            SinkError: When the queue is closed, or the destination fails.
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
        """Accept an item if there is room, else apply the policy. The caller holds the lock."""
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
        """Return whether this thread already holds the lock, because it was interrupted there."""
        try:
            self._work.notify(0)
        except RuntimeError:
            return False
        return True

    def _full(self, waited: float | None = None) -> BufferFullError:
        """Count a refusal and return its error. The caller holds the lock."""
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
            BufferFullError: When the wait has ended without room.
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

    # Waiting for all items

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until every item so far has been delivered or has failed.

        Args:
            timeout: Maximum wait in seconds; None for no limit.

        Returns:
            Whether that was so in time.
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
        """Register a waker that is called after every item so far; None if none is waiting."""
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
        """Remove a waker that ``watch`` has registered."""
        with self.lock:
            self._for_position = [pair for pair in self._for_position if pair[1] is not wake]

    def raise_failures(self) -> None:
        """Raise an error if items have failed since the last call.

        Raises:
            SinkError: With the number of failures and the cause of the last one.
        """
        with self.lock:
            self._failures.raise_for_flush()

    def refuse(self) -> None:
        """Refuse further items, and end the thread when every item has been delivered."""
        notice_fork()
        with self.lock:
            self.closed = True
            self._work.notify()
        self.room.give(len(self.room))

    def close(self, timeout: float | None = None) -> bool:
        """Refuse further items, deliver the waiting ones, and end the thread. Twice is harmless.

        Args:
            timeout: Maximum wait in seconds; None for no limit.

        Returns:
            Whether every item has been delivered or has failed.
        """
        self.refuse()
        if self._deliverer == threading.get_ident():
            return False
        done = self.settle(timeout)
        if done:
            self._thread.join()
        return done

    def finish(self, timeout: float) -> bool:
        """Deliver the waiting items and end the thread, which the next item starts again.

        Args:
            timeout: Maximum wait in seconds.

        Returns:
            Whether every item has been delivered or has failed.
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
        """Start the thread, or set ``direct`` if that is impossible. The caller holds the lock."""
        if not self._thread.start():
            self.direct = True
            return
        if not self._empties:
            return
        atexit.register(self._at_exit)
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            from multiprocessing.util import Finalize

            # Before Python 3.13 these processes end without running atexit functions.
            Finalize(None, self._at_exit, exitpriority=100)

    def _run(self) -> None:
        while not self._is_over():
            self._hand_over()
        if self.closed:
            atexit.unregister(self._at_exit)
        self._end()

    def _is_over(self) -> bool:
        """Wait for items, and return whether the thread has to end."""
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
        """Deliver the waiting items in this thread, unless it is already doing so."""
        if self._deliverer != threading.get_ident():
            self._hand_over()
            self._end()

    def _end(self) -> None:
        if self._at_end is not None:
            with self._delivering:
                self._at_end()

    def _hand_over(self) -> None:
        """Deliver all waiting items, batch by batch."""
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
        """Return the next batch. The caller holds the lock."""
        items = self._items
        if not items:
            return []
        count = min(len(items), self._most)
        self._writing_from = self._left
        self._left += count
        self._held = count if self._counts_batch else 0
        return [items.popleft() for _ in range(count)]

    def _come_to(self, position: int) -> list[Waker]:
        """Return the wakers of those who wait for a position. The caller holds the lock."""
        waiting = self._for_position
        if not waiting:
            return []
        self._for_position = [pair for pair in waiting if pair[0] > position]
        return [wake for until, wake in waiting if until <= position]

    def _try(self, batch: list[Item]) -> Mapping[int, BaseException]:
        try:
            return self._deliver(batch) or {}
        except BaseException as error:  # noqa: BLE001 - no exception may end the thread
            return dict.fromkeys(range(len(batch)), error)

    def _reached(self) -> int:
        """Return the position up to which all is delivered. The caller holds the lock."""
        return self._left if self._writing_from is None else self._writing_from

    def _at_exit(self) -> None:
        """Deliver the waiting items at exit, while the thread still runs."""
        notice_fork()
        if self.settle(_EXIT_SECONDS):
            with self.lock:
                self.direct = True
            self.empty()
        else:
            _log.error(
                "%s: %d events were still waiting after %g s and are lost, because the "
                "destination does not accept them",
                self._name,
                self.unfinished,
                _EXIT_SECONDS,
            )
