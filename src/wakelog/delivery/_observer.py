"""Who is told what delivery does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wakelog.delivery._journal_lanes import WriterLanes
from wakelog.journal import Entry

LanesOf = Callable[[Path], WriterLanes | None]
"""Returns the lanes by which a writer's folder is delivered, if it is; a bound method."""


class DeliveryObserver:
    """Is told what delivery does, for metrics. This one takes no note of it."""

    def follows(self, lanes_of: LanesOf) -> None:
        """Learn whom to ask how far a writer's folder has been delivered."""

    def adopted(self, lanes: WriterLanes) -> None:
        """Learn that a writer of another process is delivered here."""

    def recovered(self, what: str, count: int = 1) -> None:
        """Learn that a ``writer``, a ``torn_line`` or so many ``damaged_line`` were found."""

    def acknowledged(self, entries: Sequence[Entry], dead: int, *, replayed: bool) -> None:
        """Learn that entries were delivered, save so many that were set aside."""

    def paused(self, seconds: float) -> None:
        """Learn that an attempt has failed, and how long the next one waits."""
