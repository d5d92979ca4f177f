"""Which lane goes next, and when: without I/O, without threads, on a clock that is given."""

from __future__ import annotations

import math
import random
from collections import deque
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from wakelog.delivery._circuit import FIRST_DELAY, Choose, Circuit, Clock, Throttle, backoff
from wakelog.delivery._destination import ExportRound
from wakelog.delivery._outcome import ExportOutcome

PROBE_ENTRIES = 8
# What is recorded now waits for one round of what was left behind, so that one is kept short.
ROUND_SECONDS = 0.3


class Slot:
    """What the core notes of a lane.

    Attributes:
        ready: Whether it waits for its turn.
        busy: Whether a round of it is under way.
        again: Whether something has come while one was under way.
        failures: How many of its rounds in a row have failed.
        begun: When the round that is under way began, where that is timed.
        rests_until: When it may go on after a failure; 0 while it need not rest.
        closed: Whether it is not to be sent any more.
    """

    __slots__ = ("again", "begun", "busy", "closed", "failures", "ready", "rests_until")

    def __init__(self) -> None:
        self.ready = self.busy = self.again = self.closed = False
        self.failures = 0
        self.begun = self.rests_until = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the lane waits for a turn."""
        return not (self.ready or self.busy or self.rests_until)


class Lane(Protocol):
    """Entries that are sent in order, one round at a time.

    Attributes:
        slot: What the core notes of it.
        replayed: Whether it brings what was left behind, which goes after what is recorded now.
    """

    slot: Slot
    replayed: bool


AnyLane = TypeVar("AnyLane", bound=Lane)


class Send(NamedTuple, Generic[AnyLane]):
    """Send a round of a lane, and report what came of it.

    Attributes:
        lane: The lane.
        most: The most entries in the round.
    """

    lane: AnyLane
    most: int


class Sleep(NamedTuple):
    """Nothing is to be sent for now.

    Attributes:
        seconds: How long, unless something comes; infinite where only that ends it.
        is_idle: Whether no lane waits.
    """

    seconds: float
    is_idle: bool = False


class DeliveryCore(Generic[AnyLane]):
    """Decides which lane is sent next. A driver takes steps, does what they say, and reports.

    Invariants, whatever is reported in whatever order:

    - a lane has one round under way at most, so its entries stay in order;
    - there are ``concurrency`` rounds under way at most, and one while the circuit is not closed;
    - lanes that are ready take turns; of those that are replayed, one goes after each of the others had a round.

    Args:
        clock: Tells monotonic seconds.
        most: The most entries in a round.
        least: The fewest that a round of a replayed lane is made smaller to.
        circuit: Says when the next hop may be tried. None where a destination has circuits of its own:
            then only the lane whose round has failed rests.
        throttle: Says when a replayed lane may go.
        concurrency: How many rounds may be under way.
        retry_delay: The longest rest of a lane after its first failure, in seconds; later ones double.
        choose: Draws the rest.
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
        # Rounds of what is recorded now since the last one of what was left behind.
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
        """Learn that there may be something in a lane. It is cheap to offer it twice."""
        slot = lane.slot
        if slot.busy:
            slot.again = True
        elif not (slot.ready or slot.rests_until or slot.closed):
            slot.ready = True
            (self._behind if lane.replayed else self._now).append(lane)

    def hurry(self) -> None:
        """End every rest, because somebody waits, or a next hop is back."""
        resting, self._resting = self._resting, []
        for lane in resting:
            lane.slot.rests_until = 0.0
            self.offer(lane)

    def step(self) -> Send[AnyLane] | Sleep:
        """Say what to do now."""
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
        """Learn what came of a round.

        Args:
            lane: Its lane.
            sent: The round. Without entries it says that there was nothing to send.
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
        """Learn that nothing gets through, whichever lane it is of."""
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
        """Let go on what has rested long enough, and return the seconds until the next of them."""
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
        """Keep rounds of what was left behind short, and no shorter than they have to be."""
        if took > ROUND_SECONDS:
            self._replay_most = max(self._least, self._replay_most // 2)
        elif took < ROUND_SECONDS / 2:
            self._replay_most = min(self._most, self._replay_most * 2)
