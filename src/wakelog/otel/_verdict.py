"""What an export attempt proved."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opentelemetry.sdk._logs import ReadableLogRecord


class Outcome(enum.Enum):
    """What became of a batch."""

    DELIVERED = enum.auto()
    """The next hop has taken it, all but ``Verdict.rejected`` of its records."""
    PENDING = enum.auto()
    """It may or may not have arrived, and nothing is wrong with it: send it again later."""
    REFUSED = enum.auto()
    """The next hop, or the encoder, does not take this batch as it is."""
    TOO_LARGE = enum.auto()
    """The next hop takes no batch of this size."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an export attempt proved.

    Attributes:
        outcome: What became of the batch.
        reason: The answer in words, as the next hop gave it where it did; empty for none.
        retry_after: Seconds that the next hop asks to be left alone, None where it does not say.
        rejected: How many records of a delivered batch the next hop says it has thrown away.
    """

    outcome: Outcome
    reason: str = ""
    retry_after: float | None = None
    rejected: int = 0


Judge = Callable[[Sequence[ReadableLogRecord]], Verdict]
"""Exports a batch, once, and says what came of it. It does not raise."""
