"""structlog: ``WakelogProcessor``, and chains to start with.

structlog.configure(processors=production_chain())
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from structlog.contextvars import get_contextvars
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

from wakelog.events import semconv as s
from wakelog.integrations._recorder import Recorder, exception_fields
from wakelog.logger import AgentLogger
from wakelog.record import parse_rfc3339

__all__ = ["WakelogProcessor", "development_chain", "production_chain"]

# OpenTelemetry's severity numbers and names for structlog's levels.
_SEVERITIES: Final = {
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
_LATEST: Final = 253_402_300_800  # in seconds, the year 10000: no line can say a later time
# Keys by which structlog's own processors and wrappers say something about the event.
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


class WakelogProcessor:
    """Records what passes through a structlog chain, and passes it on unchanged.

    It stands anywhere before the renderer. Where ``merge_contextvars`` has not run, it takes the
    bound context by itself. It never raises: what is not accepted is counted by reason in
    ``refused`` and reported once a minute by the standard library's logger ``wakelog``.

    Args:
        log: Where to record; what ``wakelog.configure()`` set up by default, else OpenTelemetry's
            global logger provider, whichever is there when something is logged.
        last: Nothing comes after this processor: it ends the chain with ``structlog.DropEvent``,
            so that nothing is printed.
    """

    def __init__(self, log: AgentLogger | None = None, *, last: bool = False) -> None:
        self._recorder = Recorder(log)
        self._last = last

    @property
    def refused(self) -> Counter[str]:
        """How many records were not accepted, by reason."""
        return self._recorder.refused

    def __call__(self, logger: Any, method_name: str, event_dict: EventDict) -> EventDict:
        """Record one event dict.

        Raises:
            structlog.DropEvent: When nothing comes after this processor.
        """
        try:
            self._record(logger, method_name, {**get_contextvars(), **event_dict})
        except Exception as error:  # noqa: BLE001 - what a caller's objects may raise when looked at
            self._recorder.refuse(type(error).__name__, error)
        if self._last:
            raise structlog.DropEvent
        return event_dict

    def _record(self, logger: Any, method_name: str, fields: dict[str, Any]) -> None:
        text = fields.pop("event", None)
        level = fields.get("level")
        if level is None:
            level = method_name
        elif isinstance(level, str) and (level == method_name or level.lower() in _SEVERITIES):
            del fields["level"]
        else:
            level = method_name  # a level of another kind, say of a game
        scope, timestamp = getattr(logger, "name", None), None
        if not _SPECIAL.isdisjoint(fields):
            scope = fields.pop("logger") if isinstance(fields.get("logger"), str) else scope
            text = _formatted(text, fields.pop("positional_args", None))
            timestamp = _nanoseconds(fields.get("timestamp"))
            if timestamp is not None:
                del fields["timestamp"]
            _take_exception(fields)
            for name in ("level_number", "stack_info", "_record", "_from_structlog"):
                fields.pop(name, None)
        number, name = _SEVERITIES.get(level.lower(), (None, level.upper()))
        self._recorder.record(
            scope if isinstance(scope, str) else "structlog",
            text,
            fields,
            severity_number=number,
            severity_text=name,
            timestamp=timestamp,
        )


def development_chain(log: AgentLogger | None = None) -> Sequence[Processor]:
    """Return processors for a terminal: recorded by Wakelog, then printed in colours.

    Args:
        log: As for ``WakelogProcessor``.

    Returns:
        The chain, for ``structlog.configure(processors=...)``.
    """
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        WakelogProcessor(log),
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(),
    ]


def production_chain(log: AgentLogger | None = None) -> Sequence[Processor]:
    """Return processors for a service: recorded by Wakelog, then a line of JSON.

    Args:
        log: As for ``WakelogProcessor``.

    Returns:
        The chain, for ``structlog.configure(processors=...)``.
    """
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        WakelogProcessor(log),
        structlog.processors.TimeStamper(fmt="iso"),
        # Without the local variables, which may hold secrets.
        ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ]


def _formatted(text: Any, arguments: Any) -> Any:
    """Return a text with the arguments in it that the standard library's wrapper was given."""
    if not arguments or not isinstance(text, str):
        return text
    if len(arguments) == 1 and isinstance(arguments[0], dict) and arguments[0]:
        arguments = arguments[0]
    try:
        return text % arguments
    except (TypeError, ValueError, KeyError):
        return f"{text} {arguments}"


def _nanoseconds(timestamp: object) -> int | None:
    """Return the time that ``TimeStamper`` wrote, None when it does not say which it is."""
    try:
        if isinstance(timestamp, datetime) and timestamp.tzinfo is not None:
            timestamp = timestamp.isoformat()
        if isinstance(timestamp, str):
            return parse_rfc3339(timestamp)
        if isinstance(timestamp, int | float) and 0 < timestamp < _LATEST:
            return int(timestamp * 1e9)
    except ValueError:
        return None
    return None


def _take_exception(fields: dict[str, Any]) -> None:
    """Put what is known of an exception, and of the stack, under the conventions' names."""
    error, rendered = fields.pop("exc_info", None), fields.pop("exception", None)
    if isinstance(error, tuple):
        error = next((part for part in error if isinstance(part, BaseException)), None)
    elif error is not None and not isinstance(error, BaseException):
        error = sys.exc_info()[1] if error else None
    if error is not None:
        fields.update(exception_fields(error))
    elif rendered is not None:
        fields[s.EXCEPTION_STACKTRACE] = rendered
        # From a chain with dict_tracebacks in front of this processor.
        if isinstance(rendered, list) and rendered and isinstance(rendered[0], dict):
            fields[s.EXCEPTION_TYPE] = rendered[0].get("exc_type")
            fields[s.EXCEPTION_MESSAGE] = rendered[0].get("exc_value")
    if isinstance(fields.get("stack"), str):
        fields[s.CODE_STACKTRACE] = fields.pop("stack")
