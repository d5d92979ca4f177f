"""What both loggers share: the fields, the blocks, and a method for each thing that an agent does."""

from __future__ import annotations

import abc
import inspect
import os
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar, overload

from opentelemetry import trace

from wakelog import context
from wakelog.errors import RedactionError
from wakelog.events import AgentEvent
from wakelog.events.semconv import SCOPE_NAME
from wakelog.logger._blocks import (
    ModelBlock,
    RunBlock,
    ToolBlock,
    payload_of,
    text_of,
    type_name,
)
from wakelog.logger._decorators import Function, decorated, name_of
from wakelog.redaction import RedactionConfig, prepare, redact
from wakelog.sinks import EventSink, JSONLSink, NullSink

Recorded = TypeVar("Recorded")
_FIELDS = frozenset(inspect.signature(AgentEvent).parameters) - {"event_type", "payload"}


class Front(abc.ABC, Generic[Recorded]):
    """The part of ``AgentLogger`` that does not depend on how one waits.

    Every method that records an event returns ``Recorded``: the event, or an awaitable of it.
    """

    blocking: ClassVar[bool] = True
    """Whether events are recorded when a method returns, with nothing to await."""

    def __init__(
        self,
        agent_name: str | None = None,
        workflow_name: str | None = None,
        sink: str | os.PathLike[str] | EventSink | None = None,
        redact_payloads: bool = True,  # noqa: FBT001, FBT002 - agentlogsafe's position
        redaction_config: RedactionConfig | None = None,
        default_risk: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        tracer_provider: trace.TracerProvider | None = None,
    ) -> None:
        self.agent_name = agent_name
        self.workflow_name = workflow_name
        self._owns_sink = isinstance(sink, str | os.PathLike)
        self.sink: EventSink
        if isinstance(sink, str | os.PathLike):
            self.sink = JSONLSink(sink)
        else:
            self.sink = NullSink() if sink is None else sink
        self.redact_payloads = redact_payloads
        self.redaction_config = redaction_config
        if redact_payloads:
            prepare(redaction_config)
        self.default_risk = dict(default_risk or {})
        self.metadata = dict(metadata or {})
        self.tracer_provider = tracer_provider

    # Blocks

    def run(
        self,
        input: Any = None,  # noqa: A002 - agentlogsafe's name
        metadata: dict[str, Any] | None = None,
        *,
        agent: str | None = None,
        session_id: str | None = None,
        run_id: str | None = None,
        links: list[trace.Link] | None = None,
    ) -> RunBlock:
        """Open a run: ``run_start`` now, ``run_end`` at the end, a span in between.

        An exception that leaves the block is recorded as ``error`` and goes on.

        Args:
            input: What the agent was asked.
            metadata: For both events.
            agent: The agent's name, in place of the logger's.
            session_id: The conversation that the run belongs to.
            run_id: The run's id, when it has one already; a new one by default.
            links: Links for the span, for example to the run that this one resumes.

        Returns:
            A context manager, for ``with`` and ``async with``, that gives the run's id.
        """
        return RunBlock(self, input, metadata, agent, session_id, run_id, links)

    def model(
        self,
        model: str,
        provider: str | None = None,
        input: Any = None,  # noqa: A002 - as in run
        **fields: Any,
    ) -> ModelBlock:
        """Open a model call: ``model_call`` now, ``model_response`` at the end, a span around it.

        Args:
            model: The model that is asked.
            provider: Whose it is, by OpenTelemetry's names: ``openai``, ``anthropic``, ...
            input: The messages, as text or in the conventions' form.
            fields: As for every event.

        Returns:
            A context manager that gives an object to note the response on.
        """
        return ModelBlock(self, model, provider, input, fields)

    @overload
    def tool(self, tool_name: Function) -> Function: ...

    @overload
    def tool(
        self,
        tool_name: str,
        args: Any = None,
        *,
        call_id: str | None = None,
        tool_type: str | None = None,
        **fields: Any,
    ) -> ToolBlock: ...

    def tool(
        self,
        tool_name: str | Callable[..., Any],
        args: Any = None,
        *,
        call_id: str | None = None,
        tool_type: str | None = None,
        **fields: Any,
    ) -> Any:
        """Open a tool call: the intent is recorded before the body runs, the outcome after it.

        As a decorator, ``@log.tool`` or ``@log.tool("search")``, it does so around each call of the
        function: sync, async, a generator or an async generator.

        Args:
            tool_name: The tool. A function, when it is used as a bare decorator: its name is the
                tool's.
            args: What it is called with.
            call_id: The id that the model gave the call.
            tool_type: ``function``, ``extension`` or ``datastore``.
            fields: As for every event.

        Returns:
            A context manager that gives an object to note the result on, or the decorated function.

        Raises:
            TypeError: When what is decorated is no function, or one that this logger cannot wait in.
        """
        if isinstance(tool_name, str):
            return ToolBlock(self, tool_name, args, call_id, tool_type, fields)
        return ToolBlock(self, name_of(tool_name), None, None, None, {})(tool_name)

    @overload
    def agent(self, name: Function, /) -> Function: ...

    @overload
    def agent(
        self, name: str, /, *, metadata: dict[str, Any] | None = None
    ) -> Callable[[Function], Function]: ...

    def agent(self, name: Any, /, *, metadata: dict[str, Any] | None = None) -> Any:
        """Make each call of a function a run: ``@log.agent`` or ``@log.agent("planner")``.

        The function's arguments are the run's input and what it returns is the output; inside
        another run, it is a run of its own. Functions may be sync, async, generators or async
        generators.

        Args:
            name: The agent's name. A function, as a bare decorator: its name is the agent's.
            metadata: For both events of each run.

        Returns:
            A decorator, or the decorated function.

        Raises:
            TypeError: When what is decorated is no function, or one that this logger cannot wait in.
        """
        if not isinstance(name, str):
            return self.agent(name_of(name))(name)

        def decorate(function: Function) -> Function:
            def block_for(arguments: dict[str, Any]) -> RunBlock:
                return RunBlock(self, arguments or None, metadata, name, None, None, None)

            return decorated(function, block_for, blocking=self.blocking)

        return decorate

    # Events

    def emit(
        self, event_type: str, payload: dict[str, Any] | None = None, **fields: Any
    ) -> Recorded:
        """Record one event of any type.

        Args:
            event_type: The type.
            payload: What was said, asked or returned.
            fields: As ``event`` takes them.

        Returns:
            The event, with its receipt when the sink is a journal.

        Raises:
            InvalidEventTypeError: For an event type that is not known.
            SinkError: When the event was not accepted.
            RedactionError: When a detector or strategy of the caller's failed.
        """
        return self._finish(self.event(event_type, payload, **fields))

    @abc.abstractmethod
    def _finish(self, event: AgentEvent) -> Recorded:
        """Record an event, and return it or an awaitable of it."""

    @abc.abstractmethod
    def record(self, event: AgentEvent) -> None:
        """Hand an event to the sink, for the blocks."""

    @abc.abstractmethod
    async def settle(self, event: AgentEvent) -> None:
        """Wait until a recorded event has the durability that was asked for."""

    def event(
        self,
        event_type: str,
        payload: dict[str, Any] | None = None,
        *,
        run_id: str | None = None,
        risk: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        attributes: dict[str, Any] | None = None,
        agent_name: str | None = None,
        workflow_name: str | None = None,
        parent_event_id: str | None = None,
        session_id: str | None = None,
        tenant_id: str | None = None,
        **fields: Any,
    ) -> AgentEvent:
        """Make an event of what is given and what holds here, redacted; nothing is recorded.

        What is not given here comes from the blocks and from ``bound`` around the call, then from
        the logger.

        Args:
            event_type: The type.
            payload: What was said, asked or returned.
            run_id: The run, in place of the one that is open.
            risk: Added to the logger's own.
            metadata: Added to the logger's own.
            attributes: Attributes beside those of the type.
            agent_name: The agent.
            workflow_name: The workflow.
            parent_event_id: The event that this one belongs to or answers.
            session_id: The conversation.
            tenant_id: The customer.
            fields: Any other field of ``AgentEvent``.

        Returns:
            The event.

        Raises:
            InvalidEventTypeError: For an event type that is not known.
            TypeError: For a field that events do not have.
            RedactionError: When a detector or strategy of the caller's failed.
        """
        # Copies, so that nobody who changes an event or its payload changes what was recorded.
        payload = dict(payload) if payload else {}
        risk = {**self.default_risk, **(risk or {})}
        metadata = {**self.metadata, **(metadata or {})}
        if (around := context.bound_attributes()) is not None:
            attributes = {**around, **attributes} if attributes else around
        if self.redact_payloads:
            config = self.redaction_config
            payload = redact(payload, config) if payload else payload
            risk = redact(risk, config) if risk else risk
            metadata = redact(metadata, config) if metadata else metadata
            attributes = redact(attributes, config) if attributes else attributes
        try:
            event = AgentEvent(
                event_type,
                run_id=run_id or context.run_id.get(),
                agent_name=agent_name or context.agent.get() or self.agent_name,
                workflow_name=workflow_name or context.workflow.get() or self.workflow_name,
                parent_event_id=parent_event_id or context.parent_id.get(),
                session_id=session_id or context.session_id.get(),
                tenant_id=tenant_id or context.tenant_id.get(),
                payload=payload,
                risk=risk,
                metadata=metadata,
                attributes=attributes,
                **fields,
            )
        except TypeError as error:
            if not (unknown := sorted(fields.keys() - _FIELDS)):
                raise
            message = (
                f"{event_type} takes no {unknown[0]!r}: put it into attributes={{...}} or "
                f"metadata={{...}}. The fields of every event are {', '.join(sorted(_FIELDS))}"
            )
            raise TypeError(message) from error
        span_context = trace.get_current_span().get_span_context()
        if span_context.is_valid:
            event.span_context = (
                span_context.trace_id,
                span_context.span_id,
                span_context.trace_flags,
            )
        return event

    def user_message(self, message: str, **fields: Any) -> Recorded:
        """Record what a user said."""
        return self._finish(self.event("user_message", {"message": message}, **fields))

    def system_instruction(self, instruction: str, **fields: Any) -> Recorded:
        """Record what the agent was told to be."""
        return self._finish(
            self.event("system_instruction", {"instruction": instruction}, **fields)
        )

    def model_call(
        self,
        provider: str,
        model: str,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        payload: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record that a model was asked."""
        counts = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        data = {**(payload or {}), **_given(counts)}
        return self._finish(
            self.event("model_call", data, provider=provider, model=model, **fields)
        )

    def model_response(
        self,
        provider: str | None = None,
        model: str | None = None,
        payload: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record what a model answered."""
        return self._finish(
            self.event("model_response", payload, provider=provider, model=model, **fields)
        )

    def tool_call(
        self, tool_name: str, args: dict[str, Any] | None = None, **fields: Any
    ) -> Recorded:
        """Record that a tool is called."""
        return self._finish(
            self.event("tool_call", {"args": args or {}}, tool_name=tool_name, **fields)
        )

    def tool_result(self, tool_name: str, result: Any = None, **fields: Any) -> Recorded:
        """Record what a tool returned."""
        return self._finish(
            self.event("tool_result", {"result": result}, tool_name=tool_name, **fields)
        )

    def retrieval_query(self, query: str, source: str | None = None, **fields: Any) -> Recorded:
        """Record a search in a data source."""
        return self._finish(
            self.event("retrieval_query", {"query": query, "source": source}, **fields)
        )

    def retrieval_result(
        self, source: str | None = None, result: Any = None, **fields: Any
    ) -> Recorded:
        """Record what a search found."""
        return self._finish(
            self.event("retrieval_result", {"source": source, "result": result}, **fields)
        )

    def policy_check(
        self, policy_name: str, status: str, payload: dict[str, Any] | None = None, **fields: Any
    ) -> Recorded:
        """Record how a policy judged."""
        data = {"policy_name": policy_name, **(payload or {})}
        return self._finish(self.event("policy_check", data, status=status, **fields))

    def human_approval(
        self,
        approver: str | None = None,
        status: str = "requested",
        payload: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Recorded:
        """Record that a person was asked, or what they answered."""
        data = {"approver": approver, **(payload or {})}
        return self._finish(self.event("human_approval", data, status=status, **fields))

    def decision(
        self,
        decision: str,
        requires_human_review: bool = False,  # noqa: FBT001, FBT002 - agentlogsafe's position
        **fields: Any,
    ) -> Recorded:
        """Record what the agent decided."""
        data = {"decision": decision, "requires_human_review": requires_human_review}
        return self._finish(self.event("decision", data, **fields))

    def error(self, error: BaseException | str, **fields: Any) -> Recorded:
        """Record a failure.

        Args:
            error: The exception, or what happened in words.
            fields: As for every event.
        """
        return self._finish(self.event("error", payload_of(error), **{"status": "error", **fields}))

    def sub_agent_invoked(
        self, agent_id: str, sub_thread_id: str | None = None, **fields: Any
    ) -> Recorded:
        """Record that another agent was given work."""
        data = {"agent_id": agent_id, "sub_thread_id": sub_thread_id}
        return self._finish(self.event("sub_agent_invoked", data, **fields))

    def agent_handoff(self, from_: str | None, to: str, **fields: Any) -> Recorded:
        """Record that the conversation goes over to another agent."""
        return self._finish(self.event("agent_handoff", {"from": from_, "to": to}, **fields))

    def resumed(self, from_checkpoint: str, **fields: Any) -> Recorded:
        """Record that a run goes on from a checkpoint; from a fresh state when it is empty."""
        return self._finish(self.event("resumed", {"from_checkpoint": from_checkpoint}, **fields))

    def memory_recall(self, tier: str, namespace_key: str, hits: int, **fields: Any) -> Recorded:
        """Record that memory was searched, and how many records it gave."""
        data = {"tier": tier, "namespace_key": namespace_key, "hits": hits}
        return self._finish(self.event("memory_recall", data, **fields))

    def usage_limit_exceeded(
        self, kind: str, limit: float, observed: float, **fields: Any
    ) -> Recorded:
        """Record that a budget was overrun."""
        data = {"kind": kind, "limit": limit, "observed": observed}
        return self._finish(self.event("usage_limit_exceeded", data, **fields))

    def context_compacted(self, dropped_chars: int, retained_chars: int, **fields: Any) -> Recorded:
        """Record that the conversation was shortened."""
        data = {"dropped_chars": dropped_chars, "retained_chars": retained_chars}
        return self._finish(self.event("context_compacted", data, **fields))

    # The sink

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until the next hop has accepted everything recorded so far.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether that is so. True for a sink that delivers nowhere.

        Raises:
            SinkError: When events that a buffer had accepted could not be written.
        """
        flush = getattr(self.sink, "flush", None)
        if flush is None:
            return True
        if getattr(self.sink, "delivers", False):
            return bool(flush(timeout))
        flush()
        return True

    def close(self) -> None:
        """Close the logger's own sink, the one made from a path. Sinks of others stay open."""
        if self._owns_sink and isinstance(self.sink, JSONLSink):
            self.sink.close()

    def tracer(self) -> trace.Tracer:
        """Return the tracer that blocks open their spans with."""
        return trace.get_tracer(SCOPE_NAME, tracer_provider=self.tracer_provider)

    def redacted_text(self, error: BaseException) -> str:
        """Return what an exception says, redacted as payloads are; its type's name if that fails."""
        text = text_of(error)
        if not self.redact_payloads:
            return text
        try:
            return str(redact(text, self.redaction_config))
        except RedactionError:
            return type_name(error)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
