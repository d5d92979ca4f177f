"""Capacity and overflow policy of a buffer."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Never

from wakelog.errors import ConfigurationError


class OverflowPolicy(enum.StrEnum):
    """The policy for an event that arrives when the buffer is full."""

    BLOCK = "block"
    """The call waits for room, at most for the buffer's time-out, and is then refused."""
    DROP_NEWEST = "drop_newest"
    """The new event is dropped and counted."""
    DROP_OLDEST = "drop_oldest"
    """The oldest waiting event is dropped and counted, and the new one is accepted."""
    RAISE = "raise"
    """The call is refused at once with ``BufferFullError``."""

    @classmethod
    def _missing_(cls, value: object) -> Never:
        known = ", ".join(policy.value for policy in cls)
        raise ConfigurationError(f"overflow={value!r:.80} is not known: use one of {known}")


@dataclass(frozen=True, slots=True)
class Buffer:
    """Settings of a buffer, with its capacity and the policy when it is full.

    Args:
        capacity: Maximum number of waiting events, at least 1. Events that are being written are
            not counted: one event, or up to 512 if the destination accepts batches.
        overflow: The policy for an event that arrives when the buffer is full.
        timeout: Maximum wait of ``OverflowPolicy.BLOCK``, in seconds; None for no limit.

    Raises:
        ConfigurationError: For a capacity below 1, a negative time-out or an unknown policy.
    """

    capacity: int = 1024
    overflow: OverflowPolicy = OverflowPolicy.BLOCK
    timeout: float | None = None

    def __post_init__(self) -> None:
        capacity: object = self.capacity
        if not isinstance(capacity, int) or isinstance(capacity, bool) or capacity < 1:
            message = f"capacity={capacity!r} cannot be used: give a whole number of at least 1"
            raise ConfigurationError(message)
        timeout: object = self.timeout
        if timeout is not None and not (
            isinstance(timeout, int | float)
            and not isinstance(timeout, bool)
            and 0 <= timeout < math.inf
        ):
            message = f"timeout={timeout!r} cannot be used: give a number of seconds of at least 0, or None"
            raise ConfigurationError(message)
        object.__setattr__(self, "overflow", OverflowPolicy(self.overflow))
