"""What a journal tells whoever wants to know how it is doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# One write in so many is measured.
MEASURED: Final = 16


@dataclass(frozen=True, slots=True)
class Observer:
    """Told how long things take, in the thread that did them; it has to return at once.

    No lock of the journal is held meanwhile.

    Attributes:
        wrote: The seconds of a ``write``, of one in sixteen.
        synced: The seconds of a round of ``fdatasync``.
        committed: How many records a round made durable.
    """

    wrote: Callable[[float], object]
    synced: Callable[[float], object]
    committed: Callable[[int], object]
