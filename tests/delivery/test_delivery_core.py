"""The core of delivery, on a clock that the test turns: whatever next hops answer, nothing is skipped."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from tests.support.delivering import Clock
from wakelog.delivery import (
    BatchBisection,
    Circuit,
    CircuitState,
    DeliveryCore,
    ExportOutcome,
    ExportRound,
    Outcome,
    Send,
    Slot,
    Throttle,
    backoff,
)
from wakelog.delivery._circuit import LONGEST_DELAY

FEW = settings(max_examples=times(600), deadline=None)
DOWN = ExportOutcome(Outcome.RETRYABLE, "down")
TAKEN = ExportOutcome(Outcome.DELIVERED)


class FakeLane:
    """So many entries; ``place`` is the checkpoint."""

    def __init__(self, name: int, entries: int, *, replayed: bool = False) -> None:
        self.entries = [(name, number) for number in range(entries)]
        self.slot, self.replayed = Slot(), replayed
        self.place = 0

    @property
    def is_done(self) -> bool:
        return self.place == len(self.entries)


class World:
    """Lanes, a core and a next hop that delivers, sets aside or fails as it is told."""

    def __init__(
        self,
        sizes: Sequence[tuple[int, bool]],
        *,
        concurrency: int,
        circuit: bool,
        rate: float | None,
    ) -> None:
        self.clock = Clock()
        self.circuit = Circuit(self.clock, random.Random(1).uniform) if circuit else None
        self.lanes = [FakeLane(n, size, replayed=old) for n, (size, old) in enumerate(sizes)]
        self.core: DeliveryCore[FakeLane] = DeliveryCore(
            self.clock,
            most=16,
            circuit=self.circuit,
            throttle=Throttle(rate, self.clock),
            concurrency=concurrency,
            choose=random.Random(2).uniform,
        )
        self.concurrency = concurrency
        self.under_way: list[tuple[FakeLane, ExportRound[Any]]] = []
        self.arrived: list[tuple[int, int]] = []
        self.dead: list[tuple[int, int]] = []

    def offer(self) -> None:
        for lane in self.lanes:
            if not lane.is_done:
                self.core.offer(lane)

    def step(self) -> bool:
        """Take a step, and return whether a round has begun."""
        step = self.core.step()
        if not isinstance(step, Send):
            if not self.under_way and step.seconds < math.inf:
                assert step.seconds <= LONGEST_DELAY + 60
                self.clock.now += step.seconds + 0.001
            return False
        assert self.circuit is None or self.circuit.state is not CircuitState.OPEN
        assert step.lane not in [lane for lane, _ in self.under_way], "two rounds of a lane"
        limit = 1 if self.core.failing else self.concurrency
        assert len(self.under_way) < limit
        assert 1 <= step.most <= (8 if self.core.failing else 16)
        entries = step.lane.entries[step.lane.place : step.lane.place + step.most]
        self.under_way.append((step.lane, ExportRound(entries, step.lane)))
        return True

    def answer(self, which: int, delivered: int, dead: int, stopped: ExportOutcome | None) -> None:
        """End a round: so many delivered, so many set aside after them, and then perhaps an end."""
        lane, sent = self.under_way.pop(which % len(self.under_way))
        self.clock.now += 0.01
        for most, found, are_dead in ((delivered, self.arrived, 0), (dead, self.dead, 1)):
            count = min(most, len(sent.entries) - sent.acknowledged)
            found.extend(sent.entries[sent.acknowledged : sent.acknowledged + count])
            sent.acknowledge(count, count * are_dead)
        if stopped is not None and not sent.is_complete:
            # What was on its way may have arrived all the same: it is sent again.
            sent.stop(stopped)
        lane.place += sent.acknowledged
        self.core.report(lane, sent, more=not lane.is_done)


answers = st.tuples(
    st.integers(0, 7),
    st.integers(0, 16),
    st.integers(0, 2),
    st.sampled_from(
        [
            None,
            DOWN,
            ExportOutcome(Outcome.RETRYABLE, "429", retry_after=60.0),
            ExportOutcome(Outcome.RETRYABLE, "closed", closed=True),
            ExportOutcome(Outcome.RETRYABLE, "refused", refused_at=("127.0.0.1", 1)),
        ]
    ),
)


@FEW
@given(
    sizes=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=5),
    script=st.lists(st.one_of(st.none(), answers), max_size=60),
    concurrency=st.integers(1, 4),
    circuit=st.booleans(),
    rate=st.sampled_from([None, 50.0]),
)
def test_whatever_is_answered_everything_gets_through_in_order_and_nothing_is_skipped(
    sizes: list[tuple[int, bool]],
    script: list[Any],
    concurrency: int,
    circuit: bool,
    rate: float | None,
) -> None:
    world = World(sizes, concurrency=concurrency, circuit=circuit, rate=rate)
    for one in script:
        world.offer()
        if one is None or not world.under_way:
            world.step()
        else:
            world.answer(*one)
        # What is acknowledged was delivered, or set aside.
        done = {entry for lane in world.lanes for entry in lane.entries[: lane.place]}
        assert done == set(world.arrived) | set(world.dead)

    for _ in range(2000):
        if all(lane.is_done for lane in world.lanes):
            break
        world.offer()
        if not world.step() and world.under_way:
            world.answer(0, 16, 0, None)

    expected = {entry for lane in world.lanes for entry in lane.entries}
    assert set(world.arrived) | set(world.dead) == expected
    assert len(world.arrived) + len(world.dead) == len(expected)
    for lane in world.lanes:
        mine = [entry for entry in world.arrived if entry in set(lane.entries)]
        assert mine == sorted(mine)


@FEW
@given(
    lanes=st.integers(1, 4),
    replays=st.integers(1, 3),
    rounds=st.integers(20, 60),
)
def test_what_was_left_behind_gets_its_turn_and_what_is_recorded_now_waits_for_one_round(
    lanes: int, replays: int, rounds: int
) -> None:
    endless = [(1000, False)] * lanes + [(1000, True)] * replays
    world = World(endless, concurrency=1, circuit=True, rate=None)
    order: list[bool] = []
    for _ in range(rounds):
        world.offer()
        assert world.step()
        order.append(world.under_way[0][0].replayed)
        world.answer(0, 16, 0, None)

    assert not any(one and other for one, other in pairwise(order))
    for start in range(len(order) - lanes):
        assert any(order[start : start + lanes + 1]), "what was left behind starves"


@FEW
@given(failures=st.integers(1, 5000), first=st.floats(0, 60), seed=st.integers())
def test_a_wait_is_bounded_whatever_has_failed_before(
    failures: int, first: float, seed: int
) -> None:
    wait = backoff(failures, first, random.Random(seed).uniform)

    assert 0 <= wait <= min(LONGEST_DELAY, first * 2.0 ** min(failures - 1, 20))


def test_a_circuit_with_a_check_stays_open_until_the_check_says_yes() -> None:
    clock = Clock()
    circuit = Circuit(clock, lambda _, most: most, first_delay=1.0, checked=True)

    assert circuit.failed()
    assert not circuit.failed(), "an outage begins once"
    clock.now += circuit.pause()
    assert circuit.state.value == "open"
    assert circuit.admits() is None
    circuit.checked(healthy=False)
    assert circuit.pause() == 4.0
    circuit.checked(healthy=True)

    assert circuit.state.value == "half_open"
    assert [circuit.admits(), circuit.admits()] == [True, None]
    circuit.give_back()
    assert circuit.admits() is True
    assert circuit.succeeded()
    assert circuit.admits() is False


def test_only_the_lane_that_failed_rests_where_a_destination_has_circuits_of_its_own() -> None:
    world = World([(5, False), (5, False)], concurrency=1, circuit=False, rate=None)
    world.offer()
    world.step()
    failed = world.under_way[0][0]
    world.answer(0, 0, 0, DOWN)

    world.step()

    assert world.under_way[0][0] is not failed
    assert failed.slot.rests_until > world.clock.now - 0.5
    world.core.hurry()
    assert failed.slot.ready


@pytest.mark.parametrize("count, dead", [(4, 0), (-1, 0), (1, 2), (2, -1)])
def test_a_round_refuses_to_acknowledge_what_it_has_not(count: int, dead: int) -> None:
    with pytest.raises(ValueError, match="3 are left"):
        ExportRound([1, 2, 3]).acknowledge(count, dead)


def test_nothing_is_acknowledged_after_a_round_has_stopped_and_it_stops_only_for_another_try() -> (
    None
):
    sent = ExportRound([1, 2, 3])
    sent.acknowledge()
    with pytest.raises(ValueError, match="REJECTED"):
        sent.stop(ExportOutcome(Outcome.REJECTED))
    sent.stop(DOWN)

    with pytest.raises(ValueError, match="0 are left"):
        sent.acknowledge()
    assert sent.acknowledged == 1


class FakeBatch:
    """Numbers, of which some are never taken."""

    def __init__(self, records: list[int]) -> None:
        self.records = records
        self.acknowledged: list[int] = []
        self.dead: list[int] = []

    def smaller(self, number: int) -> int | None:
        return None

    def stand_in(self, number: int, outcome: str, reason: str) -> int | None:
        return None if self.records[number] % 2 else -1 - self.records[number]

    def dead_letter(self, number: int, outcome: str, reason: str) -> None:
        self.dead.append(self.records[number])

    def acknowledge(self, count: int, dead: int = 0) -> None:
        place = len(self.acknowledged)
        self.acknowledged += self.records[place : place + count]


@FEW
@given(
    size=st.integers(1, 40),
    guilty=st.sets(st.integers(0, 39)),
    kind=st.sampled_from([Outcome.REJECTED, Outcome.TOO_LARGE]),
    ends_after=st.one_of(st.none(), st.integers(0, 60)),
    takes_nothing=st.booleans(),
)
def test_bisection_sets_the_guilty_aside_and_nobody_else(
    size: int, guilty: set[int], kind: Outcome, ends_after: int | None, takes_nothing: bool
) -> None:
    taken: list[int] = []
    attempts = 0

    def attempt(records: Sequence[int]) -> ExportOutcome:
        nonlocal attempts
        attempts += 1
        if ends_after is not None and attempts > ends_after:
            return DOWN
        if takes_nothing or guilty & set(records):
            return ExportOutcome(kind, "no")
        taken.extend(records)
        return TAKEN

    batch = FakeBatch(list(range(size)))
    stopped = BatchBisection(attempt).send(batch)

    real = [one for one in taken if one >= 0]
    assert set(batch.dead) <= guilty
    assert batch.acknowledged == batch.records[: len(batch.acknowledged)]
    assert set(batch.acknowledged) <= set(real) | set(batch.dead)
    if takes_nothing:
        assert stopped is not None
        assert not batch.acknowledged
    if stopped is None:
        assert batch.acknowledged == batch.records
        assert set(batch.dead) == guilty & set(range(size))
    elif ends_after is None:
        # Only a next hop that has taken nothing else leaves a guilty record in doubt.
        assert not set(range(size)) - guilty or takes_nothing
