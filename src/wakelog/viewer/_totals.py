"""What was used, added up: each call of a model once, however deep it was made."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from wakelog.events import USAGE
from wakelog.events import semconv as s
from wakelog.viewer._model import RUN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wakelog.viewer._model import Step, View

_TOOL: Final = "tool_call"


@dataclass(slots=True)
class Total:
    """What some calls of models used together.

    Attributes:
        calls: How many calls there were.
        usage: Their tokens, by the keys of a ``model_response``: ``input_tokens`` and so on. Subsets
            such as ``cache_read_input_tokens`` are parts of the totals.
        cost_usd: What those cost whose costs are recorded, in US dollars.
        unpriced: How many have no costs recorded.
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
    """What was used, in all and in parts.

    ``agents``, ``models`` and ``sessions`` each add up to ``all``. A run and a tool have everything that
    happened inside, runs of sub-agents included, so what several of them have is not to be added.

    Attributes:
        all: Everything.
        sessions: By the conversation's id; None for what belongs to none.
        runs: By the run's id.
        agents: By the agent that asked.
        models: By the model that was asked.
        tools: By the tool inside which a model was asked.
    """

    all: Total = field(default_factory=Total)
    sessions: defaultdict[str | None, Total] = field(default_factory=lambda: defaultdict(Total))
    runs: defaultdict[str, Total] = field(default_factory=lambda: defaultdict(Total))
    agents: defaultdict[str | None, Total] = field(default_factory=lambda: defaultdict(Total))
    models: defaultdict[str | None, Total] = field(default_factory=lambda: defaultdict(Total))
    tools: defaultdict[str, Total] = field(default_factory=lambda: defaultdict(Total))


def totals(view: View) -> Totals:
    """Sum the usage of the calls in a view.

    A step's own figures count only when nothing inside it has any, so that a run, a router or a wrapper
    that repeats what the calls inside it used is not counted beside them.
    """
    found = Totals()
    for session in view.sessions:
        for step in (*session.runs, *session.steps):
            _add(found, step, session.id, (), ())
    for step in view.other_records:
        _add(found, step, None, (), ())
    return found


def usage_in(attributes: Mapping[str, Any]) -> tuple[dict[str, int], Decimal | None]:
    """Return the tokens and the costs that a record's attributes say."""
    usage = {
        key: number for key, name in USAGE.items() if type(number := attributes.get(name)) is int
    }
    cost = attributes.get(s.COST_USD)
    # Of a float, its shortest text is the sum that was recorded.
    priced = type(cost) in (int, float, Decimal)
    return usage, Decimal(str(cost)) if priced else None


def _add(
    found: Totals,
    step: Step,
    session: str | None,
    runs: tuple[str, ...],
    tools: tuple[str, ...],
) -> bool:
    """Add what a step used, or what the steps inside it did; return whether that was anything."""
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
