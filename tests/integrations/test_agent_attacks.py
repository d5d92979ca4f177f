"""Attacks on the adapters of agent frameworks: nothing that fails in them reaches the agent, and it is counted."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from agents import RunHooks, Runner
from mcp.client.session import ClientSession
from openai import AsyncOpenAI, OpenAI

from tests.support import golden
from tests.support.attack import ATTACKING, SEED
from tests.support.golden import Recorded
from tests.support.golden_claude import (
    AssistantMessage,
    ClaudeAgentOptions,
    ResultMessage,
    SystemMessage,
)
from wakelog import AgentLogger, MemorySink
from wakelog.integrations import clients, langchain, mcp, openai_agents
from wakelog.integrations._steps import Steps
from wakelog.integrations.claude import WakelogHooks
from wakelog.integrations.pydantic_ai import WakelogCapability

FRAMEWORKS = [*golden.FRAMEWORKS, "mcp"]


class Hostile:
    """An object of which nothing can be had."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def _fail(self, *_: Any) -> Any:
        raise ZeroDivisionError

    __str__ = __repr__ = __iter__ = __len__ = __getitem__ = __bool__ = __eq__ = _fail
    __hash__ = object.__hash__


HOSTILE: Any = Hostile()


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture(autouse=True)
def uninstalled() -> Iterator[None]:
    yield
    openai_agents.uninstall()
    langchain.uninstall()
    mcp.uninstall()


# --- A log that refuses --------------------------------------------------------------------------


class Full(AgentLogger):
    """Has no space for the events of some numbers."""

    no_space_for: Callable[[int], bool]
    of_program: tuple[str, ...] = ()
    counts: Counter[str]  # one also for the copies that adapters make

    def put(self, event: Any) -> None:
        if event.event_type not in self.of_program:
            self.counts["seen"] += 1
            if self.no_space_for(self.counts["seen"]):
                self.counts["lost"] += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().put(event)


