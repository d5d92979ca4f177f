"""The driver with a thread: from the journal to a destination, with proof.

It reads the journal by position and sends what is recorded now before what was left behind.
Only what the next hop has accepted, or what has been set aside as a dead letter, moves the ledger.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from pathlib import Path
from typing import Final

from wakelog.delivery._circuit import Circuit, CircuitState, Clock, Throttle
from wakelog.delivery._core import ROUND_SECONDS, DeliveryCore, Send, Sleep
from wakelog.delivery._destination import Destination, ExportRound
from wakelog.delivery._journal_lanes import JournalLane, WriterLanes
from wakelog.delivery._listening import is_listening
from wakelog.delivery._observer import DeliveryObserver
from wakelog.delivery._outage import Outage
from wakelog.delivery._outcome import ExportOutcome, Outcome
from wakelog.delivery._suppression import suppress_recording
from wakelog.delivery._writers import Sources, Writers
from wakelog.errors import JournalError, WakelogError
from wakelog.journal import Entry, EntryBatch, Journal, load_ledger
from wakelog.runtime import Alarm, Background, ForkOrder, notice_fork, reset_in_child

_log = logging.getLogger("wakelog")

# A batch stays below what servers take by default: gRPC's limit is 4 MiB.
_CHUNK_BYTES = 3 * 1024 * 1024
ANSWER_SECONDS: Final = 0.8
"""How long an exit waits for an answer of the next hop."""
# The longest that an exit goes on with what other processes have left behind.
_LEFTOVERS_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_STATES = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class Delivery:
    """The thread that delivers, and what others may ask of it.

    ``_lock`` guards nothing but waiting for ``_changed``: the thread announces through it
    that it has got further or failed.

    Args:
        journal: This process's journal.
        destination: Where records go.
        endpoint: The next hop, in words, for reports.
        sources: What to deliver.
        schedule_delay: Seconds between two looks into the journal while little is emitted.
        replay_rate: The most records a second of what was left behind; None for no limit.
        clock: Tells monotonic seconds.
        threaded: Whether a thread takes the turns; else the caller does.
        answer_timeout: The seconds that an exit waits for an answer of the next hop.
        observer: Is told what happens.
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
        # How many wait for a flush, and until when less than a batch may wait for more.
        self._flushes, self._fills_until = 0, 0.0
        self._thread = Background(self._run, "wakelog-delivery", self._alarm)
        self.acknowledged = 0
        """How many records have been delivered or set aside."""
        self.dead_lettered = 0
        """How many of them were set aside."""
        self.idle = False
        """Whether the last look found nothing more to deliver."""

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._circuit.failing

    @property
    def reason(self) -> str:
        """Why the last attempt that failed did; empty while all is well."""
        return self._outage.reason if self.failing else ""

    @property
    def circuit_state(self) -> int:
        """0 while all is well, 1 while an attempt is due after a failure, 2 until it is."""
        return _STATES.index(self._circuit.state)

    def accepted(self, seq: int) -> None:
        """Learn that this process's writer has got to ``seq``. Cheap: called for every record."""
        if seq >= self._wake_at:
            self._wake_at = seq + self._destination.max_batch
            self._alarm.ring()
        if not self._thread.running:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until the next hop has accepted what this process has recorded so far.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether that is so: a record that was set aside was not accepted.
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
        """Have everything up to some records delivered, and return whether it was in time."""
        if not all(self._is_acknowledged(path, target) for path, target in targets):
            self._circuit.hurry()
            self._alarm.ring()
        for path, target in targets:
            with self._lock:
                while not self._is_acknowledged(path, target):
                    left = deadline - time.monotonic()
                    if left <= 0 or self._finished:
                        return False
                    # Somebody else may be delivering this writer, who does not announce it here.
                    ours = path in self._writers.live
                    self._changed.wait(left if ours else min(left, _LOOK_SECONDS))
        return True

    def shutdown(self, timeout: float) -> None:
        """Deliver what is pending, of this process first, if the next hop takes it, and stop.

        Args:
            timeout: The longest wait, in seconds. It ends earlier when the next hop is known to
                fail, or gives no answer for ``answer_timeout`` and for twice as long as its last
                answer took: what is pending is in the journal.
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
        """Return whether the next hop has accepted everything of a writer up to a record."""
        if seq == 0:
            return True
        lanes = self._writers.live.get(path)
        if lanes is not None:
            return lanes.has_acknowledged(seq) and not lanes.given_up
        mark = load_ledger(path, path.name)
        return mark.seq >= seq and mark.delivered == mark.seq

    def lanes_of(self, path: Path) -> WriterLanes | None:
        """Return the lanes of a writer's folder while they are open here."""
        return self._writers.lanes_of(path)

    def step(self) -> float:
        """Do what is due: a round of each lane that is live, and then one of what was left behind.

        Whatever goes wrong, it is noted, and tried again in another turn.

        Returns:
            The seconds until there may be more to do.
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
                    # To adopt a folder may be to record something, such as the ends of its spans.
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
        """Let go of every writer: nothing is delivered after that."""
        self._writers.close()

    def _fills_up(self) -> float:
        """Return the seconds for which what is pending may wait, because it is less than a batch.

        Batches are full then, as those of the SDK's processor are: a request costs what many records cost.
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

    def _whole_batches(self, lane: JournalLane, most: int) -> int:
        """Return how many records a round takes: while there are enough for whole batches, no more."""
        if lane.replayed or not self._threaded or self._flushes or self._stopping:
            return most
        batch, writer_id = self._destination.max_batch, lane.lanes.writer
        for writer in self._journal.open_writers:
            if writer.id == writer_id and (pending := writer.seq - lane.mark.seq) >= batch:
                return min(most, pending - pending % batch)
        return most

    def _rest(self, step: Sleep) -> float:
        """Note that there is nothing to send for now, and return the seconds until the next look."""
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
        """Return whether the thread has ended, or never begun, as in a forked child."""
        return self._finished or not self._thread.running

    def _start(self) -> None:
        if self._threaded and not self._stopping:
            self._thread.start()  # where the interpreter is exiting, the record is in the journal

    def _run(self) -> None:
        with suppress_recording():
            pause = self._schedule_delay
            while not self._stopping:
                self._alarm.wait(pause)
                if not self._stopping:
                    pause = self.step()
            # What was accepted while the last round was under way, and what was left behind, which a
            # short run has not looked for yet.
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
        """Offer a writer that is gone; at an exit, while there is time for one more round."""
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
            chunk = lane.read(self._whole_batches(lane, step.most), _CHUNK_BYTES)
            sent = ExportRound(chunk.entries, lane, lanes.path, lane.replayed)
            if own := self._journal.open_writers:
                sent.position = lambda: sum(writer.seq for writer in own)
            if lane.replayed:  # a backlog is read while the next hop answers
                sent.meanwhile = partial(lane.read_ahead, step.most, _CHUNK_BYTES)
            if sent.entries:
                self._destination.send(sent)
            self._checkpoint(lane, chunk, sent)
            busy = bool(sent.entries or chunk.damaged) or lane.finished
            if not busy and lanes is self._writers.orphan:
                self._writers.finish(lanes)
        except WakelogError as error:
            sent = ExportRound([])  # what it has acknowledged is in no ledger
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
        """Move the lane, and the ledger, to what has been acknowledged."""
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
        """Count what came of a round, and return whether it got through."""
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
        inherited.close()  # the descriptors are the parent's; closing ours leaves its locks alone


def _broken() -> ExportOutcome:
    """Say that an exception is a fault of Wakelog's; called where it is handled."""
    _log.exception("delivery hit an unexpected error and goes on")
    return ExportOutcome(
        Outcome.RETRYABLE, "an error inside Wakelog stopped delivery: please report it"
    )
