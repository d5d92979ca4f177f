"""Callbacks for measurements of a journal."""

from collections.abc import Callable
from typing import NamedTuple


class Observer(NamedTuple):
    """Callbacks for measurements, called in the measured thread; they have to return at once.

    No lock of the journal is held during a call.

    Attributes:
        wrote: Called with the seconds of a ``write``, for one in sixteen.
        synced: Called with the seconds of a sync.
        committed: Called with the number of records that a sync made durable.
    """

    wrote: Callable[[float], object]
    synced: Callable[[float], object]
    committed: Callable[[int], object]
