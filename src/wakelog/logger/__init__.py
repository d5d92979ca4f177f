"""``AgentLogger`` and ``AsyncAgentLogger``: the API for code that records its agents."""

from wakelog.logger._blocks import Block as Block
from wakelog.logger._budget import Budget, LimitExceeded
from wakelog.logger._budget import CountedOnly as CountedOnly
from wakelog.logger._current import current, set_current
from wakelog.logger._failures import ReportedError as ReportedError
from wakelog.logger._logger import AgentLogger, AsyncAgentLogger
from wakelog.logger._prices import Prices as Prices
from wakelog.logger._prices import add_cost as add_cost

__all__ = ["AgentLogger", "AsyncAgentLogger", "Budget", "LimitExceeded", "current", "set_current"]
