"""The driver with a thread: from the journal to a destination.

It reads the journal by position and sends new records before a backlog. The ledger advances only
over records that the next hop has accepted or that have become dead letters.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from pathlib import Path

from wakelog.delivery import ANSWER_SECONDS
from wakelog.delivery._circuit import Circuit, CircuitState, Clock, Throttle
from wakelog.delivery._core import ROUND_SECONDS, DeliveryCore, Send, Sleep
from wakelog.delivery._destination import Destination, ExportOutcome, ExportRound, Outcome
from wakelog.delivery._journal_lanes import JournalLane, WriterLanes
from wakelog.delivery._listening import is_listening
from wakelog.delivery._observer import DeliveryObserver
from wakelog.delivery._outage import Outage
from wakelog.delivery._suppression import suppress_recording
from wakelog.delivery._writers import Sources, Writers
from wakelog.errors import JournalError, WakelogError
from wakelog.journal import Entry, EntryBatch, Journal, load_ledger
from wakelog.runtime import Alarm, Background, ForkOrder, notice_fork, reset_in_child

_log = logging.getLogger("wakelog")

# A batch stays below the default limits of servers; that of gRPC is 4 MiB.
_CHUNK_BYTES = 3 * 1024 * 1024
# Time limit at an exit for the records of ended processes, in seconds.
_LEFTOVERS_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_STATES = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class Delivery:
    """The thread that delivers, with flush and shutdown.

    ``_lock`` guards only the condition ``_changed``, which the thread notifies of progress and
    failures.

    Args:
        journal: This process's journal.
        destination: The destination of records.
        endpoint: The next hop, in words, for messages.
        sources: The folders to deliver.
        schedule_delay: Seconds between two reads of the journal while few records are written.
        replay_rate: Maximum number of records per second in replay lanes; None for no limit.
        clock: Returns monotonic time in seconds.
        threaded: Whether to start a thread; if not, the caller calls ``step``.
        answer_timeout: Time limit for an answer of the next hop at an exit, in seconds.
        observer: Called with what delivery does.
    """

    def __init__(
        self,
        journal: Journal,
        destination: Destination[Entry],
        *,
        endpoint: str,
        sources: Sources,
        schedule_delay: float,
        replay_rate: float | None = None,
        clock: Clock = time.monotonic,
        threaded: bool = True,
        answer_timeout: float = ANSWER_SECONDS,
        observer: DeliveryObserver | None = None,
    ) -> None:
        self._journal, self._destination, self._sources = journal, destination, sources
        self._endpoint, self._schedule_delay = endpoint, schedule_delay
        self._replay_rate, self._clock, self._threaded = replay_rate, clock, threaded
        self._answer_timeout = answer_timeout
        self._observer = observer or DeliveryObserver()
        self._reset()
        self._observer.follows(self.lanes_of)
        reset_in_child(self._after_fork, ForkOrder.THREADS)
        self._start()

    def _reset(self) -> None:
        destination, clock = self._destination, self._clock
        self._circuit = Circuit(clock, listens=is_listening)
        self._core: DeliveryCore[JournalLane] = DeliveryCore(
            clock,
            most=destination.max_round,
            least=destination.max_batch // 4,
            circuit=self._circuit,
            throttle=Throttle(self._replay_rate, clock),
        )
        self._writers = Writers(
            self._journal, self._sources, destination.max_round, clock, self._observer
        )
        self._outage = Outage(self._endpoint, self._journal.root, clock)
        self._stopping = self._finished = False
        self._deadline = self._adopts_until = 0.0
        self._alarm = Alarm()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._wake_at = destination.max_batch
        # The number of flushes under way, and until when an incomplete batch may wait for more
        # records.
        self._flushes, self._fills_until = 0, 0.0
        self._thread = Background(self._run, "wakelog-delivery", self._alarm)
        self.acknowledged = 0
        """The number of records that were delivered or became dead letters."""
        self.dead_lettered = 0
        """The number of these that became dead letters."""
        self.idle = False
        """Whether the last step found nothing more to deliver."""

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._circuit.failing

    @property
    def reason(self) -> str:
        """The reason of the last failed attempt; empty if the last attempt succeeded."""
        return self._outage.reason if self.failing else ""

    @property
    def circuit_state(self) -> int:
        """The circuit's state as a number: 0 closed, 1 half open, 2 open."""
        return _STATES.index(self._circuit.state)

    def accepted(self, seq: int) -> None:
        """Note the ``seq`` of a record that this process has written. Called for every record."""
        if seq >= self._wake_at:
            self._wake_at = seq + self._destination.max_batch
            self._alarm.ring()
        if not self._thread.running:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until the next hop has accepted what this process has recorded so far.

        Args:
            timeout: Maximum wait in seconds.

        Returns:
            Whether it has accepted all of them; a dead letter was not accepted.
        """
        notice_fork()
        deadline = time.monotonic() + timeout
        targets = [(one.folder.path, one.seq) for one in self._journal.open_writers]
        with self._lock:
            self._flushes += 1
        try:
            if not self._wait_for(targets, deadline):
                return False
        finally:
            with self._lock:
                self._flushes -= 1
        if not targets:
            return True
        flushed = self._destination.flush(max(0.0, deadline - time.monotonic()))
        return flushed and all(self.has_delivered(path, target) for path, target in targets)

    def _wait_for(self, targets: list[tuple[Path, int]], deadline: float) -> bool:
        """Wait until delivery has finished some records; return whether it was in time."""
        if not all(self._is_acknowledged(path, target) for path, target in targets):
            self._circuit.hurry()
            self._alarm.ring()
        for path, target in targets:
            with self._lock:
                while not self._is_acknowledged(path, target):
                    left = deadline - time.monotonic()
                    if left <= 0 or self._finished:
                        return False
                    # Another process may deliver this writer, which does not notify this one.
                    ours = path in self._writers.live
                    self._changed.wait(left if ours else min(left, _LOOK_SECONDS))
        return True

    def shutdown(self, timeout: float) -> None:
        """Deliver pending records, those of this process first, and stop.

        Args:
            timeout: Maximum wait in seconds. It ends earlier when the next hop is known to
                fail, or gives no answer for ``answer_timeout`` and for twice as long as its last
                answer took. Pending records stay in the journal.
        """
        notice_fork()
        begun = time.monotonic()
        self._deadline = begun + timeout
        self._adopts_until = begun + min(timeout - ROUND_SECONDS, _LEFTOVERS_SECONDS)
        self._stopping = True
        self._alarm.ring()
        with self._lock:
            while not self._at_rest() and not self.failing:
                alive = max(begun, self._destination.last_success)
                allowed = max(self._answer_timeout, 2 * self._destination.last_answer_seconds)
                left = min(self._deadline, alive + allowed) - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
        left, self._deadline = max(0.0, self._deadline - time.monotonic()), 0.0
        if self._at_rest():
            self._destination.flush(left)
            self._destination.shutdown()
        else:
            self._destination.interrupt()

    def has_delivered(self, path: Path, seq: int) -> bool:
        """Return whether the next hop has accepted every record of a writer up to a number."""
        if seq == 0:
            return True
        lanes = self._writers.live.get(path)
        if lanes is not None:
            return lanes.has_acknowledged(seq) and not lanes.given_up
        mark = load_ledger(path, path.name)
        return mark.seq >= seq and mark.delivered == mark.seq

    def lanes_of(self, path: Path) -> WriterLanes | None:
        """Return the lanes of a writer's folder while this process delivers it."""
        return self._writers.lanes_of(path)

    def step(self) -> float:
        """Send a round of each live lane, and then one of a replay lane.

        Errors are recorded, and the round is repeated in a later step.

        Returns:
            The seconds until the next step is due.
        """
        if (pause := self._circuit.check_port()) > 0 or (pause := self._fills_up()) > 0:
            return pause
        self.idle, busy, probing, adopted = False, False, self.failing, False
        failures = self._circuit.failures
        try:
            self._offer_lanes()
            while self._circuit.failures <= failures and not (busy and probing):
                step = self._core.step()
                if isinstance(step, Send):
                    busy = self._deliver(step) or busy
                    if busy and step.lane.replayed:
                        break
                elif step.is_idle and self._adopt():
                    adopted = True
                elif step.is_idle and adopted:
                    # Adopting a folder may record something, such as the ends of its spans.
                    adopted = False
                    self._offer_lanes()
                else:
                    self._fills_until = self._clock() + self._schedule_delay
                    return 0.0 if busy else self._rest(step)
        except WakelogError as error:
            self._failed(ExportOutcome(Outcome.RETRYABLE, str(error)))
        except Exception:  # noqa: BLE001 - a delivery thread that dies once would stay dead
            self._failed(_broken())
        return self._circuit.check_port() if self.failing else 0.0

    def close(self) -> None:
        """Close the lanes of every writer and release their locks."""
        self._writers.close()

    def _fills_up(self) -> float:
        """Return the seconds that pending records may wait because they are less than a batch.

        Full batches, as the SDK's processor sends them, are cheaper: one request costs as much as
        many records.
        """
        if not self._threaded or self._flushes or self._stopping or self.failing:
            return 0.0
        live, own = self._writers.live, self._journal.open_writers
        if len(live) != len(own):
            return 0.0
        for writer in own:
            lanes = live.get(writer.folder.path)
            if lanes is None or lanes.live is None or lanes.replay is not None:
                return 0.0
            if writer.seq - lanes.live.mark.seq >= self._destination.max_batch:
                return 0.0
        return self._fills_until - self._clock()

    def _read(self, lane: JournalLane, most: int) -> EntryBatch:
        """Read the next records of a lane: only whole batches while there are enough records."""
        own = self._journal.open_writers if not lane.replayed else []
        writer = next((one for one in own if one.id == lane.lanes.writer), None)
        if writer is not None:
            if writer.is_at_end(lane.mark):
                return EntryBatch([], lane.mark)  # to look for more would take many system calls
            batch, pending = self._destination.max_batch, writer.seq - lane.mark.seq
            hurries = self._flushes or self._stopping
            if self._threaded and not hurries and pending >= batch:
                pending -= pending % batch
            most = min(most, pending or most)
        return lane.read(most, _CHUNK_BYTES)

    def _rest(self, step: Sleep) -> float:
        """Note that there is nothing to send, and return the seconds until the next step."""
        if not self.failing:
            self.idle = step.is_idle
            if self.idle:
                self._outage.ended()
        self._announce()
        return min(self._schedule_delay, step.seconds)

    def _is_acknowledged(self, path: Path, seq: int) -> bool:
        if seq == 0:
            return True
        lanes = self._writers.live.get(path)
        return (
            lanes.has_acknowledged(seq)
            if lanes is not None
            else load_ledger(path, path.name).seq >= seq
        )

    def _at_rest(self) -> bool:
        """Return whether the thread has ended or was never started, as in a forked child."""
        return self._finished or not self._thread.running

    def _start(self) -> None:
        if self._threaded and not self._stopping:
            self._thread.start()  # if the interpreter is exiting, records stay in the journal

    def _run(self) -> None:
        with suppress_recording():
            pause = self._schedule_delay
            while not self._stopping:
                self._alarm.wait(pause)
                if not self._stopping:
                    pause = self.step()
            # Deliver records that were written during the last round, and those of ended processes,
            # for which a short run has not looked yet.
            while not self.failing and time.monotonic() < self._deadline and self.step() == 0:
                pass
            self.close()
            with self._lock:
                self._finished = True
                self._changed.notify_all()

    def _offer_lanes(self) -> None:
        self._writers.follow(failing=self.failing)
        for lanes in self._writers.live.values():
            for lane in (lanes.live, lanes.replay):
                if lane is not None:
                    self._core.offer(lane)

    def _adopt(self) -> bool:
        """Offer the lane of an ended writer; at an exit, only if time is left."""
        if self._stopping and time.monotonic() >= min(self._adopts_until, self._deadline):
            return False
        orphan = self._writers.next_orphan()
        if orphan is None or orphan.replay is None:
            return False
        self._core.offer(orphan.replay)
        return orphan.replay.slot.ready

    def _deliver(self, step: Send[JournalLane]) -> bool:
        """Send one round of a lane, and return whether there may be more to do at once."""
        lane, lanes = step.lane, step.lane.lanes
        sent: ExportRound[Entry] = ExportRound([])
        busy = False
        try:
            chunk = self._read(lane, step.most)
            sent = ExportRound(chunk.entries, lane, lanes.path, lane.replayed)
            if own := self._journal.open_writers:
                sent.position = lambda: sum(writer.seq for writer in own)
            if lane.replayed:  # read ahead in the backlog while the next hop answers
                sent.meanwhile = partial(lane.read_ahead, step.most, _CHUNK_BYTES)
            if sent.entries:
                self._destination.send(sent)
            self._checkpoint(lane, chunk, sent)
            busy = bool(sent.entries or chunk.damaged) or lane.finished
            if not busy and lanes is self._writers.orphan:
                self._writers.finish(lanes)
        except WakelogError as error:
            sent = ExportRound([])  # its acknowledged entries are not in the ledger
            if isinstance(error, JournalError) and lanes is self._writers.orphan:
                self._writers.pass_over(lanes, error)
            else:
                sent.stop(ExportOutcome(Outcome.RETRYABLE, str(error)))
        except Exception:  # noqa: BLE001 - a delivery thread that dies once would stay dead
            sent = ExportRound([])
            sent.stop(_broken())
        finally:
            if not lane.slot.closed and (sent.stopped or not sent.is_complete):
                lane.rewind()
            self._core.report(lane, sent)
        return self._note(lane, sent) and busy

    def _checkpoint(self, lane: JournalLane, chunk: EntryBatch, sent: ExportRound[Entry]) -> None:
        """Advance the lane and the ledger over the acknowledged entries."""
        done = sent.acknowledged
        if sent.is_complete or done:
            mark = chunk.mark if sent.is_complete else chunk.entries[done - 1].mark
            lane.lanes.acknowledge(lane, mark, sent.dead_lettered)
        if sent.is_complete and chunk.damaged:
            self._observer.recovered("damaged_line", len(chunk.damaged))
        own = {writer.id for writer in self._journal.open_writers}
        if done and lane is lane.lanes.live and lane.lanes.writer in own:
            self._wake_at = lane.mark.seq + self._destination.max_batch

    def _note(self, lane: JournalLane, sent: ExportRound[Entry]) -> bool:
        """Count the results of a round, and return whether it was complete."""
        if sent.acknowledged:
            lane.lanes.answered("")
            self.acknowledged += sent.acknowledged
            self.dead_lettered += sent.dead_lettered
            self._outage.settled(sent.acknowledged)
            done = sent.entries[: sent.acknowledged]
            self._observer.acknowledged(done, sent.dead_lettered, replayed=lane.replayed)
        if sent.stopped is not None:
            if sent.stopped.unserved:
                lane.lanes.answered(sent.stopped.reason)
            self._report_failure(sent.stopped)
        elif sent.entries:
            self._announce()
        return sent.stopped is None

    def _failed(self, outcome: ExportOutcome) -> None:
        self._core.failed(outcome)
        self._report_failure(outcome)

    def _report_failure(self, outcome: ExportOutcome) -> None:
        self._observer.paused(self._circuit.pause())
        self._outage.failed(outcome.reason)
        self._writers.fall_behind()
        self._announce()

    def _announce(self) -> None:
        with self._lock:
            self._changed.notify_all()

    def _after_fork(self) -> None:
        inherited = self._writers
        self._reset()
        inherited.close()  # closing the child's descriptors does not release the parent's locks


def _broken() -> ExportOutcome:
    """Log the current exception as a bug of Wakelog, and return an outcome for it."""
    _log.exception("delivery had an unexpected error and continues")
    return ExportOutcome(
        Outcome.RETRYABLE, "an error inside Wakelog stopped delivery: please report it"
    )
