"""All errors that Wakelog raises.

``WakelogError`` is the base of all errors, and ``SinkError`` the base of all errors which mean that
an event was not accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from wakelog._printable import printable

if TYPE_CHECKING:
    import os

    from wakelog.journal import Receipt


class WakelogError(Exception):
    """The base class of Wakelog's errors. Their texts are safe to print.

    Attributes:
        reason: The value by which metrics identify the cause.
    """

    reason: ClassVar[str] = "other"

    def __str__(self) -> str:
        """Return the message, with control characters escaped."""
        return printable(super().__str__())


class ConfigurationError(WakelogError, ValueError):
    """A setting with an invalid value: the error names the setting, its value and what is allowed."""


class InvalidEventTypeError(WakelogError, ValueError):
    """An event type that is neither one of Wakelog's nor registered."""


class RedactionError(WakelogError):
    """A custom detector or strategy failed; the event was not written, to avoid writing it unredacted."""


class CorruptLineError(WakelogError, ValueError):
    """A line of a journal that differs from what was written."""


class SinkError(WakelogError):
    """An event was not accepted: it is not recorded, and the caller has to know."""


class JournalError(SinkError):
    """The journal could not carry out a request.

    Args:
        operation: The failed operation, as a verb phrase ("write to", "open").
        path: The file or directory.
        cause: The cause; of an ``OSError``, the words of the operating system.
        hint: What the user can do about it.
    """

    reason = "journal"

    def __init__(
        self, operation: str, path: str | os.PathLike[str], cause: object, hint: str = ""
    ) -> None:
        self.operation = operation
        self.path = str(path)
        words = cause.strerror if isinstance(cause, OSError) else None
        self.cause = str(words or cause)
        self.hint = hint
        message = f"cannot {operation} {self.path}: {self.cause}"
        super().__init__(f"{message}. {hint}" if hint else message)


class JournalFormatError(JournalError):
    """A journal that this version of Wakelog cannot read, because a newer version or another program wrote it."""


class QuotaExceededError(JournalError):
    """The quota of the journal is full of records that have not been delivered.

    Attributes:
        quota: The quota in bytes.
        used: The size of the journal in bytes.
        pending: The bytes in files with undelivered events.
    """

    reason = "quota"

    def __init__(
        self, path: str | os.PathLike[str], *, quota: int, used: int, pending: int, hint: str
    ) -> None:
        self.quota, self.used, self.pending = quota, used, pending
        waiting = (
            f"of which {pending:,} are in files with events that are not delivered yet"
            if pending
            else "and no event in it waits for delivery"
        )
        # A quota may be too small even for the first event.
        full = "used up" if used >= quota or pending else "too small for another event"
        cause = f"its quota of {quota:,} bytes is {full}: it has {used:,}, {waiting}"
        super().__init__("write to", path, cause, hint)


class EventTooLargeError(SinkError):
    """An event that exceeds the maximum size; a stub is recorded instead.

    Args:
        message: The message.
        stub: The encoded content of the stub, if one can be recorded.

    Attributes:
        stub_id: The id of the stub; empty if unknown.
        receipt: The receipt of the stub; None if none was recorded.
    """

    reason = "too_large"

    def __init__(self, message: str, *, stub: bytes | None = None) -> None:
        super().__init__(message)
        self.stub = stub
        self.stub_id = ""
        self.receipt: Receipt | None = None


class BufferFullError(SinkError):
    """A buffer is full, and its policy is not to wait, or the time-out has passed."""

    reason = "buffer_full"


class UsageLimitError(WakelogError):
    """A run has exceeded its enforced budget; the usage is recorded."""


class TooManyReadersError(WakelogError):
    """The maximum number of concurrent readers of sessions is reached."""


class SessionLogError(SinkError):
    """A session log could not carry out a request: the error names the log, the request and why."""

    reason = "database"


class SessionLogBusyError(SessionLogError):
    """Another process has locked a thread of a session log for longer than the time-out."""

    reason = "busy"


class EventSessionLoggerError(WakelogError):
    """The errors that the gateway raises, and passes to its error handler."""


class LocalLoggingError(EventSessionLoggerError, SinkError):
    """An event was not written to its session's file; the cause says why."""

    reason = "closed"


class SerializationError(EventSessionLoggerError):
    """An event cannot be written or sent in any form, so retrying is useless."""

    reason = "too_large"


class TransportError(EventSessionLoggerError):
    """A transport did not accept an event. The event is kept, and is sent again."""


class TransportConnectionError(TransportError):
    """A transport is not connected to its destination, or has been closed."""

    reason = "connection"


class TransportTimeoutError(TransportError):
    """A transport did not answer in time."""

    reason = "timeout"
