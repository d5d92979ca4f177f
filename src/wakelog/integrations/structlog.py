"""structlog: ``WakelogProcessor``, and chains to start with.

structlog.configure(processors=production_chain())
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from structlog.contextvars import get_contextvars
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

from wakelog.integrations._event_dict import read_event_dict
from wakelog.integrations._recorder import Recorder
from wakelog.logger import AgentLogger

__all__ = ["WakelogProcessor", "development_chain", "production_chain"]


class WakelogProcessor:
    """Records the events of a structlog chain, and passes them on unchanged.

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
        said = read_event_dict(logger, method_name, fields)
        self._recorder.record(
            said.scope or "structlog",
            said.text,
            fields,
            severity_number=said.severity_number,
            severity_text=said.severity_text,
            timestamp=said.timestamp,
        )


def development_chain(log: AgentLogger | None = None) -> Sequence[Processor]:
    """Return processors for a terminal: recorded by Wakelog, then printed in colours.

    Args:
        log: As for ``WakelogProcessor``.

    Returns:
        The chain, for ``structlog.configure(processors=...)``.
    """
    return [
        *_recorded_by(log),
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
        *_recorded_by(log),
        # Without the local variables, which may hold secrets.
        ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ]


def _recorded_by(log: AgentLogger | None) -> Sequence[Processor]:
    """Return the processors up to the record, and the time for what is printed after it."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        WakelogProcessor(log),
        structlog.processors.TimeStamper(fmt="iso"),
    ]
