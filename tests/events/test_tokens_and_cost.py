"""Tokens and costs: as the provider counts and charges, and each call once in every total.

The usage objects are written by hand in the forms that the providers document; the prices are those that
they publish, per million tokens, and the sums are worked out here.
"""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.conftest import ROOT
from tests.support.journaled import Journaled
from tests.support.programs import environment
from wakelog import (
    AgentEvent,
    AgentLogger,
    AsyncAgentLogger,
    Budget,
    ConfigurationError,
    JSONLSink,
    LimitExceeded,
    MemorySink,
    UsageLimitError,
)
from wakelog.events import fields_of, usage_of
from wakelog.integrations.genai import WakelogCompletionHook
from wakelog.journal import read
from wakelog.logger import _prices
from wakelog.logger._prices import Prices, prices
from wakelog.viewer import load, totals


@dataclasses.dataclass
class Details:
    cached_tokens: int = 0
    audio_tokens: int = 0
    reasoning_tokens: int = 0


@dataclasses.dataclass
class CompletionUsage:
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: Details
    completion_tokens_details: Details


NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
MILLION = Decimal(1_000_000)


def dollars(*parts: tuple[int, str]) -> Decimal:
    """Adds up tokens at a price per million each."""
    return sum((tokens * Decimal(price) / MILLION for tokens, price in parts), Decimal(0))


