"""The circuit breaker: nothing is sent into an outage, save a probe now and then."""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Awaitable, Callable

_LONGEST_DELAY = 30.0


class CircuitState(enum.StrEnum):
    """Whether events are sent."""

    CLOSED = "closed"
    """They are."""
    OPEN = "open"
    """They wait, until ``health_check`` says yes."""
    HALF_OPEN = "half_open"
    """One is sent, to see."""


def backoff(first: float, count: int) -> float:
    """Return how long to wait after a failure: twice as long each time, and by chance.

    Args:
        first: The longest wait after the first failure, in seconds.
        count: How many failures there were, from 1.

    Returns:
        Seconds, between half of the wait and all of it, at most 30.
    """
    longest = min(_LONGEST_DELAY, first * 2 ** min(count - 1, 20))
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter


class Circuit:
    """Decides whether an event may be sent now. It belongs to one event loop.

    Args:
        health: Tells whether the other side is well; it neither raises nor hangs.
        delay: Seconds before the first look at an open circuit; later ones double.
    """

    def __init__(self, health: Callable[[], Awaitable[bool]], delay: float) -> None:
        self._health, self._delay = health, delay
        self.state = CircuitState.CLOSED
        self.failures = 0
        self._probing = False
        self._changed = asyncio.Event()
        self._poked = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def permit(self) -> bool:
        """Wait until an event may be sent; return whether it is a probe."""
        while self.state is not CircuitState.CLOSED:
            if self.state is CircuitState.HALF_OPEN and not self._probing:
                self._probing = True
                return True
            await self._changed.wait()
        return False

    def succeeded(self) -> bool:
        """Learn that an event got through; return whether that ended an outage."""
        self.failures = 0
        if self.state is CircuitState.CLOSED:
            return False
        self._become(CircuitState.CLOSED)
        self._stop_watching()
        return True

    def fail(self) -> bool:
        """Open the circuit; return whether that begins an outage."""
        begins = self.state is CircuitState.CLOSED
        if self.state is not CircuitState.OPEN:
            self.failures += 1
            self._become(CircuitState.OPEN)
            self._stop_watching()
            self._watch = asyncio.create_task(self._look())
        return begins

    def poke(self) -> None:
        """Look at once, because somebody waits."""
        self._poked.set()

    def close(self) -> None:
        """Stop watching."""
        self._stop_watching()

    async def _look(self) -> None:
        looks = self.failures
        while True:
            try:
                async with asyncio.timeout(backoff(self._delay, looks)):
                    await self._poked.wait()
            except TimeoutError:
                pass
            self._poked.clear()
            if await self._health():
                break
            looks += 1
        self.failures = looks
        self._become(CircuitState.HALF_OPEN)

    def _become(self, state: CircuitState) -> None:
        self.state, self._probing = state, False
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
