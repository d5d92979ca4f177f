"""``AgentLogger`` and ``AsyncAgentLogger``: the front doors for code that records its agents."""

from wakelog.logger._current import current, set_current
from wakelog.logger._logger import AgentLogger, AsyncAgentLogger

__all__ = ["AgentLogger", "AsyncAgentLogger", "current", "set_current"]
