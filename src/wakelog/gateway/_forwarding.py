"""Forwarding: from the sessions' files to the transport, outside the caller's path."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from wakelog.errors import EventSessionLoggerError, SerializationError
from wakelog.gateway import _ledger as ledger
from wakelog.gateway._books import Account, Tally
from wakelog.gateway._calls import BlockingCalls
from wakelog.gateway._circuit import Circuit, CircuitState, backoff
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._lanes import FileLane, Lane, MemoryLane, left_behind
from wakelog.gateway._ledger import FileMark, Locks
from wakelog.gateway._memory import MemoryQueue
from wakelog.gateway._sending import ErrorHandler, Forwarding, attempt, is_healthy
from wakelog.gateway.transports import TransportInterface

_log = logging.getLogger("wakelog")

_BOOKS_SECONDS = 0.5
_RECOVERY_SECONDS = 10.0
_TURN_EVENTS = 256
_IDLE_LANES = 4096


class Forwarder:
    """Sends what has been logged, session by session, each in its order.

    What waits is in the files: a lane reads it by position. Everything here happens in one event
    loop, the first from which an event comes; in another loop it begins again once that is closed.

    Args:
        base: The base directory.
        depth: How many directories a session's directory is below it.
        run: The id of this life of the logger.
        settings: How events are forwarded.
        transport: Where to.
        report: Is told each error, with the event that it concerned.
        tally: Counts what is done.
        account: The account of this run.
        memory: The queue in memory, in place of the files.
    """

    def __init__(
        self,
        base: Path,
        depth: int,
        run: str,
        settings: Forwarding,
        transport: TransportInterface,
        report: ErrorHandler,
        tally: Tally,
        account: Account,
        memory: MemoryQueue | None = None,
    ) -> None:
        self.transport = transport
        self.memory = memory
        self.account = account
        self.prepared = False
        self.is_healthy = True
        self.forwarded = self.rejected = self.corrupt = 0
        self._tally = tally
        # The accounts of runs that are gone.
        self._others: dict[str, Account] = {}
        self._base, self._depth, self._run = base, depth, run
        self._settings, self._report = settings, report
        self._locks = Locks(base, run)
        self._lanes: dict[str, Lane] = {}
        self._most_lanes = _IDLE_LANES
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._circuit: Circuit | None = None
        self._closed = False
        self._saving: asyncio.Future[None] | None = None
        self._dead: set[str] = set()
        self._searched = False
        self._blocking = BlockingCalls()

    @property
    def pending(self) -> int:
        """How many events of this run have not been dealt with."""
        return self.account.pending

    @property
    def oldest(self) -> int:
        """When the oldest waiting event was logged, in nanoseconds since 1970; 0 without one."""
        return min((at for lane in list(self._lanes.values()) if (at := lane.oldest)), default=0)

    @property
    def is_running(self) -> bool:
        """Whether forwarding has begun."""
        return self._loop is not None

    @property
    def circuit_state(self) -> CircuitState:
        """Whether events are sent."""
        return CircuitState.CLOSED if self._circuit is None else self._circuit.state

    def prepare(self) -> None:
        """Say that this run is alive, before the first event that is to be forwarded is written.

        Raises:
            OSError: When the base directory cannot be written.
        """
        if self.memory is None:
            self._locks.begin()
        self.prepared = True

    def start(self) -> None:
        """Begin to forward in the running event loop, unless it goes on in another one."""
        loop = asyncio.get_running_loop()
        if (
            self._closed
            or self._loop is loop
            or (self._loop is not None and not self._loop.is_closed())
        ):
            return
        self._loop = loop
        self._circuit = Circuit(self._is_healthy, self._settings.retry_delay)
        self._ready: asyncio.Queue[Lane] = asyncio.Queue()
        self._progress = asyncio.Event()
        self._waits = 0
        for lane in self._lanes.values():
            lane.busy = lane.queued = lane.resting = False
            self._queue(lane)
        self._tasks = [
            loop.create_task(self._work(), name="wakelog-gateway-forward")
            for _ in range(self._settings.concurrency)
        ]
        if self.memory is None:
            self._tasks.append(loop.create_task(self._keep_books()))
            self._tasks.append(loop.create_task(self._recover()))

    def note(self, directory: str, path: Path) -> None:
        """Learn that an event was written to a file. Cheap: called for every event."""
        if self._closed:
            return  # it was on its way; the next process finds it in the file
        self.account.noted += 1
        running = asyncio.get_running_loop()
        if self._loop is not running:
            self.start()
        loop = self._loop
        if loop is None or loop is running:
            self._note(directory, path)
        else:
            loop.call_soon_threadsafe(self._note, directory, path)

    async def offer(self, session_id: str, event: ForwardedEvent) -> bool:
        """Put an event into the queue in memory.

        Returns:
            Whether it was taken.

        Raises:
            BufferFullError: When there is no room, and the policy is to say so.
        """
        assert self.memory is not None  # noqa: S101 - the logger asks for what it has set up
        self.start()
        lane = self._lanes.get(session_id)
        if not isinstance(lane, MemoryLane):
            self._forget_idle()
            lane = self._lanes[session_id] = MemoryLane(self.account)
        taken = await self.memory.put(lane, event)
        if taken:
            lane.noted += 1
            loop = self._loop
            if loop is None or loop is asyncio.get_running_loop():
                self._queue(lane)
            else:
                loop.call_soon_threadsafe(self._queue, lane)
        return taken

    async def flush(self, seconds: float, *, patient: bool = True) -> bool:
        """Wait until what has been handed over so far has been dealt with.

        Args:
            seconds: The longest wait.
            patient: Whether to wait while the transport is failing, too.

        Returns:
            Whether that is so.
        """
        self.start()
        loop = self._loop
        if loop is not None and loop is not asyncio.get_running_loop():
            waiting = asyncio.run_coroutine_threadsafe(self._flush(seconds, patient=patient), loop)
            return await asyncio.wrap_future(waiting)
        return await self._flush(seconds, patient=patient)

    async def close(self, seconds: float) -> bool:
        """Forward what the transport takes, for some time, and stop.

        Returns:
            Whether everything has been forwarded. What has not is forwarded by the next process
            that uses the base directory.
        """
        done = await self.flush(seconds, patient=False) if self._loop is not None else True
        self._closed = True
        await self._stop()
        self._save_all(self._take_moved())
        if self.memory is not None:
            self.memory.close()
        if done:
            self._forget_dead()
        self._locks.end(forwarded=done)
        self.account.leave(self._locks.path_of(self._run) if self.prepared else None)
        for run, account in self._others.items():
            account.leave(self._locks.path_of(run))
        return done

    async def _stop(self) -> None:
        loop, self._loop = self._loop, None
        tasks, self._tasks = self._tasks, []
        if loop is None or loop.is_closed():
            return
        ends = [task.cancel for task in tasks]
        if loop is not asyncio.get_running_loop():
            for end in ends:
                loop.call_soon_threadsafe(end)
            return
        for end in ends:
            end()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._circuit is not None:
            self._circuit.close()
        if self._saving is not None:
            await self._saving

    def abandon(self) -> None:
        """Let go of the parent's locks in a forked child."""
        self._locks.abandon()

    def replace(self, transport: TransportInterface) -> TransportInterface:
        """Send to another transport from now on, and return the one before."""
        before, self.transport = self.transport, transport
        self.is_healthy = True
        if self._circuit is not None:
            self._circuit.poke()
        return before

    def _note(self, directory: str, path: Path) -> None:
        lane = self._lanes.get(directory)
        if lane is None:
            lane = self._lanes[directory] = self._lane(directory)
        if isinstance(lane, FileLane):
            lane.note(path)
        if not lane.queued:
            self._queue(lane)

    def _lane(self, directory: str) -> FileLane:
        return FileLane(self._base / directory, self._run, self._locks, self._account_of)

    def _account_of(self, run: str) -> Account:
        if run == self._run:
            return self.account
        if run not in self._others:
            self._others[run] = self._tally.books.of(run)
        return self._others[run]

    def _forget_idle(self) -> None:
        """Forget lanes in which nothing waits; the ledger knows where they were."""
        if len(self._lanes) < self._most_lanes:
            return
        idle = [name for name, lane in self._lanes.items() if lane.is_idle]
        for name in idle:
            del self._lanes[name]
        # Looking through all of them has to be worth it the next time, too.
        self._most_lanes = max(_IDLE_LANES, 2 * len(self._lanes))

    def _queue(self, lane: Lane) -> None:
        if lane.busy:
            lane.again = True
        elif not lane.queued and not lane.resting:
            lane.queued = True
            if not lane.oldest:
                lane.oldest = time.time_ns()
            self._ready.put_nowait(lane)

    def _wake(self, lane: Lane) -> None:
        if lane.resting:
            lane.resting = False
            self._queue(lane)

    async def _work(self) -> None:
        """Forward one lane after the other; whatever goes wrong, go on."""
        while True:
            lane = await self._ready.get()
            lane.queued, lane.busy, lane.again = False, True, False
            try:
                more = await self._turn(lane)
            except Exception as error:  # noqa: BLE001 - a worker that dies once would stay dead
                _log.exception("forwarding hit an unexpected error and goes on")
                self._report(EventSessionLoggerError(f"cannot read what to forward: {error}"), None)
                more = None
            finally:
                lane.busy = False
            if more is None:
                # The lane was left for later, with all that is behind its first event.
                lane.parked += 1
                lane.resting = True
                delay = backoff(self._settings.retry_delay, lane.parked)
                asyncio.get_running_loop().call_later(delay, self._wake, lane)
                continue
            lane.parked = 0
            if more or lane.again:
                self._queue(lane)
            self._announce()

    async def _turn(self, lane: Lane) -> bool | None:
        """Forward some of a lane; return whether there may be more, None to leave it for later."""
        sent = 0
        while sent < _TURN_EVENTS:
            items = lane.read()
            if not items:
                lane.oldest = 0
                if lane.settled < lane.noted and not lane.again:
                    # Somebody has deleted the file, or damaged the ends of its lines.
                    missing = lane.noted - lane.settled
                    self.corrupt += missing
                    self.account.corrupt += missing
                    lane.settled = lane.noted
                return False
            for item in items:
                account = lane.account
                if item.event is not None:
                    lane.oldest = item.event.timestamp
                    if not await self._deliver(item.event, account):
                        return None
                lane.advance(item)
                self.corrupt += item.corrupt
                account.corrupt += item.corrupt
                if self.memory is not None:
                    self.memory.taken()
                if self._waits:
                    self._announce()
            sent += len(items)
            await asyncio.sleep(0)
        return True

    async def _deliver(self, event: ForwardedEvent, account: Account) -> bool:
        """Send an event until it is there; return False to leave its session for later."""
        circuit = self._circuit
        assert circuit is not None  # noqa: S101 - set by start
        attempts, others = 0, self.forwarded
        while True:
            probe = await circuit.permit()
            error = await self._attempt(event)
            if error is None:
                self.forwarded += 1
                account.forwarded += 1
                if circuit.succeeded():
                    _log.warning("forwarding again, after an outage")
                    for lane in list(self._lanes.values()):
                        self._wake(lane)
                return True
            if isinstance(error, SerializationError):
                self.rejected += 1
                account.rejected += 1
                circuit.succeeded()
                _log.error("an event of session %s is set aside: %s", event.session_id, error)
                self._report(error, event)
                return True
            self._report(error, event)
            attempts += 1
            if probe or attempts > self._settings.max_retries:
                # Where others get through, it is this event, or this session.
                if (probe or self.forwarded == others) and circuit.fail():
                    _log.warning(
                        "cannot forward (%s); events are kept and sent when it works again", error
                    )
                self._announce()
                return False
            await asyncio.sleep(backoff(self._settings.retry_delay, attempts))

    async def _attempt(self, event: ForwardedEvent) -> Exception | None:
        seconds = self._settings.send_timeout
        begun = time.perf_counter()
        error = await attempt(self.transport, event, seconds, self._blocking)
        rejected = isinstance(error, SerializationError)
        self.is_healthy = rejected or error is None
        self._tally.attempted(time.perf_counter() - begun, error, rejected=rejected)
        return error

    async def _is_healthy(self) -> bool:
        self.is_healthy = await is_healthy(self.transport, self._blocking)
        return self.is_healthy

    async def _flush(self, seconds: float, *, patient: bool) -> bool:
        circuit = self._circuit
        assert circuit is not None  # noqa: S101 - set by start
        circuit.poke()
        goals = {name: lane.noted for name, lane in self._lanes.items()}
        for lane in list(self._lanes.values()):
            self._wake(lane)
        self._waits += 1
        deadline = time.monotonic() + seconds
        try:
            while not self._has_reached(goals):
                left = deadline - time.monotonic()
                if left <= 0 or (not patient and circuit.state is not CircuitState.CLOSED):
                    return False
                try:
                    async with asyncio.timeout(left):
                        await self._progress.wait()
                except TimeoutError:
                    return self._has_reached(goals)
        finally:
            self._waits -= 1
        return True

    def _has_reached(self, goals: dict[str, int]) -> bool:
        if self.memory is None and not self._searched:
            return False
        while goals:  # what has been reached once is not looked at again
            name, goal = next(iter(goals.items()))
            lane = self._lanes.get(name)
            if lane is not None and (lane.old or lane.settled < goal):
                return False
            del goals[name]
        return not any(lane.old for lane in self._lanes.values())

    def _announce(self) -> None:
        if self._waits:
            progress, self._progress = self._progress, asyncio.Event()
            progress.set()

    async def _recover(self) -> None:
        """Find what dead runs have left, at the start and whenever a run has died."""
        while True:
            try:
                await self._search()
            except OSError as error:
                _log.warning("cannot look for what is left to forward: %s", error)
            self._searched = True
            self._announce()
            if (self._dead or self._others) and not any(lane.old for lane in self._lanes.values()):
                self._forget_dead()
            waits = self._dead or self._others
            await asyncio.sleep(_BOOKS_SECONDS if waits else _RECOVERY_SECONDS)

    def _forget_dead(self) -> None:
        """Note that nothing is left of the runs that have died."""
        for account in self._others.values():
            account.finish()
        self._others.clear()
        for run in self._dead:
            self._locks.forget(run)
        self._dead = set()

    async def _search(self) -> None:
        self._locks.begin()
        first = not self._locks.recovers
        if not self._locks.take_recovery():
            return
        dead = set(self._locks.dead_runs()) - self._dead
        if not first and not dead:
            return
        account_of = self._tally.books.of if self._tally.books.are_read else None
        left = await asyncio.to_thread(
            lambda: list(left_behind(self._base, self._depth, self._run, self._locks, account_of))
        )
        self._dead |= dead
        for folder, files, oldest in left:
            for run, path, count in files:
                self._account_of(run).adopt(path, count)
            directory = str(folder.relative_to(self._base))
            lane = self._lanes.get(directory)
            if not isinstance(lane, FileLane):
                lane = self._lanes[directory] = self._lane(directory)
            lane.look()
            lane.old = True
            lane.oldest = min(filter(None, (lane.oldest, oldest)), default=0)
            self._queue(lane)

    async def _keep_books(self) -> None:
        """Write down, now and then, how far each file has been forwarded."""
        while True:
            await asyncio.sleep(_BOOKS_SECONDS)
            if moved := self._take_moved():
                # Not to be cancelled: an older note must not be written over a newer one.
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
