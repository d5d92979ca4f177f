"""From ``record_*`` into a session log: at once where that takes microseconds, else by a queue."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol, runtime_checkable

from wakelog.audit._figures import MEASURE_EACH, figures_of
from wakelog.audit._keys import ThreadKey
from wakelog.audit._log import SessionLog
from wakelog.errors import ConfigurationError, EventTooLargeError, SessionLogBusyError
from wakelog.events import AgentEvent
from wakelog.otel._instruments import finishing

_log = logging.getLogger("wakelog")

MAX_PENDING = 65_536
_BATCH = 1024
_AT_ONCE = 8
# Only a process that was stopped in the middle of an append lets others wait for so long, once.
_TURN_SECONDS = 1.0
_GIVE_WAY_SECONDS = 0.0005
_EXIT_SECONDS = 30.0
# Within a burst of failures, this often.
_REPORT_SECONDS = 60.0


@runtime_checkable
class DirectLog(Protocol):
    """A session log that can append in the calling thread, within microseconds."""

    def append_now(self, key: ThreadKey, events: Sequence[AgentEvent], timeout: float) -> int:
        """Append, or raise ``SessionLogBusyError`` after ``timeout`` seconds."""
        ...


class AuditCounts(NamedTuple):
    """What became of the records of a log's sinks in this process.

    Attributes:
        appended: They are in the log.
        pending: They wait for the log.
        failed: The log did not accept them.
        dropped: They found the queue full.
    """

    appended: int
    pending: int
    failed: int
    dropped: int


class Failures:
    """Counts what was lost and says so once a burst. Nothing here may raise.

    Args:
        what: What fails, as the beginning of the warning.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._in_burst = 0
        self._report_at = 0.0

    def failed(self, count: int, why: object) -> None:
        """Note that records were lost."""
        self._in_burst += count
        now = time.monotonic()
        if now >= self._report_at:
            self._report_at = now + _REPORT_SECONDS
            _log.warning("%s: %d records lost so far: %s", self._what, self._in_burst, why)

    def worked(self) -> None:
        """Note that a record was not lost, which ends a burst."""
        if self._in_burst:
            lost, self._in_burst, self._report_at = self._in_burst, 0, 0.0
            _log.warning("%s: it works again, after %d lost records", self._what, lost)


class _Item(NamedTuple):
    key: ThreadKey
    event: AgentEvent


