"""The standard library's logging: ``WakelogHandler``.

logging.getLogger().addHandler(WakelogHandler())
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Any, Final, cast

from wakelog.events import semconv as s
from wakelog.integrations._event_dict import (
    SEVERITIES,
    error_in,
    read_event_dict,
    take_special,
)
from wakelog.integrations._recorder import Recorder, exception_fields
from wakelog.logger import AgentLogger
from wakelog.record import text_of

__all__ = ["WakelogHandler"]

# The attributes of every log record, apart from those of ``extra``.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
LEVELS: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class WakelogHandler(logging.Handler):
    """Records what the standard library's loggers log; ``extra=`` becomes attributes.

    It never raises. Records that are not accepted are counted by reason in ``refused``, and logged
    once a minute by the logger ``wakelog``; a record whose message cannot be formatted is recorded
    unformatted, and passed to ``handleError``, as in every handler. Records of the logger
    ``wakelog`` itself are not recorded.

    Args:
        level: The lowest level that is recorded.
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider, looked up at each record.
    """

    def __init__(
        self, level: int | str = logging.NOTSET, *, log: AgentLogger | None = None
    ) -> None:
        super().__init__(level)
        self._recorder = Recorder(log)
        self.refused: Counter[str] = self._recorder.refused
        """The number of records that were not accepted, by reason."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Record one log record, if it passes the filters.

        There is no lock around it: the journal orders the writes of threads, and threads have to be
        able to wait for the same sync together.
        """
        passed: Any = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Record one log record."""
        scope = str(record.name or "root")
        if scope == "wakelog" or scope.startswith("wakelog."):
            return
        try:
            self._record(scope, record)
        except Exception:  # noqa: BLE001 - as the standard library's handlers do
            self.handleError(record)

    def _record(self, scope: str, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {k: v for k, v in vars(record).items() if k not in _OWN}
        number, level = severity_of(record.levelno), LEVELS.get(record.levelname, record.levelname)
        message = cast("object", record.msg)
        text: Any
        if type(message) is dict and "_logger" in fields:
            # From structlog's wrap_for_formatter: the message is the event dict.
            name = fields.pop("_name", None)
            method = name if type(name) is str else record.levelname.lower()
            event_dict = {**_bound_in_structlog(), **message}
            said = read_event_dict(fields.pop("_logger"), method, event_dict)
            fields |= event_dict
            text, named, timestamp = said.text, said.scope, said.timestamp
            number, level = said.severity_number or number, said.severity_text
        else:
            try:
                text = record.getMessage() if self.formatter is None else self.format(record)
            except Exception:  # noqa: BLE001 - __str__ and % of a user's objects may raise anything
                self.handleError(record)
                text, fields["args"] = text_of(message), record.args
            # From structlog's render_to_log_kwargs: the event dict is in ``extra``.
            named, timestamp = take_special(fields)
            given = fields.get("level")
            if type(given) is str and SEVERITIES.get(given.lower(), ("", ""))[1] == level:
                del fields["level"]
        if (error := error_in(record.exc_info)) is not None:
            fields |= exception_fields(error)
        elif record.exc_text:
            fields.setdefault(s.EXCEPTION_STACKTRACE, record.exc_text)
        if record.stack_info:
            fields[s.CODE_STACKTRACE] = record.stack_info
        self._recorder.record(
            named or scope,
            text,
            fields,
            severity_number=number,
            severity_text=level,
            timestamp=int(record.created * 1e9) if timestamp is None else timestamp,
        )


def _bound_in_structlog() -> dict[str, Any]:
    """Return the bound values of structlog's context, if structlog is loaded."""
    contextvars = sys.modules.get("structlog.contextvars")
    return {} if contextvars is None else contextvars.get_contextvars()


def severity_of(level: int) -> int | None:
    """Return OpenTelemetry's severity number for a level of the standard library.

    Levels between the named ones are mapped proportionally: 22 is INFO2, 25 INFO3.
    """
    if level <= 0:
        return None
    if level < logging.DEBUG:
        return 1 + min(level - 1, 3)
    step = min(level // 10, 5)
    between = min((level - step * 10) * 4 // 10, 3)
    return 1 + 4 * step + between
