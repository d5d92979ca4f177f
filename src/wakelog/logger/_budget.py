"""``Budget``: how much a run may use, and what happens beyond it."""

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
        limit: How much the run may use.
        observed: How much it has used.
        run_id: The run.
    """

    kind: str
    limit: float
    observed: float
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits the usage of a run, including everything inside it in this process.

    What is recorded as ``model_call``, ``model_response`` and ``tool_call`` counts, also in runs inside
    the run. When a limit is overrun for the first time, ``usage_limit_exceeded`` is recorded and
    ``on_limit`` called, in the thread of the call that did it.

    Attributes:
        tokens: Tokens of input and output together.
        input_tokens: Tokens of input, cached ones included.
        output_tokens: Tokens of output, reasoning included.
        cost_usd: Costs in US dollars, of the calls whose costs are on their records.
        model_calls: Calls of models.
        tool_calls: Calls of tools.
        on_limit: Called with a ``LimitExceeded``. What it raises goes on.
        enforce: Whether the call that overruns a limit, and every one after it, raises
            ``UsageLimitError`` once it is recorded.
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
        """Refuse what is no limit.

        Raises:
            ConfigurationError: When a limit is not a number from 0 on; it says which.
        """
        for kind in _KINDS:
            limit = getattr(self, kind)
            number = type(limit) in (int, float, Decimal) and 0 <= limit < float("inf")
            if limit is not None and not number:
                message = f"{kind}={limit!r} cannot be a limit: give a number from 0 on"
                raise ConfigurationError(message)


class Overrun(NamedTuple):
    """A limit that is overrun.

    Attributes:
        budget: Whose limit it is.
        exceeded: Which, and by how much.
        first: Whether that is so for the first time.
        event_key: The key of the event that says it, None where the run has none.
    """

    budget: Budget
    exceeded: LimitExceeded
    first: bool
    event_key: str | None


class Spending:
    """What one run has used. ``_lock`` guards the sums; nothing is called under it.

    Args:
        budget: How much it may use.
        run_id: The run.
        outer: What the run around it has used.
        event_key: The key of the run's own events, where its code may be replayed.
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
        """Count an event here and in every run around, and return the limits that are overrun."""
        over: list[Overrun] = []
        used = _used_by(event)
        spending: Spending | None = self if used else None
        while spending is not None:
            over += spending.add(used)
            spending = spending.outer
        return over

    def add(self, used: dict[str, Decimal]) -> list[Overrun]:
        """Count what was used here, and return the limits that are overrun."""
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
    """Counts against the budgets of a run and enforces none: for what a callback of others records.

    Args:
        spending: What the run has used.
    """

    def __init__(self, spending: Spending) -> None:
        self._spending = spending

    def charge(self, event: AgentEvent) -> list[Overrun]:
        """Count an event, and return the limits that are overrun, as ones that nobody enforces."""
        return [
            one._replace(budget=replace(one.budget, enforce=False))
            for one in self._spending.charge(event)
        ]


def _used_by(event: AgentEvent) -> dict[str, Decimal]:
    """Return what an event adds, by the names of the limits."""
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