class _Pump:
    """The queue in front of a session log, and the thread that empties it.

    The queue takes from signal handlers and destructors too. ``_lock`` guards the counts, and which
    keys have something in the queue; it may be taken twice by the same thread.
    """

    def __init__(self, log: SessionLog, max_pending: int) -> None:
        self._log = log
        self._direct = log if isinstance(log, DirectLog) else None
        self.max_pending = max_pending
        self.figures = figures_of(log)
        self._begin()
        self.figures.watch(self)
        after_fork = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (method := after_fork()) and method())

    def _begin(self) -> None:
        """Begin with nothing: at first, and in a forked child, whose parent appends what waits."""
        self._queue: SimpleQueue[_Item | threading.Event | None] = SimpleQueue()
        self._pending = 0
        self._lock = threading.RLock()
        self._behind: dict[ThreadKey, int] = {}
        self._appended = self._failed = self._dropped = 0
        self._failures = Failures(f"{type(self._log).__name__} does not take audit records")
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """How many records wait."""
        return self._pending

    def counts(self) -> AuditCounts:
        with self._lock:
            return AuditCounts(self._appended, self._pending, self._failed, self._dropped)

    def submit(self, key: ThreadKey, event: AgentEvent) -> None:
        """Append an event now or soon. Whatever becomes of it is counted and not raised."""
        if self._direct is not None and key not in self._behind:
            began = 0.0 if self._appended % MEASURE_EACH else time.perf_counter()
            try:
                self._direct.append_now(key, (event,), _TURN_SECONDS)
            except SessionLogBusyError:
                pass  # the queue can wait for its turn, and the agent cannot
            except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
                self._note_failed(1, error)
                return
            else:
                if began:
                    self.figures.durations.append(time.perf_counter() - began)
                self._note_appended(1)
                return
        with self._lock:
            fits = self._pending < self.max_pending
            if fits:
                self._pending += 1
                self._behind[key] = self._behind.get(key, 0) + 1
                self._queue.put(_Item(key, event))
            else:
                self._dropped += 1
        if not fits:
            self.figures.note_dropped()
            self._failures.failed(1, f"{self.max_pending} records are waiting already")
            return
        self._work()
        if self._direct is not None and self._behind.get(key, 0) > _BATCH:
            # One who records without a pause would keep the key in the queue for good.
            time.sleep(_GIVE_WAY_SECONDS)

    def flush(self, timeout: float) -> bool:
        """Wait until what was submitted so far has been appended, or refused."""
        reached = threading.Event()
        self._queue.put(reached)
        self._work()
        return reached.wait(timeout)

    def end(self) -> None:
        """Have the thread end after what is in the queue."""
        self._queue.put(None)

    def finish(self, timeout: float) -> bool:
        """Have the thread end, and return whether it has."""
        thread = self._thread
        self.end()
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def _work(self) -> None:
        """See to it that a thread is at work."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="wakelog-audit", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down and starts no thread any more
                self._thread = None
                self.end()
                self._run()
            else:
                _pumps.add(self)

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            while self._append_batch(loop):
                pass
        finally:
            loop.close()
            with self._lock:
                self._thread = None
            _pumps.discard(self)

    def _append_batch(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Take what is in the queue, append it, and return whether to go on."""
        batch: dict[ThreadKey, list[AgentEvent]] = {}
        waiting: list[threading.Event] = []
        count = 0
        item = self._queue.get()
        try:
            while item is not None:
                if isinstance(item, _Item):
                    batch.setdefault(item.key, []).append(item.event)
                    count += 1
                else:
                    waiting.append(item)
                if count >= _BATCH:
                    break
                item = self._queue.get_nowait()
        except Empty:
            pass
        loop.run_until_complete(self._append_all(batch))
        with self._lock:
            # A signal handler may have come in between while somebody counted: begin anew when empty.
            self._pending = 0 if self._queue.empty() else self._pending - count
        for one in waiting:
            one.set()
        return item is not None

    async def _append_all(self, batch: dict[ThreadKey, list[AgentEvent]]) -> None:
        """Append for several threads at the same time, and in order for each."""
        free = asyncio.Semaphore(_AT_ONCE)

        async def append(key: ThreadKey, events: list[AgentEvent]) -> None:
            async with free:
                await self._append(key, events)
            with self._lock:
                left = self._behind.get(key, 0) - len(events)
                if left > 0:
                    self._behind[key] = left
                else:
                    self._behind.pop(key, None)

        await asyncio.gather(*(append(key, events) for key, events in batch.items()))

    async def _append(self, key: ThreadKey, events: list[AgentEvent]) -> None:
        began = time.perf_counter()
        try:
            await self._log.append(key, events)
        except EventTooLargeError as error:
            # Nothing has been appended yet, and one bad record costs one record.
            if len(events) == 1:
                self._note_failed(1, error)
            else:
                for event in events:
                    await self._append(key, [event])
        except Exception as error:  # noqa: BLE001 - a log that fails must not end the thread
            self._note_failed(len(events), error)
        else:
            self.figures.durations.append(time.perf_counter() - began)
            self._note_appended(len(events))

    def _note_appended(self, count: int) -> None:
        with self._lock:
            self._appended += count
        self.figures.note_appended(count)
        self._failures.worked()

    def lost(self, error: Exception) -> None:
        """Count a record that could not even be made."""
        self._note_failed(1, error)

    def _note_failed(self, count: int, error: Exception) -> None:
        with self._lock:
            self._failed += count
        self.figures.note_failed(count, error)
        self._failures.failed(count, f"{type(error).__name__}: {error}")


# Those whose threads are at work, which the exit waits for.
_pumps: set[_Pump] = set()


class Channel:
    """What all sinks over one session log share. When the last is gone, so is its thread, in time.

    Args:
        log: The session log.
        max_pending: The most records that may wait.
    """

    def __init__(self, log: SessionLog, max_pending: int) -> None:
        self.log = log
        self.max_pending = max_pending
        self._pump = pump = _Pump(log, max_pending)
        self.submit, self.flush, self.counts = pump.submit, pump.flush, pump.counts
        self.lost = pump.lost
        weakref.finalize(self, pump.end).atexit = False


_channels: weakref.WeakValueDictionary[int, Channel] = weakref.WeakValueDictionary()
_channels_lock = threading.Lock()


def channel_over(log: SessionLog, max_pending: int | None) -> Channel:
    """Return the one channel over a session log, since two would not keep the order.

    Raises:
        ConfigurationError: For a ``max_pending`` that is not positive, or not the one that the
            channel has.
    """
    if max_pending is not None and max_pending < 1:
        raise ConfigurationError(f"max_pending={max_pending}: at least one record has to fit")
    with _channels_lock:
        channel = _channels.get(id(log))
        if channel is None:
            channel = _channels[id(log)] = Channel(log, max_pending or MAX_PENDING)
        elif max_pending not in (None, channel.max_pending):
            raise ConfigurationError(
                f"max_pending={max_pending}: the sinks over this log share a queue, and it has "
                f"max_pending={channel.max_pending}"
            )
    return channel


def _new_lock() -> None:
    global _channels_lock  # noqa: PLW0603 - a forked child may have inherited it locked
    _channels_lock = threading.Lock()
    _pumps.clear()


os.register_at_fork(after_in_child=_new_lock)


@atexit.register
@finishing
def _drain() -> None:
    """Before the process ends, append what waits."""
    until = time.monotonic() + _EXIT_SECONDS
    for pump in list(_pumps):
        if not pump.finish(max(0.0, until - time.monotonic())):
            _log.warning(
                "%d audit records were not appended within %g s at exit and are lost",
                pump.counts().pending,
                _EXIT_SECONDS,
            )
