"""Totals of usage, in which each model call counts once at any depth."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from wakelog.events import USAGE
from wakelog.events import semconv as s
from wakelog.viewer._model import RUN, Step, View

_TOOL: Final = "tool_call"


@dataclass(slots=True)
class Total:
    """The total usage of some model calls.

    Attributes:
        calls: The number of calls.
        usage: Their tokens, by the keys of a ``model_response``: ``input_tokens`` and so on.
            Subsets such as ``cache_read_input_tokens`` are included in the totals.
        cost_usd: The cost in US dollars of the calls that state it.
        unpriced: The number of calls that do not state a cost.
    """

    calls: int = 0
    usage: Counter[str] = field(default_factory=Counter)
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, usage: Mapping[str, int], cost: Decimal | None) -> None:
        """Add one call."""
        self.calls += 1
        self.usage.update(usage)
        if cost is None:
            self.unpriced += 1
        else:
            self.cost_usd += cost


@dataclass(slots=True)
class Totals:
    """Total and partial usage.

    ``agents``, ``models`` and ``sessions`` each add up to ``all``. Runs and tools include
    everything inside them, including runs of sub-agents, so their totals overlap and must not be
    added.

    Attributes:
        all: The total.
        sessions: Totals by the conversation's id; None for usage without one.
        runs: Totals by the run's id.
        agents: Totals by the calling agent.
        models: Totals by the model.
        tools: Totals by the tool inside which a model was called.
    """

    all: Total = field(default_factory=Total)
    sessions: defaultdict[str | None, Total] = field(default_factory=lambda: defaultdict(Total))
    runs: defaultdict[str, Total] = field(default_factory=lambda: defaultdict(Total))
    agents: defaultdict[str | None, Total] = field(default_factory=lambda: defaultdict(Total))
    models: defaultdict[str | None, Total] = field(default_factory=lambda: defaultdict(Total))
    tools: defaultdict[str, Total] = field(default_factory=lambda: defaultdict(Total))


def totals(view: View) -> Totals:
    """Return the usage of the calls in a view.

    A step's own figures count only if nothing inside it has figures, so that a run, a router or a
    wrapper that repeats the usage of the calls inside it is not counted twice.
    """
    found = Totals()
    for session in view.sessions:
        for step in (*session.runs, *session.steps):
            _add(found, step, session.id, (), ())
    for step in view.other_records:
        _add(found, step, None, (), ())
    return found


def usage_in(attributes: Mapping[str, Any]) -> tuple[dict[str, int], Decimal | None]:
    """Return the tokens and the cost that a record's attributes state."""
    usage = {
        key: number for key, name in USAGE.items() if type(number := attributes.get(name)) is int
    }
    cost = attributes.get(s.COST_USD)
    # The shortest text of a float is the amount that was recorded.
    priced = type(cost) in (int, float, Decimal)
    return usage, Decimal(str(cost)) if priced else None


def _add(
    found: Totals,
    step: Step,
    session: str | None,
    runs: tuple[str, ...],
    tools: tuple[str, ...],
) -> bool:
    """Add the usage of a step, or of the steps inside it; return whether there was any."""
    if step.type == RUN:
        runs = (*runs, step.id)
    elif step.type == _TOOL and step.name is not None:
        tools = (*tools, step.name)
    inside = [_add(found, inner, session, runs, tools) for inner in step.steps]
    if any(inside):
        return True
    if not step.usage and step.cost_usd is None:
        return False
    parts: Iterable[Total] = (
        found.all,
        found.sessions[session],
        found.agents[step.agent],
        found.models[None if step.type == RUN else step.name],
        *(found.runs[run] for run in dict.fromkeys(runs)),
        *(found.tools[tool] for tool in dict.fromkeys(tools)),
    )
    for part in parts:
        part.add(step.usage, step.cost_usd)
    return True
