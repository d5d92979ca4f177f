"""What stands for somebody who waits for the destination of one item."""

from __future__ import annotations

from wakelog.buffer._room import Waker
from wakelog.errors import SinkError


class Ticket:
    """Stands for one item whose destination somebody waits for."""

    __slots__ = ("error", "wake")

    def __init__(self, wake: Waker) -> None:
        self.wake = wake
        self.error: BaseException | None = None


def raise_for(ticket: Ticket) -> None:
    """Raise when the destination did not take the item.

    Raises:
        SinkError: That error, or one with it as its cause.
    """
    error = ticket.error
    if isinstance(error, SinkError):
        raise error
    if error is not None:
        raise SinkError(f"the destination did not take the event: {said(error)}") from error


def said(error: BaseException) -> str:
    """Return the kind of an error and what it says."""
    return f"{type(error).__name__}: {error}"
