"""loguru: a sink for ``logger.add``.

logger.add(WakelogSink(), format="{message}")
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Protocol

from wakelog.integrations._recorder import Recorder, exception_fields
from wakelog.integrations.logging import severity_of
from wakelog.logger import AgentLogger
from wakelog.record import parse_rfc3339

__all__ = ["WakelogSink"]

_NAMES: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class _Message(Protocol):
    """What loguru gives a sink: the formatted text, with all that was logged beside it."""

    @property
    def record(self) -> Any:
        """What was logged, and where."""


class WakelogSink:
    """Records what loguru logs; ``extra`` (``bind``, ``contextualize``) becomes attributes.

    It never raises: what is not accepted is counted by reason in ``refused`` and reported once a
    minute by the standard library's logger ``wakelog``. With ``enqueue=True`` loguru calls it in
    another thread, where the span and what ``wakelog.bound`` set are not known.

    Args:
        log: Where to record; what ``wakelog.configure()`` set up by default, else OpenTelemetry's
            global logger provider, whichever is there when something is logged.
    """

    def __init__(self, log: AgentLogger | None = None) -> None:
        self._recorder = Recorder(log)

    @property
    def refused(self) -> Counter[str]:
        """How many records were not accepted, by reason."""
        return self._recorder.refused

    def __call__(self, message: _Message) -> None:
        """Record one message."""
        try:
            self._record(message)
        except Exception as error:  # noqa: BLE001 - what a caller's objects may raise when looked at
            self._recorder.refuse(type(error).__name__, error)

    def _record(self, message: _Message) -> None:
        record = message.record
        fields = dict(record["extra"])
        if record["exception"] is not None and record["exception"].value is not None:
            fields |= exception_fields(record["exception"].value)
        level = record["level"]
        self._recorder.record(
            record["name"] or "loguru",
            record["message"],
            fields,
            severity_number=severity_of(level.no),
            severity_text=_NAMES.get(level.name, level.name),
            timestamp=parse_rfc3339(record["time"].isoformat()),
        )
