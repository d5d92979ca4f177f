"""Downstream: first the callback, then the transport, each with its own circuit."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from wakelog.delivery import CircuitState, Notifier, backoff
from wakelog.errors import SerializationError, TransportConnectionError
from wakelog.gateway._blocking_calls import BlockingCalls, call, is_asynchronous
from wakelog.gateway._books import GatewayCounters
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._place import Target
from wakelog.gateway._sending import attempt, is_healthy
from wakelog.gateway._settings import Settings
from wakelog.gateway.transports import CallbackTransport, TransportInterface

_log = logging.getLogger("wakelog")

_CLOSE_SECONDS = 1.0
_MOST_LEFT_OUT = 3

Report = Callable[[Exception, str], None]


class Trial:
    """The attempts so far to send an event that was refused.

    Args:
        earlier: The number of failed attempts in earlier processes.

    Attributes:
        failures: The number of failed attempts for each target.
        others: How many events had been accepted in total when it last failed; None before that.
        seen: How many of these each target had accepted.
        is_taken: Whether it has been accepted, before events that had been refused earlier.
        dead_letter: Why it becomes a dead letter, as an outcome and a reason; None if it is not.
    """

    __slots__ = ("dead_letter", "earlier", "failures", "is_taken", "others", "seen")

    def __init__(self, earlier: int = 0) -> None:
        self.earlier = earlier
        self.failures: Counter[str] = Counter()
        self.others: int | None = None
        self.seen: dict[str, int] = {}
        self.is_taken = False
        self.dead_letter: tuple[str, str] | None = None

    @property
    def most_failures(self) -> int:
        """The number of failed attempts at the target that refused it most often."""
        return self.earlier + max(self.failures.values(), default=0)

    def failed_at(self, place: Target) -> int:
        """Return the number of failed attempts at a target."""
        return self.earlier + self.failures[place.name]


class Refusal(NamedTuple):
    """A refusal of an event for now.

    Attributes:
        error: The reason.
        places: The targets that refused it, each with whether the whole target seems to be down.
        is_final: Whether it will never be accepted.
        others_got_through: Whether another event was accepted between its last failure and this
            attempt.
    """

    error: Exception
    places: list[tuple[Target, bool]]
    is_final: bool
    others_got_through: bool


class Downstream:
    """Sends events to the callback, and those that it does not accept to the transport.

    Args:
        callback: The callback, as a transport.
        transport: The transport.
        settings: The settings.
        report: Called with each error and a description of the operation.
        counters: Counts the attempts.
    """

    def __init__(
        self,
        callback: TransportInterface | None,
        transport: TransportInterface | None,
        settings: Settings,
        report: Report,
        counters: GatewayCounters,
    ) -> None:
        self.callback = Target("downstream_callback", callback, settings.retry_delay_seconds)
        self.transport = Target("downstream_transport", transport, settings.retry_delay_seconds)
        self._settings, self._report, self._counters = settings, report, counters
        self._blocking = BlockingCalls()
        self._changed: Notifier | None = None
        self._came_back: Callable[[], None] = lambda: None

    @property
    def active(self) -> list[Target]:
        """The configured targets, in the order in which they are tried."""
        return [place for place in (self.callback, self.transport) if place.transport is not None]

    @property
    def state(self) -> CircuitState:
        """The state of the circuit that is furthest from open."""
        states = [place.state for place in self.active]
        for state in (CircuitState.CLOSED, CircuitState.HALF_OPEN):
            if state in states:
                return state
        return CircuitState.OPEN

    @property
    def is_healthy(self) -> bool:
        """Whether the last call of every target succeeded."""
        return all(place.is_healthy for place in self.active)

    @property
    def taken(self) -> int:
        """How many events were accepted."""
        return self.callback.taken + self.transport.taken

    @property
    def destinations(self) -> list[object]:
        """The callback itself and the transport, as far as configured."""
        found: list[object] = [place.transport for place in self.active]
        if isinstance(self.callback.transport, CallbackTransport):
            found[0] = self.callback.transport.callback
        return found

    @property
    def works_in_any_loop(self) -> bool:
        """Whether the first target can be used in another event loop than the caller's."""
        return all(_works_in_any_loop(place.transport) for place in self.active[:1])

    def leave_bound(self) -> None:
        """Remove a target that is bound to the caller's event loop, which has ended."""
        for place in self.active:
            if not _works_in_any_loop(place.transport):
                place.transport = None

    @property
    def is_connected(self) -> bool:
        """Whether the callback or the transport reports that it can be used."""
        return any(_is_connected(place.transport) for place in self.active)

    def begin(self, came_back: Callable[[], None]) -> None:
        """Begin in the running event loop.

        Args:
            came_back: Called when an outage has ended.
        """
        self._came_back = came_back
        self._changed = changed = Notifier()
        for place in (self.callback, self.transport):
            place.begin(changed, functools.partial(self._is_healthy, place))

    def check_now(self) -> None:
        """Check at once whether an outage is over, for example because of a flush."""
        for place in (self.callback, self.transport):
            place.poke()
        if self._changed is not None:
            self._changed.fire()

    def begin_again(self) -> None:
        """Reset the check interval to its initial value, because another event is tried next."""
        for place in self.active:
            place.begin_again()

    def end(self) -> None:
        """Stop checking."""
        for place in (self.callback, self.transport):
            place.end()

    async def close(self) -> None:
        """Close the transport after use in Wakelog's own event loop, with a short time-out."""
        close = getattr(self.transport.transport, "close", None)
        if close is not None:
            try:
                await call(close, seconds=_CLOSE_SECONDS, blocking=self._blocking)
            except Exception as error:  # noqa: BLE001 - its events have been sent
                _log.debug("the transport could not be closed: %s", error)

    def has_failed(self, trial: Trial, count: int) -> bool:
        """Tell whether an event has failed this often at every target."""
        return all(trial.failed_at(place) >= count for place in self.active)

    async def deliver(self, event: ForwardedEvent, trial: Trial) -> Refusal | None:
        """Send an event, with the configured retries, and wait while all circuits are open.

        Returns:
            None if it was accepted. Otherwise call ``give_up`` or ``give_back`` with its places.
        """
        changed = self._changed
        assert changed is not None  # noqa: S101 - set by begin
        while True:
            error = refused_with = None
            refused: list[tuple[Target, bool]] = []
            finally_ = True
            # An attempt that hangs may have begun before an outage ended, so what was accepted
            # during it proves nothing. What counts was accepted between the previous failure and
            # this attempt.
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
        """Send an event once, regardless of the circuits; return why no target accepted it."""
        error: Exception | None = TransportConnectionError("there is nowhere to forward to")
        for place in self.active:
            error = await self._attempt(place, event, Trial())
            if error is None:
                break
        return error

    async def try_now(
        self, event: ForwardedEvent, trial: Trial, refusal: Refusal
    ) -> Exception | None:
        """Send an event once to the targets that have just refused the event before it.

        Returns:
            Why none accepted it; None if one did.
        """
        error: Exception | None = None
        for place, _ in refusal.places:
            error = await self._attempt(place, event, trial)
            if error is None:
                self._got_through(place)
                return None
        return error

    def _left_out(self, refused: list[tuple[Target, bool]], error: Exception | None) -> None:
        """Open the callback's circuit if the transport accepted several events in its place."""
        for place, is_down in refused:
            place.left_out += 1
            is_probe = place.state is not CircuitState.CLOSED
            self.give_up(
                [(place, is_down and (is_probe or place.left_out >= _MOST_LEFT_OUT))], error
            )

    def give_up(self, refused: list[tuple[Target, bool]], error: Exception | None) -> None:
        """Open the circuits of the targets that are down."""
        for place, is_down in refused:
            if is_down:
                place.fail(error)

    def give_back(self, refused: list[tuple[Target, bool]]) -> None:
        """Let the next event be the probe of targets that refused the probe because of it."""
        for place, is_down in refused:
            if is_down:
                place.give_back()

    async def _try(
        self, place: Target, event: ForwardedEvent, trial: Trial, *, probe: bool
    ) -> tuple[Exception | None, bool]:
        before = trial.seen.get(place.name, place.taken)
        tries = (
            1 if probe else max(1, 1 + self._settings.max_retry_attempts - trial.failed_at(place))
        )
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
                # If the target accepts other events, the cause is this event or its session.
                return error, probe or place.taken == before
            await asyncio.sleep(backoff(count, self._settings.retry_delay_seconds))
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
        error = await attempt(transport, event, self._settings.send_timeout_seconds, self._blocking)
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
