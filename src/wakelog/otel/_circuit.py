"""When to try again: the one place that owns retry."""

from __future__ import annotations

import random
from collections.abc import Callable

Clock = Callable[[], float]

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0


class Circuit:
    """Keeps attempts away from a next hop that is failing.

    It is closed while everything works. A failure opens it for a time drawn between nothing and
    0.5 s, then 1 s, 2 s and so on up to 30 s (exponential back-off with full jitter), and for as
    long as the next hop asks to be left alone. Then it is half open: one attempt is due, whose
    success closes it.

    Args:
        clock: Tells monotonic seconds.
        choose: Draws a number between two others.
    """

    def __init__(
        self, clock: Clock, choose: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._clock = clock
        self._choose = choose
        self._not_before = self._asked_until = 0.0
        self.failures = 0
        """How many attempts have failed since the last one that succeeded."""

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed, so that the next one is a probe."""
        return self.failures > 0

    def pause(self) -> float:
        """Return the seconds until an attempt may be made, 0 for now."""
        return max(0.0, max(self._not_before, self._asked_until) - self._clock())

    def failed(self, retry_after: float | None = None) -> None:
        """Learn that an attempt failed.

        Args:
            retry_after: How long the next hop asks to be left alone, in seconds.
        """
        now = self._clock()
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self.failures, 10))
        self.failures += 1
        self._not_before = now + self._choose(0.0, longest)
        if retry_after is not None:
            self._asked_until = max(self._asked_until, now + retry_after)

    def succeeded(self) -> None:
        """Learn that an attempt succeeded."""
        self.failures = 0
        self._not_before = self._asked_until = 0.0

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
