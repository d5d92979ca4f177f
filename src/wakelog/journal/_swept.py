"""The books of writers whose folders have been deleted: one sum in the journal's directory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from wakelog.runtime import read_small

NAME = "swept"
_FIGURES = ("accepted", "delivered", "dead_lettered", "evicted", "corrupt")


@dataclass(frozen=True, slots=True)
class Swept:
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

    def plus(self, other: Swept) -> Swept:
        """Return the sum of both."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _FIGURES}
        return replace(
            self, writers=self.writers + other.writers, going=self.going + other.going, **sums
        )

    def to_bytes(self) -> bytes:
        """Write it as a line."""
        return orjson.dumps({name: getattr(self, name) for name in Swept.__slots__}) + b"\n"


def load(root: Path) -> Swept:
    """Read the sum; nothing has been swept when there is none that can be read."""
    try:
        data = orjson.loads(read_small(root / NAME))
        figures = {name: int(data[name]) for name in ("writers", *_FIGURES)}
        return Swept(**figures, going=tuple(map(str, data["going"])))
    except (OSError, ValueError, KeyError, TypeError):
        return Swept()
