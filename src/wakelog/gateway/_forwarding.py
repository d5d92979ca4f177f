"""Forwarding events from the sessions' files to the transport, in the background."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from wakelog.delivery import (
    AsyncDriver,
    CircuitState,
    DeliveryCore,
    ExportOutcome,
    ExportRound,
    Notifier,
    Outcome,
    Slot,
)
from wakelog.errors import EventSessionLoggerError
from wakelog.gateway import _ledger as ledger
from wakelog.gateway._books import GatewayCounters, RunBooks
from wakelog.gateway._dead_letters import DeadLetters, FoundLetter
from wakelog.gateway._dispatch import Dispatch
from wakelog.gateway._downstream import Downstream, Report
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._exit import watch
from wakelog.gateway._lanes import FileLane, MemoryLane, SessionLane
from wakelog.gateway._ledger import FileMark, Item
from wakelog.gateway._locks import Locks
from wakelog.gateway._memory import MemoryQueue
from wakelog.gateway._owner import RunOwner
from wakelog.gateway._recovery import Recovery
from wakelog.gateway._settings import Settings

_log = logging.getLogger("wakelog")
Result = TypeVar("Result")

_BOOKS_SECONDS = 0.5
_RECOVERY_SECONDS = 10.0
_TURN_EVENTS = 256
_IDLE_LANES = 4096


class Forwarder:
    """Sends what has been logged, in each session's order.

    The files are the queue, which a lane reads by position. Forwarding runs in one event loop, the
    first from which an event comes; when that is closed, it restarts in another one.

    Args:
        base: The base directory.
        run: The id of this lifetime of the logger.
        owner: The service and the pipeline.
        settings: The settings.
        downstream: The callback and the transport.
        report: Called with each error and a description of the operation.
        counters: Counts what is done.
        books: The books of this run.
        letters: The store of dead letters.
        memory: A queue in memory, which replaces the files as the queue.

    Attributes:
        loop: The event loop in which events are forwarded; None before that.
    """

    def __init__(
        self,
        base: Path,
        run: str,
        owner: RunOwner,
        settings: Settings,
        downstream: Downstream,
        report: Report,
        counters: GatewayCounters,
        books: RunBooks,
        letters: DeadLetters,
        memory: MemoryQueue | None = None,
    ) -> None:
        self.downstream = downstream
        self.memory = memory
        self.books = books
        self.prepared = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.dispatch = Dispatch(downstream, settings, letters)
        self._base, self._run = base, run
        self._settings, self._report = settings, report
        self._locks = Locks(base, run, owner)
        depth = settings.directories().depth
        self.recovery = Recovery(base, depth, run, self._locks, counters)
        self._lanes: dict[str, SessionLane] = {}
        self._most_lanes = _IDLE_LANES
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self._saving: asyncio.Future[None] | None = None
        self._searched = False

    @property
    def oldest(self) -> int:
        """When the oldest pending event was logged, in nanoseconds since 1970; 0 for none."""
        return min((at for lane in list(self._lanes.values()) if (at := lane.oldest)), default=0)

    def prepare(self) -> None:
        """Take this run's lock, before the first event that is to be forwarded is written.

        Raises:
            OSError: If the base directory cannot be written.
        """
        if self.memory is None:
            self._locks.begin()
            # Before the first lane is read, because it must begin with what dead runs left.
            self._locks.take_recovery()
        self.prepared = True

    def start(self) -> None:
        """Begin to forward in the running event loop, unless another loop is already used."""
        loop = asyncio.get_running_loop()
        if (
            self._closed
            or self.loop is loop
            or (self.loop is not None and not self.loop.is_closed())
        ):
            return
        self.loop = loop
        self._saving = None  # it belongs to the previous loop
        watch(self, self._settings.close_timeout_seconds)
        self._progress = Notifier()
        self._waits = 0
        settings = self._settings
        core: DeliveryCore[SessionLane] = DeliveryCore(
            time.monotonic,
            most=_TURN_EVENTS,
            concurrency=settings.concurrency,
            retry_delay=settings.retry_delay_seconds,
        )
        self._driver = AsyncDriver(
            core, self._send, settings.concurrency, "wakelog-gateway-forward"
        )
        self._tasks = [*self._driver.tasks]
        self.downstream.begin(self._driver.hurry)
        for lane in self._lanes.values():
            lane.slot = Slot()
            self._queue(lane)
        if self.memory is None:
            self._tasks.append(loop.create_task(self._keep_books()))
            self._tasks.append(loop.create_task(self._recover()))

    def note(self, directory: str, path: Path) -> None:
        """Note that an event was written to a file. It is called for every event, and cheap."""
        if self._closed:
            return  # the next process finds the event in the file
        self.books.noted += 1
        self.start()
        self._call(self._note, directory, path)

    async def offer(self, session_id: str, event: ForwardedEvent, folder: Path | None) -> bool:
        """Put an event into the queue in memory.

        Args:
            session_id: The session.
            event: The event.
            folder: The session's directory; None without local files.

        Returns:
            Whether the event was accepted.

        Raises:
            BufferFullError: If the queue is full and its policy is to raise.
        """
        assert self.memory is not None  # noqa: S101 - the logger has checked it
        self.start()
        lane = self._lanes.get(session_id)
        if not isinstance(lane, MemoryLane):
            self._forget_idle()
            lane = self._lanes[session_id] = MemoryLane(self.books, folder)
        taken = await self.memory.put(lane, event)
        if taken:
            lane.noted += 1
            self._call(self._queue, lane)
        return taken

    async def flush(self, seconds: float, *, patient: bool = True) -> bool:
        """Wait until all events so far have been forwarded or set aside.

        Args:
            seconds: The longest wait.
            patient: Whether to continue to wait while the transport is failing.

        Returns:
            Whether all of them have been.
        """
        self.start()
        return await self._in_loop(self._flush(seconds, patient=patient))

    async def replay(self, found: FoundLetter) -> str | None:
        """Send a dead letter once; return why it was not accepted, or None if it was.

        Raises:
            JournalError: If its acceptance cannot be noted.
        """
        return await self._in_loop(self.dispatch.replay(found))

    async def close(self, seconds: float) -> bool:
        """Forward pending events for a limited time, and stop.

        Returns:
            Whether all events have been forwarded or set aside. The next process that uses the base
            directory forwards the others.
        """
        done = await self.flush(seconds, patient=False) if self.loop is not None else True
        self._closed = True
        await self._stop()
        self.dispatch.say_rest()
        self._save_all(self._take_moved())
        if self.memory is not None:
            self.memory.close()
        if done:
            self.recovery.forget()
        self._locks.end(forwarded=done)
        self.books.leave(self._locks.path_of(self._run) if self.prepared else None)
        self.recovery.leave()
        return done

    async def end_in_this_loop(self, seconds: float) -> None:
        """Forward pending events in this loop, after the previous one has ended, and close."""
        self.downstream.leave_bound()
        self.start()
        await self.close(seconds)
        await self.downstream.close()

    @property
    def is_over(self) -> bool:
        """Whether nothing is pending, and nothing more is expected."""
        return not self.books.pending and (self.loop is None or self.loop.is_closed())

    async def _stop(self) -> None:
        loop, self.loop = self.loop, None
        tasks, self._tasks = self._tasks, []
        if loop is None or loop.is_closed():
            return
        if loop is not asyncio.get_running_loop():
            for task in tasks:
                loop.call_soon_threadsafe(task.cancel)
            return
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.downstream.end()
        if self._saving is not None:
            await self._saving

    def abandon(self) -> None:
        """Close the parent's locks in a forked child."""
        self._locks.abandon()

    def detach(self) -> None:
        """Leave an event loop that no longer runs, so that another one can be used."""
        self.loop, self._tasks = None, []

    def redirect(self, owner: RunOwner) -> None:
        """Note that another downstream gets the pending events from now on."""
        try:
            self._locks.belong_to(owner)
        except OSError as error:
            _log.warning("cannot note where events go now: %s", error)
        loop = self.loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._check_now)

    def _check_now(self) -> None:
        self.downstream.check_now()
        self._driver.hurry()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function in the event loop in which events are forwarded."""
        loop = self.loop
        if loop is None or loop is asyncio.get_running_loop():
            function(*arguments)
        else:
            loop.call_soon_threadsafe(function, *arguments)

    async def _in_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await a coroutine in the event loop in which events are forwarded."""
        loop = self.loop
        if loop is None or loop is asyncio.get_running_loop() or loop.is_closed():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    def _note(self, directory: str, path: Path) -> None:
        lane = self._lanes.get(directory)
        if lane is None:
            lane = self._lanes[directory] = self._lane(directory)
        if isinstance(lane, FileLane):
            lane.note(path)
        if not lane.slot.ready:
            self._queue(lane)

    def _lane(self, directory: str) -> FileLane:
        return FileLane(self._base / directory, self._run, self._locks, self._books_of)

    def _books_of(self, run: str) -> RunBooks:
        return self.books if run == self._run else self.recovery.books_of(run)

    def _forget_idle(self) -> None:
        """Remove lanes without pending events; the ledger stores their positions."""
        if len(self._lanes) < self._most_lanes:
            return
        idle = [name for name, lane in self._lanes.items() if lane.is_idle]
        for name in idle:
            del self._lanes[name]
        # Require many more lanes before the next search through all of them.
        self._most_lanes = max(_IDLE_LANES, 2 * len(self._lanes))

    def _queue(self, lane: SessionLane) -> None:
        if not lane.oldest and lane.slot.is_idle:
            lane.oldest = time.time_ns()
        self._driver.offer(lane)

    async def _send(self, lane: SessionLane) -> tuple[ExportRound[Item], bool]:
        """Send some of a lane's events; return the last round, and whether there may be more."""
        sent: ExportRound[Item] = ExportRound([])
        count = 0
        try:
            while count < _TURN_EVENTS:
                if not (items := lane.read()):
                    self._note_empty(lane)
                    return sent, False
                books = lane.books
                sent = ExportRound(items, lane, moved=partial(self._advance, lane, books))
                await self.dispatch.send(sent)
                if sent.stopped is not None:
                    return sent, False
                count += len(items)
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - an error must not end the worker
            _log.exception("forwarding had an unexpected error and continues")
            self._report(
                EventSessionLoggerError(f"cannot read what to forward: {error}"), "forwarding"
            )
            sent.stop(ExportOutcome(Outcome.RETRYABLE, str(error)))
        finally:
            self._announce()
        return sent, sent.stopped is None

    def _note_empty(self, lane: SessionLane) -> None:
        lane.oldest = time.time_ns() if lane.slot.again else 0
        if lane.settled < lane.noted and not lane.slot.again:
            # The file was deleted, or newlines in it were damaged.
            self.dispatch.count(self.books, "corrupt", lane.noted - lane.settled)
            lane.settled = lane.noted

    def _advance(self, lane: SessionLane, books: RunBooks, item: Item) -> None:
        """Move a lane past an event that has been forwarded or set aside."""
        lane.advance(item)
        if item.corrupt:
            self.dispatch.count(books, "corrupt")
        if self.memory is not None:
            self.memory.taken()
        if self._waits:
            self._announce()

    async def _flush(self, seconds: float, *, patient: bool) -> bool:
        self.downstream.check_now()
        goals = {name: lane.noted for name, lane in self._lanes.items()}
        self._driver.hurry()
        self._waits += 1
        deadline = time.monotonic() + seconds
        try:
            while not self._has_reached(goals):
                left = deadline - time.monotonic()
                if left <= 0 or (not patient and self.downstream.state is not CircuitState.CLOSED):
                    return False
                if not await self._progress.wait(left):
                    return self._has_reached(goals)
        finally:
            self._waits -= 1
        return True

    def _has_reached(self, goals: dict[str, int]) -> bool:
        if self.memory is None and not self._searched:
            return False
        while goals:  # a reached goal is removed, so that it is checked only once
            name, goal = next(iter(goals.items()))
            lane = self._lanes.get(name)
            if lane is not None and (lane.old or lane.settled < goal):
                return False
            del goals[name]
        return not any(lane.old for lane in self._lanes.values())

    def _announce(self) -> None:
        if self._waits:
            self._progress.fire()

    async def _recover(self) -> None:
        """Find what dead runs left, at the start and whenever a run has died."""
        while True:
            try:
                await self._search()
            except OSError as error:
                _log.warning("cannot look for what is left to forward: %s", error)
            self._searched = True
            self._announce()
            if self.recovery.is_waiting and not any(lane.old for lane in self._lanes.values()):
                self.recovery.forget()
            waits = self.recovery.is_waiting
            await asyncio.sleep(_BOOKS_SECONDS if waits else _RECOVERY_SECONDS)

    async def _search(self) -> None:
        for left in await self.recovery.search():
            directory = str(left.folder.relative_to(self._base))
            lane = self._lanes.get(directory)
            if not isinstance(lane, FileLane):
                lane = self._lanes[directory] = self._lane(directory)
            lane.find_again()
            lane.old = True
            lane.letters = None
            lane.oldest = min(filter(None, (lane.oldest, left.oldest)), default=0)
            self._queue(lane)

    async def _keep_books(self) -> None:
        """Save at intervals how far each file has been forwarded."""
        while True:
            await asyncio.sleep(_BOOKS_SECONDS)
            if moved := self._take_moved():
                # Not cancelled: otherwise an older mark could overwrite a newer one.
                self._saving = asyncio.ensure_future(asyncio.to_thread(self._save_all, moved))
                await asyncio.shield(self._saving)
            self._forget_idle()

    def _take_moved(self) -> list[tuple[Path, str, FileMark]]:
        lanes = [lane for lane in self._lanes.values() if isinstance(lane, FileLane)]
        return [moved for lane in lanes for moved in lane.take_moved()]

    def _save_all(self, moved: list[tuple[Path, str, FileMark]]) -> None:
        for path, writer, mark in moved:
            try:
                ledger.save(path, writer, mark)
            except OSError as error:
                _log.warning(
                    "cannot note that %s was forwarded (%s); it may be sent again", path, error
                )
