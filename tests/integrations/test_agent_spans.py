"""Adapters beside the instrumentations of others: whose spans there are is one switch, and both at once is said."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from agents import set_trace_processors
from anthropic import Anthropic
from openai import OpenAI
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent, InstrumentationSettings

from tests.support import golden
from tests.support.journaled import Journaled
from tests.support.model_server import anthropic_message, completion, model_server
from wakelog import AgentLogger
from wakelog.integrations import _steps, claude, clients, langchain, mcp, openai_agents, pydantic_ai


class Theirs:
    """The spans of another instrumentation."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def ids(self) -> set[int]:
        return {
            span.context.span_id for span in self._exporter.get_finished_spans() if span.context
        }


@contextmanager
def instrumented(name: str, theirs: Theirs) -> Iterator[None]:
    module, _, kind = name.rpartition(".")
    instrumentor = getattr(import_module(module), kind)()
    instrumentor.instrument(tracer_provider=theirs.tracers, skip_dep_check=True)
    try:
        yield
    finally:
        instrumentor.uninstrument()


@contextmanager
def pydantic_instrumented(name: str, theirs: Theirs) -> Iterator[None]:
    Agent.instrument_all(InstrumentationSettings(tracer_provider=theirs.tracers))
    try:
        yield
    finally:
        Agent.instrument_all(False)


@contextmanager
def of_sdk(name: str, theirs: Theirs) -> Iterator[None]:
    """A stand-in for an instrumentation whose framework is not installed here: a real instrumentor of no spans."""
    module, _, kind = name.rpartition(".")

    class Instrumentor(BaseInstrumentor):  # type: ignore[misc] # it has no types
        def instrumentation_dependencies(self) -> Any:
            return ()

        def _instrument(self, **_: Any) -> None:
            """Do nothing."""

        def _uninstrument(self, **_: Any) -> None:
            """Do nothing."""

    sys.modules[module] = ModuleType(module)
    setattr(sys.modules[module], kind, Instrumentor)
    Instrumentor().instrument()
    try:
        yield
    finally:
        Instrumentor().uninstrument()
        del sys.modules[module]


def scenario(framework: str) -> Any:
    def hold(log: AgentLogger) -> None:
        asyncio.run(golden.scenario_of(framework)(log))

    return hold


def ask_openai(log: AgentLogger) -> None:
    with model_server() as script, OpenAI(api_key="k", base_url=script.url) as client:
        script.answers = [completion("yes")]
        messages: Any = [{"role": "user", "content": "hello"}]
        clients.record(client, log).chat.completions.create(model="scripted", messages=messages)


def ask_anthropic(log: AgentLogger) -> None:
    with model_server() as script, Anthropic(api_key="k", base_url=script.url) as client:
        script.answers = [anthropic_message({"type": "text", "text": "yes"})]
        messages: Any = [{"role": "user", "content": "hello"}]
        recorded = clients.record(client, log)
        recorded.messages.create(model="scripted", max_tokens=9, messages=messages)


# The instrumentations of the clients are real only where they are installed: each `opentelemetry-instrument` of other
# tests would load them.
# Of each adapter: whose spans there are, what switches them on, what is run, and where `spans` is said.
OTHERS: dict[str, tuple[str, Any, Any, tuple[Any, str]]] = {
    "openai_agents": (
        "openinference.instrumentation.openai_agents.OpenAIAgentsInstrumentor",
        instrumented,
        scenario("openai_agents"),
        (openai_agents, "install"),
    ),
    "langchain": (
        "openinference.instrumentation.langchain.LangChainInstrumentor",
        instrumented,
        scenario("langchain"),
        (langchain, "install"),
    ),
    "pydantic_ai": (
        "Pydantic AI's own instrumentation",
        pydantic_instrumented,
        scenario("pydantic_ai"),
        (pydantic_ai, "WakelogCapability"),
    ),
    "openai": (
        "openinference.instrumentation.openai.OpenAIInstrumentor",
        instrumented if find_spec("openinference.instrumentation.openai") else of_sdk,
        ask_openai,
        (clients, "record"),
    ),
    "anthropic": (
        "openinference.instrumentation.anthropic.AnthropicInstrumentor",
        instrumented if find_spec("openinference.instrumentation.anthropic") else of_sdk,
        ask_anthropic,
        (clients, "record"),
    ),
    "claude": (
        "openinference.instrumentation.claude_agent_sdk.ClaudeAgentSDKInstrumentor",
        of_sdk,
        scenario("claude"),
        (claude, "WakelogHooks"),
    ),
    "mcp": (
        "opentelemetry.instrumentation.mcp.McpInstrumentor",
        of_sdk,
        scenario("mcp"),
        (mcp, "install"),
    ),
}


# Where the other's span is current when an event is recorded; elsewhere events are on the span around.
ON_THEIRS = {"openai_agents", "pydantic_ai"}


@pytest.mark.parametrize("spans", [True, False])
@pytest.mark.parametrize("framework", OTHERS)
def test_spans_are_ours_or_theirs_and_both_at_once_is_said_once(
    framework: str,
    spans: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, switched_on, run, (adapter, switch) = OTHERS[framework]
    make = getattr(adapter, switch)
    monkeypatch.setattr(_steps, "_told", {})

    def with_spans(*args: Any, **kwargs: Any) -> Any:
        return make(*args, **{**kwargs, "spans": spans})

    monkeypatch.setattr(adapter, switch, with_spans)
    if switch.startswith("Wakelog"):  # their scenarios import it by its name
        monkeypatch.setattr(f"tests.support.golden_{framework}.{switch}", with_spans)
    # Nothing is sent to OpenAI, and the scenario does not take the other's processor away again.
    set_trace_processors([])
    monkeypatch.setattr("tests.support.golden_openai_agents.set_trace_processors", lambda _: None)
    journaled, theirs, ours = Journaled(tmp_path), Theirs(), Theirs()
    journaled.log.tracer_provider = ours.tracers
    request = theirs.tracers.get_tracer("program").start_span("request")
    with switched_on(name, theirs), trace.use_span(request, end_on_exit=True):
        run(journaled.log)
    around = request.get_span_context().span_id
    records = journaled.records()
    journaled.close()

    said = [one.getMessage() for one in caplog.records if one.name == "wakelog"]
    assert [name in one and "spans=False" in one for one in said] == [True] * spans
    of_program = 1 if framework == "mcp" else 0  # that scenario opens a run by hand
    assert (len(ours.ids) > of_program) is spans
    if framework in golden.FRAMEWORKS:
        kinds = [str(record.event_name).removeprefix("wakelog.") for record in records]
        assert kinds == [line[0] for line in golden.expected_events(framework)]
    if not spans and switched_on is not of_sdk:
        on = [int(record.span_id or "0", 16) for record in records]
        assert set(on) <= theirs.ids
        assert bool(set(on) - {around}) is (framework in ON_THEIRS)
