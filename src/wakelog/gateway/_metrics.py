"""Metrics: what the gateways of a program do, on its MeterProvider."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import MeterProvider

from wakelog.delivery import CircuitState
from wakelog.events import semconv as s
from wakelog.gateway import _metric_table as t
from wakelog.gateway._books import FATES, GatewayTally, RunAccounts
from wakelog.runtime import ForkOrder, reset_in_child
from wakelog.telemetry import ADOPTED, ORIGIN, OTHER, OWN
from wakelog.telemetry.instruments import Instruments, Observations, PerProvider

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

_STATES = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class GatewayMetrics:
    """The instruments on one MeterProvider, for every gateway that uses it.

    ``_lock`` guards the sums of gateways that are gone. Only who collects takes it.

    Args:
        provider: The MeterProvider.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._books = RunAccounts(are_read=True)
        self._tallies: list[GatewayTally] = []
        self._begin()
        self._instruments = Instruments(provider, t.TABLE, self._look)
        reset_in_child(self._after_fork, ForkOrder.FIGURES)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # Of gateways that are gone.
        self._logged = 0
        self._errors: Counter[tuple[str, str]] = Counter()

    def tally(self) -> GatewayTally:
        """Return where another gateway may count what it does."""
        tally = GatewayTally(self._books)
        self._tallies.append(tally)
        return tally

    def _look(self, instruments: Instruments) -> Observations:
        """Look at everything, once for a collection."""
        found = Observations()
        for tally in list(self._tallies):
            self._record_samples(instruments, tally)

        def say(name: str, value: float, **attributes: AttributeValue) -> None:
            found.say(f"wakelog.gateway.{name}", value, **attributes)

        own, adopted = self._books.balance()
        say("events.accepted", own["accepted"], **{ORIGIN: OWN})
        say("events.accepted", adopted["accepted"], **{ORIGIN: ADOPTED})
        for fate in (*FATES, "pending"):
            say(f"events.{fate}", own[fate] + adopted[fate])
        for reason in t.DROPPED:
            say("events.dropped", own[f"dropped {reason}"], reason=reason)
        with self._lock:
            self._look_at_gateways(say, is_pending=own["pending"] + adopted["pending"] > 0)
        return found

    def _look_at_gateways(self, say: Callable[..., None], *, is_pending: bool) -> None:
        logged, errors = self._logged, self._errors.copy()
        states = []
        for tally in list(self._tallies):
            state = tally.state()
            counted, wrong = tally.logged, _errors_of(tally)
            logged += counted
            errors.update(wrong)
            if state is not None:
                states.append(state)
            else:
                self._tallies.remove(tally)
                self._logged += counted
                self._errors.update(wrong)
        say("events.logged", logged)
        for kind, types in ((t.LOCAL, t.LOCAL_ERRORS), (t.TRANSPORT, t.TRANSPORT_ERRORS)):
            for why in (*types, OTHER):
                say("errors", errors[kind, why], kind=kind, **{s.ERROR_TYPE: why})
        now = time.time_ns()
        oldest = min((state.oldest for state in states if state.oldest), default=now)
        say("pending.age", max(0, now - oldest) / 1e9 if is_pending else 0)
        say("pending.elsewhere", max((state.elsewhere for state in states), default=0))
        say("queue.size", sum(state.queue_size for state in states))
        say("queue.capacity", sum(state.queue_capacity for state in states))
        say("circuit.state", max((_STATES.index(state.circuit) for state in states), default=0))
        health = [state.is_healthy for state in states if state.is_healthy is not None]
        if health:
            say("transport.healthy", int(all(health)))
        say("files.open", sum(state.open_files for state in states))

    @staticmethod
    def _record_samples(instruments: Instruments, tally: GatewayTally) -> None:
        """Hand on what has been measured since the last collection."""
        instruments.drain("wakelog.gateway.overhead.duration", tally.overheads)
        instruments.drain_outcomes("wakelog.gateway.send.duration", tally.sends)

    def _after_fork(self) -> None:
        self._begin()
        self._books.begin()


metrics_on: Final = PerProvider(GatewayMetrics).on


def _errors_of(tally: GatewayTally) -> Counter[tuple[str, str]]:
    wrong = Counter({(t.LOCAL, why): n for why, n in list(tally.local_errors.items())})
    wrong.update({(t.TRANSPORT, why): n for why, n in list(tally.transport_errors.items())})
    return wrong
