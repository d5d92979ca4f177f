"""Adapters of agent frameworks: what the golden conversation has no occasion for."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from agents import Agent, RunConfig, RunHooks, Runner, function_tool
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from openai import OpenAI
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai import DeferredToolRequests, DeferredToolResults, ToolDenied
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

from tests.support import golden_claude, golden_langchain
from tests.support.golden import Recorded
from tests.support.golden_openai_agents import Scripted, _call, _said
from tests.support.model_server import completion, model_server
from wakelog import AsyncAgentLogger
from wakelog.integrations import clients, langchain, mcp, openai_agents
from wakelog.integrations.claude import WakelogHooks
from wakelog.integrations.pydantic_ai import WakelogCapability


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def of(recorded: Recorded, *types: str) -> list[tuple[str, str | None, str | None]]:
    return [
        (event.event_type, event.tool_name, event.status)
        for event in recorded.events
        if event.event_type in types
    ]


# --- OpenAI Agents -------------------------------------------------------------------------------


@pytest.fixture
def agents(recorded: Recorded) -> Any:
    steps = openai_agents.install(recorded.log)
    yield steps
    openai_agents.uninstall()


QUIET = RunConfig(tracing_disabled=True)


def test_the_hooks_of_the_program_are_called_as_well(recorded: Recorded, agents: Any) -> None:
    called = []

    class Hooks(RunHooks):
        async def on_agent_start(self, *_: Any) -> None:
            called.append("agent_start")

        async def on_llm_end(self, *_: Any) -> None:
            called.append("llm_end")

        async def on_tool_start(self, *_: Any) -> None:
            called.append("tool_start")

        async def on_something_new(self) -> str:
            return "new"

    @function_tool
    async def search(q: str) -> str:
        """Searches."""
        return q

    hooks = Hooks()
    model = Scripted(_call("search", "c1"), _said("yes"))
    agent = Agent(name="clerk", model=model, tools=[search])
    asyncio.run(Runner.run(agent, "hi", hooks=hooks, run_config=QUIET))

    assert called == ["agent_start", "llm_end", "tool_start", "llm_end"]
    observer = openai_agents._Observer(agents, hooks, None)
    new: Any = observer
    assert asyncio.run(new.on_something_new()) == "new"
    with pytest.raises(TypeError):
        asyncio.run(Runner.run(agent, "hi", hooks="no hooks", run_config=QUIET))  # type: ignore[arg-type]


def test_an_approval_that_is_refused(recorded: Recorded, agents: Any) -> None:
    @function_tool(needs_approval=True)
    async def refund(order: str) -> str:
        """Gives the money back."""
        raise NotImplementedError

    async def main() -> None:
        agent = Agent(
            name="clerk", model=Scripted(_call("refund", "c1"), _said("sorry")), tools=[refund]
        )
        asked = await Runner.run(agent, "hi", run_config=QUIET)
        state = asked.to_state()
        state.reject(asked.interruptions[0])
        await Runner.run(agent, state, run_config=QUIET)

    asyncio.run(main())

    assert of(recorded, "human_approval", "tool_call") == [
        ("human_approval", "refund", "requested"),
        ("human_approval", "refund", "rejected"),
    ]


def test_a_model_that_fails_fails_the_run(recorded: Recorded, agents: Any) -> None:
    agent = Agent(name="clerk", model=Scripted())  # its script is at its end

    loop = asyncio.new_event_loop()  # the SDK leaves its own open
    asyncio.set_event_loop(loop)
    try:
        with pytest.raises(IndexError):
            Runner.run_sync(agent, "hi", run_config=QUIET)
    finally:
        loop.close()
        asyncio.set_event_loop(None)

    assert of(recorded, "model_response", "run_end") == [
        ("model_response", None, "error"),
        ("run_end", None, "error"),
        ("run_end", None, "error"),
    ]


# --- Mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "switch",
    [
        openai_agents.install,
        langchain.install,
        langchain.WakelogCallbackHandler,
        WakelogCapability,
        WakelogHooks,
        mcp.install,
        mcp.WakelogMiddleware,
        lambda log: clients.record(OpenAI(api_key="k"), log),
    ],
)
@pytest.mark.parametrize("log", ["support", AsyncAgentLogger()])
def test_what_is_no_logger_is_said_at_once(switch: Any, log: Any) -> None:
    named = type(log).__name__

    with pytest.raises(TypeError, match=f"log must be an AgentLogger, not {named}; leave it out"):
        switch(log)


def test_what_is_switched_on_twice_is_recorded_once(recorded: Recorded) -> None:
    handler = langchain.WakelogCallbackHandler(recorded.log)
    langchain.install(recorded.log)
    golden_langchain.Scripted(turns=[AIMessage("yes")]).invoke("hi", {"callbacks": [handler]})
    langchain.uninstall()
    with model_server() as script, OpenAI(api_key="k", base_url=script.url) as client:
        script.answers = [completion("yes")]
        clients.record(clients.record(client, recorded.log), recorded.log)
        client.chat.completions.create(model="scripted", messages=[])
    first, hooks = (WakelogHooks(recorded.log) for _ in range(2))
    options = first.added_to(golden_claude.ClaudeAgentOptions(can_use_tool=len))
    program = golden_claude.StandIn(hooks.added_to(options))

    async def talk() -> None:
        async for _ in hooks.watch(program.talk("hi")):
            pass

    asyncio.run(talk())

    assert [event.event_type for event in recorded.events] == [
        *(["model_call", "model_response"] * 2),
        *("run_start", "model_call", "model_response", "run_end"),
    ]


# --- LangChain and LangGraph ---------------------------------------------------------------------


@pytest.fixture
def handler(recorded: Recorded) -> Any:
    yield langchain.install(recorded.log)
    langchain.uninstall()


def test_retries_searches_and_events_of_the_program(recorded: Recorded, handler: Any) -> None:
    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return [Document("the book", metadata={"place": 3})]

    attempts: list[int] = []

    def work(_: Any) -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise TimeoutError
        dispatch_custom_event("halfway", {"done": 1})
        Shelf().invoke("books")
        return "done"

    again = RunnableLambda(work).with_retry(stop_after_attempt=2, wait_exponential_jitter=False)
    (again | RunnableLambda(lambda said: said)).invoke("go")

    kinds = [event.event_type for event in recorded.events]
    assert kinds[0] == "run_start"
    assert kinds[-1] == "run_end"
    [retry] = [event for event in recorded.events if event.event_type == "warning"]
    assert retry.payload == {"kind": "retry", "attempt": 1}
    [found] = [event for event in recorded.events if event.event_type == "retrieval_result"]
    assert found.payload["result"] == [{"content": "the book", "metadata": {"place": 3}}]
    [halfway] = [event for event in recorded.events if event.event_type == "custom"]
    assert halfway.payload == {"name": "halfway", "data": {"done": 1}}
    assert halfway.run_id == recorded.events[0].run_id


IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    "given, expected",
    [
        (
            ToolMessage("paid", tool_call_id="c1"),
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": "c1", "response": "paid"}],
            },
        ),
        (
            # The call is among the blocks of the content too, and is recorded once.
            AIMessage(
                [
                    {"type": "text", "text": "I look it up."},
                    {"type": "tool_use", "id": "c1", "name": "lookup", "input": {"order": "7"}},
                ],
                tool_calls=[{"name": "lookup", "args": {"order": "7"}, "id": "c1"}],
            ),
            {
                "role": "assistant",
                "parts": [
                    {"type": "text", "content": "I look it up."},
                    {
                        "type": "tool_call",
                        "id": "c1",
                        "name": "lookup",
                        "arguments": {"order": "7"},
                    },
                ],
            },
        ),
        (
            AIMessage([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}]),
            {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm"}]},
        ),
        (
            # LangChain hands images over in the form that OpenAI has for them.
            HumanMessage(["look", {"type": "image", "url": IMAGE["image_url"]["url"]}]),
            {"role": "user", "parts": [{"type": "text", "content": "look"}, IMAGE]},
        ),
    ],
)
def test_each_form_of_a_message_is_recorded(
    given: Any, expected: Any, recorded: Recorded, handler: Any
) -> None:
    # A provider's block may have no type.
    golden_langchain.Scripted(turns=[AIMessage([{"text": "yes"}])]).invoke([given])

    [asked, said] = recorded.events
    assert asked.payload["input_messages"] == [expected]
    assert said.payload["output_messages"] == [{"role": "assistant", "parts": [{"text": "yes"}]}]
    assert handler.refused == {}


def test_a_model_that_goes_on_from_a_text_is_recorded(recorded: Recorded, handler: Any) -> None:
    FakeListLLM(responses=["paid"]).invoke("The order is")

    [asked, said] = recorded.events
    assert asked.payload["input_messages"] == "The order is"
    assert recorded.spans() == [(0, "text_completion FakeListLLM")]
    parts = [{"type": "text", "content": "paid"}]
    assert said.payload["output_messages"] == [{"role": "assistant", "parts": parts}]


REFUND: dict[str, Any] = {"action": "refund", "args": {"order": "7"}}


@pytest.mark.parametrize(
    "asked, answer, decision",
    [
        ({"action_requests": [REFUND]}, {"decisions": [{"type": "approve"}]}, "approved"),
        ({"action_requests": [REFUND]}, {"decisions": [{"type": "reject"}]}, "rejected"),
        ([{"action_request": REFUND}], [{"type": "accept"}], "approved"),
        ([{"action_request": REFUND}], [{"type": "edit", "args": REFUND}], "edited"),
        ([{"action_request": REFUND}], {"type": "ignore"}, "rejected"),
        ([{"action_request": REFUND}], True, "approved"),
        ([{"action_request": REFUND}], False, "rejected"),
        ([{"action_request": REFUND}], "do as you like", "answered"),
        ([{"action_request": REFUND}], {"by its id": {"decisions": [{"type": "edit"}]}}, "edited"),
    ],
)
def test_what_a_person_answers_is_recorded_in_each_of_its_forms(
    asked: Any, answer: Any, decision: str, recorded: Recorded, handler: Any
) -> None:
    def approve(_: Any) -> Any:
        interrupt(asked)
        return {"messages": []}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("approve", approve)
    graph.add_edge(START, "approve")
    graph.add_edge("approve", END)
    support = graph.compile(name="support", checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    [waiting] = support.invoke({"messages": [HumanMessage("hi")]}, config)["__interrupt__"]
    if isinstance(answer, dict) and "by its id" in answer:
        answer = {waiting.id: answer["by its id"]}
    support.invoke(Command(resume=answer), config)

    said = [event for event in recorded.events if event.event_type == "human_approval"]
    assert [(event.status, event.tool_name) for event in said] == [
        ("requested", "refund"),
        (decision, "refund"),
    ]
    assert said[0].payload["args"] == {"order": "7"}


def test_graphs_in_many_threads_keep_their_own(recorded: Recorded, handler: Any) -> None:
    def run(number: int) -> None:
        model = golden_langchain.Scripted(turns=[AIMessage(str(number))])
        graph: Any = StateGraph(MessagesState)
        graph.add_node("think", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_edge(START, "think")
        graph.add_edge("think", END)
        graph.compile(name=f"graph {number}").invoke({"messages": [HumanMessage("hi")]})

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number in range(8):
        [start] = [
            event
            for event in recorded.events
            if event.event_type == "run_start" and event.workflow_name == f"graph {number}"
        ]
        inside = [event for event in recorded.events if event.run_id == start.run_id]
        assert [event.event_type for event in inside] == [
            "run_start",
            "model_call",
            "model_response",
            "run_end",
        ]
        assert inside[2].payload["output_messages"][0]["parts"][0]["content"] == str(number)


def test_an_interrupt_that_is_no_approval(recorded: Recorded, handler: Any) -> None:
    graph: Any = StateGraph(MessagesState)
    graph.add_node("ask", lambda state: {"messages": [AIMessage(interrupt("which one?"))]})
    graph.add_edge(START, "ask")
    compiled = graph.compile(name="asking", checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t-1"}}

    compiled.invoke({"messages": [HumanMessage("hi")]}, config)
    answer: Any = Command(resume="the red one")
    compiled.invoke(answer, config)

    [asked] = [event for event in recorded.events if event.event_type == "interrupt"]
    assert asked.payload == {"kind": "interrupt", "value": "which one?"}
    assert of(recorded, "run_end", "human_approval") == [
        ("run_end", None, "interrupted"),
        ("run_end", None, "success"),
    ]
    assert {event.session_id for event in recorded.events} == {"t-1"}


# --- Pydantic AI ---------------------------------------------------------------------------------


def test_a_denied_tool_call_and_what_a_tool_records(recorded: Recorded) -> None:
    turns = [
        ModelResponse(parts=[ToolCallPart("refund", {"order": "7"}, "c1")]),
        ModelResponse(parts=[ToolCallPart("lookup", {"order": "7"}, "c2")]),
        ModelResponse(parts=[TextPart("sorry")]),
    ]

    async def answer(messages: Any, info: Any) -> ModelResponse:
        return turns.pop(0)

    agent: Any = PydanticAgent(
        FunctionModel(answer, model_name="scripted"),
        name="clerk",
        capabilities=[WakelogCapability(recorded.log)],
        output_type=[str, DeferredToolRequests],
    )

    @agent.tool_plain(requires_approval=True)
    def refund(order: str) -> str:
        raise NotImplementedError

    @agent.tool_plain
    def lookup(order: str) -> str:
        recorded.log.decision("it is paid")
        return "paid"

    async def main() -> None:
        asked = await agent.run("hi")
        denied = DeferredToolResults(approvals={"c1": ToolDenied("too much")})
        await agent.run(message_history=asked.all_messages(), deferred_tool_results=denied)

    asyncio.run(main())

    assert of(recorded, "human_approval", "tool_call") == [
        ("human_approval", "refund", "requested"),
        ("human_approval", "refund", "rejected"),
        ("tool_call", "lookup", "started"),
    ]
    [decision] = [event for event in recorded.events if event.event_type == "decision"]
    [call] = [event for event in recorded.events if event.event_type == "tool_call"]
    assert decision.parent_event_id == call.event_id
