"""Levels of durability, and receipts."""

import enum
from typing import NamedTuple, Never

from wakelog.errors import ConfigurationError


class Durability(enum.StrEnum):
    """Which failures an event survives once the recording call has returned."""

    OS_BUFFERED = "os_buffered"
    """The kernel has the event: it survives ``kill -9`` but not a power failure."""
    FLUSH = "flush"
    """The same as ``OS_BUFFERED``, because the process buffers nothing."""
    PERIODIC = "periodic"
    """The kernel has the event, and it is synced to disk within ``sync_interval`` seconds."""
    FSYNC = "fsync"
    """The event is synced to disk by ``fdatasync``: it survives a power failure."""

    @classmethod
    def _missing_(cls, value: object) -> Never:
        known = ", ".join(level.value for level in cls)
        raise ConfigurationError(f"durability={value!r:.80} is not known: use one of {known}")

    def at_least(self, other: "Durability | None") -> "Durability":
        """Return the stronger of two levels; None is the weakest."""
        if other is None:
            return self
        if type(other) is not Durability:  # its text is equal, and has the same hash
            other = Durability(other)
        return other if _STRENGTH[other] > _STRENGTH[self] else self


_STRENGTH = {level: strength for strength, level in enumerate(Durability)}


class Receipt(NamedTuple):
    """The result of an append, with the record's writer, number, position and durability.

    Attributes:
        id: The record's id, exported as ``log.record.uid``.
        writer: The id of the writer that recorded it.
        seq: Its sequence number in that writer, from 1, without gaps.
        durability: The durability that the record has.
    """

    id: str
    writer: str
    seq: int
    durability: Durability