# Provider, model, what the client gives, the tokens in the conventions' sense, and the sum.
SHAPES: dict[str, tuple[str, str, object, dict[str, int], Decimal | None]] = {
    "OpenAI, chat completions": (
        "openai", "gpt-4o-2024-08-06",
        CompletionUsage(1200, 300, 1500, Details(cached_tokens=1024), Details()),
        {"input_tokens": 1200, "output_tokens": 300, "cache_read_input_tokens": 1024},
        dollars((176, "2.50"), (1024, "1.25"), (300, "10")),
    ),
    "OpenAI, responses": (
        "openai", "gpt-5",
        {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 600},
         "output_tokens": 500, "output_tokens_details": {"reasoning_tokens": 384},
         "total_tokens": 1500},
        {"input_tokens": 1000, "output_tokens": 500, "cache_read_input_tokens": 600,
         "reasoning_output_tokens": 384},
        dollars((400, "1.25"), (600, "0.125"), (500, "10")),
    ),
    "OpenAI, realtime audio": (
        "openai", "gpt-realtime",
        {"total_tokens": 500, "input_tokens": 300, "output_tokens": 200,
         "input_token_details": {"text_tokens": 100, "audio_tokens": 200, "cached_tokens": 60,
                                 "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 40}},
         "output_token_details": {"text_tokens": 50, "audio_tokens": 150}},
        {"input_tokens": 300, "output_tokens": 200, "cache_read_input_tokens": 60,
         "text_input_tokens": 100, "audio_input_tokens": 200, "text_output_tokens": 50,
         "audio_output_tokens": 150, "text_cache_read_input_tokens": 20,
         "audio_cache_read_input_tokens": 40},
        dollars((80, "4"), (20, "0.40"), (160, "32"), (40, "0.40"), (50, "16"), (150, "64")),
    ),
    "Anthropic": (
        "anthropic", "claude-sonnet-4-5",
        {"input_tokens": 50, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 300,
         "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
         "output_tokens": 400, "service_tier": "standard"},
        {"input_tokens": 2350, "output_tokens": 400, "cache_read_input_tokens": 2000,
         "cache_write_input_tokens": 300, "cache_write_1h_input_tokens": 100},
        dollars((50, "3"), (2000, "0.30"), (200, "3.75"), (100, "6"), (400, "15")),
    ),
    "Gemini": (
        "gcp.gemini", "gemini-2.5-flash",
        {"promptTokenCount": 1000, "candidatesTokenCount": 200, "thoughtsTokenCount": 100,
         "toolUsePromptTokenCount": 50, "totalTokenCount": 1350, "cachedContentTokenCount": 400,
         "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 800},
                                 {"modality": "AUDIO", "tokenCount": 200}],
         "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 400}]},
        {"input_tokens": 1050, "output_tokens": 300, "cache_read_input_tokens": 400,
         "reasoning_output_tokens": 100, "text_input_tokens": 800, "audio_input_tokens": 200,
         "text_cache_read_input_tokens": 400},
        dollars((450, "0.30"), (200, "1.00"), (400, "0.03"), (300, "2.50")),
    ),
    "Bedrock, Converse": (
        "aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {"usage": {"inputTokens": 100, "outputTokens": 50, "totalTokens": 1350,
                   "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 200}},
        {"input_tokens": 1300, "output_tokens": 50, "cache_read_input_tokens": 1000,
         "cache_write_input_tokens": 200},
        dollars((100, "3.30"), (1000, "0.33"), (200, "4.125"), (50, "16.50")),
    ),
    "Cohere": (
        "cohere", "command-r-plus-08-2024",
        {"billed_units": {"input_tokens": 20.0, "output_tokens": 60.0},
         "tokens": {"input_tokens": 900.0, "output_tokens": 60.0}},
        {"input_tokens": 20, "output_tokens": 60},
        dollars((20, "2.50"), (60, "10")),
    ),
    "Mistral": (
        "mistral_ai", "mistral-large-2411",
        {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        {"input_tokens": 100, "output_tokens": 50},
        dollars((100, "2"), (50, "6")),
    ),
    "DeepSeek": (
        "deepseek", "deepseek-chat",
        {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
         "prompt_cache_hit_tokens": 640, "prompt_cache_miss_tokens": 360},
        {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 640},
        dollars((360, "0.27"), (640, "0.07"), (100, "1.10")),
    ),
    "xAI": (
        "x_ai", "grok-3-mini",
        {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
         "prompt_tokens_details": {"cached_tokens": 6},
         "completion_tokens_details": {"reasoning_tokens": 94}},
        {"input_tokens": 32, "output_tokens": 103, "cache_read_input_tokens": 6,
         "reasoning_output_tokens": 94},
        dollars((26, "0.30"), (6, "0.075"), (103, "0.50")),
    ),
    "Groq": (
        "groq", "llama-3.3-70b-versatile",
        {"queue_time": 0.02, "prompt_tokens": 200, "prompt_time": 0.01, "completion_tokens": 80,
         "completion_time": 0.1, "total_tokens": 280, "total_time": 0.11},
        {"input_tokens": 200, "output_tokens": 80},
        dollars((200, "0.59"), (80, "0.79")),
    ),
    "Ollama": (
        "ollama", "llama3.2",
        {"model": "llama3.2", "done": True, "prompt_eval_count": 26, "eval_count": 298},
        {"input_tokens": 26, "output_tokens": 298},
        None,  # it runs here
    ),
}  # fmt: skip
# Forms of libraries above the clients.
OTHERS: dict[str, tuple[object, dict[str, int]]] = {
    "LangChain": (
        {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14,
         "input_token_details": {"cache_read": 3, "cache_creation": 2, "audio": 1},
         "output_token_details": {"reasoning": 2}},
        {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 3,
         "cache_write_input_tokens": 2, "audio_input_tokens": 1, "reasoning_output_tokens": 2},
    ),
    "pydantic-ai": (
        {"input_tokens": 10, "output_tokens": 4, "cache_read_tokens": 3, "cache_write_tokens": 2,
         "input_audio_tokens": 1, "details": {"reasoning_tokens": 2}},
        {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 3,
         "cache_write_input_tokens": 2, "audio_input_tokens": 1, "reasoning_output_tokens": 2},
    ),
    "LiteLLM": (
        {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14,
         "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2},
        {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 3,
         "cache_write_input_tokens": 2},
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, {"input_tokens": 8, "output_tokens": 0}),
    "a total only": ({"total_tokens": 8}, {"input_tokens": 8}),
    "a whole response": (
        {"id": "r", "usage": {"input_tokens": 1, "output_tokens": 2}},
        {"input_tokens": 1, "output_tokens": 2},
    ),
    "Gemini's objects": (
        {"usage_metadata": {"prompt_token_count": 5, "candidates_token_count": None,
                            "thoughts_token_count": 2}},
        {"input_tokens": 5, "output_tokens": 2, "reasoning_output_tokens": 2},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def priced() -> Prices:
    return prices()


@pytest.mark.parametrize("name", SHAPES)
def test_tokens_and_costs_are_the_providers_own(name: str, priced: Prices) -> None:
    provider, model, given, usage, cost = SHAPES[name]

    assert usage_of(given) == usage
    assert priced.cost_of(usage, model, provider, NOON) == cost


@pytest.mark.parametrize("name", OTHERS)
def test_other_forms_are_counted_the_same_way(name: str) -> None:
    given, usage = OTHERS[name]

    assert usage_of(given) == usage


@pytest.mark.parametrize(
    "given",
    [None, 5, "many", [], {}, {"other": 1}, object(), {"usage": {"usage": {"usage": {}}}},
     {"input_tokens": -1, "output_tokens": True}],
)  # fmt: skip
def test_what_is_no_usage_is_none_and_raises_nothing(given: object) -> None:
    assert set(usage_of(given).values()) <= {0}


def test_what_is_not_known_of_a_usage_is_kept_as_content() -> None:
    sink = MemorySink()
    with AgentLogger(sink=sink).model("m", "p") as call:
        call.respond(usage={"units": 3})

    assert sink.events[-1].payload == {"usage": {"units": 3}}


def test_a_price_that_is_not_known_is_said_once_and_never_0(
    priced: Prices, caplog: pytest.LogCaptureFixture
) -> None:
    usage = {"input_tokens": 10, "output_tokens": 1}
    priced.unpriced.clear()

    for _ in range(2):
        assert priced.cost_of(usage, "gpt-99-unheard-of", "openai", NOON) is None
    assert priced.cost_of(usage, "gpt-4o", None, NOON) is None, "nobody guesses whose model it is"
    assert (
        priced.cost_of({"input_tokens": 1, "cache_read_input_tokens": 5}, "gpt-4o", "openai")
        is None
    )

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert priced.unpriced["openai", "gpt-99-unheard-of"] == 2
    assert priced.cost_of(usage, "my-tune", "openai", NOON, otherwise="gpt-4o") is not None


def test_costs_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("genai_prices"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(_prices, "_loaded", None)
    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(ConfigurationError, match=r"wakelog\[prices\]"):
        AgentLogger(costs=True)


# --- what is recorded ----------------------------------------------------------------------------


def test_a_response_takes_the_clients_object_and_its_price_is_on_the_record(
    tmp_path: Path,
) -> None:
    provider, model, given, usage, cost = SHAPES["OpenAI, chat completions"]
    sink = MemorySink()
    log = AgentLogger(sink=sink, costs=True)
    with log.model(model, provider) as call:
        call.respond("hi", usage=given, output_tokens=usage["output_tokens"])
    log.model_response(provider, model, {"output_messages": "hi"}, usage=given)
    log.model_response(provider, model, {"cost_usd": 0.5}, usage=given)

    by_block, by_hand, own = (fields_of(event)["attributes"] for event in sink.events[1:])

    for attributes in (by_block, by_hand):
        assert attributes["gen_ai.usage.input_tokens"] == 1200
        assert attributes["gen_ai.usage.cache_read.input_tokens"] == 1024
        assert Decimal(str(attributes["wakelog.cost.usd"])) == cost
        assert attributes["wakelog.cost.prices"].startswith("genai-prices ")
        assert "wakelog.payload" not in attributes
    assert own["wakelog.cost.usd"] == 0.5
    assert "wakelog.cost.prices" not in own


def test_without_the_choice_nothing_is_priced() -> None:
    sink = MemorySink()
    log = AgentLogger(sink=sink)
    log.model_response("openai", "gpt-4o", usage={"input_tokens": 1, "output_tokens": 1})

    assert "wakelog.cost.usd" not in fields_of(sink.events[0])["attributes"]


def test_what_an_instrumentation_says_is_priced_and_gets_todays_names() -> None:
    said: dict[str, Any] = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.input_tokens": 2350,
        "gen_ai.usage.output_tokens": 400, "gen_ai.usage.cache_read.input_tokens": 2000,
        "gen_ai.usage.cache_creation.input_tokens": 300, "gen_ai.workflow.name": "trip",
    }  # fmt: skip
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("theirs")
    sink = MemorySink()
    hook = WakelogCompletionHook(AgentLogger(sink=sink, costs=True))

    with tracer.start_as_current_span("chat", attributes=said) as span:
        hook.on_completion(inputs=[], outputs=[], system_instruction=[], span=span)

    attributes = fields_of(sink.events[0])["attributes"]
    assert attributes["gen_ai.usage.cache_write.input_tokens"] == 300
    assert attributes["wakelog.workflow.name"] == "trip"
    assert not {*said} & {"gen_ai.usage.cache_creation.input_tokens"} & set(attributes)
    cost = dollars((50, "3"), (2000, "0.30"), (300, "3.75"), (400, "15"))
    assert Decimal(str(attributes["wakelog.cost.usd"])) == cost


# --- totals --------------------------------------------------------------------------------------


def test_leaves_add_up_to_every_total_and_no_parent_counts_twice(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AgentLogger("main", sink=JSONLSink(path), costs=True)
    cost: dict[str, Decimal] = {}

    def ask(name: str) -> None:
        provider, model, given, _, _ = SHAPES[name]
        with log.model(model, provider) as call:
            call.respond(usage=given)

    with log.run(session_id="s-1", run_id="outer"):
        ask("OpenAI, chat completions")
        with log.tool("research"), log.run(agent="helper", run_id="inner"):
            ask("Anthropic")
            ask("Anthropic")
    # A router that repeats what the call inside it has used.
    with log.run(session_id="s-2", run_id="routed"), log.model("router", "openai") as outer:
        ask("Mistral")
        outer.respond(usage=SHAPES["Mistral"][2], cost_usd=9.0)
    # A run that says what it has used, with nothing inside.
    log.emit("run_end", {"input_tokens": 7}, run_id="remote", attributes={
        "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 1})  # fmt: skip

    found = totals(load(path))

    cost = {name: shape[4] or Decimal(0) for name, shape in SHAPES.items()}
    openai, twice, mistral = (
        cost["OpenAI, chat completions"], 2 * cost["Anthropic"], cost["Mistral"],
    )  # fmt: skip
    assert found.all.calls == 5
    assert found.all.cost_usd == openai + twice + mistral
    assert found.all.usage["input_tokens"] == 1200 + 2 * 2350 + 100 + 7
    assert found.all.unpriced == 1
    assert found.runs["outer"].cost_usd == openai + twice
    assert found.runs["inner"].cost_usd == twice
    assert found.runs["routed"].calls == 1
    assert found.runs["remote"].usage["input_tokens"] == 7
    assert found.tools["research"].cost_usd == twice
    assert found.agents["helper"].cost_usd == twice
    assert found.models["claude-sonnet-4-5"].calls == 2
    assert "router" not in found.models
    for parts in (found.sessions, found.agents, found.models):
        assert sum(one.cost_usd for one in parts.values()) == found.all.cost_usd
        assert sum(one.calls for one in parts.values()) == found.all.calls
        for key in found.all.usage:
            assert sum(one.usage[key] for one in parts.values()) == found.all.usage[key]


# --- budgets -------------------------------------------------------------------------------------


def answer(log: AgentLogger, tokens: int) -> None:
    with log.model("m", "p") as call:
        call.respond("x", input_tokens=tokens, output_tokens=1)


def test_an_overrun_budget_is_recorded_and_told_once_and_nothing_is_raised() -> None:
    sink = MemorySink()
    told: list[LimitExceeded] = []
    log = AgentLogger(sink=sink)
    budget = Budget(input_tokens=100, tokens=1000, on_limit=told.append)

    with log.run(budget=budget) as run_id:
        for tokens in (60, 40, 1, 50):
            answer(log, tokens)
    answer(log, 10_000)

    exceeded = LimitExceeded("input_tokens", 100, 101, run_id)
    assert told == [exceeded]
    (event,) = [one for one in sink.events if one.event_type == "usage_limit_exceeded"]
    assert event.payload == {"kind": "input_tokens", "limit": 100, "observed": 101}
    assert event.run_id == run_id


def test_an_enforced_budget_stops_the_call_and_what_was_used_is_recorded() -> None:
    sink = MemorySink()
    log = AgentLogger(sink=sink)

    with (
        pytest.raises(UsageLimitError, match="used 11 of 10 tokens"),
        log.run(budget=Budget(tokens=10, enforce=True)),
    ):
        answer(log, 10)

    types = [event.event_type for event in sink.events]
    assert types == [
        "run_start", "model_call", "model_response", "usage_limit_exceeded", "error", "run_end",
    ]  # fmt: skip

    def asks_twice() -> None:
        with log.run(budget=Budget(model_calls=1, enforce=True)):
            answer(log, 1)
            answer(log, 1)

    with pytest.raises(UsageLimitError, match="model_calls"):
        asks_twice()
    *_, call, exceeded, response, error, end = sink.events
    assert (call.event_type, exceeded.event_type) == ("model_call", "usage_limit_exceeded")
    assert (response.event_type, response.status) == ("model_response", "error")
    assert response.payload == {"error_type": "wakelog.errors.UsageLimitError"}
    assert (error.event_type, end.event_type) == ("error", "run_end")


def fails(_: LimitExceeded) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "budget, raised",
    [
        (Budget(tool_calls=0, enforce=True), UsageLimitError),
        (Budget(tool_calls=0, on_limit=fails), ZeroDivisionError),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_that_a_budget_stops_before_it_runs_has_a_known_outcome(
    budget: Budget, raised: type[Exception], is_async: bool
) -> None:
    sink = MemorySink()
    log = AgentLogger(sink=sink)

    async def main() -> None:
        slow = AsyncAgentLogger.over(log)
        async with slow.run(budget=budget), slow.tool("pay"):
            raise AssertionError

    with pytest.raises(raised):  # noqa: PT012 - the blocks are the point
        if is_async:
            asyncio.run(main())
        else:
            with log.run(budget=budget), log.tool("pay"):
                raise AssertionError

    (call,) = [one for one in sink.events if one.event_type == "tool_call"]
    (result,) = [one for one in sink.events if one.event_type == "tool_result"]
    assert (result.parent_event_id, result.status) == (call.event_id, "error")


def test_what_a_sub_agent_uses_counts_for_every_run_around_it() -> None:
    told: list[LimitExceeded] = []
    log = AgentLogger(sink=MemorySink())
    outer = Budget(cost_usd=Decimal("0.30"), on_limit=told.append)
    inner = Budget(cost_usd=0.15, tool_calls=1, on_limit=told.append)

    with log.run(budget=outer, run_id="outer"):
        for _ in range(3):
            with log.run(budget=inner, run_id="inner"), log.tool("t"):
                log.model_response("p", "m", {"cost_usd": 0.1})
                log.model_response("p", "m", {"cost_usd": 0.01})
    with log.run(budget=inner, run_id="again"), log.tool("t"), log.tool("t"):
        pass

    assert [(one.kind, one.run_id) for one in told] == [
        ("cost_usd", "outer"), ("tool_calls", "again"),
    ]  # fmt: skip
    assert told[0].observed == pytest.approx(0.32)


def test_an_enforced_budget_leaves_the_programs_own_exception_alone() -> None:
    log = AgentLogger(sink=MemorySink())

    def fails() -> None:
        with log.run(budget=Budget(tokens=1, enforce=True)), log.model("m") as call:
            call.respond("x", input_tokens=5)
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        fails()

    assert any("budget" in note for note in caught.value.__notes__)


def test_budgets_hold_for_asyncio_too(tmp_path: Path) -> None:
    it = Journaled(tmp_path, durability="fsync")
    log = AsyncAgentLogger.over(it.log)

    async def main() -> None:
        async with log.run(budget=Budget(tokens=5, enforce=True)):
            await log.model_response("p", "m", {"input_tokens": 9})

    with pytest.raises(UsageLimitError):
        asyncio.run(main())

    assert it.records()[2].event_name == "wakelog.usage_limit_exceeded"
    it.close()


@pytest.mark.parametrize("limit", [-1, "5", float("nan"), float("inf"), True])
def test_what_is_no_limit_is_refused_by_its_name(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="tokens="):
        Budget(tokens=limit)


def test_a_sum_that_is_given_as_a_decimal_counts_and_leaves_as_a_number() -> None:
    sink, told = MemorySink(), list[LimitExceeded]()
    log = AgentLogger(sink=sink)

    with (
        log.run(budget=Budget(cost_usd=Decimal("0.1"), on_limit=told.append)),
        log.model("m") as call,
    ):
        call.respond(cost_usd=Decimal("0.25"))
    log.model_response("p", "m", {"cost_usd": Decimal("0.25")})

    assert [one.observed for one in told] == [0.25]
    costs = [
        fields_of(event)["attributes"]["wakelog.cost.usd"]
        for event in sink.events
        if event.event_type == "model_response"
    ]
    assert costs == [0.25, 0.25]
    assert {type(cost) for cost in costs} == {float}


def test_the_events_of_a_budget_are_plain() -> None:
    event = AgentEvent("usage_limit_exceeded", payload={"kind": "cost_usd", "limit": 1.5})

    assert fields_of(event)["attributes"]["wakelog.usage_limit.limit"] == 1.5


# --- the example ---------------------------------------------------------------------------------

EXAMPLE = ROOT / "examples" / "tokens_and_replay.py"


def test_the_example_adds_up_the_same_when_it_is_replayed(tmp_path: Path) -> None:
    said = [
        subprocess.run(
            [sys.executable, str(EXAMPLE), "--directory", str(tmp_path / "journal")],
            env=environment(), check=True, stdout=subprocess.PIPE, text=True, timeout=60,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip

    assert said[0] == said[1]
    assert "3 calls: 5900 in, 1100 out" in said[0]
    names = [entry.record.event_name for entry in read(tmp_path / "journal")]
    assert names.count("gen_ai.evaluation.result") == 2
    assert len(names) == 2 * 3 + 2 * 3 + 2 + 1 + 1 + 2