def hold(framework: str, no_space_for: Callable[[int], bool]) -> tuple[list[str], Full, int]:
    """Hold the conversation over such a log; return what models and tools did, and what was counted."""
    log = Full(sink=MemorySink())
    log.no_space_for, log.counts = no_space_for, Counter()
    if framework == "mcp":
        log.of_program = ("run_start", "run_end", "decision")
    made: list[str] = []
    steps: list[Steps] = []
    initialise = Steps.__init__

    def noted(self: Steps, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        steps.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(golden, "effects", [made.append])
        patch.setattr(Steps, "__init__", noted)
        asyncio.run(golden.scenario_of(framework)(log))
    return made, log, sum(one.refused.total() for one in steps)


@pytest.mark.attack
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_log_that_refuses_any_event_changes_nothing_for_the_agent(framework: str) -> None:
    usual, log, _ = hold(framework, lambda number: False)
    events = range(1, log.counts["seen"] + 1)
    moments = events if ATTACKING else random.Random(SEED).sample(events, 3)

    for moment in moments:
        for no_space_for in (moment.__eq__, moment.__le__):
            made, log, counted = hold(framework, no_space_for)
            assert made == usual, moment
            assert counted == log.counts["lost"] >= 1, moment


# --- Objects of which nothing can be had ---------------------------------------------------------


def still_open(recorded: Recorded) -> list[str]:
    """Return the types of what has begun and has not ended."""
    types = Counter(event.event_type for event in recorded.events)
    pairs = {"run_start": "run_end", "model_call": "model_response", "tool_call": "tool_result"}
    return [begun for begun, ended in pairs.items() if types[begun] != types[ended]]


async def returned(*_: Any) -> Any:
    return HOSTILE


@pytest.mark.parametrize("streamed", [False, True])
def test_openai_agents(streamed: bool, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hooks(RunHooks):
        @property
        def on_something_new(self) -> Any:
            raise ZeroDivisionError

    callbacks = {
        "on_agent_start": 2,
        "on_llm_start": 4,
        "on_llm_end": 3,
        "on_tool_start": 3,
        "on_tool_end": 4,
        "on_handoff": 3,
        "on_agent_end": 3,
    }
    called: list[str] = []

    async def call(hooks: Any) -> None:
        for name, arguments in callbacks.items():
            await getattr(hooks, name)(*[HOSTILE] * arguments)
            called.append(name)

    async def run(
        cls: Any, starting_agent: Any, given: Any, *, hooks: Any = None, run_config: Any = None
    ) -> Any:
        await call(hooks)
        return HOSTILE

    async def events() -> AsyncIterator[Any]:
        yield HOSTILE

    class Result:
        def stream_events(self) -> Any:
            return events()

        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    def run_streamed(cls: Any, starting_agent: Any, given: Any, *, hooks: Any = None) -> Any:
        return Result()

    monkeypatch.setattr(Runner, "run", classmethod(run))
    monkeypatch.setattr(Runner, "run_streamed", classmethod(run_streamed))
    steps = openai_agents.install(recorded.log)

    async def main() -> None:
        for hooks in (None, Hooks()):
            given: Any = {"hooks": hooks, "run_config": HOSTILE}
            if not streamed:
                for asked in (HOSTILE, "hi"):
                    answer: Any = await Runner.run(HOSTILE, asked, **given)
                    assert answer is HOSTILE
                continue
            result: Any = Runner.run_streamed(HOSTILE, "hi", hooks=hooks)
            assert [one async for one in result.stream_events()] == [HOSTILE]

    asyncio.run(main())
    assert called == [*callbacks] * (0 if streamed else 4)
    assert steps.refused["ZeroDivisionError"] >= 2
    assert still_open(recorded) == []


def test_langchain(recorded: Recorded) -> None:
    handler = langchain.install(recorded.log)
    named = [name for name in vars(type(handler)) if name.startswith("on_")]
    assert len(named) >= 15

    for name in named:
        callback = getattr(handler, name)
        given: dict[str, Any] = {
            one.name: HOSTILE
            for one in inspect.signature(callback).parameters.values()
            if one.kind is not one.VAR_KEYWORD
        }
        if "run_id" in given or name.startswith("on_retriever"):
            given.update(run_id=uuid4(), parent_run_id=None, tags=HOSTILE)
        callback(**given)
    run, model, tool = uuid4(), uuid4(), uuid4()
    handler.on_chain_start({}, {}, run_id=run, name="desk")
    handler.on_chat_model_start({}, [[]], run_id=model, parent_run_id=run)
    handler.on_tool_start({"name": "lookup"}, "", run_id=tool, parent_run_id=run)
    handler.on_tool_end(HOSTILE, run_id=tool)
    handler.on_llm_end(HOSTILE, run_id=model)
    handler.on_chain_end(HOSTILE, run_id=run)

    assert handler.refused["ZeroDivisionError"] >= 10
    assert [event.event_type for event in recorded.events[-3:]] == [
        "tool_result",
        "model_response",
        "run_end",
    ]


def test_pydantic_ai(recorded: Recorded) -> None:
    capability = WakelogCapability(recorded.log)
    plain: Any = SimpleNamespace(prompt="hi")
    output = SimpleNamespace(output=type("DeferredToolRequests", (), {"approvals": [HOSTILE]})())

    async def waiting() -> Any:
        return output

    async def main() -> None:
        for ctx in (HOSTILE, plain):
            assert await capability.wrap_run(ctx, handler=returned) is HOSTILE
            assert await capability.wrap_run(ctx, handler=waiting) is output
            given: Any = {"request_context": ctx, "handler": returned}
            assert await capability.wrap_model_request(ctx, **given) is HOSTILE
            given = {"call": ctx, "tool_def": ctx, "args": ctx, "handler": returned}
            assert await capability.wrap_tool_execute(ctx, **given) is HOSTILE

    asyncio.run(main())
    assert capability.refused["ZeroDivisionError"] >= 6
    assert still_open(recorded) == []


def test_mcp(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    async def call_tool(self: Any, name: Any, arguments: Any = None, *, meta: Any = None) -> Any:
        return HOSTILE

    monkeypatch.setattr(ClientSession, "call_tool", call_tool)
    steps = mcp.install(recorded.log)
    middleware = mcp.WakelogMiddleware(recorded.log)
    asked = SimpleNamespace(method="tools/call", params=HOSTILE, meta={"wakelog_context": "{"})

    async def main() -> None:
        session: Any = None
        call: Any = ClientSession.call_tool
        assert await call(session, HOSTILE, HOSTILE, meta=HOSTILE) is HOSTILE
        assert await call(session, "lookup", {}) is HOSTILE
        for ctx in (HOSTILE, asked):
            assert await middleware(ctx, returned) is HOSTILE
        mcp.uninstall()
        assert await call(session, "lookup", {}) is HOSTILE  # of somebody who has kept the method

    asyncio.run(main())
    assert steps.refused["ZeroDivisionError"] >= 3
    assert middleware.refused["ZeroDivisionError"] >= 2
    assert still_open(recorded) == []


def test_claude(recorded: Recorded) -> None:
    hooks = WakelogHooks(recorded.log)

    async def ask(name: Any, given: Any, context: Any) -> Any:
        return HOSTILE

    options = hooks.added_to(ClaudeAgentOptions(can_use_tool=ask))
    assert len(options.hooks) >= 9

    async def messages() -> AsyncIterator[Any]:
        yield SystemMessage("init", {"session_id": "s-1"})
        yield HOSTILE
        broken: Any = AssistantMessage([HOSTILE], "m-1", usage=HOSTILE)
        yield broken
        yield ResultMessage("", is_error=HOSTILE)

    async def main() -> None:
        for matchers in options.hooks.values():
            for given in (HOSTILE, {"session_id": "s-1"}, {}):
                assert await matchers[0].hooks[0](given, None, None) == {}
        assert await options.can_use_tool(HOSTILE, HOSTILE, HOSTILE) is HOSTILE
        seen = [one async for one in hooks.watch(messages())]
        assert seen[1] is HOSTILE

    asyncio.run(main())
    assert hooks.refused["ZeroDivisionError"] >= 11
    assert still_open(recorded) == []


@pytest.mark.parametrize("stream", [False, True])
def test_clients(stream: bool, recorded: Recorded) -> None:
    def create(**given: Any) -> Any:
        return HOSTILE

    async def create_later(**given: Any) -> Any:
        return HOSTILE

    def create_stream(**given: Any) -> Any:
        return iter([HOSTILE])

    with OpenAI(api_key="k") as client:
        for made in (create, create_stream) if stream else (create,):
            fields: Any = client.chat.completions
            fields.create = made
            clients.record(client, recorded.log)
            answer = fields.create(model=HOSTILE, messages=HOSTILE, stream=stream)
            assert answer is HOSTILE or list(answer) == [HOSTILE]
            answer = fields.create(model="scripted", messages=HOSTILE, stream=stream)
            assert answer is HOSTILE or list(answer) == [HOSTILE]
            refused: Any = client
            assert refused.wakelog_refused["ZeroDivisionError"] >= 2

    async def main() -> None:
        async with AsyncOpenAI(api_key="k") as client:
            fields: Any = client.chat.completions
            fields.create = create_later
            clients.record(client, recorded.log)
            answer = await fields.create(model="scripted", messages=[], stream=stream)
            assert answer is HOSTILE

    asyncio.run(main())
    assert still_open(recorded) == []
