"""``Budget``: limits for a run, and what happens when they are exceeded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from wakelog.errors import ConfigurationError
from wakelog.runtime import ForkOrder, reset_in_child

if TYPE_CHECKING:
    from wakelog.events import AgentEvent

_KINDS: Final = ("tokens", "input_tokens", "output_tokens", "cost_usd", "model_calls", "tool_calls")


class LimitExceeded(NamedTuple):
    """A limit that was exceeded.

    Attributes:
        kind: The limit's name, as ``Budget`` has it.
        limit: The limit.
        observed: The usage so far.
        run_id: The run.
    """

    kind: str
    limit: float
    observed: float
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits the usage of a run, including everything inside it in this process.

    Events of type ``model_call``, ``model_response`` and ``tool_call`` count, also in runs inside
    the run. When a limit is exceeded for the first time, ``usage_limit_exceeded`` is recorded and
    ``on_limit`` is called, in the thread of the call that exceeded it.

    Attributes:
        tokens: Tokens of input and output together.
        input_tokens: Tokens of input, cached ones included.
        output_tokens: Tokens of output, reasoning included.
        cost_usd: Costs in US dollars, of the calls whose records have costs.
        model_calls: Number of model calls.
        tool_calls: Number of tool calls.
        on_limit: Called with a ``LimitExceeded``. Its exceptions propagate.
        enforce: Whether the call that exceeds a limit, and every call after it, raises
            ``UsageLimitError`` after it is recorded.
    """

    tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | Decimal | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    on_limit: Callable[[LimitExceeded], object] | None = None
    enforce: bool = False

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigurationError: If a limit is not a number of at least 0; the message names it.
        """
        for kind in _KINDS:
            limit = getattr(self, kind)
            number = type(limit) in (int, float, Decimal) and 0 <= limit < float("inf")
            if limit is not None and not number:
                message = f"{kind}={limit!r} cannot be a limit: give a number from 0 on"
                raise ConfigurationError(message)


class Overrun(NamedTuple):
    """An exceeded limit, as found when an event was counted.

    Attributes:
        budget: The budget with the limit.
        exceeded: The limit and the usage.
        first: Whether the limit is exceeded for the first time.
        event_key: The key of the event that reports it, None if the run has none.
    """

    budget: Budget
    exceeded: LimitExceeded
    first: bool
    event_key: str | None


class Spending:
    """The usage of one run. ``_lock`` guards the sums; nothing is called under it.

    Args:
        budget: The run's limits.
        run_id: The run.
        outer: The usage of the enclosing run.
        event_key: The key of the run's own events, if its code may be replayed.
    """

    def __init__(
        self, budget: Budget, run_id: str, outer: Spending | None, event_key: str | None = None
    ) -> None:
        self._event_key = event_key
        self.budget, self.run_id, self.outer = budget, run_id, outer
        self._used: dict[str, Decimal] = dict.fromkeys(_KINDS, Decimal(0))
        self._told: set[str] = set()
        self._make_lock()
        reset_in_child(self._make_lock, ForkOrder.LOCKS)

    def _make_lock(self) -> None:
        self._lock = threading.Lock()

    def charge(self, event: AgentEvent) -> list[Overrun]:
        """Count an event here and in every enclosing run, and return the exceeded limits."""
        over: list[Overrun] = []
        used = _used_by(event)
        spending: Spending | None = self if used else None
        while spending is not None:
            over += spending.add(used)
            spending = spending.outer
        return over

    def add(self, used: dict[str, Decimal]) -> list[Overrun]:
        """Add usage to this run, and return its exceeded limits."""
        over: list[Overrun] = []
        with self._lock:
            for kind, amount in used.items():
                self._used[kind] += amount
            for kind in _KINDS:
                limit = getattr(self.budget, kind)
                if limit is None or self._used[kind] <= Decimal(str(limit)):
                    continue
                observed = self._used[kind]
                number = float(observed) if kind == "cost_usd" else int(observed)
                exceeded = LimitExceeded(kind, limit, number, self.run_id)
                key = None if self._event_key is None else f"{self._event_key}/{kind}"
                over.append(Overrun(self.budget, exceeded, kind not in self._told, key))
                self._told.add(kind)
        return over


class CountedOnly:
    """Counts against the budgets of a run without enforcing them, for events recorded in callbacks.

    Args:
        spending: The usage of the run.
    """

    def __init__(self, spending: Spending) -> None:
        self._spending = spending

    def charge(self, event: AgentEvent) -> list[Overrun]:
        """Count an event, and return the exceeded limits as limits that are not enforced."""
        return [
            one._replace(budget=replace(one.budget, enforce=False))
            for one in self._spending.charge(event)
        ]


def _used_by(event: AgentEvent) -> dict[str, Decimal]:
    """Return the usage of an event, by the names of the limits."""
    if event.event_type == "tool_call":
        return {"tool_calls": Decimal(1)}
    if event.event_type not in ("model_call", "model_response"):
        return {}
    read, written = (_number(event.payload, f"{kind}_tokens") for kind in ("input", "output"))
    used = {
        "tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
        "cost_usd": _number(event.payload, "cost_usd"),
        "model_calls": Decimal(event.event_type == "model_call"),
    }
    return {kind: amount for kind, amount in used.items() if amount}


def _number(payload: dict[str, Any], key: str) -> Decimal:
    value = payload.get(key)
    if type(value) in (int, float, Decimal):
        return max(Decimal(0), Decimal(str(value)))
    return Decimal(0)
