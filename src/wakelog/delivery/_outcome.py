"""The outcome of an export attempt."""

import enum
from typing import NamedTuple

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
