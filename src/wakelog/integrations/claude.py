"""Claude's Agent SDK: runs, sub-agents, tool calls, permissions, compaction and model calls.

Options pass through ``WakelogHooks.added_to``, and messages through its ``watch``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from wakelog.integrations._messages import call_part, message, text_part
from wakelog.integrations._steps import Instrumentor, OpenStep, Steps
from wakelog.logger import AgentLogger, ReportedError

__all__ = ["WakelogHooks"]

_PROVIDER: Final = "anthropic"
_OTHERS: Final = (
    Instrumentor("openinference.instrumentation.claude_agent_sdk", "ClaudeAgentSDKInstrumentor"),
)


@dataclasses.dataclass
class _Matcher:
    """Imitates the SDK's ``HookMatcher``, because importing the SDK needs a program of 385 MB."""

    hooks: list[Callable[..., Any]]
    matcher: str | None = None
    timeout: float | None = None


class _Conversation:
    """One session: its run, and the current response of the model."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.answer: dict[str, Any] | None = None
        # Types of sub-agents by the ids of the calls that start them, and their ids by the same.
        self.delegations: dict[str, str] = {}
        self.agents: dict[str, str] = {}

    @property
    def run(self) -> tuple[object, str]:
        """The key of its run."""
        return (self, "run")


class WakelogHooks:
    """Records what the SDK's hooks and messages report; one instance serves any number of sessions.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider.
        agent: The name of the agent, which the SDK does not report.
        spans: Whether to open spans; if not, events are on the current spans.
    """

    def __init__(
        self, log: AgentLogger | None = None, *, agent: str = "claude", spans: bool = True
    ) -> None:
        self._steps = Steps(log, spans=spans, framework="claude-agent-sdk", others=_OTHERS)
        self.refused: Mapping[str, int] = self._steps.refused
        """The number of steps and events that were not recorded, by reason."""
        self._agent = agent
        self._conversations: dict[str, _Conversation] = {}
        self._watching = 0
        self._asks = False

    def added_to(self, options: Any) -> Any:
        """Return a copy of ``ClaudeAgentOptions`` with the hooks added before the existing ones.

        Args:
            options: The options. Their ``can_use_tool`` is recorded, too.
        """
        hooks = {
            name: [one for one in matchers if not isinstance(one, _Matcher)]  # no second copy
            for name, matchers in (options.hooks or {}).items()
        }
        for name, hook in (
            ("UserPromptSubmit", self._on_prompt),
            ("PreToolUse", self._on_tool_start),
            ("PostToolUse", self._on_tool_end),
            ("PostToolUseFailure", self._on_tool_failure),
            ("PermissionRequest", self._on_permission),
            ("SubagentStart", self._on_agent_start),
            ("SubagentStop", self._on_agent_stop),
            ("PreCompact", self._on_compact),
            ("Stop", self._on_stop),
        ):
            hooks.setdefault(name, []).insert(0, _Matcher([self._hook(hook)]))
        changed: dict[str, Any] = {"hooks": hooks}
        if (ask := getattr(options, "can_use_tool", None)) is not None:
            self._asks = True
            changed["can_use_tool"] = self._asking(getattr(ask, "wakelog_own", ask))
        return dataclasses.replace(options, **changed)

    async def watch(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield messages of ``query`` or ``receive_response``, and record the model's responses.

        Args:
            messages: The messages. If the iteration ends early, the run ends as cancelled.
        """
        seen: dict[str, None] = {}
        self._watching += 1
        try:
            async for one in messages:
                with self._steps.guarded():
                    self._saw(one, seen)
                yield one
        except BaseException as error:
            for session_id in seen:
                self._end(session_id, error)
            raise
        finally:
            self._watching -= 1
            for session_id in seen:
                self._end(session_id, GeneratorExit())

    # Messages

    def _saw(self, one: Any, seen: dict[str, None]) -> None:
        kind = type(one).__name__
        data = getattr(one, "data", None)
        session_id = getattr(one, "session_id", None) or (data or {}).get("session_id")
        if not session_id:
            return
        seen[session_id] = None
        if kind == "AssistantMessage":
            self._saw_answer(self._conversation(session_id), one)
        elif kind == "ResultMessage":
            self._saw_result(session_id, one)

    def _saw_answer(self, conversation: _Conversation, one: Any) -> None:
        """Collect the blocks of a response, which come in one message each."""
        answer = conversation.answer
        if answer is None or answer["id"] is None or answer["id"] != one.message_id:
            self._say_answer(conversation)
            answer = conversation.answer = {"id": one.message_id, "parts": []}
        answer["parts"] += [_part(block) for block in one.content]
        answer.update(model=one.model, usage=one.usage, reason=one.stop_reason, error=one.error)
        answer["within"] = one.parent_tool_use_id
        if any(type(block).__name__ == "ToolUseBlock" for block in one.content):
            self._say_answer(conversation)

    def _say_answer(self, conversation: _Conversation) -> None:
        answer, conversation.answer = conversation.answer, None
        if answer is None:
            return
        within = answer["within"]
        of_agent = self._steps.get((conversation.agents.get(within), "run"))
        above = of_agent or self._steps.get(within) or self._run_of(conversation)
        key = (conversation, "model")
        self._steps.open(key, above, lambda log: log.model(answer["model"], _PROVIDER))
        reason = answer["reason"]
        error = answer["error"]
        self._steps.end(
            key,
            ReportedError(str(error), str(error)) if error else None,
            lambda block: block.respond(
                [message("assistant", answer["parts"], reason)],
                usage=answer["usage"],
                finish_reasons=[reason] if reason else None,
                response_id=answer["id"],
            ),
        )

    def _saw_result(self, session_id: str, one: Any) -> None:
        error: BaseException | None = None
        if str(getattr(one, "terminal_reason", "")).startswith("aborted"):
            error = GeneratorExit()
        elif one.is_error:
            error = ReportedError(str(one.result or one.subtype), one.subtype)
        self._end(session_id, error, one.result)

    # Hooks

    def _hook(self, record: Callable[[Any], None]) -> Callable[..., Any]:
        async def hook(given: Any, _tool_use_id: Any, _context: Any) -> dict[str, Any]:
            with self._steps.guarded():
                record(given)
            return {}

        return hook

    def _on_prompt(self, given: Any) -> None:
        session_id = given["session_id"]
        self._end(session_id, None)
        conversation = self._conversation(session_id)
        self._open_run(conversation, given.get("prompt"))

    def _on_tool_start(self, given: Any) -> None:
        conversation = self._conversation(given["session_id"])
        self._say_answer(conversation)
        asked = given.get("tool_input")
        if isinstance(asked, Mapping) and (kind := asked.get("subagent_type")) is not None:
            conversation.delegations[given["tool_use_id"]] = kind
        self._steps.open(
            given["tool_use_id"],
            self._within(given),
            lambda log: log.tool(
                given["tool_name"],
                given.get("tool_input"),
                call_id=given["tool_use_id"],
                tool_type="function",
            ),
        )

    def _on_tool_end(self, given: Any) -> None:
        said = given.get("tool_response")
        self._steps.end(given["tool_use_id"], None, lambda block: block.note(said))

    def _on_tool_failure(self, given: Any) -> None:
        error: BaseException = ReportedError(str(given.get("error")), "tool_error")
        if given.get("is_interrupt"):
            error = GeneratorExit()
        self._steps.end(given["tool_use_id"], error)

    def _on_permission(self, given: Any) -> None:
        if not self._asks:  # `can_use_tool` has more details
            self._say_approval(given["tool_name"], given.get("tool_input"), self._within(given))

    def _on_agent_start(self, given: Any) -> None:
        conversation = self._conversation(given["session_id"])
        self._say_answer(conversation)
        run = self._run_of(conversation)
        agent, agent_id = given["agent_type"], given["agent_id"]
        # The SDK does not report the call of a sub-agent: assume the first call of its type.
        for call_id, kind in conversation.delegations.items():
            if kind == agent:
                del conversation.delegations[call_id]
                conversation.agents[call_id] = agent_id
                break
        self._steps.event("sub_agent_invoked", {"agent_id": agent, "sub_thread_id": agent_id}, run)
        self._steps.open((agent_id, "run"), run, lambda log: log.run(agent=agent))

    def _on_agent_stop(self, given: Any) -> None:
        said = given.get("last_assistant_message")
        self._say_answer(self._conversation(given["session_id"]))
        self._steps.end((given["agent_id"], "run"), None, lambda block: block.note(said))

    def _on_compact(self, given: Any) -> None:
        run = self._run_of(self._conversation(given["session_id"]))
        self._steps.event("context_compacted", {"trigger": given.get("trigger")}, run)

    def _on_stop(self, given: Any) -> None:
        if not self._watching:  # if the messages are watched, they end the run
            self._end(given["session_id"], None, given.get("last_assistant_message"))

    def _asking(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        async def can_use_tool(tool_name: str, tool_input: Any, context: Any) -> Any:
            call_id = None
            with self._steps.guarded():
                call_id = getattr(context, "tool_use_id", None)
                self._say_approval(tool_name, tool_input, self._steps.get(call_id), call_id=call_id)
            result = await ask(tool_name, tool_input, context)
            with self._steps.guarded():
                self._say_answer_of(result, tool_name, call_id)
            return result

        can_use_tool.wakelog_own = ask  # type: ignore[attr-defined] # a mark on the function
        return can_use_tool

    def _say_answer_of(self, result: Any, tool: str, call_id: Any) -> None:
        is_allowed = getattr(result, "behavior", None) == "allow"
        status = "approved" if is_allowed else "rejected"
        at = self._steps.get(call_id)
        self._steps.event("human_approval", {}, at, status=status, tool_name=tool, call_id=call_id)
        if not is_allowed:
            self._steps.end(call_id, None, lambda block: block.note(status=status))

    # Common methods

    def _conversation(self, session_id: str) -> _Conversation:
        return self._conversations.setdefault(session_id, _Conversation(session_id))

    def _open_run(self, conversation: _Conversation, prompt: Any) -> OpenStep | None:
        return self._steps.open(
            conversation.run,
            None,
            lambda log: log.run(prompt, agent=self._agent, session_id=conversation.session_id),
        )

    def _run_of(self, conversation: _Conversation) -> OpenStep | None:
        return self._steps.get(conversation.run) or self._open_run(conversation, None)

    def _within(self, given: Any) -> OpenStep | None:
        """Return the run in which a hook is called: that of a sub-agent, if the hook names one."""
        of_agent = self._steps.get((given.get("agent_id"), "run"))
        return of_agent or self._run_of(self._conversation(given["session_id"]))

    def _end(self, session_id: str, error: BaseException | None, output: Any = None) -> None:
        if (conversation := self._conversations.pop(session_id, None)) is not None:
            with self._steps.guarded():
                self._say_answer(conversation)
            self._steps.end(conversation.run, error, lambda block: block.note(output))

    def _say_approval(self, tool: str, given: Any, at: OpenStep | None, **about: Any) -> None:
        payload = {"args": given}
        self._steps.event(
            "human_approval", payload, at, status="requested", tool_name=tool, **about
        )


def _part(block: Any) -> dict[str, Any]:
    kind = type(block).__name__
    if kind == "TextBlock":
        return text_part(block.text)
    if kind == "ThinkingBlock":
        return {"type": "reasoning", "content": block.thinking}
    if kind in ("ToolUseBlock", "ServerToolUseBlock"):
        return call_part(block.id, block.name, block.input)
    return {"type": kind, "content": getattr(block, "content", None)}
