"""The golden conversation with Claude's Agent SDK.

Here the SDK is a stand-in that calls hooks and yields messages as the real one does, by its types' names and fields
(version 0.2.189); `python -m scripts.framework_versions claude` holds a conversation with the real one.
Where there is no hand-off, ``desk`` gives work to a sub-agent, and an approval is answered while the run waits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.golden import CLERK, DELEGATE, DESK, LOOKUP, MODEL, REFUND
from wakelog import AgentLogger
from wakelog.integrations.claude import WakelogHooks

SESSION = "s-1"


@dataclass
class ClaudeAgentOptions:
    hooks: dict[str, list[Any]] | None = None
    can_use_tool: Callable[..., Any] | None = None


@dataclass
class SystemMessage:
    subtype: str
    data: dict[str, Any]


@dataclass
class TextBlock:
    text: str


@dataclass
class ToolUseBlock:
    id: str
    name: str
    input: dict[str, Any]


@dataclass
class AssistantMessage:
    content: list[Any]
    message_id: str
    parent_tool_use_id: str | None = None
    model: str = MODEL
    error: str | None = None
    stop_reason: str | None = None
    session_id: str = SESSION
    usage: dict[str, Any] = field(default_factory=lambda: {"input_tokens": 12, "output_tokens": 3})


@dataclass
class ResultMessage:
    result: str
    subtype: str = "success"
    is_error: bool = False
    session_id: str = SESSION
    terminal_reason: str | None = "completed"


@dataclass
class PermissionResultAllow:
    behavior: str = "allow"


@dataclass
class ToolPermissionContext:
    tool_use_id: str


class StandIn:
    """Does what the SDK's program does for one prompt, in its order."""

    def __init__(self, options: ClaudeAgentOptions) -> None:
        self._options = options

    async def _hook(self, event: str, **given: Any) -> None:
        said = {"session_id": SESSION, "hook_event_name": event, **given}
        for matcher in (self._options.hooks or {}).get(event, ()):
            for hook in matcher.hooks:
                assert await hook(said, given.get("tool_use_id"), None) == {}

    async def _call(
        self, name: str, call_id: str, *, error: str | None = None, ask: bool = False, **more: Any
    ) -> None:
        given = {"tool_name": name, "tool_input": {"order": "7"}, "tool_use_id": call_id, **more}
        await self._hook("PreToolUse", **given)
        if ask:
            assert self._options.can_use_tool is not None
            await self._hook("PermissionRequest", **given)
            context = ToolPermissionContext(call_id)
            await self._options.can_use_tool(name, given["tool_input"], context)
        if error is None:
            await self._hook("PostToolUse", tool_response="paid", **given)
        else:
            await self._hook("PostToolUseFailure", error=error, **given)

    async def query(self, prompt: str) -> AsyncIterator[Any]:
        yield SystemMessage("init", {"session_id": SESSION})
        await self._hook("UserPromptSubmit", prompt=prompt)
        for attempt, error in (("c1", "no such order"), ("c2", None)):
            yield AssistantMessage([ToolUseBlock(attempt, LOOKUP, {"order": "7"})], f"m-{attempt}")
            await self._call(LOOKUP, attempt, error=error)
        yield AssistantMessage([TextBlock("To the clerk.")], "m-3")
        asked = {"subagent_type": CLERK}
        yield AssistantMessage([ToolUseBlock("c3", DELEGATE, asked)], "m-3")
        task = {"tool_name": DELEGATE, "tool_input": asked, "tool_use_id": "c3"}
        await self._hook("PreToolUse", **task)
        agent = {"agent_id": "a-1", "agent_type": CLERK}
        await self._hook("SubagentStart", **agent)
        call = ToolUseBlock("c4", REFUND, {"order": "7"})
        yield AssistantMessage([call], "m-a", parent_tool_use_id="c3")
        await self._call(REFUND, "c4", ask=True, **agent)
        # The SDK keeps an answer of a sub-agent to itself where it does not ask for a tool.
        await self._hook("SubagentStop", last_assistant_message="refunded", **agent)
        await self._hook("PostToolUse", tool_response="refunded", **task)
        yield AssistantMessage([TextBlock("Your money is on its way.")], "m-4")
        await self._hook("Stop", stop_hook_active=False)
        yield ResultMessage("Your money is on its way.")

    async def talk(self, prompt: str) -> AsyncIterator[Any]:
        yield SystemMessage("init", {"session_id": SESSION})
        await self._hook("UserPromptSubmit", prompt=prompt)
        yield AssistantMessage([TextBlock("Once")], "m-5")
        yield AssistantMessage([TextBlock(" upon a time")], "m-5")


async def scenario(log: AgentLogger) -> None:
    hooks = WakelogHooks(log, agent=DESK)

    async def can_use_tool(name: str, given: Any, context: Any) -> Any:
        return PermissionResultAllow()

    stand_in = StandIn(hooks.added_to(ClaudeAgentOptions(can_use_tool=can_use_tool)))
    async for _ in hooks.watch(stand_in.query("I want my money back.")):
        pass
    as_clerk = WakelogHooks(log, agent=CLERK)
    talking = StandIn(as_clerk.added_to(ClaudeAgentOptions()))
    stream: Any = as_clerk.watch(talking.talk("Tell me more."))
    async for message in stream:
        if type(message) is AssistantMessage:
            break
    await stream.aclose()
