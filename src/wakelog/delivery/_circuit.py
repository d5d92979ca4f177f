"""The circuit breaker, back-off and throttle: when delivery may send."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable

from wakelog.delivery._destination import Address

Clock = Callable[[], float]
"""Returns monotonic time in seconds."""
Choose = Callable[[float, float], float]
"""Returns a random number between two others."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
CHECK_SECONDS = 1.0


class CircuitState(enum.StrEnum):
    """The states of a circuit breaker."""

    CLOSED = "closed"
    """Events are sent."""
    HALF_OPEN = "half_open"
    """One attempt, a probe, is made."""
    OPEN = "open"
    """Events wait."""


def backoff(failures: int, first: float, choose: Choose = random.uniform) -> float:
    """Return the wait after a failure: exponential back-off with full jitter.

    Args:
        failures: The number of failed attempts in a row, from 1.
        first: Maximum wait after the first failure, in seconds. It doubles with each failure.
        choose: Returns a random number between two others.

    Returns:
        The wait in seconds, at most 30.
    """
    return choose(0.0, min(LONGEST_DELAY, first * 2.0 ** min(failures - 1, 20)))


class Circuit:
    """A circuit breaker, which limits attempts while the next hop fails.

    It is closed while everything works. A failure opens it for a random time of at most 0.5 s, then
    1 s, 2 s and so on up to 30 s, and never shorter than the next hop asks for. Then it is half
    open: one attempt, the probe, may be made, whose success closes it.

    Two failures end the wait early. If the next hop refuses connections, its port is checked once a
    second, and the probe is due as soon as a connection is accepted. If it closes a connection that
    had worked before, for example because it restarted, the next attempt is due at once.

    Args:
        clock: Returns monotonic time in seconds.
        choose: Returns a random number between two others.
        listens: Returns whether connections are accepted at an address.
        first_delay: Maximum wait after the first failure, in seconds; 0.5 by default.
        checked: Whether the circuit stays open until ``checked`` reports a healthy next hop.
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
        """The number of attempts and checks that have failed since the last success."""

    @property
    def state(self) -> CircuitState:
        """The state now."""
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
        """Return a probe that was not used, so that the next attempt is a probe too."""
        self._probing = False

    def pause(self) -> float:
        """Return the seconds until an attempt or a check may be made; 0 for now."""
        return max(0.0, max(self._not_before, self._asked_until) - self._clock())

    def check_port(self) -> float:
        """Check, if that is due, whether a next hop accepts connections again.

        The check may take half a second, so only the delivery thread calls this.

        Returns:
            The seconds until an attempt may be made or the next check is due; 0 for now.
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
        """Record a failed attempt.

        Args:
            retry_after: Minimum wait that the next hop asks for, in seconds.
            refused_at: The address that refused the connection, if that was the cause.
            closed: Whether the next hop closed the connection without a response.

        Returns:
            Whether this failure begins an outage.
        """
        now, begins = self._clock(), not self.failing
        self._back_off(at_once=closed and begins)
        self._refused_at, self._check_at = refused_at, now + CHECK_SECONDS
        if retry_after is not None:
            self._asked_until = max(self._asked_until, now + retry_after)
        return begins

    def checked(self, *, healthy: bool) -> None:
        """Record the result of a check of the next hop."""
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
        """Record a successful attempt; return whether it ended an outage."""
        if not self.failing:
            return False
        self.failing, self.failures = False, 0
        self._unchecked = self._probing = False
        self._not_before = self._asked_until = 0.0
        self._refused_at = None
        return True

    def begin_again(self) -> None:
        """Reset the back-off, because the next attempt sends something else."""
        self.failures = 0

    def hurry(self) -> None:
        """End the wait, unless the next hop has asked for one."""
        self._not_before = 0.0


class Throttle:
    """Limits the rate of records.

    Args:
        rate: Maximum number of records per second; None for no limit.
        clock: Returns monotonic time in seconds.
    """

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._next = 0.0

    def pause(self) -> float:
        """Return the seconds until the next record may be sent; 0 for now."""
        return 0.0 if self._rate is None else max(0.0, self._next - self._clock())

    def allows(self, most: int) -> int:
        """Return the maximum size of a round: a quarter of a second's records, at least one."""
        return most if self._rate is None else max(1, min(most, int(self._rate / 4)))

    def sent(self, count: int) -> None:
        """Record that ``count`` records have been sent."""
        if self._rate is not None:
            self._next = max(self._next, self._clock()) + count / self._rate
