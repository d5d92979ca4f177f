"""How much a buffer holds, and what happens beyond that."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Never

from wakelog.errors import ConfigurationError


class OverflowPolicy(enum.StrEnum):
    """The policy for an event that arrives when the buffer is full."""

    BLOCK = "block"
    """It waits for room, for the buffer's time-out at most; after that it is refused."""
    DROP_NEWEST = "drop_newest"
    """It is dropped and counted."""
    DROP_OLDEST = "drop_oldest"
    """The event that has waited longest is dropped and counted, and this one is taken."""
    RAISE = "raise"
    """It is refused at once with ``BufferFullError``."""

    @classmethod
    def _missing_(cls, value: object) -> Never:
        known = ", ".join(policy.value for policy in cls)
        raise ConfigurationError(f"overflow={value!r:.80} is not known: use one of {known}")


@dataclass(frozen=True, slots=True)
class Buffer:
    """Settings of a buffer, with its capacity and the policy when it is full.

    Args:
        capacity: The most events that wait. What is being written just now comes on top: one event,
            or a batch of up to 512 where the destination takes batches.
        overflow: What happens to an event beyond that.
        timeout: The longest wait of ``OverflowPolicy.BLOCK``, in seconds; None waits as long as it
            takes.

    Raises:
        ConfigurationError: For a capacity below 1, a negative time-out or a policy that does not
            exist.
    """

    capacity: int = 1024
    overflow: OverflowPolicy = OverflowPolicy.BLOCK
    timeout: float | None = None

    def __post_init__(self) -> None:
        capacity: object = self.capacity
        if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1:
            message = f"capacity={capacity!r} is no capacity: use a whole number from 1 on"
            raise ConfigurationError(message)
        timeout: object = self.timeout
        if timeout is not None and not (
            isinstance(timeout, int | float)
            and not isinstance(timeout, bool)
            and 0 <= timeout < math.inf
        ):
            message = f"timeout={timeout!r} is no time-out: use seconds from 0 on, or None"
            raise ConfigurationError(message)
        try:
            object.__setattr__(self, "overflow", OverflowPolicy(self.overflow))
        except ValueError:
            message = (
                f"overflow={self.overflow!r} is not known: use one of {', '.join(OverflowPolicy)}"
            )
            raise ConfigurationError(message) from None
