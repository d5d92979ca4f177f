"""Pydantic AI: runs, model calls, tool calls, retries and approvals.

An agent is recorded by ``Agent(..., capabilities=[WakelogCapability()])``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.trace import NoOpTracer

from wakelog.integrations._extra import framework
from wakelog.integrations._messages import (
    Message,
    Part,
    answer_part,
    call_part,
    message,
    parts_of,
    plain,
    text_part,
)
from wakelog.integrations._steps import Steps, around
from wakelog.logger import AgentLogger

_capabilities: Any = framework("pydantic_ai.capabilities", "pydantic-ai")

__all__ = ["WakelogCapability"]

_DEFERRED: Final = ("ApprovalRequired", "CallDeferred")


class WakelogCapability(_capabilities.AbstractCapability):  # type: ignore[misc] # may be missing
    """Records the runs of an agent; one capability may be shared by many agents.

    Args:
        log: The logger; by default that of ``wakelog.configure()``, else OpenTelemetry's global
            logger provider.
        spans: Whether to open spans; if not, events are on the spans of another instrumentation,
            such as the agent's own ``instrument=True``.
    """

    def __init__(self, log: AgentLogger | None = None, *, spans: bool = True) -> None:
        self._steps = Steps(log, spans=spans, framework="pydantic-ai")
        self.refused: Mapping[str, int] = self._steps.refused
        """The number of steps and events that were not recorded, by reason."""

    async def wrap_run(self, ctx: Any, *, handler: Callable[[], Any]) -> Any:
        """Record a run."""
        steps = self._steps
        with steps.guarded():
            # The framework's own spans; other instrumentations only convert these.
            if not isinstance(getattr(ctx, "tracer", None), NoOpTracer | None):
                steps.beside("Pydantic AI's own instrumentation")
        status = None
        with around(steps, lambda log: _run(log, ctx)) as key:
            result = await handler()
            with steps.guarded():
                status = "interrupted" if self._say_waiting(result) else None
        steps.end(key, None, lambda block: block.note(plain(result.output), status=status))
        return result

    async def wrap_model_request(
        self,
        ctx: Any,  # noqa: ARG002 - the framework passes it
        *,
        request_context: Any,
        handler: Callable[[Any], Any],
    ) -> Any:
        """Record a model call."""
        steps = self._steps
        with steps.guarded():
            self._say_denied(request_context.messages)
        with around(steps, lambda log: _model(log, request_context)) as key:
            response = await handler(request_context)
        steps.end(key, None, lambda block: _respond(block, response))
        return response

    async def wrap_tool_execute(
        self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Callable[[Any], Any]
    ) -> Any:
        """Record a tool call."""
        steps = self._steps
        with steps.guarded():
            about = {"tool_name": call.tool_name, "call_id": call.tool_call_id}
            if getattr(ctx, "tool_call_approved", False):
                steps.event("human_approval", {}, None, status="approved", **about)
            if attempt := getattr(ctx, "retry", 0):
                steps.event("warning", {"kind": "retry", "attempt": attempt}, None, **about)

        def block(log: AgentLogger) -> Any:
            return log.tool(
                call.tool_name,
                args,
                call_id=call.tool_call_id,
                tool_type="function",
                description=getattr(tool_def, "description", None),
            )

        with around(steps, block) as key:
            try:
                result = await handler(args)
            except Exception as error:
                named = type(error).__name__
                if named in _DEFERRED:
                    steps.end(key, None, lambda block: block.note(status="interrupted"))
                elif named == "ToolRetryError":
                    # The framework wraps the tool's error in its own one, to have the model retry.
                    steps.end(key, error.__cause__ or error)
                raise
        steps.end(key, None, lambda block: block.note(plain(result)))
        return result

    def _say_waiting(self, result: Any) -> bool:
        """Record the approvals for which a run ends, and return whether there are any."""
        output: Any = getattr(result, "output", None)
        if type(output).__name__ != "DeferredToolRequests":
            return False
        for call in output.approvals:
            self._steps.event(
                "human_approval",
                {"args": call.args_as_dict()},
                None,
                status="requested",
                tool_name=call.tool_name,
                call_id=call.tool_call_id,
            )
        return True

    def _say_denied(self, messages: Any) -> None:
        """Record rejected approvals, which the next request to the model contains."""
        for part in getattr(messages[-1], "parts", ()) if messages else ():
            if getattr(part, "outcome", None) == "denied":
                self._steps.event(
                    "human_approval",
                    {},
                    None,
                    status="rejected",
                    tool_name=part.tool_name,
                    call_id=part.tool_call_id,
                )


def _run(log: AgentLogger, ctx: Any) -> Any:
    session = getattr(ctx, "conversation_id", None)
    name = getattr(getattr(ctx, "agent", None), "name", None) or "agent"
    return log.run(_content(ctx.prompt), agent=name, session_id=session)


def _model(log: AgentLogger, asked: Any) -> Any:
    model = asked.model
    request = dict(asked.model_settings or {})
    parameters = getattr(asked, "model_request_parameters", None)
    if tools := getattr(parameters, "function_tools", None):
        request["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters_json_schema,
            }
            for tool in tools
        ]
    if instructions := instructions_of(asked.messages):
        request["system_instructions"] = instructions
    given = of_messages(asked.messages)
    return log.model(model.model_name, model.system or None, given, request=request)


def _respond(block: Any, response: Any) -> None:
    finish = getattr(response, "finish_reason", None)
    if getattr(response, "state", "complete") in ("incomplete", "interrupted"):
        block.note(status="cancelled")  # the stream was not read to its end
    block.respond(
        [_message(response)],
        usage=response.usage,
        finish_reasons=[finish] if finish else None,
        response_id=getattr(response, "provider_response_id", None),
        response_model=response.model_name,
    )


def of_messages(messages: Any) -> list[Message]:
    """Return messages in the conventions' form."""
    return [_message(one) for one in messages]


def instructions_of(messages: Any) -> Any:
    """Return the instructions of a model request, None if it has none."""
    return getattr(messages[-1], "instructions", None) if messages else None


def _message(one: Any) -> Message:
    parts = [_part(part) for part in one.parts]
    if one.kind == "response":
        return message("assistant", parts)
    kinds = {part.part_kind for part in one.parts}
    if kinds == {"system-prompt"}:
        return message("system", parts)
    return message("user" if "user-prompt" in kinds else "tool", parts)


def _part(part: Any) -> Part:
    kind = part.part_kind
    if kind in ("text", "system-prompt"):
        return text_part(part.content)
    if kind == "thinking":
        return {"type": "reasoning", "content": part.content}
    if kind == "tool-call":
        return call_part(part.tool_call_id, part.tool_name, part.args)
    if kind == "tool-return":
        return answer_part(part.tool_call_id, plain(part.content))
    if kind == "retry-prompt":
        return answer_part(part.tool_call_id, plain(part.content))
    content = _content(part.content) if hasattr(part, "content") else None
    return text_part(content) if isinstance(content, str) else {"type": kind, "content": content}


def _content(given: Any) -> Any:
    if given is None or isinstance(given, str):
        return given
    parts = [one if isinstance(one, str) else getattr(one, "content", one) for one in given]
    return [message("user", parts_of(parts))]
