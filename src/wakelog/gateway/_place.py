"""The callback or the transport: whether events are sent there now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from wakelog.delivery import Circuit, CircuitState, Notifier, Outage
from wakelog.gateway.transports import TransportInterface


class Target:
    """The callback or the transport, with the circuit of the event loop that is forwarding.

    Args:
        name: The argument that says what it is.
        transport: Where events go; None for nowhere.
        first_delay: Seconds before the first check after a failure, at most; later ones double.

    Attributes:
        name: The argument that says what it is.
        transport: Where events go; None for nowhere.
        taken: How many it took.
        is_healthy: Whether it did what it was last asked.
        left_out: How many events in a row the other place took in its place.
        admits: Tells whether an event may be sent now: False as usual, True as a probe, None if not.
        begin_again: Has it checked as often as at the beginning, because another event is tried next.
        poke: Has it checked at once, because somebody waits.
    """

    def __init__(self, name: str, transport: TransportInterface | None, first_delay: float) -> None:
        self.name, self.transport, self._first_delay = name, transport, first_delay
        self.taken = self.left_out = 0
        self.is_healthy = True
        where = f"the {name.removeprefix('downstream_')}"
        self._outage = Outage(where, None, time.monotonic, verb="forward")
        self._watch: asyncio.Task[None] | None = None
        self.begin(Notifier(), _is_well)

    @property
    def state(self) -> CircuitState:
        """Whether events are sent there now."""
        return self._circuit.state

    def begin(self, changed: Notifier, check: Callable[[], Awaitable[bool]]) -> None:
        """Begin in the running event loop, with a circuit that is closed.

        Args:
            changed: Is fired at each change.
            check: Tells whether the other side is well; it neither raises nor hangs.
        """
        self._circuit = Circuit(time.monotonic, first_delay=self._first_delay, checked=True)
        self._changed, self._check, self._poked = changed, check, asyncio.Event()
        self.admits, self.begin_again = self._circuit.admits, self._circuit.begin_again
        self.poke = self._poked.set

    def got_through(self) -> bool:
        """Learn that an event was taken; return whether that ended an outage."""
        self.taken += 1
        self.left_out = 0
        return self.answers()

    def answers(self) -> bool:
        """Learn that the other side answers; return whether that ended an outage."""
        if not self._circuit.succeeded():
            return False
        self.end()
        self._outage.ended()
        self._changed.fire()
        return True

    def fail(self, error: Exception | None) -> None:
        """Learn that nothing is taken, and leave the place alone for a while."""
        if self.state is CircuitState.OPEN:
            return
        self._circuit.failed()
        self._outage.failed(str(error or ""))
        self._changed.fire()
        self.end()
        self._watch = asyncio.create_task(self._check_until_closed(self._circuit))

    def give_back(self) -> None:
        """Learn that the probe told nothing about the place: the next event is one, too."""
        self._circuit.give_back()
        self._changed.fire()

    def end(self) -> None:
        """Stop checking."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()

    async def _check_until_closed(self, circuit: Circuit) -> None:
        while circuit.state is CircuitState.OPEN:
            with suppress(TimeoutError):
                async with asyncio.timeout(circuit.pause()):
                    await self._poked.wait()
            self._poked.clear()
            circuit.checked(healthy=await self._check())
        self._changed.fire()


async def _is_well() -> bool:
    return True
