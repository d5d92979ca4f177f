"""The figures of a gateway."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from wakelog.delivery import CircuitState
from wakelog.gateway._books import GatewayBooks, GatewayCounters, State

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from wakelog.gateway._forwarding import Forwarder


class GatewayStats(NamedTuple):
    """The figures of a gateway so far.

    Attributes:
        logged: Events in files.
        local_errors: Awaits that raised, because the event was not logged or the queue was full.
        overhead_seconds: The total time inside ``await logger(event)``.
        forwarded: Events that the callback or the transport accepted.
        transport_errors: Failed attempts to send.
        rejected: Events that the transport declared unacceptable. They are dead letters.
        dead_lettered: Events that were repeatedly refused while others were accepted. They are dead
            letters.
        corrupt: Events that could not be read back from their file.
        dropped: Events dropped from the queue in memory, by its policy or on closing.
        pending: Events of this logger that are still to be forwarded.
        elsewhere: Events that dead processes left in the same directory for another pipeline, which
            no process serves.
        open_files: The number of open file descriptors.
        circuit_state: The state of the circuit.
        is_connected: Whether the callback or the transport reports that it can be used; False
            without one.
    """

    logged: int
    local_errors: int
    overhead_seconds: float
    forwarded: int = 0
    transport_errors: int = 0
    rejected: int = 0
    dead_lettered: int = 0
    corrupt: int = 0
    dropped: int = 0
    pending: int = 0
    elsewhere: int = 0
    open_files: int = 0
    circuit_state: CircuitState = CircuitState.CLOSED
    is_connected: bool = False


def stats_of(
    counters: GatewayCounters, forwarder: Forwarder | None, open_files: int
) -> GatewayStats:
    """Return the figures of a gateway."""
    stats = GatewayStats(
        counters.logged,
        counters.local_errors.total(),
        counters.overhead,
        transport_errors=counters.transport_errors.total(),
        open_files=open_files,
    )
    if forwarder is None:
        return stats
    fates = forwarder.dispatch.fates
    return stats._replace(
        forwarded=fates["forwarded"],
        rejected=fates["rejected"],
        dead_lettered=fates["dead_lettered"],
        corrupt=fates["corrupt"],
        dropped=forwarder.books.dropped.total(),
        pending=forwarder.books.pending,
        elsewhere=forwarder.recovery.elsewhere,
        circuit_state=forwarder.downstream.state,
        is_connected=forwarder.downstream.is_connected,
    )


def state_of(forwarder: Forwarder | None, open_files: int, *, forwards: bool) -> State:
    """Return the present state of a gateway.

    Args:
        forwarder: The forwarder; None without one, and after it is closed.
        open_files: The number of open file descriptors.
        forwards: Whether there is a callback or a transport.
    """
    if forwarder is None:
        return State(open_files)
    memory = forwarder.memory
    return State(
        open_files=open_files,
        circuit=forwarder.downstream.state,
        is_healthy=forwarder.downstream.is_healthy if forwards else None,
        queue_size=memory.waiting if memory else 0,
        queue_capacity=memory.capacity if memory else 0,
        oldest=forwarder.oldest,
        elsewhere=forwarder.recovery.elsewhere,
    )


def counters_on(provider: MeterProvider | None) -> GatewayCounters:
    """Return counters that feed metrics on a MeterProvider, or on the global one if it is set."""
    # If the SDK's metrics are not loaded, no MeterProvider is set; so they are not loaded to check
    # that.
    if provider is not None or "opentelemetry.sdk.metrics" in sys.modules:
        from wakelog.gateway._metrics import metrics_on

        if (metrics := metrics_on(provider)) is not None:
            return metrics.counters()
    return GatewayCounters(GatewayBooks(are_read=False))
