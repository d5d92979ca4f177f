"""How a block's failure is recorded: the type of the error, its payload, and the block's status."""

from __future__ import annotations

from typing import Any

from wakelog.record import text_of, traceback_of, type_name
from wakelog.runtime import is_cancellation


class ReportedError(Exception):
    """An error that a library reports as text, without an exception.

    Args:
        text: The message.
        kind: The library's name for the type of the error.
    """

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


def kind_of(error: BaseException | str) -> str:
    """Return the ``error.type`` of an error."""
    return error.kind if type(error) is ReportedError else type_name(type(error))


def payload_of(error: BaseException | str) -> dict[str, Any]:
    """Return the payload of an ``error`` event for an exception, or for a description in words."""
    kind = type(error)
    payload: dict[str, Any] = {"error": text_of(error)}
    if issubclass(kind, BaseException):
        payload["error_type"] = payload["exception_type"] = kind_of(error)
        payload["stacktrace"] = traceback_of(error)  # type: ignore[arg-type] # an exception
    return payload


def status_of(error: BaseException) -> str:
    """Return the status of a block that an exception has left."""
    stopped = issubclass(type(error), GeneratorExit) or is_cancellation(error)
    return "cancelled" if stopped else "error"
