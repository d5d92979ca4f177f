"""What an export attempt proved."""

from __future__ import annotations

import enum
from dataclasses import dataclass

Address = tuple[str, int]
"""Host and TCP port."""


class Outcome(enum.Enum):
    """What became of a batch. The values are those of ``error.type`` in metrics."""

    DELIVERED = ""
    """The next hop has taken it, all but ``ExportOutcome.rejected`` of its records."""
    RETRYABLE = "pending"
    """It may or may not have arrived, and nothing is wrong with it: send it again later."""
    REJECTED = "refused"
    """The next hop, or the encoder, does not take this batch as it is."""
    TOO_LARGE = "too_large"
    """The next hop takes no batch of this size."""


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What an export attempt proved.

    Attributes:
        kind: What became of the batch.
        reason: The answer in words, as the next hop gave it where it did; empty for none.
        retry_after: Seconds that the next hop asks to be left alone, None where it does not say.
        rejected: How many records of a delivered batch the next hop says it has thrown away.
        refused_at: Where a connection was refused, None for any other answer.
        closed: Whether the next hop closed the connection without an answer, as it does with one that
            it had kept open before it was started anew.
        unserved: Whether the next hop answered that it has no endpoint for what was sent.
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
        """Whether the next hop has taken every record."""
        return self.kind is Outcome.DELIVERED and not self.rejected
