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

    It may be anywhere before the renderer. If ``merge_contextvars`` has not run, it adds the bound
    context itself. It never raises: records that are not accepted are counted by reason in
    ``refused``, and logged once a minute by the standard library's logger ``wakelog``.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider, looked up at each record.
        last: Whether it is the last processor: it then ends the chain with ``structlog.DropEvent``,
            so that nothing is printed.
    """

    def __init__(self, log: AgentLogger | None = None, *, last: bool = False) -> None:
        self._recorder = Recorder(log)
        self._last = last

    @property
    def refused(self) -> Counter[str]:
        """The number of records that were not accepted, by reason."""
        return self._recorder.refused

    def __call__(self, logger: Any, method_name: str, event_dict: EventDict) -> EventDict:
        """Record one event dict.

        Raises:
            structlog.DropEvent: If it is the last processor.
        """
        try:
            fields: dict[str, Any] = {**get_contextvars(), **event_dict}
            said = read_event_dict(logger, method_name, fields)
            self._recorder.record(
                said.scope or "structlog",
                said.text,
                fields,
                severity_number=said.severity_number,
                severity_text=said.severity_text,
                timestamp=said.timestamp,
            )
        except Exception as error:  # noqa: BLE001 - a user's objects may raise anything
            self._recorder.refuse(type(error).__name__, error)
        if self._last:
            raise structlog.DropEvent
        return event_dict


def development_chain(log: AgentLogger | None = None) -> Sequence[Processor]:
    """Return processors for a terminal: Wakelog's, then a coloured rendering.

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
    """Return processors for a service: Wakelog's, then a line of JSON.

    Args:
        log: As for ``WakelogProcessor``.

    Returns:
        The chain, for ``structlog.configure(processors=...)``.
    """
    return [
        *_recorded_by(log),
        # Without local variables, which may have secrets.
        ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(),
    ]


def _recorded_by(log: AgentLogger | None) -> Sequence[Processor]:
    """Return the processors up to Wakelog's, and the one that adds the time for rendering."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        WakelogProcessor(log),
        structlog.processors.TimeStamper(fmt="iso"),
    ]
