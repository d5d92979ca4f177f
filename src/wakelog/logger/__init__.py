"""``AgentLogger``: the front door for code that records what its agents do."""

from wakelog.logger._logger import AgentLogger

__all__ = ["AgentLogger"]
