"""loguru: a sink for ``logger.add``.

logger.add(WakelogSink(), format="{message}")
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from wakelog.integrations._recorder import Recorder, exception_fields
from wakelog.integrations.logging import LEVELS, severity_of
from wakelog.logger import AgentLogger
from wakelog.record import parse_rfc3339

__all__ = ["WakelogSink"]


class WakelogSink:
    """Records what loguru logs; ``extra`` (``bind``, ``contextualize``) becomes attributes.

    It never raises: records that are not accepted are counted by reason in ``refused``, and logged
    once a minute by the standard library's logger ``wakelog``. With ``enqueue=True`` loguru calls
    it in another thread, in which the current span and the values of ``wakelog.bound`` are not
    known.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider, looked up at each record.
    """

    def __init__(self, log: AgentLogger | None = None) -> None:
        self._recorder = Recorder(log)
        self.refused: Counter[str] = self._recorder.refused
        """The number of records that were not accepted, by reason."""

    def __call__(self, message: Any) -> None:
        """Record one message: the formatted text, with the values of the call as ``record``."""
        try:
            self._record(message)
        except Exception as error:  # noqa: BLE001 - a user's objects may raise anything
            self._recorder.refuse(type(error).__name__, error)

    def _record(self, message: Any) -> None:
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
            severity_text=LEVELS.get(level.name, level.name),
            timestamp=parse_rfc3339(record["time"].isoformat()),
        )
