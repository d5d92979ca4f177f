"""One conversation that every agent framework holds with a scripted model, and what is recorded of it.

``desk`` looks an order up; the tool fails, the model asks for it again, and it succeeds. ``desk`` hands over to
``clerk``, who wants to refund the order, which a person has to approve. A second run goes on from the approval. In a
third, ``clerk`` begins a long answer, and whoever reads the stream leaves.

There is one list of events and one of spans. What a framework cannot say of them, and what it does in another way, is
in a table of ``docs/agents.md``, which is read here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from difflib import unified_diff
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from wakelog import AgentEvent, AgentLogger, MemorySink

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
MODEL, WORKFLOW, DESK, CLERK = "scripted", "support", "desk", "clerk"
# The last is the tool by which an agent gives work to a sub-agent, where there are no hand-offs.
LOOKUP, REFUND, DELEGATE = "lookup", "refund", "Task"
# The frameworks, by the modules of their adapters and of their scenarios (`golden_<module>`).
FRAMEWORKS = {
    "openai_agents": "OpenAI Agents",
    "langchain": "LangGraph",
    "pydantic_ai": "Pydantic AI",
    "claude": "Claude Agent SDK",
}
PACKAGES = {
    "openai_agents": ("openai-agents",),
    "langchain": ("langchain-core", "langgraph"),
    "pydantic_ai": ("pydantic-ai-slim",),
    "mcp": ("mcp",),
    "claude": (),
}

# Called by tools and scripted models with their names, when they are really called.
effects: list[Callable[[str], None]] = []

Scenario = Callable[[AgentLogger], Coroutine[Any, Any, None]]


class Line(NamedTuple):
    """One event: its type, agent, tool or model, and status.

    Attributes:
        needs: What a framework has to say, or to do, for it to be there.
        unless: What it must not say or do.
    """

    event_type: str
    agent: str | None
    of: str | None
    status: str | None
    needs: str = ""
    unless: str = ""


class Span(NamedTuple):
    """One span: its depth and its name; what it needs, as for a line."""

    depth: int
    name: str
    needs: str = ""
    unless: str = ""


AROUND, START, RETRY = "a run around the agents", "a model call before it is made", "a retry"
HANDOFF, ASKED, ANSWERED = "a hand-off", "that an approval is asked for", "what was answered"
WAITING, TOOL_ERROR = "that a run ends to wait", "that a tool failed"
CHECKPOINT = "the checkpoint that a run goes on from"
NEEDS = (AROUND, START, TOOL_ERROR, RETRY, HANDOFF, ASKED, ANSWERED, WAITING, CHECKPOINT)
# What a cell says of how a framework does it.
SUB_AGENT, INSIDE = "a sub-agent", "inside the tool call"


def _around(kind: str, status: str, needs: str = AROUND) -> Line:
    return Line(kind, WORKFLOW, None, status, needs)


def _model(agent: str, needs: str = "", unless: str = "") -> list[Line]:
    return [
        Line("model_call", agent, MODEL, "started", needs, unless),
        Line("model_response", agent, MODEL, "success", needs, unless),
    ]


EVENTS: list[Line] = [
    _around("run_start", "started"),
    Line("run_start", DESK, None, "started"),
    *_model(DESK),
    Line("tool_call", DESK, LOOKUP, "started"),
    Line("tool_result", DESK, LOOKUP, "error", TOOL_ERROR),
    Line("tool_result", DESK, LOOKUP, "success", "", TOOL_ERROR),
    *_model(DESK),
    Line("warning", DESK, LOOKUP, "retry", RETRY),
    Line("tool_call", DESK, LOOKUP, "started"),
    Line("tool_result", DESK, LOOKUP, "success"),
    *_model(DESK),
    Line("agent_handoff", DESK, None, None, HANDOFF),
    Line("run_end", DESK, None, "success", "", SUB_AGENT),
    Line("tool_call", DESK, DELEGATE, "started", SUB_AGENT),
    Line("sub_agent_invoked", DESK, None, None, SUB_AGENT),
    Line("run_start", CLERK, None, "started"),
    *_model(CLERK),
    Line("tool_call", CLERK, REFUND, "started", INSIDE),
    Line("human_approval", CLERK, REFUND, "requested", ASKED),
    Line("run_end", CLERK, None, "interrupted", WAITING),
    _around("run_end", "interrupted"),
    _around("run_start", "started"),
    Line("resumed", None, None, None, CHECKPOINT),
    Line("run_start", CLERK, None, "started", WAITING),
    Line("human_approval", CLERK, REFUND, "approved", ANSWERED),
    Line("tool_call", CLERK, REFUND, "started", "", INSIDE),
    Line("tool_result", CLERK, REFUND, "success"),
    *_model(CLERK, "", SUB_AGENT),
    Line("run_end", CLERK, None, "success"),
    Line("tool_result", DESK, DELEGATE, "success", SUB_AGENT),
    *_model(DESK, SUB_AGENT),
    Line("run_end", DESK, None, "success", SUB_AGENT),
    _around("run_end", "success"),
    _around("run_start", "started"),
    Line("run_start", CLERK, None, "started"),
    Line("model_call", CLERK, MODEL, "started"),
    Line("model_response", CLERK, MODEL, "cancelled", START),
    Line("model_response", CLERK, MODEL, "success", "", START),
    Line("run_end", CLERK, None, "cancelled"),
    _around("run_end", "cancelled"),
]

SPANS: list[Span] = [
    Span(0, f"invoke_workflow {WORKFLOW}", AROUND),
    Span(1, f"invoke_agent {DESK}"),
    Span(2, f"chat {MODEL}"),
    Span(2, f"execute_tool {LOOKUP}"),
    Span(2, f"chat {MODEL}"),
    Span(2, f"execute_tool {LOOKUP}"),
    Span(2, f"chat {MODEL}"),
    Span(2, f"execute_tool {DELEGATE}", SUB_AGENT),
    Span(1, f"invoke_agent {CLERK}", "", SUB_AGENT),
    Span(2, f"invoke_agent {CLERK}", SUB_AGENT),
    Span(2, f"chat {MODEL}", "", SUB_AGENT),
    Span(3, f"chat {MODEL}", SUB_AGENT),
    Span(0, f"invoke_workflow {WORKFLOW}", AROUND),
    Span(1, f"invoke_agent {CLERK}", WAITING),
    Span(2, f"execute_tool {REFUND}", WAITING),
    Span(3, f"execute_tool {REFUND}", "", WAITING),
    Span(2, f"chat {MODEL}"),  # the clerk's last answer, or that of the desk
    Span(0, f"invoke_workflow {WORKFLOW}", AROUND),
    Span(1, f"invoke_agent {CLERK}"),
    Span(2, f"chat {MODEL}"),
]


def effect(name: str) -> None:
    """Tell a test that a tool or a model is called now."""
    for told in effects:
        told(name)


def table() -> dict[str, dict[str, str]]:
    """Return what the page says of each framework: by its name, the cell of every row."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    head = next(row for row in rows if row[0] == "what is said")
    cells = {row[0]: row[1:] for row in rows if row[0] in NEEDS}
    assert cells.keys() == set(NEEDS), cells.keys()
    return {
        name: {need: row[place] for need, row in cells.items()}
        for place, name in enumerate(head[1:])
    }


