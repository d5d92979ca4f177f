"""Reading of structlog's event dicts, from its own chain or through ``logging``.

This module does not import structlog, because the standard library's handler reads event dicts,
too.
"""

from __future__ import annotations

import sys
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from wakelog.events import semconv as s
from wakelog.integrations._recorder import exception_fields
from wakelog.record import parse_rfc3339, text_of

# OpenTelemetry's severity numbers and names for structlog's levels.
SEVERITIES: Final = {
    "trace": (1, "TRACE"),
    "debug": (5, "DEBUG"),
    "info": (9, "INFO"),
    "warn": (13, "WARN"),
    "warning": (13, "WARN"),
    "error": (17, "ERROR"),
    "exception": (17, "ERROR"),
    "critical": (21, "FATAL"),
    "fatal": (21, "FATAL"),
}
# In seconds since 1970. A number outside this range is a date in digits or another quantity; a line
# cannot have a time after the year 9999.
_EARLIEST, _LATEST = 946_684_800, 253_402_300_800
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Keys with which structlog's own processors and wrappers describe the event.
_SPECIAL: Final = frozenset(
    {
        "timestamp",
        "logger",
        "level_number",
        "exc_info",
        "exception",
        "stack",
        "stack_info",
        "positional_args",
        "_record",
        "_from_structlog",
    }
)
# Prefixes of the modules between the logging call and this module.
_LOGGING: Final = ("structlog.", "logging", "wakelog.")
_MEANINGLESS: Final = ("level_number", "stack_info", "_record", "_from_structlog")


class Said(NamedTuple):
    """The contents of an event dict, without its attributes.

    Attributes:
        scope: The logger's name, None if it is not known.
        text: The event.
        severity_number: OpenTelemetry's, None if the level is not one of structlog's.
        severity_text: The level, by OpenTelemetry's name or its own.
        timestamp: When it happened, in nanoseconds since 1970, None if it is not certain.
    """

    scope: str | None
    text: Any
    severity_number: int | None
    severity_text: str
    timestamp: int | None


def read_event_dict(logger: Any, method_name: str, fields: dict[str, Any]) -> Said:
    """Read an event dict, and leave only the attributes in it.

    Args:
        logger: The wrapped logger.
        method_name: The name of the logger's method.
        fields: The event dict, a copy.

    Returns:
        The other contents.
    """
    text = fields.pop("event", None)
    level = fields.get("level")
    if type(level) is str and (level == method_name or level.lower() in SEVERITIES):
        del fields["level"]
    else:
        level = method_name  # the dict's level is of another kind, for example that of a game
    name = getattr(logger, "name", None)
    scope, timestamp = name if isinstance(name, str) else None, None
    if method_name == "exception" and fields.get("exc_info") is None:
        fields["exc_info"] = True  # a renderer has replaced it, and lost information
    if not _SPECIAL.isdisjoint(fields):
        text = _formatted(text, fields)
        given, timestamp = take_special(fields)
        scope = given or scope
    number, severity = SEVERITIES.get(level.lower(), (None, level.upper()))
    return Said(scope, text, number, severity, timestamp)


def take_special(fields: dict[str, Any]) -> tuple[str | None, int | None]:
    """Move exception and stack to the names of the conventions.

    Args:
        fields: An event dict, or structlog's ``extra`` with its contents; it is changed.

    Returns:
        The logger's name and the time, in nanoseconds since 1970; None for a missing one.
    """
    if _SPECIAL.isdisjoint(fields):
        return None, None
    scope = fields.pop("logger") if type(fields.get("logger")) is str else None
    timestamp = nanoseconds_of(fields.get("timestamp"))
    if timestamp is not None:
        del fields["timestamp"]
    _take_exception(fields)
    if fields.get("stack_info") is True and s.CODE_STACKTRACE not in fields:
        fields[s.CODE_STACKTRACE] = _stack()  # no StackInfoRenderer has run before
    for name in _MEANINGLESS:
        fields.pop(name, None)
    return scope, timestamp


