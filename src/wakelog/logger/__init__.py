"""``AgentLogger`` and ``AsyncAgentLogger``: the API for code that records its agents."""

from typing import TYPE_CHECKING

from wakelog._lazy import lazy_names
from wakelog.logger._blocks import Block as Block
from wakelog.logger._failures import ReportedError as ReportedError
from wakelog.logger._logger import AgentLogger, AsyncAgentLogger, current, set_current

if TYPE_CHECKING:
    from wakelog.logger._budget import Budget, LimitExceeded
    from wakelog.logger._budget import CountedOnly as CountedOnly
    from wakelog.logger._prices import Prices as Prices
    from wakelog.logger._prices import add_cost as add_cost

__all__ = ["AgentLogger", "AsyncAgentLogger", "Budget", "LimitExceeded", "current", "set_current"]

# Few programs use them, and both modules load `decimal`.
__getattr__ = lazy_names(
    __name__,
    {
        "wakelog.logger._budget": ["Budget", "CountedOnly", "LimitExceeded"],
        "wakelog.logger._prices": ["Prices", "add_cost"],
    },
)
