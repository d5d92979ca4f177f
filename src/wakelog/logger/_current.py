"""The logger of the last ``configure``, for integrations without a logger of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wakelog.logger._logger import AgentLogger

_current: AgentLogger | None = None


def current() -> AgentLogger | None:
    """Return the logger of the last ``configure``, or None if there has been none."""
    return _current


def set_current(log: AgentLogger | None) -> AgentLogger | None:
    """Make a logger the one that ``current`` returns.

    Args:
        log: The logger, or None for none.

    Returns:
        The previous one.
    """
    global _current
    before, _current = _current, log
    return before
