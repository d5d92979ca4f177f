"""What delivery sends, and to whom: entries in, an outcome out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from wakelog.delivery._outcome import ExportOutcome, Outcome

Entry = TypeVar("Entry")

_NOWHERE = Path()


@dataclass(slots=True)
class ExportRound(Generic[Entry]):
    """Some entries of one lane, in order, and how far they got.

    What has been acknowledged is always the beginning of the round: an entry is acknowledged when it was
    delivered, or set aside as a dead letter, and so was every one before it.

    Attributes:
        entries: The entries.
        lane: Whose they are, for destinations that keep notes of a lane.
        folder: Where they stand, and where dead letters go.
        replayed: Whether they are marked as having waited for an outage to end.
        position: Tells how far threads that emit have got, which are let through; None for nobody.
        meanwhile: Something to do while the next hop is waited for.
        moved: Is told each entry that is acknowledged.
        acknowledged: How many entries from the first on have been dealt with.
        dead_lettered: How many of those were set aside.
        stopped: The outcome at which it ended, None while every entry gets through.
    """

    entries: Sequence[Entry]
    lane: Any = None
    folder: Path = _NOWHERE
    replayed: bool = False
    position: Callable[[], int] | None = None
    meanwhile: Callable[[], None] | None = None
    moved: Callable[[Entry], None] | None = None
    acknowledged: int = 0
    dead_lettered: int = 0
    stopped: ExportOutcome | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every entry has been acknowledged."""
        return self.acknowledged == len(self.entries)

    def acknowledge(self, count: int = 1, dead: int = 0) -> None:
        """Note that the next entries have been dealt with.

        Args:
            count: How many.
            dead: How many of those were set aside.

        Raises:
            ValueError: When there are not so many, or after the round has stopped.
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
        """Note that the next entry has not been dealt with, and is to be sent again.

        Raises:
            ValueError: When the outcome is another one than ``RETRYABLE``.
        """
        if outcome.kind is not Outcome.RETRYABLE:
            message = f"a round stops at what is to be sent again, got {outcome.kind.name}"
            raise ValueError(message)
        self.stopped = outcome


class Destination(Protocol[Entry]):
    """Where entries go, for the driver with a thread.

    A destination acknowledges the entries of a round, in order, as it learns what became of them, and
    stops the round at the first that is to be sent again. It makes no attempt after that. It may be given
    the same entries again, and has to pass them on with what identifies them.

    Attributes:
        max_batch: How many new entries are worth a round at once.
        max_round: The most entries in a round.
        last_success: When the next hop last accepted something, by the monotonic clock.
        last_answer_seconds: How long it took to do so.
    """

    max_batch: int
    max_round: int

    @property
    def last_success(self) -> float:
        """When the next hop last accepted something, by the monotonic clock."""
        ...

    @property
    def last_answer_seconds(self) -> float:
        """How long the next hop took to accept that; 0 before it has."""
        ...

    def send(self, sending: ExportRound[Entry]) -> None:
        """Send a round, and note in it what became of each entry.

        Raises:
            JournalError: When a dead letter could not be written.
        """
        ...

    def flush(self, timeout: float) -> bool:
        """Send what is held back, for so many seconds at most; return whether that was done."""
        ...

    def interrupt(self) -> None:
        """Have the attempt that is under way end soon."""
        ...

    def shutdown(self) -> None:
        """Let go of connections."""
        ...


class AsyncDestination(Protocol[Entry]):
    """Where entries go, for the driver in an event loop."""

    async def send(self, sending: ExportRound[Entry]) -> None:
        """Send a round, and note in it what became of each entry."""
        ...
