"""The interface of destinations, the rounds that they send, and the outcomes of export attempts."""

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

Address = tuple[str, int]
"""Host and TCP port."""


class Outcome(enum.Enum):
    """The kinds of outcomes. Their values are those of ``error.type`` in metrics."""

    DELIVERED = ""
    """The next hop has accepted the batch, except for ``ExportOutcome.rejected`` records."""
    RETRYABLE = "pending"
    """The batch may or may not have arrived, and has to be sent again later."""
    REJECTED = "refused"
    """The next hop or the encoder permanently refuses this batch."""
    TOO_LARGE = "too_large"
    """The batch is too large for the next hop."""


class ExportOutcome(NamedTuple):
    """The result that an export attempt has proved for its records.

    Attributes:
        kind: The kind of outcome.
        reason: The reason in words, if possible those of the next hop; empty for none.
        retry_after: Minimum wait that the next hop asks for, in seconds; None if it asks for none.
        rejected: The number of records of a delivered batch that the next hop reports as rejected.
        refused_at: The address that refused the connection, or None.
        closed: Whether the next hop closed the connection without a response, for example because
            it restarted.
        unserved: Whether the next hop responded that it has no endpoint for this signal.
    """

    kind: Outcome
    reason: str = ""
    retry_after: float | None = None
    rejected: int = 0
    refused_at: Address | None = None
    closed: bool = False
    unserved: bool = False

    @property
    def is_taken(self) -> bool:
        """Whether the next hop has accepted every record."""
        return self.kind is Outcome.DELIVERED and not self.rejected


Entry = TypeVar("Entry")

_NOWHERE = Path()


class ExportRound(Generic[Entry]):
    """Entries of a lane that are sent together, in order, and the progress so far.

    Acknowledged entries are always at the beginning of the round: an entry is acknowledged when it
    and every entry before it have been delivered or have become dead letters.

    Attributes:
        entries: The entries.
        lane: Their lane, for destinations that keep state for each lane.
        folder: The writer's folder, which has the records and the dead letters.
        replayed: Whether the entries are marked as replayed.
        position: Returns the number of records so far, by which the destination yields to recording
            threads; None if there are none.
        meanwhile: Called while waiting for the next hop.
        moved: Called with each acknowledged entry.
        acknowledged: The number of acknowledged entries.
        dead_lettered: The number of these that became dead letters.
        stopped: The outcome at which the round stopped, or None.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        lane: Any = None,
        folder: Path = _NOWHERE,
        replayed: bool = False,  # noqa: FBT001, FBT002 - as in a lane
        moved: Callable[[Entry], None] | None = None,
    ) -> None:
        self.entries, self.lane, self.folder, self.replayed = entries, lane, folder, replayed
        self.position: Callable[[], int] | None = None
        self.meanwhile: Callable[[], None] | None = None
        self.moved = moved
        self.acknowledged = self.dead_lettered = 0
        self.stopped: ExportOutcome | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every entry has been acknowledged."""
        return self.acknowledged == len(self.entries)

    def acknowledge(self, count: int = 1, dead: int = 0) -> None:
        """Acknowledge the next entries.

        Args:
            count: The number of entries.
            dead: The number of these that became dead letters.

        Raises:
            ValueError: When fewer entries are left, or the round has stopped.
        """
        before = self.acknowledged
        left = 0 if self.stopped else len(self.entries) - before
        if not 0 <= dead <= count <= left:
            message = f"cannot acknowledge {count} entries ({dead} dead letters): {left} are left"
            raise ValueError(message)
        self.acknowledged = before + count
        self.dead_lettered += dead
        if self.moved is not None:
            for entry in self.entries[before : self.acknowledged]:
                self.moved(entry)

    def stop(self, outcome: ExportOutcome) -> None:
        """Stop the round at the next entry, which has to be sent again.

        Raises:
            ValueError: When the outcome is not ``RETRYABLE``.
        """
        if outcome.kind is not Outcome.RETRYABLE:
            message = f"a round stops at what is to be sent again, got {outcome.kind.name}"
            raise ValueError(message)
        self.stopped = outcome


class Destination(Protocol[Entry]):
    """A destination of entries, for the driver with a thread.

    A destination acknowledges the entries of a round in order, and stops the round at the first
    entry that has to be sent again. It makes no attempt after that. It may be given the same
    entries again, and has to send them with the same ids.

    Attributes:
        max_batch: The number of new entries that start a round at once.
        max_round: Maximum number of entries in a round.
        last_success: When the next hop last accepted a batch, by the monotonic clock.
        last_answer_seconds: The duration of that attempt in seconds.
    """

    max_batch: int
    max_round: int

    @property
    def last_success(self) -> float:
        """When the next hop last accepted a batch, by the monotonic clock."""
        ...

    @property
    def last_answer_seconds(self) -> float:
        """The duration of that attempt in seconds; 0 before the first one."""
        ...

    def send(self, sending: ExportRound[Entry]) -> None:
        """Send a round, and acknowledge its entries in it.

        Raises:
            JournalError: When a dead letter cannot be written.
        """
        ...

    def flush(self, timeout: float) -> bool:
        """Send buffered data within ``timeout`` seconds; return whether all was sent."""
        ...

    def interrupt(self) -> None:
        """Make the current attempt end soon."""
        ...

    def shutdown(self) -> None:
        """Close connections."""
        ...
