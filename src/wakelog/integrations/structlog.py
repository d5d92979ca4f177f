"""structlog: ``WakelogProcessor``, and chains to start with.

structlog.configure(processors=production_chain())
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import MutableMapping, Sequence
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
_NOT_ATTRIBUTES: Final = frozenset(
    {
        "event",
        "level",
        "level_number",
        "timestamp",
        "logger",
        "logger_name",
        "exc_info",
        "exception",
        "stack",
        "stack_info",
        "positional_args",
    }
)
# Keys by which these may be called; others of them are looked at only where they stand.
_SPECIAL: Final = _NOT_ATTRIBUTES - {"event", "level"}


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
        get = event_dict.get
        level = get("level") or method_name
        number, name = _SEVERITIES.get(level) or _severity(level)
        if _SPECIAL.isdisjoint(event_dict):
            scope = getattr(logger, "name", None)
            text, timestamp = get("event"), None
            fields = {**get_contextvars(), **event_dict}
            fields.pop("event", None)
            fields.pop("level", None)
        else:
            scope = get("logger") or get("logger_name") or getattr(logger, "name", None)
            text, timestamp = _text(event_dict), _nanoseconds(get("timestamp"))
            fields = {
                key: value
                for key, value in {**get_contextvars(), **event_dict}.items()
                if key not in _NOT_ATTRIBUTES and not key.startswith("_")
            }
            _add_exception(fields, event_dict)
        self._recorder.record(
            scope if isinstance(scope, str) else "structlog",
            text,
            fields,
            severity_number=number,
            severity_text=name,
            timestamp=timestamp,
        )
        if self._last:
            raise structlog.DropEvent
        return event_dict


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


def _severity(level: object) -> tuple[int | None, str]:
    text = str(level)
    return _SEVERITIES.get(text.lower(), (None, text.upper()))


def _text(event_dict: MutableMapping[str, Any]) -> Any:
    text, arguments = event_dict.get("event"), event_dict.get("positional_args")
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
        if isinstance(timestamp, str):
            return parse_rfc3339(timestamp)
        if isinstance(timestamp, datetime) and timestamp.tzinfo is not None:
            return parse_rfc3339(timestamp.isoformat())
        if isinstance(timestamp, int | float):
            return int(timestamp * 1e9)
    except (ValueError, OverflowError):
        return None
    return None


def _add_exception(fields: dict[str, Any], event_dict: MutableMapping[str, Any]) -> None:
    error = event_dict.get("exc_info")
    if isinstance(error, tuple):
        error = next((part for part in error if isinstance(part, BaseException)), None)
    elif error is not None and not isinstance(error, BaseException):
        error = sys.exc_info()[1] if error else None
    rendered = event_dict.get("exception")
    if error is not None:
        fields.update(exception_fields(error))
    elif isinstance(rendered, str):
        fields[s.EXCEPTION_STACKTRACE] = rendered
    elif rendered is not None:
        # A chain with dict_tracebacks in front of this processor.
        fields[s.EXCEPTION_STACKTRACE] = rendered
        if isinstance(rendered, list) and rendered and isinstance(rendered[0], dict):
            fields[s.EXCEPTION_TYPE] = rendered[0].get("exc_type")
            fields[s.EXCEPTION_MESSAGE] = rendered[0].get("exc_value")
    if isinstance(stack := event_dict.get("stack"), str):
        fields[s.CODE_STACKTRACE] = stack