def nanoseconds_of(timestamp: object) -> int | None:
    """Return the time of a timestamp, None if it is not certain to be one.

    A text needs date, time and zone, and a datetime its zone. A number is seconds since 1970, from
    the year 2000 on: digits such as ``20260101`` are a date, and not a time in 1970.
    """
    kind = type(timestamp)
    if kind is str:
        return _nanoseconds_in(timestamp)  # type: ignore[arg-type] # a str
    if issubclass(kind, datetime):
        return _nanoseconds_at(timestamp)
    if (kind is int or kind is float) and _EARLIEST <= timestamp < _LATEST:  # type: ignore[operator] # a number
        return int(timestamp * 1e9) if kind is float else timestamp * 10**9  # type: ignore[operator] # a number
    return None


def error_in(exc_info: object) -> BaseException | None:
    """Return the exception of an ``exc_info``, None if there is none."""
    kind = type(exc_info)
    if issubclass(kind, BaseException):
        return exc_info  # type: ignore[return-value] # an exception
    if kind is tuple:
        parts: tuple[Any, ...] = exc_info  # type: ignore[assignment] # a tuple
        return next((part for part in parts if issubclass(type(part), BaseException)), None)
    return sys.exc_info()[1] if kind in (bool, int) and exc_info else None


def _nanoseconds_in(text: str) -> int | None:
    if "-" not in text and ":" not in text and "T" not in text:
        return None  # digits only, which a line uses for times outside RFC 3339
    try:
        return parse_rfc3339(text)
    except ValueError:
        pass
    try:
        return _nanoseconds_at(datetime.fromisoformat(text))
    except ValueError:
        return None


def _nanoseconds_at(moment: Any) -> int | None:
    try:
        return (moment - _EPOCH) // _MICROSECOND * 1000  # type: ignore[no-any-return] # an int
    except Exception:  # noqa: BLE001 - no time zone, or a user's time zone that raises
        return None


def _formatted(text: Any, fields: dict[str, Any]) -> Any:
    """Return a text formatted with the positional arguments of the standard library's wrapper."""
    arguments = fields.pop("positional_args", None)
    if type(arguments) is not tuple or not arguments or type(text) is not str:
        return text
    one = arguments[0] if len(arguments) == 1 else None
    try:
        return text % (one if type(one) is dict and one else arguments)
    except Exception:  # noqa: BLE001 - __str__ and % of a user's objects may raise anything
        return f"{text} ({', '.join(map(_shown, arguments))})"


def _shown(value: object) -> str:
    return repr(value) if type(value) in (str, bytes) else text_of(value)


def _stack() -> str:
    """Return the stack of the logging call, in the form of the standard library."""
    frame = sys._getframe()  # noqa: SLF001 - documented, and what logging itself uses
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_LOGGING):
        frame = frame.f_back
    return "Stack (most recent call last):\n" + "".join(traceback.format_stack(frame)).rstrip("\n")


def _take_exception(fields: dict[str, Any]) -> None:
    given, rendered = fields.pop("exc_info", None), fields.pop("exception", None)
    error = error_in(given)
    if error is None and given is not None and type(given) not in (bool, int, tuple):
        fields["exc_info"] = given
    if error is not None:
        fields.update(exception_fields(error))
    elif rendered is not None:
        fields[s.EXCEPTION_STACKTRACE] = rendered
        # Rendered by dict_tracebacks earlier in the chain.
        if type(rendered) is list and rendered and type(rendered[0]) is dict:
            fields[s.EXCEPTION_TYPE] = rendered[0].get("exc_type")
            fields[s.EXCEPTION_MESSAGE] = rendered[0].get("exc_value")
    if type(fields.get("stack")) is str:
        fields[s.CODE_STACKTRACE] = fields.pop("stack")
