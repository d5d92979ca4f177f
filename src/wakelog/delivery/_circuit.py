"""When to try again: the one place that knows how long."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable

from wakelog.delivery._outcome import Address

Clock = Callable[[], float]
"""Tells monotonic seconds."""
Choose = Callable[[float, float], float]
"""Draws a number between two others."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
CHECK_SECONDS = 1.0


class CircuitState(enum.StrEnum):
    """Whether events are sent."""

    CLOSED = "closed"
    """They are."""
    HALF_OPEN = "half_open"
    """One attempt is made, to see."""
    OPEN = "open"
    """They wait."""


def backoff(failures: int, first: float, choose: Choose = random.uniform) -> float:
    """Return how long to wait after a failure: exponential back-off with full jitter.

    Args:
        failures: How many attempts have failed in a row, from 1.
        first: The longest wait after the first failure, in seconds; later ones double.
        choose: Draws the wait.

    Returns:
        Seconds, at most 30.
    """
    return choose(0.0, min(LONGEST_DELAY, first * 2.0 ** min(failures - 1, 20)))


class Circuit:
    """Keeps attempts away from a next hop that is failing.

    It is closed while everything works. A failure opens it, for a time drawn between nothing and
    0.5 s, then 1 s, 2 s and so on up to 30 s, and for as long as the next hop asks to be left alone.
    Then it is half open: one attempt is due, whose success closes it.

    Two failures say when another attempt is worth it. A next hop that refuses connections is looked
    for once a second, and an attempt is due as soon as it takes them. A connection that was closed after
    it had worked, as by a next hop that was started anew, is replaced at once.

    Args:
        clock: Tells monotonic seconds.
        choose: Draws a number between two others.
        listens: Tells whether connections are taken at an address.
        first_delay: The longest wait after the first failure, in seconds; 0.5 by default.
        checked: Whether it stays open until ``checked`` is told that the next hop is well.
    """

    def __init__(
        self,
        clock: Clock,
        choose: Choose = random.uniform,
        listens: Callable[[Address], bool] | None = None,
        *,
        first_delay: float | None = None,
        checked: bool = False,
    ) -> None:
        self._clock, self._choose, self._listens = clock, choose, listens
        self._first_delay, self._is_checked = first_delay, checked
        self._not_before = self._asked_until = 0.0
        self._refused_at: Address | None = None
        self._check_at = 0.0
        self._unchecked = self._probing = False
        self.failing = False
        """Whether the last attempt failed, so that the next one is a probe."""
        self.failures = 0
        """How many attempts and checks have failed since the last attempt that succeeded."""

    @property
    def state(self) -> CircuitState:
        """Whether attempts are made."""
        if not self.failing:
            return CircuitState.CLOSED
        is_open = self._unchecked or self.pause() > 0
        return CircuitState.OPEN if is_open else CircuitState.HALF_OPEN

    def admits(self) -> bool | None:
        """Return whether the next attempt is a probe, or None if no attempt may be made now."""
        if not self.failing:
            return False
        if self._probing or self.state is CircuitState.OPEN:
            return None
        self._probing = True
        return True

    def give_back(self) -> None:
        """Learn that the probe told nothing about the next hop: the next attempt is one, too."""
        self._probing = False

    def pause(self) -> float:
        """Return the seconds until an attempt, or a check, may be made, 0 for now."""
        return max(0.0, max(self._not_before, self._asked_until) - self._clock())

    def check_port(self) -> float:
        """Check whether a next hop that has refused connections listens again, if that is due.

        It may take half a second, so it is for the thread that delivers.

        Returns:
            The seconds until an attempt may be made or another check is due, 0 for now.
        """
        pause, now = self.pause(), self._clock()
        if pause == 0 or self._refused_at is None or self._listens is None:
            return pause
        if now >= self._check_at:
            self._check_at = now + CHECK_SECONDS
            if self._listens(self._refused_at):
                self._refused_at = None
                self.hurry()
                return self.pause()
        return min(pause, self._check_at - now)

    def failed(
        self,
        retry_after: float | None = None,
        *,
        refused_at: Address | None = None,
        closed: bool = False,
    ) -> bool:
        """Learn that an attempt failed.

        Args:
            retry_after: How long the next hop asks to be left alone, in seconds.
            refused_at: Where a connection was refused, if that was why.
            closed: Whether the next hop closed the connection without an answer.

        Returns:
            Whether that begins an outage.
        """
        now, begins = self._clock(), not self.failing
        self._back_off(at_once=closed and begins)
        self._refused_at, self._check_at = refused_at, now + CHECK_SECONDS
        if retry_after is not None:
            self._asked_until = max(self._asked_until, now + retry_after)
        return begins

    def checked(self, *, healthy: bool) -> None:
        """Learn what a check of the next hop has found after the pause."""
        if healthy:
            self._unchecked, self._not_before = False, 0.0
        else:
            self._back_off()

    def _back_off(self, *, at_once: bool = False) -> None:
        self.failing, self._probing, self._unchecked = True, False, self._is_checked
        self.failures += 1
        first = FIRST_DELAY if self._first_delay is None else self._first_delay
        delay = 0.0 if at_once else backoff(self.failures, first, self._choose)
        self._not_before = self._clock() + delay

    def succeeded(self) -> bool:
        """Learn that an attempt succeeded; return whether that ended an outage."""
        if not self.failing:
            return False
        self.failing, self.failures = False, 0
        self._unchecked = self._probing = False
        self._not_before = self._asked_until = 0.0
        self._refused_at = None
        return True

    def begin_again(self) -> None:
        """Wait as briefly as at the beginning, because what is tried next is something else."""
        self.failures = 0

    def hurry(self) -> None:
        """Have the next attempt made at once, unless the next hop asked to be left alone."""
        self._not_before = 0.0


class Throttle:
    """Spaces records out in time.

    Args:
        rate: Records a second; None for no limit.
        clock: Tells monotonic seconds.
    """

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._next = 0.0

    def pause(self) -> float:
        """Return the seconds until the next record may go, 0 for now."""
        return 0.0 if self._rate is None else max(0.0, self._next - self._clock())

    def allows(self, most: int) -> int:
        """Return how many records may go in one round: a quarter of a second's, and at least one."""
        return most if self._rate is None else max(1, min(most, int(self._rate / 4)))

    def sent(self, count: int) -> None:
        """Learn that records have gone."""
        if self._rate is not None:
            self._next = max(self._next, self._clock()) + count / self._rate
