"""``StructuredLoggingSink``: logs events through Python's own ``logging``."""

from __future__ import annotations

import logging

from wakelog import _arguments as a
from wakelog.errors import SinkError
from wakelog.events import AgentEvent, severity_of

_LEVELS = ((17, logging.ERROR), (13, logging.WARNING), (0, logging.INFO))


class StructuredLoggingSink:
    """Logs each event through ``logging``, as the message ``agent_event``.

    The log record has ``event.to_dict()`` as ``agent_event``, for formatters that write JSON, and
    also ``event_id``, ``run_id`` and ``event_type``. What happens to it depends on the logger's
    level, filters and handlers, whose errors ``logging`` does not report.

    Args:
        logger: The logger; ``wakelog.events`` by default.
        level: The level; by default ``ERROR`` for errors, ``WARNING`` for exceeded limits, and
            ``INFO`` for everything else.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int | None = None) -> None:
        a.check(
            logger=(logger, a.With("isEnabledFor", "a logging.Logger"), None),
            level=(level, *a.COUNT),
        )
        self.logger = logger or logging.getLogger("wakelog.events")
        self.level = level

    def write(self, event: AgentEvent) -> None:
        """Log an event.

        Raises:
            SinkError: If ``logging`` raised an exception.
        """
        level = self.level
        if level is None:
            number, _ = severity_of(event)
            level = next(level for least, level in _LEVELS if number >= least)
        if not self.logger.isEnabledFor(level):
            return
        extra = {
            "agent_event": event.to_dict(),
            "event_id": event.event_id,
            "run_id": event.run_id,
            "event_type": event.event_type,
        }
        try:
            self.logger.log(level, "agent_event", extra=extra)
        except Exception as error:
            message = f"the logger {self.logger.name!r} raised {type(error).__name__}: {error}"
            raise SinkError(message) from error
