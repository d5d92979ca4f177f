"""The common part of both loggers: the fields, the blocks, and a method for each type of event."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, overload

from opentelemetry import trace

from wakelog import _arguments as a
from wakelog import context, otel, redaction, sinks
from wakelog.errors import RedactionError
from wakelog.events import AgentEvent
from wakelog.events.semconv import CHAT, REPLAYED, SCHEMA_URL, SCOPE_NAME
from wakelog.logger._blocks import RunBlock, ToolBlock
from wakelog.logger._copying import Copying, as_dict
from wakelog.logger._decorators import Function, decorated, name_of
from wakelog.logger._event_methods import EventMethods, Recorded
from wakelog.logger._keys import full_key, keys_of
from wakelog.logger._model_block import ModelBlock
from wakelog.logger._refusing import unknown_field
from wakelog.otel import current_context, span_context_of
from wakelog.record import kept, text_of, type_name, uuid8

if TYPE_CHECKING:
    from wakelog.logger._budget import Budget
    from wakelog.logger._prices import Prices
    from wakelog.otel import DeliveryResult
    from wakelog.redaction import RedactionConfig
    from wakelog.sinks import EventSink, JSONLSink

# Names for what each event calls, because looking them up takes as long as the calls.
_run_id, _agent, _workflow = context.run_id.get, context.agent.get, context.workflow.get
_session_id, _parent_id = context.session_id.get, context.parent_id.get
_tenant_id = context.tenant_id.get
_new, _initialize = AgentEvent.__new__, AgentEvent.__init__


class BaseLogger(Copying, EventMethods[Recorded]):
    """The part of ``AgentLogger`` that blocking and asyncio loggers share.

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
        on_error: Literal["raise", "log"] = "raise",
        genai_events: bool = False,
        genai_metrics: bool = False,
        costs: bool = False,
    ) -> None:
        a.check(
            agent_name=(agent_name, *a.TEXT),
            workflow_name=(workflow_name, *a.TEXT),
            sink=(sink, *a.PATH, a.With("write", "a sink, which has a method write"), None),
            redact_payloads=(redact_payloads, bool),
            redaction_config=(redaction_config, *a.REDACTION),
            default_risk=(default_risk, *a.MAPPING),
            metadata=(metadata, *a.MAPPING),
            tracer_provider=(tracer_provider, a.With("get_tracer", "a TracerProvider"), None),
            on_error=(on_error, str),
            genai_events=(genai_events, bool),
            genai_metrics=(genai_metrics, bool),
            costs=(costs, bool),
        )
        super().__init__(on_error)
        self.agent_name = agent_name
        self.workflow_name = workflow_name
        self._own_sink: JSONLSink | None = None
        if isinstance(sink, str | os.PathLike):
            sink = self._own_sink = sinks.JSONLSink(sink)
        self.sink: EventSink = sinks.NullSink() if sink is None else sink
        self.choose_copy(redact_payloads, redaction_config)
        self.default_risk: dict[str, Any] = kept(dict(default_risk or {}))
        self.metadata: dict[str, Any] = kept(dict(metadata or {}))
        self.tracer_provider = tracer_provider
        # Cache of the last provider's tracer: the global provider may be set later.
        self._tracer: tuple[Any, trace.Tracer] = (None, trace.NoOpTracer())
        self.genai_events = genai_events
        self.genai_metrics = otel.genai_metrics() if genai_metrics else None
        self.prices = _prices() if costs else None

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
        workflow: str | None = None,
        budget: Budget | None = None,
        event_key: str | None = None,
    ) -> RunBlock:
        """Open a run: ``run_start`` now, ``run_end`` at the end, a span in between.

        An exception that leaves the block is recorded as ``error`` and propagates.

        Args:
            input: The input of the agent.
            metadata: Metadata of both events.
            agent: The agent's name, in place of the logger's.
            session_id: The conversation to which the run belongs.
            run_id: The run's id, if it already has one; a new one by default.
            links: Links for the span, for example to the run that this one resumes.
            workflow: Makes this the run of a workflow of this name, in which agents have runs of
                their own; events in it have the workflow's name.
            budget: Limits for the run, including everything inside it.
            event_key: The key of its events, for a run whose code is replayed; it needs ``run_id``.

        Returns:
            A context manager, for ``with`` and ``async with``, that returns the run's id.
        """
        return RunBlock(
            self, input, metadata, agent, session_id, run_id, links, workflow, budget, event_key
        )

    def model(
        self,
        model: str,
        provider: str | None = None,
        input: Any = None,  # noqa: A002 - as in run
        *,
        operation: str = CHAT,
        request: Mapping[str, Any] | None = None,
        compacted: bool = False,
        **fields: Any,
    ) -> ModelBlock:
        """Open a model call: ``model_call`` now, ``model_response`` at the end, a span around it.

        Args:
            model: The requested model.
            provider: The model's provider, by OpenTelemetry's names: ``openai``, ``anthropic``, ...
            input: The messages, as text or in the conventions' form.
            operation: The operation, by OpenTelemetry's names: ``chat``, ``embeddings``,
                ``generate_content``, ``text_completion``.
            request: The parameters of the request, as the client takes them: ``temperature``,
                ``max_tokens``, ``tools``, ... Those for which OpenTelemetry has a name become
                attributes; the definitions of tools and all others are content.
            compacted: Whether the messages are a shortened view of the conversation.
            fields: As for every event.

        Returns:
            A context manager that returns the block, for recording the response.
        """
        return ModelBlock(
            self,
            model,
            provider,
            input,
            fields,
            operation=operation,
            request=request,
            compacted=compacted,
        )

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
        description: str | None = None,
        **fields: Any,
    ) -> ToolBlock: ...

    def tool(
        self,
        tool_name: str | Callable[..., Any],
        args: Any = None,
        *,
        call_id: str | None = None,
        tool_type: str | None = None,
        description: str | None = None,
        **fields: Any,
    ) -> Any:
        """Open a tool call: the intent is recorded before the body runs, the outcome after it.

        As a decorator, ``@log.tool`` or ``@log.tool("search")``, it does so around each call of the
        function: sync, async, a generator or an async generator.

        Args:
            tool_name: The tool's name. For a bare decorator, the function, whose name is the
                tool's.
            args: The arguments of the call.
            call_id: The model's id of the call.
            tool_type: ``function``, ``extension`` or ``datastore``.
            description: What the tool does.
            fields: As for every event.

        Returns:
            A context manager that returns the block, for recording the result; or the decorated
            function.

        Raises:
            TypeError: If the decorated object is not a function, or if an asyncio logger decorates
                a function that is not async.
        """
        if isinstance(tool_name, str):
            return ToolBlock(self, tool_name, args, call_id, tool_type, fields, description)
        if not callable(tool_name) and not isinstance(tool_name, staticmethod | classmethod):
            message = f"{tool_name!r} is neither a tool's name, which is a str, nor a function"
            raise TypeError(message)
        return ToolBlock(self, name_of(tool_name), None, None, None, {})(tool_name)

    @overload
    def agent(self, name: Function, /) -> Function: ...

    @overload
    def agent(
        self, name: str, /, *, metadata: dict[str, Any] | None = None
    ) -> Callable[[Function], Function]: ...

    def agent(self, name: Any, /, *, metadata: dict[str, Any] | None = None) -> Any:
        """Record each call of a function as a run: ``@log.agent`` or ``@log.agent("planner")``.

        The function's arguments are the run's input, and its return value is the output; inside
        another run, it is a run of its own. Functions may be sync, async, generators or async
        generators.

        Args:
            name: The agent's name. For a bare decorator, the function, whose name is the agent's.
            metadata: Metadata of both events of each run.

        Returns:
            A decorator, or the decorated function.

        Raises:
            TypeError: If the decorated object is not a function, or if an asyncio logger decorates
                a function that is not async.
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
            payload: The event's content.
            fields: The keyword arguments of ``event``.

        Returns:
            The event, with its receipt if the sink is a journal.

        Raises:
            InvalidEventTypeError: If the event type is not known.
            SinkError: If the event was not accepted.
            RedactionError: If a detector or strategy of the user failed.
        """
        return self._recorded_with(event_type, payload, fields)

    recorded = emit

    def _recorded_with(
        self,
        event_type: str,
        payload: dict[str, Any] | None,
        fields: dict[str, Any],
        tool_name: str | None = None,
    ) -> Recorded:
        if tool_name is not None:
            fields["tool_name"] = tool_name
        return self._finish(self.made(event_type, payload, **fields))

    @abc.abstractmethod
    async def look_for_earlier(self, run_id: str) -> None:
        """Read the keyed events recorded earlier for a run, without blocking the event loop."""

    @abc.abstractmethod
    async def settle(self, event: AgentEvent) -> None:
        """Wait until a recorded event has the requested durability."""

    # Long: every event is created here, and each call costs time.
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
        provider: str | None = None,
        model: str | None = None,
        tool_name: str | None = None,
        call_id: str | None = None,
        status: str | None = None,
        event_key: str | None = None,
        full_event_key: str | None = None,
        **fields: Any,
    ) -> AgentEvent:
        """Create an event from the arguments and the context, redacted; nothing is recorded.

        Missing fields come from the blocks and from ``bound`` around the call, then from the
        logger.

        Args:
            event_type: The type.
            payload: The event's content.
            run_id: The run, in place of the open one.
            risk: Added to the logger's own.
            metadata: Added to the logger's own.
            attributes: Attributes besides those of the type.
            agent_name: The agent.
            workflow_name: The workflow.
            parent_event_id: The event to which this one belongs, or which it answers.
            session_id: The conversation.
            tenant_id: The customer.
            provider: The model's provider.
            model: The requested model.
            tool_name: The called tool.
            call_id: The model's id of the tool call.
            status: The result.
            event_key: Identifies the event among those of its type in its run, the same in every
                replay of the code; appended to the prefix that ``bound(event_key=...)`` has set.
            full_event_key: The key including the prefix.
            fields: Any other field of ``AgentEvent``.

        Returns:
            The event.

        Raises:
            InvalidEventTypeError: If the event type is not known.
            TypeError: If a field is not one of events.
            RedactionError: If a detector or strategy of the user failed.
        """
        copied = self.copied
        run_id = run_id or _run_id()
        if event_key is not None:
            full_event_key = full_key(event_key, run_id)
        if type(payload) is not dict and payload is not None:
            payload = as_dict(payload, "value")
        if risk is not None or self.default_risk:
            risk = copied({**self.default_risk, **as_dict(risk, "risk")})
        if metadata is not None or self.metadata:
            metadata = copied({**self.metadata, **as_dict(metadata, "metadata")})
        if context.attributes and (around := context.bound_attributes()) is not None:
            attributes = {**around, **as_dict(attributes, "attributes")}
        elif attributes is not None:
            attributes = as_dict(attributes, "attributes") or None
        # Copies, so that later changes to the objects do not change the event.
        payload = copied(payload) if payload else None
        attributes = copied(attributes) if attributes else None
        agent_name = agent_name or _agent() or self.agent_name
        workflow_name = workflow_name or _workflow() or self.workflow_name
        parent_event_id = parent_event_id or _parent_id()
        session_id = session_id or _session_id()
        tenant_id = tenant_id or _tenant_id()
        try:
            if not fields:
                # By position, and without the class, which packs the arguments once more.
                event = _new(AgentEvent)
                _initialize(
                    event, event_type, AgentEvent.CURRENT_SCHEMA_VERSION, run_id, None, None,
                    agent_name, workflow_name, parent_event_id, provider, model, tool_name, status,
                    payload, risk, metadata,
                    session_id=session_id, tenant_id=tenant_id, call_id=call_id,
                    attributes=attributes, event_key=full_event_key,
                )  # fmt: skip
            else:
                event = AgentEvent(
                    event_type, run_id=run_id, agent_name=agent_name, workflow_name=workflow_name,
                    parent_event_id=parent_event_id, provider=provider, model=model,
                    tool_name=tool_name, status=status, payload=payload, risk=risk,
                    metadata=metadata, session_id=session_id, tenant_id=tenant_id, call_id=call_id,
                    attributes=attributes, event_key=full_event_key, **fields,
                )  # fmt: skip
        except TypeError as error:
            if (message := unknown_field(event_type, fields)) is None:
                raise
            raise TypeError(message) from error
        if current := current_context():  # there is no span in an empty context
            event.span_context = span_context_of(current)
        return event

    # The sink

    def flush(self, timeout: float = 30.0) -> DeliveryResult:
        """Wait until the next hop has accepted everything recorded so far.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            A result that is true if everything was delivered, and always true for a sink that does
            not deliver. It has the numbers of delivered and pending records, with the reason.

        Raises:
            SinkError: If events that a buffer had accepted could not be written.
            ConfigurationError: If the time-out is not a number.
        """
        timeout = a.wait_of(timeout)
        from wakelog.otel import DeliveryResult  # imported late: it loads the journal's books

        if (deliver := getattr(self.sink, "deliver", None)) is not None:
            return cast("DeliveryResult", deliver(timeout))
        flush = getattr(self.sink, "flush", None)
        if flush is None:
            return DeliveryResult(complete=True)
        if not getattr(self.sink, "delivers", False):
            flush()
            return DeliveryResult(complete=True)
        if flush(timeout):
            return DeliveryResult(complete=True)
        reason = f"{type(self.sink).__name__} has not delivered everything in time"
        return DeliveryResult(complete=False, reason=reason)

    def close(self) -> None:
        """Close the sink that the logger created from a path. Other sinks stay open."""
        if self._own_sink is not None:
            self._own_sink.close()

    def tracer(self) -> trace.Tracer:
        """Return the tracer for the spans of blocks."""
        provider = self.tracer_provider or trace.get_tracer_provider()
        known, tracer = self._tracer
        if known is not provider:
            tracer = trace.get_tracer(SCOPE_NAME, tracer_provider=provider, schema_url=SCHEMA_URL)
            self._tracer = (provider, tracer)
        return tracer

    def links_to_earlier(self, event_key: str, event_type: str) -> list[trace.Link]:
        """Return a link to the span of the event that was recorded before a replay, if any.

        Args:
            event_key: The key, without the bound prefix.
            event_type: The type of the block's opening event.

        Raises:
            TypeError: If no run is open.
        """
        run_id = context.run_id.get()
        key = full_key(event_key, run_id)
        earlier = keys_of(self.sink).earlier(run_id or "", uuid8(run_id or "", key, event_type))
        if earlier is None or earlier.span_context is None:
            return []
        trace_id, span_id, flags = earlier.span_context
        of = trace.SpanContext(
            trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags)
        )
        return [trace.Link(of, {REPLAYED: True})]

    def redacted_text(self, error: BaseException) -> str:
        """Return an exception's message, redacted like payloads; its type's name if that fails."""
        text = text_of(error)
        if not self.redact_payloads:
            return text
        try:
            return str(redaction.redact(text, self.redaction_config))
        except RedactionError:
            return type_name(type(error))


def _prices() -> Prices:
    from wakelog.logger._prices import prices

    return prices()
