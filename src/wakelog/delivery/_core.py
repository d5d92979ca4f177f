"""The delivery core: which lane is sent next, and when, without I/O and without threads."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from wakelog.delivery._circuit import FIRST_DELAY, Choose, Circuit, Clock, Throttle, backoff
from wakelog.delivery._destination import ExportOutcome, ExportRound

PROBE_ENTRIES = 8
# The live lane waits for one round of the replay lane, so such rounds are kept short.
ROUND_SECONDS = 0.3


class Slot:
    """The core's state of a lane.

    Attributes:
        ready: Whether the lane waits for its turn.
        busy: Whether a round is under way.
        again: Whether the lane was offered during the round.
        failures: The number of failed rounds in a row.
        begun: When the current round began; only set for replay lanes.
        rests_until: When the pause after a failure ends; 0 without a pause.
        closed: Whether the lane is not sent any more.
    """

    __slots__ = ("again", "begun", "busy", "closed", "failures", "ready", "rests_until")

    def __init__(self) -> None:
        self.ready = self.busy = self.again = self.closed = False
        self.failures = 0
        self.begun = self.rests_until = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether the lane has nothing to send."""
        return not (self.ready or self.busy or self.rests_until)


class Lane(Protocol):
    """Entries that are sent in order, one round at a time.

    Attributes:
        slot: The core's state of it.
        replayed: Whether it is a replay lane, which is sent after live lanes.
    """

    slot: Slot
    replayed: bool


AnyLane = TypeVar("AnyLane", bound=Lane)


class Send(NamedTuple, Generic[AnyLane]):
    """The instruction to send a round of a lane, and to report the result.

    Attributes:
        lane: The lane.
        most: Maximum number of entries in the round.
    """

    lane: AnyLane
    most: int


class Sleep(NamedTuple):
    """The instruction to wait, because there is nothing to send for now.

    Attributes:
        seconds: The time to wait for a lane to be offered; infinite for no limit.
        is_idle: Whether no lane waits for its turn or pauses.
    """

    seconds: float
    is_idle: bool = False


