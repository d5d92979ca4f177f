"""A target of forwarding, the callback or the transport, with its circuit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from wakelog.delivery import Circuit, CircuitState, Notifier, Outage
from wakelog.gateway.transports import TransportInterface


class Target:
    """The callback or the transport, with its circuit in the event loop that is forwarding.

    Args:
        name: The name of its argument.
        transport: The transport; None if not configured.
        first_delay: The longest wait before the first check after a failure, in seconds; it doubles
            for each later one.

    Attributes:
        name: The name of its argument.
        transport: The transport; None if not configured.
        taken: How many events it accepted.
        is_healthy: Whether its last call succeeded.
        left_out: How many events in a row the other target accepted after this one refused them.
        admits: Tells whether an event may be sent now: False for normally, True as a probe, None if
            not.
        begin_again: Resets the check interval, because another event is tried next.
        poke: Causes an immediate check, because a caller waits.
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
        """The state of the circuit."""
        return self._circuit.state

    def begin(self, changed: Notifier, check: Callable[[], Awaitable[bool]]) -> None:
        """Begin in the running event loop, with a closed circuit.

        Args:
            changed: Fired at each change.
            check: Tells whether the target is healthy; it neither raises nor hangs.
        """
        self._circuit = Circuit(time.monotonic, first_delay=self._first_delay, checked=True)
        self._changed, self._check, self._poked = changed, check, asyncio.Event()
        self.admits, self.begin_again = self._circuit.admits, self._circuit.begin_again
        self.poke = self._poked.set

    def got_through(self) -> bool:
        """Note that an event was accepted; return whether that ended an outage."""
        self.taken += 1
        self.left_out = 0
        return self.answers()

    def answers(self) -> bool:
        """Note that the target responds; return whether that ended an outage."""
        if not self._circuit.succeeded():
            return False
        self.end()
        self._outage.ended()
        self._changed.fire()
        return True

    def fail(self, error: Exception | None) -> None:
        """Open the circuit, because the target accepts nothing, and begin to check it."""
        if self.state is CircuitState.OPEN:
            return
        self._circuit.failed()
        self._outage.failed(str(error or ""))
        self._changed.fire()
        self.end()
        self._watch = asyncio.create_task(self._check_until_closed(self._circuit))

    def give_back(self) -> None:
        """Make the next event a probe, too, because this one proved nothing about the target."""
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
