"""The figures of the books: the number of accepted records, and where they are now."""

from __future__ import annotations

from typing import Final

_COUNTED: Final = ("accepted", "delivered", "dead_lettered", "evicted", "corrupt")
FIGURES: Final = ("accepted", "delivered", "pending", "dead_lettered", "evicted", "corrupt")
"""The names of the figures: the first is the sum of the others."""


class RecordCounts:
    """The number of accepted records and where they are now; ``pending`` is the rest.

    Attributes:
        accepted: Records whose recording call has returned.
        delivered: Records that the next hop has accepted.
        dead_lettered: Records kept as dead letters, with a reason.
        evicted: Records deleted before delivery because the quota was full.
        corrupt: Accepted records that cannot be read any more.
    """

    def __init__(
        self,
        *,
        accepted: int = 0,
        delivered: int = 0,
        dead_lettered: int = 0,
        evicted: int = 0,
        corrupt: int = 0,
    ) -> None:
        self.accepted = accepted
        self.delivered = delivered
        self.dead_lettered = dead_lettered
        self.evicted = evicted
        self.corrupt = corrupt

    def __eq__(self, other: object) -> bool:
        """Return whether both have the same figures, and are of the same kind."""
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({figures})"

    @property
    def pending(self) -> int:
        """Records that still have to be delivered."""
        return self.accepted - self.delivered - self.dead_lettered - self.evicted - self.corrupt

    @property
    def balances(self) -> bool:
        """Whether every accepted record is counted once: no figure is negative."""
        return min(self.figures().values()) >= 0

    def __add__(self, other: RecordCounts) -> RecordCounts:
        """Return the sum of both."""
        both, more = self.counted(), other.counted()
        return RecordCounts(**{name: both[name] + more[name] for name in _COUNTED})

    def counted(self) -> dict[str, int]:
        """Return the stored figures by name, without ``pending``."""
        return {name: getattr(self, name) for name in _COUNTED}

    def figures(self) -> dict[str, int]:
        """Return all figures by name, including ``pending``."""
        return {name: getattr(self, name) for name in FIGURES}
