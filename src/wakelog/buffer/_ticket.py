"""A ticket: the state of a caller that waits for the delivery of its item."""

from __future__ import annotations

from wakelog.buffer._room import Waker
from wakelog.errors import SinkError


class Ticket:
    """The result of one item for whose delivery a caller waits."""

    __slots__ = ("error", "wake")

    def __init__(self, wake: Waker) -> None:
        self.wake = wake
        self.error: BaseException | None = None


def raise_for(ticket: Ticket) -> None:
    """Raise the error of an item that the destination did not accept.

    Raises:
        SinkError: The error, or one with it as the cause.
    """
    error = ticket.error
    if isinstance(error, SinkError):
        raise error
    if error is not None:
        raise SinkError(f"the destination did not accept the event: {said(error)}") from error


def said(error: BaseException) -> str:
    """Return an error's type and message as text."""
    return f"{type(error).__name__}: {error}"
