"""The metrics of a program's gateways, on its MeterProvider."""

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
from wakelog.gateway._books import FATES, GatewayBooks, GatewayCounters
from wakelog.runtime import ForkOrder, reset_in_child
from wakelog.telemetry import ADOPTED, ORIGIN, OTHER, OWN
from wakelog.telemetry.instruments import Instruments, Observations, PerProvider

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

_STATES = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class GatewayMetrics:
    """The instruments on one MeterProvider, for all gateways that use it.

    ``_lock`` guards the sums of gateways that are gone. Only collections take it.

    Args:
        provider: The MeterProvider.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._books = GatewayBooks(are_read=True)
        self._all_counters: list[GatewayCounters] = []
        self._reset()
        self._instruments = Instruments(provider, t.TABLE, self._collect)
        reset_in_child(self._after_fork, ForkOrder.METRICS)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        # Sums of gateways that are gone.
        self._logged = 0
        self._errors: Counter[tuple[str, str]] = Counter()

    def counters(self) -> GatewayCounters:
        """Return the counters for another gateway."""
        counters = GatewayCounters(self._books)
        self._all_counters.append(counters)
        return counters

    def _collect(self, instruments: Instruments) -> Observations:
        """Observe everything for one collection."""
        found = Observations()
        for counters in list(self._all_counters):
            self._record_samples(instruments, counters)

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
            self._observe_gateways(say, is_pending=own["pending"] + adopted["pending"] > 0)
        return found

    def _observe_gateways(self, say: Callable[..., None], *, is_pending: bool) -> None:
        logged, errors = self._logged, self._errors.copy()
        states = []
        for counters in list(self._all_counters):
            state = counters.state()
            counted, wrong = counters.logged, _errors_of(counters)
            logged += counted
            errors.update(wrong)
            if state is not None:
                states.append(state)
            else:
                self._all_counters.remove(counters)
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
    def _record_samples(instruments: Instruments, counters: GatewayCounters) -> None:
        """Record what was measured since the last collection."""
        instruments.drain("wakelog.gateway.overhead.duration", counters.overheads)
        instruments.drain_outcomes("wakelog.gateway.send.duration", counters.sends)

    def _after_fork(self) -> None:
        self._reset()
        self._books.reset()


metrics_on: Final = PerProvider(GatewayMetrics).on


def _errors_of(counters: GatewayCounters) -> Counter[tuple[str, str]]:
    wrong = Counter({(t.LOCAL, why): n for why, n in list(counters.local_errors.items())})
    wrong.update({(t.TRANSPORT, why): n for why, n in list(counters.transport_errors.items())})
    return wrong
