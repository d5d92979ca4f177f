"""What the journal promises: levels of durability, and receipts."""

from __future__ import annotations

import enum
from typing import NamedTuple, Never

from wakelog.errors import ConfigurationError


class Durability(enum.StrEnum):
    """Which failures an event survives once the recording call has returned."""

    OS_BUFFERED = "os_buffered"
    """The kernel has them: they survive ``kill -9``, and not a power failure."""
    FLUSH = "flush"
    """The same as ``OS_BUFFERED``, since no bytes are ever held in the process."""
    PERIODIC = "periodic"
    """The kernel has them, and the disk will after ``sync_interval`` at the latest."""
    FSYNC = "fsync"
    """The disk has them, by ``fdatasync``: they survive a power failure."""

    @classmethod
    def _missing_(cls, value: object) -> Never:
        known = ", ".join(level.value for level in cls)
        raise ConfigurationError(f"durability={value!r:.80} is not known: use one of {known}")

    def at_least(self, other: Durability | None) -> Durability:
        """Return the stronger of two levels; None asks for nothing."""
        if other is None or _STRENGTH[other] <= _STRENGTH[self]:
            return self
        return other


_STRENGTH = {level: strength for strength, level in enumerate(Durability)}


class Receipt(NamedTuple):
    """The result of an append, with the record's writer, number, position and durability.

    Attributes:
        id: The record's id, exported as ``log.record.uid``.
        writer: The writer that holds it.
        seq: Its sequence number there, from 1, without gaps.
        durability: What had been done when the receipt was given.
    """

    id: str
    writer: str
    seq: int
    durability: Durability
