"""Every error that Wakelog raises, in one tree.

``WakelogError`` is above all of them and ``SinkError`` above everything that means "this event
was not accepted", so a caller who only wants to know that catches one name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os


class WakelogError(Exception):
    """The root of Wakelog's errors."""


class ConfigurationError(WakelogError, ValueError):
    """A setting that cannot be used: it names the setting, its value and what is allowed."""


class InvalidEventTypeError(WakelogError, ValueError):
    """An event type that is neither one of Wakelog's nor registered."""


class RedactionError(WakelogError):
    """A detector or strategy of the caller failed, so the event was not written unredacted."""


class CorruptLineError(WakelogError, ValueError):
    """A line of a journal that does not hold what was written to it."""


class SinkError(WakelogError):
    """An event was not accepted: it is not recorded, and the caller has to know."""


class JournalError(SinkError):
    """The journal could not do what was asked.

    Args:
        operation: What was tried, as a verb phrase ("write to", "open").
        path: The file or directory that it concerned.
        cause: Why it failed, in the words of the operating system where it spoke.
        hint: What the reader can do about it.
    """

    def __init__(
        self, operation: str, path: str | os.PathLike[str], cause: object, hint: str = ""
    ) -> None:
        self.operation = operation
        self.path = str(path)
        self.cause = str(cause)
        self.hint = hint
        message = f"cannot {operation} {self.path}: {self.cause}"
        super().__init__(f"{message}. {hint}" if hint else message)


class JournalFormatError(JournalError):
    """A journal that this version of Wakelog cannot read, written by a newer one or by others."""


class QuotaExceededError(JournalError):
    """The journal is as large as it may be, and what is in it has not been delivered yet.

    Attributes:
        quota: The most bytes that the journal may have.
        used: How many it has.
        pending: How many of them are in files that hold undelivered events.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, quota: int, used: int, pending: int, hint: str
    ) -> None:
        self.quota, self.used, self.pending = quota, used, pending
        cause = (
            f"its quota of {quota:,} bytes is used up: it has {used:,}, of which {pending:,} are in "
            "files with events that are not delivered yet"
        )
        super().__init__("write to", path, cause, hint)


class EventTooLargeError(SinkError):
    """An event that is larger than its line may be, with all of its texts cut where that is done."""


class BufferFullError(SinkError):
    """A buffer had no room for the event, and its policy is not to wait, or not any longer."""


class SessionLogError(SinkError):
    """A session log could not do what was asked: it names the log, what was tried, and why."""


class SessionLogBusyError(SessionLogError):
    """Somebody else held a thread of a session log for longer than the caller wanted to wait."""


class EventSessionLoggerError(WakelogError):
    """What the gateway raises, and hands to its error handler."""


class LocalLoggingError(EventSessionLoggerError, SinkError):
    """An event was not written to its session's file; the cause says why."""


class SerializationError(EventSessionLoggerError):
    """An event has no form that can be written or sent, however often it is tried."""


class TransportError(EventSessionLoggerError):
    """A transport did not take an event. The event is kept, and is sent again."""


class TransportConnectionError(TransportError):
    """A transport has no connection to its other side, or has been closed."""


class TransportTimeoutError(TransportError):
    """A transport did not answer in time."""