def said(framework: str) -> set[str]:
    """Return the rows of the table that a framework says, and how it does what it does in its own way."""
    cells = table()[FRAMEWORKS[framework]]
    rows = {need for need, cell in cells.items() if cell.startswith("yes")}
    return rows | {
        way for way in (SUB_AGENT, INSIDE) if any(way in cell for cell in cells.values())
    }


def _is_there(one: Line | Span, said: set[str]) -> bool:
    return (not one.needs or one.needs in said) and one.unless not in said


def expected_events(framework: str) -> list[tuple[str | None, ...]]:
    """Return the events of a framework: those of the one list that it can say."""
    if framework not in FRAMEWORKS:  # a protocol, which has no agents and no models
        return [line[:4] for line in _module_of(framework).EVENTS]
    there = said(framework)
    return [line[:4] for line in EVENTS if _is_there(line, there)]


def expected_spans(framework: str) -> list[tuple[int, str]]:
    """Return the spans of a framework, in the order of their starts, with their depths."""
    if framework not in FRAMEWORKS:
        return list(_module_of(framework).SPANS)
    there = said(framework)
    higher = 0 if AROUND in there else 1
    return [(span.depth - higher, span.name) for span in SPANS if _is_there(span, there)]


def scenario_of(framework: str) -> Scenario:
    """Return the scenario of a framework."""
    scenario: Scenario = _module_of(framework).scenario
    return scenario


def _module_of(framework: str) -> Any:
    return import_module(f"tests.support.golden_{framework}")


class Recorded:
    """A logger in memory, with what it has recorded."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._sink = MemorySink()
        self.log = AgentLogger(sink=self._sink, tracer_provider=self.tracers)

    @property
    def events(self) -> list[AgentEvent]:
        return self._sink.events

    def lines(self) -> list[tuple[str | None, ...]]:
        """Return what is compared of each event."""
        return [
            (
                event.event_type,
                event.agent_name,
                event.tool_name or event.model,
                event.payload.get("kind") if event.event_type == "warning" else event.status,
            )
            for event in self.events
        ]

    def spans(self) -> list[tuple[int, str]]:
        """Return the spans that have ended, in the order of their starts, with their depths."""
        spans = sorted(self._exporter.get_finished_spans(), key=_began)
        by_id = {span.context.span_id: span for span in spans if span.context is not None}

        def depth(span: ReadableSpan) -> int:
            return 1 + depth(by_id[span.parent.span_id]) if span.parent else 0

        return [(depth(span), span.name) for span in spans]


def _began(span: ReadableSpan) -> Any:
    return span.start_time


def main() -> int:
    """Hold the conversation with the versions that are installed, and compare."""
    framework = sys.argv[1]
    recorded = Recorded()
    asyncio.run(scenario_of(framework)(recorded.log))
    versions = [f"{package} {version(package)}" for package in PACKAGES[framework]]
    problems = [
        f"{what}: {difference}"
        for what, found, expected in (
            ("events", recorded.lines(), expected_events(framework)),
            ("spans", recorded.spans(), expected_spans(framework)),
        )
        for difference in unified_diff(
            [str(one) for one in expected], [str(one) for one in found], lineterm="", n=1
        )
    ]
    print(
        f"{framework} ({', '.join(versions)}): {'as it should be' if not problems else 'differs'}"
    )
    print("\n".join(problems), end="\n" if problems else "")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
