"""Appending records to a session log: directly if that takes microseconds, else by a queue."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from wakelog.audit._failures import Failures, named
from wakelog.audit._home import Home, leave_to_parent, own_loop
from wakelog.audit._keys import ThreadKey
from wakelog.audit._log import SessionLog
from wakelog.audit._metrics import MEASURE_EACH, metrics_of
from wakelog.buffer import TAKEN, Buffer, OverflowPolicy, Queue
from wakelog.errors import (
    ConfigurationError,
    EventTooLargeError,
    SessionLogBusyError,
    SessionLogError,
)
from wakelog.events import AgentEvent
from wakelog.runtime import ForkOrder, notice_fork, reset_in_child
from wakelog.runtime.daemon_threads import DaemonThreads
from wakelog.telemetry.instruments import finishing

_log = logging.getLogger("wakelog")

MAX_PENDING = 65_536
_BATCH = 1024
_AT_ONCE = 8
# An append waits this long, once, only if another process was stopped in the middle of its own.
_TURN_SECONDS = 1.0
_GIVE_WAY_SECONDS = 0.0005
_EXIT_SECONDS = 30.0
# How many threads the warning names whose records were lost at exit.
_SHOWN = 3


@runtime_checkable
class DirectLog(Protocol):
    """A session log that can append in the calling thread, within microseconds."""

    def append_now(self, key: ThreadKey, events: Sequence[AgentEvent], timeout: float) -> int:
        """Append, or raise ``SessionLogBusyError`` after ``timeout`` seconds."""
        ...


class AuditCounts(NamedTuple):
    """Counts of the records of a log's sinks in this process, by outcome.

    Attributes:
        appended: Records in the log.
        pending: Records that wait for the log.
        failed: Records that the log did not accept.
        dropped: Records that arrived when the queue was full.
    """

    appended: int
    pending: int
    failed: int
    dropped: int


_Item = tuple[ThreadKey, AgentEvent]


class AuditQueue:
    """The records that wait for a session log, and how they are appended.

    The queue's lock also guards the counts, and which keys have records in the queue.
    """

    def __init__(self, log: SessionLog, max_pending: int) -> None:
        self._log = log
        self._direct = log if isinstance(log, DirectLog) and _holds(log, "append_now") else None
        self.max_pending = max_pending
        self.metrics = metrics_of(log)
        is_anywhere = getattr(log, "any_event_loop", False) and _holds(log, "any_event_loop")
        is_bound = self._direct is None and not is_anywhere
        self._home = Home(_finisher(weakref.ref(self))) if is_bound else None
        self._reset()
        self._queue: Queue[_Item] = Queue(
            Buffer(max_pending, OverflowPolicy.DROP_NEWEST),
            self._append_batch,
            most=_BATCH,
            name="wakelog-audit",
            tells=False,
            counts_batch=True,
            at_exit=False,
            at_end=self._close_loop,
        )
        self.metrics.watch(self)
        _queues.add(self)
        reset_in_child(self._after_fork, ForkOrder.BUFFERS)

    def _after_fork(self) -> None:
        """Begin with an empty queue, because the parent appends the records in it."""
        leave_to_parent(self._loop)
        self._reset()

    def _reset(self) -> None:
        self._behind: dict[ThreadKey, list[int]] = {}
        self._appended = self._failed = 0
        self._failures = Failures(f"{type(self._log).__name__} does not accept audit records")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_said = False
        if self._home is not None and self._home.loop is not None:
            self._home.forget()

    @property
    def pending(self) -> int:
        """How many records are in the queue."""
        return self._queue.unfinished

    def counts(self) -> AuditCounts:
        with self._queue.lock:
            return AuditCounts(self._appended, self.pending, self._failed, self._queue.dropped)

    def submit(self, key: ThreadKey, event: AgentEvent) -> None:
        """Append an event now or later. The result is counted; nothing is raised."""
        queue = self._queue
        queue.prepare()
        if self._direct is not None and not (self._behind and key in self._behind):
            began = 0.0 if self._appended % MEASURE_EACH else time.perf_counter()
            try:
                self._direct.append_now(key, (event,), _TURN_SECONDS)
            except SessionLogBusyError:
                pass  # the queue can wait, but the agent cannot
            except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
                self.lost(error, key)
                return
            else:
                if began:
                    self.metrics.durations.append(time.perf_counter() - began)
                self._note_appended(1, key)
                return
        if self._home is not None:
            self._home.notice_loop()
        event.detach()  # later changes to its values must not be recorded
        with queue.lock:
            is_taken = queue.offer((key, event), None) is TAKEN
            if is_taken:
                behind = self._behind.get(key)  # hashing a key takes a quarter of a microsecond
                if behind is None:
                    self._behind[key] = [1]
                else:
                    behind[0] += 1
        if not is_taken:
            self.metrics.note_dropped()
            self._failures.failed(1, f"{self.max_pending} records are waiting already", key)
            return
        if queue.direct:
            queue.empty()
        if self._direct is not None and behind is not None and behind[0] > _BATCH:
            # Back-pressure: without this, a busy caller would keep the key in the queue forever.
            time.sleep(_GIVE_WAY_SECONDS)

    def notice_loop(self) -> None:
        """Note the running event loop, if the log may belong to one."""
        if self._home is not None:
            self._home.notice_loop()

    def flush(self, timeout: float) -> bool:
        """Wait until all events so far have been appended or refused; tell whether they were."""
        notice_fork()
        if self._home is not None and self._home.is_here and self.pending:
            if not self._has_said:
                self._has_said = True
                _log.warning(
                    "flush() was called in the event loop that appends to %s, and would block it: use "
                    "await asyncio.to_thread(sink.flush)",
                    type(self._log).__name__,
                )
            return False
        return self._queue.settle(timeout)

    def finish(self, timeout: float) -> bool:
        """Append the waiting records, and return whether all of them were passed to the log."""
        return self._queue.finish(timeout)

    def unappended(self) -> str:
        """Return the names of a few threads with waiting records, and the number of others."""
        with self._queue.lock:
            keys = list(self._behind)
        rest = f" and {len(keys) - _SHOWN} more threads" if len(keys) > _SHOWN else ""
        return "; ".join(map(named, keys[:_SHOWN])) + rest

    def _append_batch(self, items: list[_Item]) -> dict[int, BaseException]:
        """Append a batch of the queue, in order for each thread. Failures are counted here."""
        batch: dict[ThreadKey, list[AgentEvent]] = {}
        for key, event in items:
            batch.setdefault(key, []).append(event)
        try:
            if self._loop is None:
                self._loop = own_loop()
                self._loop.set_default_executor(DaemonThreads("wakelog-audit-append"))
            self._offer(batch, self._loop)
        except Exception as error:  # noqa: BLE001 - for example too many open files
            for key, events in batch.items():
                self.lost(error, key, len(events))
                self._leave(key, len(events))
        return {}

    def end(self) -> None:
        """Let the thread end when the queue is empty, because no sink is left."""
        self._queue.refuse()
        if not self.pending:
            self.metrics.unwatch(self)

    def _close_loop(self) -> None:
        """Close the event loop of the queue's thread, which has ended."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()
        if self._queue.closed:
            self.metrics.unwatch(self)

    def _offer(
        self, batch: dict[ThreadKey, list[AgentEvent]], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Append a batch in the log's event loop, or else in the loop of this thread."""
        begun: dict[ThreadKey, list[AgentEvent]] = {}
        home = self._home
        # Appends that an ending loop cancelled before they began are tried again.
        while batch and home is not None:
            if not home.run(lambda: self._append_all(batch, begun), lambda: self._queue.ending):
                break
        for key in list(begun):
            self._give_up(key, begun.pop(key, []))
        if batch:
            loop.run_until_complete(self._append_all(batch, begun))

    def _give_up(self, key: ThreadKey, events: list[AgentEvent]) -> None:
        """Count events as failed whose append was running when the log's event loop ended."""
        ended = "the event loop that the log lives in ended before the log had answered"
        self.lost(SessionLogError(ended), key, len(events))
        self._leave(key, len(events))

    async def _append_all(
        self,
        batch: dict[ThreadKey, list[AgentEvent]],
        begun: dict[ThreadKey, list[AgentEvent]],
    ) -> None:
        """Append concurrently for several threads, in order for each.

        Args:
            batch: The events by thread; an entry is removed when its append begins.
            begun: Receives the events whose append has begun and has no result yet.
        """
        free = asyncio.Semaphore(_AT_ONCE)

        async def append(key: ThreadKey) -> None:
            async with free:
                begun[key] = batch.pop(key)
                try:
                    await self._append(key, begun)
                except asyncio.CancelledError:
                    # Whoever removes the events from `begun` counts them, so they are counted once.
                    if events := begun.pop(key, None):
                        self._give_up(key, events)
                    raise
                begun.pop(key, None)

        await asyncio.gather(*map(append, list(batch)), return_exceptions=True)

    async def _append(self, key: ThreadKey, begun: dict[ThreadKey, list[AgentEvent]]) -> None:
        events = begun[key]
        if not await self._append_together(key, events):
            for number, event in enumerate(events):
                begun[key] = events[number:]
                await self._append_together(key, [event])

    async def _append_together(self, key: ThreadKey, events: list[AgentEvent]) -> bool:
        """Append events of a thread; return False if one of several is too large."""
        began = time.perf_counter()
        try:
            await self._log.append(key, events)
        except Exception as error:  # noqa: BLE001 - a log that fails must not end the thread
            if isinstance(error, EventTooLargeError) and len(events) > 1:
                # Nothing has been appended. The caller appends one by one, and loses only the large
                # one.
                return False
            self.lost(error, key, len(events))
        else:
            self.metrics.durations.append(time.perf_counter() - began)
            self._note_appended(len(events), key)
        self._leave(key, len(events))
        return True

    def _leave(self, key: ThreadKey, count: int) -> None:
        """Note that records of a thread have left the queue."""
        with self._queue.lock:
            behind = self._behind.get(key)
            if behind is not None and behind[0] > count:
                behind[0] -= count
            else:
                self._behind.pop(key, None)

    def _note_appended(self, count: int, key: ThreadKey) -> None:
        with self._queue.lock:
            self._appended += count
        self.metrics.note_appended(count)
        self._failures.worked(key)

    def lost(self, error: Exception, key: ThreadKey, count: int = 1) -> None:
        """Count records that were not accepted, or could not be created."""
        with self._queue.lock:
            self._failed += count
        self.metrics.note_failed(count, error)
        self._failures.failed(count, f"{type(error).__name__}: {error}", key)


def _holds(log: SessionLog, name: str) -> bool:
    """Tell whether an attribute of a log applies to its ``append`` method.

    A subclass that overrides ``append`` alone wants that method called.
    """
    if name in getattr(log, "__dict__", {}):
        return True
    for kind in type(log).__mro__:
        if name in kind.__dict__:
            return True
        if "append" in kind.__dict__:
            return False
    return True


def _finisher(queue: weakref.ref[AuditQueue]) -> Callable[[], Awaitable[object]]:
    """Return a function that an ending event loop awaits, to wait for a queue's records."""

    async def finish() -> None:
        known = queue()
        if known is not None and known.pending:
            await asyncio.to_thread(known.flush, _EXIT_SECONDS)

    return finish


# The queues that the exit waits for.
_queues: weakref.WeakSet[AuditQueue] = weakref.WeakSet()


class Channel:
    """The queue that all sinks of one session log share. Its thread ends after the last of them.

    Args:
        log: The session log.
        max_pending: The maximum number of waiting records.
    """

    def __init__(self, log: SessionLog, max_pending: int) -> None:
        self.log = log
        self.max_pending = max_pending
        queue = AuditQueue(log, max_pending)
        self.submit, self.flush, self.counts = queue.submit, queue.flush, queue.counts
        self.lost, self.notice_loop = queue.lost, queue.notice_loop
        weakref.finalize(self, queue.end).atexit = False


_channels: weakref.WeakValueDictionary[int, Channel] = weakref.WeakValueDictionary()
_channels_lock = threading.Lock()


def channel_over(log: SessionLog, max_pending: int | None) -> Channel:
    """Return the one channel of a session log, since two channels would not keep the order.

    Raises:
        ConfigurationError: If the log has no ``append``, or ``max_pending`` is not positive or
            differs from that of the channel.
    """
    notice_fork()
    if max_pending is not None and max_pending < 1:
        raise ConfigurationError(f"max_pending={max_pending}: at least one record has to fit")
    if not callable(getattr(log, "append", None)):
        raise ConfigurationError(f"log={log!r:.80} is not a session log: it has no append()")
    with _channels_lock:
        channel = _channels.get(id(log))
        if channel is None:
            channel = _channels[id(log)] = Channel(log, max_pending or MAX_PENDING)
        elif max_pending not in (None, channel.max_pending):
            raise ConfigurationError(
                f"max_pending={max_pending}: the sinks over this log share a queue, and it has "
                f"max_pending={channel.max_pending}"
            )
    channel.notice_loop()
    return channel


def _new_lock() -> None:
    global _channels_lock  # noqa: PLW0603 - a forked child may have inherited it locked
    _channels_lock = threading.Lock()


reset_in_child(_new_lock, ForkOrder.BUFFERS)


@atexit.register
@finishing
def _drain() -> None:
    """Append the waiting records before the process ends."""
    notice_fork()
    until = time.monotonic() + _EXIT_SECONDS
    for queue in list(_queues):
        if not queue.finish(max(0.0, until - time.monotonic())):
            _log.warning(
                "%d audit records were not appended within %g s at exit and are lost: %s",
                queue.pending,
                _EXIT_SECONDS,
                queue.unappended(),
            )
