"""``AgentLogger`` and ``AsyncAgentLogger``: the front doors for code that records its agents."""

from wakelog.logger._logger import AgentLogger, AsyncAgentLogger

__all__ = ["AgentLogger", "AsyncAgentLogger"]
