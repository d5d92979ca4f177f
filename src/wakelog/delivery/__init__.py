"""Delivery: sends entries of a journal to a destination, at least once and in order.

The core decides what is sent next, without I/O and without threads. A driver, either with a thread
or in an event loop, carries out its decisions. A destination accepts entries and reports the
outcome of each. OpenTelemetry is one of several destinations; this package does not depend on it.
"""

from typing import TYPE_CHECKING, Final

from wakelog._lazy import lazy_names
from wakelog.delivery._suppression import is_suppressed, suppress_recording, suppressing

if TYPE_CHECKING:
    from wakelog.delivery._asyncio import AsyncDriver, Notifier
    from wakelog.delivery._bisection import BatchBisection
    from wakelog.delivery._circuit import Circuit, CircuitState, Throttle, backoff
    from wakelog.delivery._core import DeliveryCore, Lane, Send, Slot
    from wakelog.delivery._destination import (
        Address,
        Destination,
        ExportOutcome,
        ExportRound,
        Outcome,
    )
    from wakelog.delivery._journal_lanes import WriterLanes
    from wakelog.delivery._listening import address_of, is_listening
    from wakelog.delivery._observer import DeliveryObserver, LanesOf
    from wakelog.delivery._outage import Outage
    from wakelog.delivery._thread import Delivery
    from wakelog.delivery._writers import Sources

__all__ = [
    "ANSWER_SECONDS",
    "Address",
    "AsyncDriver",
    "BatchBisection",
    "Circuit",
    "CircuitState",
    "Delivery",
    "DeliveryCore",
    "DeliveryObserver",
    "Destination",
    "ExportOutcome",
    "ExportRound",
    "Lane",
    "LanesOf",
    "Notifier",
    "Outage",
    "Outcome",
    "Send",
    "Slot",
    "Sources",
    "Throttle",
    "WriterLanes",
    "address_of",
    "backoff",
    "is_listening",
    "is_suppressed",
    "suppress_recording",
    "suppressing",
]

ANSWER_SECONDS: Final = 0.45
"""Time limit for an answer of the next hop at an exit, in seconds, unless one is set."""

# Records may also stay local, and then nothing of this is needed.
__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.delivery._asyncio": ["AsyncDriver", "Notifier"],
        "wakelog.delivery._bisection": ["BatchBisection"],
        "wakelog.delivery._circuit": ["Circuit", "CircuitState", "Throttle", "backoff"],
        "wakelog.delivery._core": ["DeliveryCore", "Lane", "Send", "Slot"],
        "wakelog.delivery._destination": [
            "Address",
            "Destination",
            "ExportOutcome",
            "ExportRound",
            "Outcome",
        ],
        "wakelog.delivery._journal_lanes": ["WriterLanes"],
        "wakelog.delivery._listening": ["address_of", "is_listening"],
        "wakelog.delivery._observer": ["DeliveryObserver", "LanesOf"],
        "wakelog.delivery._outage": ["Outage"],
        "wakelog.delivery._thread": ["Delivery"],
        "wakelog.delivery._writers": ["Sources"],
    },
)
