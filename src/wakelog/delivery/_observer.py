"""The interface by which metrics observe delivery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wakelog.delivery._journal_lanes import WriterLanes
from wakelog.journal import Entry

LanesOf = Callable[[Path], WriterLanes | None]
"""Returns the lanes of a writer's folder while it is being delivered; a bound method."""


class DeliveryObserver:
    """Callbacks of delivery, for metrics. This class does nothing."""

    def follows(self, lanes_of: LanesOf) -> None:
        """Receive the function that returns the lanes of a writer's folder."""

    def adopted(self, lanes: WriterLanes) -> None:
        """Handle the adoption of a writer of another process."""

    def recovered(self, what: str, count: int = 1) -> None:
        """Handle the recovery of a ``writer``, a ``torn_line`` or ``count`` ``damaged_line``."""

    def acknowledged(self, entries: Sequence[Entry], dead: int, *, replayed: bool) -> None:
        """Handle finished entries, ``dead`` of which are dead letters."""

    def paused(self, seconds: float) -> None:
        """Handle a failed attempt, after which the next one waits for ``seconds``."""