class DeliveryCore(Generic[AnyLane]):
    """Decides which lane is sent next. A driver calls ``step``, carries it out, and reports.

    Invariants, for reports in any order:

    - a lane has at most one round under way, so its entries stay in order;
    - at most ``concurrency`` rounds are under way, and at most one while the circuit is not closed;
    - lanes that are ready take turns; one replay lane is sent after each live lane had a round.

    Args:
        clock: Returns monotonic time in seconds.
        most: Maximum number of entries in a round.
        least: Minimum to which slow rounds of a replay lane are reduced.
        circuit: The circuit breaker of the next hop. None if the destination has circuits of its
            own: then only the lane whose round has failed pauses.
        throttle: Limits the rate of replay lanes.
        concurrency: Maximum number of rounds under way.
        retry_delay: Maximum pause of a lane after its first failure, in seconds. It doubles with
            each failure.
        choose: Returns a random number between two others.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        most: int,
        least: int = 1,
        circuit: Circuit | None = None,
        throttle: Throttle | None = None,
        concurrency: int = 1,
        retry_delay: float = FIRST_DELAY,
        choose: Choose = random.uniform,
    ) -> None:
        self.circuit = circuit
        self._throttle = throttle or Throttle(None, clock)
        self._clock, self._choose = clock, choose
        self._most, self._least = most, max(1, least)
        self._concurrency, self._retry_delay = concurrency, retry_delay
        self._now: deque[AnyLane] = deque()
        self._behind: deque[AnyLane] = deque()
        self._resting: list[AnyLane] = []
        self._under_way = 0
        # The number of live rounds since the last replay round.
        self._ahead = 0
        self._replay_most = min(most, 4 * self._least)

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed, so that the next one is a probe."""
        return self.circuit is not None and self.circuit.failing

    @property
    def is_ready(self) -> bool:
        """Whether a lane waits for its turn."""
        return bool(self._now or self._behind)

    def offer(self, lane: AnyLane) -> None:
        """Note that a lane may have entries to send. Calling this again is cheap."""
        slot = lane.slot
        if slot.busy:
            slot.again = True
        elif not (slot.ready or slot.rests_until or slot.closed):
            slot.ready = True
            (self._behind if lane.replayed else self._now).append(lane)

    def hurry(self) -> None:
        """End every lane's pause, because of a flush or because a next hop works again."""
        resting, self._resting = self._resting, []
        for lane in resting:
            lane.slot.rests_until = 0.0
            self.offer(lane)

    def step(self) -> Send[AnyLane] | Sleep:
        """Return what the driver has to do now."""
        rest = self._wake() if self._resting else math.inf
        failing = self.failing
        if self._under_way >= (1 if failing else self._concurrency):
            return Sleep(math.inf)
        if self.circuit is not None and (pause := self.circuit.pause()) > 0:
            return Sleep(pause)
        if (lane := self._next()) is None:
            if self._behind:
                rest = min(rest, self._throttle.pause())
            return Sleep(rest, is_idle=rest == math.inf)
        self._under_way += 1
        slot, most = lane.slot, self._most
        slot.ready, slot.busy, slot.again = False, True, False
        if lane.replayed:
            slot.begun, most = self._clock(), self._throttle.allows(self._replay_most)
        return Send(lane, min(most, PROBE_ENTRIES) if failing else most)

    def report(self, lane: AnyLane, sent: ExportRound[Any], *, more: bool = False) -> None:
        """Record the result of a round.

        Args:
            lane: Its lane.
            sent: The round; without entries if there was nothing to send.
            more: Whether the lane may have more.
        """
        slot = lane.slot
        slot.busy = False
        self._under_way -= 1
        if lane.replayed:
            self._size(self._clock() - slot.begun)
            self._throttle.sent(sent.acknowledged)
        stopped = sent.stopped
        if stopped is not None:
            slot.failures += 1
            self.failed(stopped)
            if self.circuit is None:
                rest = backoff(slot.failures, self._retry_delay, self._choose)
                slot.rests_until = self._clock() + rest
                self._resting.append(lane)
            else:
                self.offer(lane)
            return
        slot.failures = 0
        if sent.acknowledged:
            self._ahead = 0 if lane.replayed else self._ahead + 1
            if self.circuit is not None:
                self.circuit.succeeded()
        if more or slot.again:
            self.offer(lane)

    def failed(self, outcome: ExportOutcome) -> None:
        """Record a failed attempt that concerns every lane."""
        self._ahead = 0
        if self.circuit is not None:
            self.circuit.failed(
                outcome.retry_after, refused_at=outcome.refused_at, closed=outcome.closed
            )

    def _next(self) -> AnyLane | None:
        now, behind = self._now, self._behind
        while now or behind:
            may_replay = behind and self._throttle.pause() == 0
            if now and not (may_replay and self._ahead >= len(now)):
                lane = now.popleft()
            elif may_replay:
                lane = behind.popleft()
            else:
                return None
            if not lane.slot.closed:
                return lane
        return None

    def _wake(self) -> float:
        """Offer lanes whose pause is over, and return the seconds until the next pause ends."""
        now, resting = self._clock(), self._resting
        self._resting = []
        for lane in resting:
            if lane.slot.rests_until > now:
                self._resting.append(lane)
            else:
                lane.slot.rests_until = 0.0
                self.offer(lane)
        return min((lane.slot.rests_until - now for lane in self._resting), default=math.inf)

    def _size(self, took: float) -> None:
        """Adapt the size of replay rounds so that they take about ``ROUND_SECONDS``."""
        if took > ROUND_SECONDS:
            self._replay_most = max(self._least, self._replay_most // 2)
        elif took < ROUND_SECONDS / 2:
            self._replay_most = min(self._most, self._replay_most * 2)
