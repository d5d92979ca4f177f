"""The books of writers whose folders have been deleted: one sum in the journal's directory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from wakelog.record import read_fields, seal_fields
from wakelog.runtime import read_small

NAME = "swept"
_FIGURES = ("accepted", "delivered", "dead_lettered", "evicted", "corrupt")


@dataclass(frozen=True, slots=True)
class RetiredTotals:
    """What the books of deleted folders said, added up.

    Attributes:
        writers: How many there were.
        accepted: Records whose emit returned; of these were
        delivered: accepted by the next hop,
        dead_lettered: set aside with a reason,
        evicted: deleted under a quota,
        corrupt: damaged.
        going: Writers that are in the sum and whose folders may still be there.
    """

    writers: int = 0
    accepted: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    evicted: int = 0
    corrupt: int = 0
    going: tuple[str, ...] = ()

    def plus(self, other: RetiredTotals) -> RetiredTotals:
        """Return the sum of both."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _FIGURES}
        return replace(
            self, writers=self.writers + other.writers, going=self.going + other.going, **sums
        )

    def to_bytes(self) -> bytes:
        """Write it as a line."""
        return seal_fields({name: getattr(self, name) for name in RetiredTotals.__slots__})[0]

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Read the line.

        Raises:
            ValueError: When it cannot be read, or cannot be true.
        """
        try:
            data = read_fields(text)
            figures = {name: data[name] for name in ("writers", *_FIGURES)}
            going = tuple(map(str, data["going"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a sum of books: {text[:80]!r}") from error
        found = cls(**figures, going=going)
        fates = found.delivered, found.dead_lettered, found.evicted, found.corrupt
        possible = all(type(one) is int and one >= 0 for one in figures.values())
        if not possible or found.accepted != sum(fates):
            raise ValueError(f"figures that cannot be true: {text[:80]!r}")
        return found


def load(root: Path) -> RetiredTotals:
    """Read the sum; nothing has been swept when there is none that can be read."""
    try:
        return RetiredTotals.from_bytes(read_small(root / NAME))
    except (OSError, ValueError):
        return RetiredTotals()
