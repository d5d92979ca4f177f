"""Downstream: the callback first, then the transport, each with a circuit of its own."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from wakelog.delivery import CircuitState, Notifier, backoff
from wakelog.errors import SerializationError, TransportConnectionError, TransportTimeoutError
from wakelog.gateway._blocking_calls import BlockingCalls, call, is_asynchronous
from wakelog.gateway._books import GatewayCounters
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._place import Target
from wakelog.gateway._sending import Forwarding, attempt, is_healthy
from wakelog.gateway.transports import CallbackTransport, TransportInterface

_log = logging.getLogger("wakelog")

_CLOSE_SECONDS = 1.0
_MOST_LEFT_OUT = 3

Report = Callable[[Exception, str], None]


class Trial:
    """What became so far of an event that was refused.

    Args:
        earlier: How many attempts have failed in earlier processes.

    Attributes:
        failures: How many attempts have failed, by the place.
        others: How many events had been taken when it failed last; None before.
        seen: How many of them by each place.
        is_taken: Whether it has been taken, ahead of events that were refused before it.
        verdict: Why it is to be set aside, as an outcome and a reason; None while it is not.
    """

    __slots__ = ("earlier", "failures", "is_taken", "others", "seen", "verdict")

    def __init__(self, earlier: int = 0) -> None:
        self.earlier = earlier
        self.failures: Counter[str] = Counter()
        self.others: int | None = None
        self.seen: dict[str, int] = {}
        self.is_taken = False
        self.verdict: tuple[str, str] | None = None

    @property
    def most_failures(self) -> int:
        """How many attempts have failed at the place that refused it most often."""
        return self.earlier + max(self.failures.values(), default=0)

    def failed_at(self, place: Target) -> int:
        """Return how many attempts have failed at a place."""
        return self.earlier + self.failures[place.name]


class Refusal(NamedTuple):
    """An event was not taken for now.

    Attributes:
        error: Why.
        places: Who refused it, and whether that says that all of it is down.
        is_final: Whether it will never be taken.
        others_got_through: Whether another event was taken between its last failure and this attempt.
    """

    error: Exception
    places: list[tuple[Target, bool]]
    is_final: bool
    others_got_through: bool

    @property
    def timed_out(self) -> bool:
        """Whether there was no answer."""
        return isinstance(self.error, TransportTimeoutError)


class Downstream:
    """Gets events to the callback, or where that fails to the transport.

    Args:
        callback: The callback, as a transport.
        transport: The transport.
        settings: How events are forwarded.
        report: Is told each error, and what was being done.
        counters: Counts the attempts.
    """

    def __init__(
        self,
        callback: TransportInterface | None,
        transport: TransportInterface | None,
        settings: Forwarding,
        report: Report,
        counters: GatewayCounters,
    ) -> None:
        self.callback = Target("downstream_callback", callback, settings.retry_delay)
        self.transport = Target("downstream_transport", transport, settings.retry_delay)
        self._settings, self._report, self._counters = settings, report, counters
        self._blocking = BlockingCalls()
        self._changed: Notifier | None = None
        self._came_back: Callable[[], None] = lambda: None

    @property
    def active(self) -> list[Target]:
        """Where events go, first things first."""
        return [place for place in (self.callback, self.transport) if place.transport is not None]

    @property
    def state(self) -> CircuitState:
        """Whether events are sent now, to either place."""
        states = [place.state for place in self.active]
        for state in (CircuitState.CLOSED, CircuitState.HALF_OPEN):
            if state in states:
                return state
        return CircuitState.OPEN

    @property
    def is_healthy(self) -> bool:
        """Whether every place did what it was last asked."""
        return all(place.is_healthy for place in self.active)

    @property
    def taken(self) -> int:
        """How many events were taken."""
        return self.callback.taken + self.transport.taken

    @property
    def destinations(self) -> list[object]:
        """The callback itself, and the transport, those that there are."""
        found: list[object] = [place.transport for place in self.active]
        if isinstance(self.callback.transport, CallbackTransport):
            found[0] = self.callback.transport.callback
        return found

    @property
    def works_in_any_loop(self) -> bool:
        """Whether events can be sent in an event loop of our own: what is first is not bound to the caller's."""
        return all(_works_in_any_loop(place.transport) for place in self.active[:1])

    def leave_bound(self) -> None:
        """Leave a transport alone that is bound to the caller's event loop, which has ended."""
        for place in self.active:
            if not _works_in_any_loop(place.transport):
                place.transport = None

    @property
    def is_connected(self) -> bool:
        """Whether the callback or the transport says that it can be used."""
        return any(_is_connected(place.transport) for place in self.active)

    def begin(self, came_back: Callable[[], None]) -> None:
        """Begin in the running event loop.

        Args:
            came_back: Is called when an outage has ended.
        """
        self._came_back = came_back
        self._changed = changed = Notifier()
        for place in (self.callback, self.transport):
            place.begin(changed, functools.partial(self._is_healthy, place))

    def check_now(self) -> None:
        """Check at once whether an outage is over, because somebody waits or a place is another."""
        for place in (self.callback, self.transport):
            place.poke()
        if self._changed is not None:
            self._changed.fire()

    def begin_again(self) -> None:
        """Check as often as at the beginning, because what is tried next is another event."""
        for place in self.active:
            place.begin_again()

    def end(self) -> None:
        """Stop looking."""
        for place in (self.callback, self.transport):
            place.end()

    async def close(self) -> None:
        """Close the transport that was used in an event loop of our own, and wait only briefly."""
        close = getattr(self.transport.transport, "close", None)
        if close is not None:
            try:
                await call(close, seconds=_CLOSE_SECONDS, blocking=self._blocking)
            except Exception as error:  # noqa: BLE001 - the program ends, and its events are sent
                _log.debug("the transport could not be closed: %s", error)

    def has_failed(self, trial: Trial, count: int) -> bool:
        """Tell whether an event has failed so many times wherever it could go."""
        return all(trial.failed_at(place) >= count for place in self.active)

    async def deliver(self, event: ForwardedEvent, trial: Trial) -> Refusal | None:
        """Send an event, again and again as the settings say; wait while nothing may be sent.

        Returns:
            None when it was taken. Else ``give_up`` or ``give_back`` has to be called with its places.
        """
        changed = self._changed
        assert changed is not None  # noqa: S101 - set by begin
        while True:
            error = refused_with = None
            refused: list[tuple[Target, bool]] = []
            finally_ = True
            # An attempt that hangs may have begun before an outage ended, and says nothing of what was
            # taken since. So what counts was taken after the failure before and before this attempt.
            begun = self.taken
            before = begun if trial.others is None else trial.others
            for place in self.active:
                if (probe := place.admits()) is None:
                    finally_ = False
                    continue
                error, is_down = await self._try(place, event, trial, probe=probe)
                if error is None:
                    self._left_out(refused, refused_with)
                    return None
                refused_with = error
                refused.append((place, is_down))
                finally_ = finally_ and isinstance(error, SerializationError)
            if error is not None:
                trial.others = self.taken
                return Refusal(error, refused, finally_, begun > before)
            await changed.wait()

    async def send_once(self, event: ForwardedEvent) -> Exception | None:
        """Send an event once, whatever the circuits say; return why nobody took it."""
        error: Exception | None = TransportConnectionError("there is nowhere to forward to")
        for place in self.active:
            error = await self._attempt(place, event, Trial())
            if error is None:
                break
        return error

    async def try_now(
        self, event: ForwardedEvent, trial: Trial, refusal: Refusal
    ) -> Exception | None:
        """Send an event once to the places that have just refused the one before it.

        Returns:
            Why none took it; None when one did.
        """
        error: Exception | None = None
        for place, _ in refusal.places:
            error = await self._attempt(place, event, trial)
            if error is None:
                self._got_through(place)
                return None
        return error

    def _left_out(self, refused: list[tuple[Target, bool]], error: Exception | None) -> None:
        """Learn that the transport took what the callback refused: one event, or all of them?"""
        for place, is_down in refused:
            place.left_out += 1
            is_probe = place.state is not CircuitState.CLOSED
            self.give_up(
                [(place, is_down and (is_probe or place.left_out >= _MOST_LEFT_OUT))], error
            )

    def give_up(self, refused: list[tuple[Target, bool]], error: Exception | None) -> None:
        """Open the circuits of the places that took nothing."""
        for place, is_down in refused:
            if is_down:
                place.fail(error)

    def give_back(self, refused: list[tuple[Target, bool]]) -> None:
        """Let the next event be the probe of the places whose probe it was itself that was refused."""
        for place, is_down in refused:
            if is_down:
                place.give_back()

    async def _try(
        self, place: Target, event: ForwardedEvent, trial: Trial, *, probe: bool
    ) -> tuple[Exception | None, bool]:
        before = trial.seen.get(place.name, place.taken)
        tries = 1 if probe else max(1, 1 + self._settings.max_retries - trial.failed_at(place))
        count = 0
        while True:
            error = await self._attempt(place, event, trial)
            if error is None:
                self._got_through(place)
                return None, False
            if isinstance(error, SerializationError):
                place.answers()
                return error, False
            count += 1
            trial.seen[place.name] = place.taken
            if probe or count >= tries:
                # Where others get through, it is this event, or this session.
                return error, probe or place.taken == before
            await asyncio.sleep(backoff(count, self._settings.retry_delay))
            admitted = place.admits()
            if admitted is None:
                return error, False
            probe = admitted

    async def _attempt(
        self, place: Target, event: ForwardedEvent, trial: Trial
    ) -> Exception | None:
        transport = place.transport
        if transport is None:
            return TransportConnectionError(f"the {place.name} was taken away")
        begun = time.perf_counter()
        error = await attempt(transport, event, self._settings.send_timeout, self._blocking)
        rejected = isinstance(error, SerializationError)
        place.is_healthy = rejected or error is None
        self._counters.attempted(time.perf_counter() - begun, error, rejected=rejected)
        if error is not None:
            trial.failures[place.name] += 1
            origin = event.wakelog
            self._report(error, f"{place.name}: event {origin.id} of session {origin.session_id}")
        return error

    def _got_through(self, place: Target) -> None:
        if place.got_through():
            self._came_back()

    async def _is_healthy(self, place: Target) -> bool:
        transport = place.transport
        if transport is None:
            return False
        place.is_healthy = await is_healthy(transport, self._blocking)
        return place.is_healthy


def _works_in_any_loop(transport: TransportInterface | None) -> bool:
    if transport is None or not is_asynchronous(transport.send):
        return True
    return bool(getattr(transport, "works_in_any_loop", False))


def _is_connected(transport: TransportInterface | None) -> bool:
    connected: Any = getattr(transport, "is_connected", transport is not None)
    return bool(connected() if callable(connected) else connected)
