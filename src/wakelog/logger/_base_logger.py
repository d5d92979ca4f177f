"""What both loggers share: the fields, the blocks, and a method for each thing that an agent does."""

from __future__ import annotations

import abc
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, overload

from opentelemetry import trace

from wakelog import _arguments as a
from wakelog import context
from wakelog.errors import (
    RedactionError,
)
from wakelog.events import AgentEvent
from wakelog.events.semconv import CHAT, REPLAYED, SCHEMA_URL, SCOPE_NAME
from wakelog.logger._blocks import RunBlock, ToolBlock
from wakelog.logger._budget import Budget
from wakelog.logger._decorators import Function, decorated, name_of
from wakelog.logger._event_methods import EventMethods, Recorded
from wakelog.logger._keys import full_key, keys_of
from wakelog.logger._model_block import ModelBlock
from wakelog.logger._prices import prices
from wakelog.otel import span_context_of
from wakelog.record import kept, text_of, type_name, uuid8
from wakelog.redaction import RedactionConfig, prepare, redact
from wakelog.sinks import EventSink, JSONLSink, NullSink

if TYPE_CHECKING:
    from wakelog.otel import DeliveryResult, GenAIMetrics

_FIELDS = frozenset(inspect.signature(AgentEvent).parameters) - {"event_type", "payload"}


class BaseLogger(EventMethods[Recorded]):
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
            redaction_config=(redaction_config, RedactionConfig, None),
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
        self.default_risk: dict[str, Any] = kept(dict(default_risk or {}))
        self.metadata: dict[str, Any] = kept(dict(metadata or {}))
        self.tracer_provider = tracer_provider
        # A cache of the tracer of the last provider: the global one may be set later.
        self._tracer: tuple[Any, trace.Tracer] = (None, trace.NoOpTracer())
        self.genai_events = genai_events
        self.genai_metrics = _genai_metrics() if genai_metrics else None
        self.prices = prices() if costs else None

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

        An exception that leaves the block is recorded as ``error`` and goes on.

        Args:
            input: What the agent was asked.
            metadata: For both events.
            agent: The agent's name, in place of the logger's.
            session_id: The conversation that the run belongs to.
            run_id: The run's id, when it has one already; a new one by default.
            links: Links for the span, for example to the run that this one resumes.
            workflow: Makes it the run of a workflow of this name, in which agents have runs of their
                own; what happens in it names the workflow.
            budget: How much the run may use, with everything inside it.
            event_key: The key of its events, for a run whose code is replayed; it needs ``run_id``.

        Returns:
            A context manager, for ``with`` and ``async with``, that gives the run's id.
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
            model: The model that is asked.
            provider: Whose it is, by OpenTelemetry's names: ``openai``, ``anthropic``, ...
            input: The messages, as text or in the conventions' form.
            operation: What is asked of it, by OpenTelemetry's names: ``chat``, ``embeddings``,
                ``generate_content``, ``text_completion``.
            request: The parameters of the request, as the client takes them: ``temperature``,
                ``max_tokens``, ``tools``, ... Those that OpenTelemetry has a name for become
                attributes, the definitions of tools and all others are content.
            compacted: Whether the messages are a shortened view of the conversation.
            fields: As for every event.

        Returns:
            A context manager that gives an object to note the response on.
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
            tool_name: The tool. A function, when it is used as a bare decorator: its name is the
                tool's.
            args: What it is called with.
            call_id: The id that the model gave the call.
            tool_type: ``function``, ``extension`` or ``datastore``.
            description: What the tool does.
            fields: As for every event.

        Returns:
            A context manager that gives an object to note the result on, or the decorated function.

        Raises:
            TypeError: When what is decorated is no function, or one that this logger cannot wait in.
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
        return self._finish(self.made(event_type, payload, **fields))

    @abc.abstractmethod
    async def look_for_earlier(self, run_id: str) -> None:
        """Have the keyed events of a run read that were recorded before, where that may take long."""

    @abc.abstractmethod
    async def settle(self, event: AgentEvent) -> None:
        """Wait until a recorded event has the durability that was asked for."""

    # Long: it is the path of every event, where each call costs.
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
        event_key: str | None = None,
        full_event_key: str | None = None,
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
            event_key: What tells the event from the others of its type in its run, the same whenever the
                code is replayed; behind what ``bound(event_key=...)`` has set.
            full_event_key: The same with everything before it.
            fields: Any other field of ``AgentEvent``.

        Returns:
            The event.

        Raises:
            InvalidEventTypeError: For an event type that is not known.
            TypeError: For a field that events do not have.
            RedactionError: When a detector or strategy of the caller's failed.
        """
        run_id = run_id or context.run_id.get()
        if event_key is not None:
            full_event_key = full_key(event_key, run_id)
        # Copies, so that what was said now is recorded, whatever is done to the objects later.
        payload = kept(payload)
        if type(payload) is not dict:
            payload = {} if payload is None else {"value": payload}
        if risk is not None or self.default_risk:
            risk = _merged(self.default_risk, risk, "risk")
        if metadata is not None or self.metadata:
            metadata = _merged(self.metadata, metadata, "metadata")
        attributes = None if attributes is None else _copied(attributes, "attributes") or None
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
                run_id=run_id,
                agent_name=agent_name or context.agent.get() or self.agent_name,
                workflow_name=workflow_name or context.workflow.get() or self.workflow_name,
                parent_event_id=parent_event_id or context.parent_id.get(),
                session_id=session_id or context.session_id.get(),
                tenant_id=tenant_id or context.tenant_id.get(),
                payload=payload,
                risk=risk,
                metadata=metadata,
                attributes=attributes,
                event_key=full_event_key,
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
        event.span_context = span_context_of()
        return event

    # The sink

    def flush(self, timeout: float = 30.0) -> DeliveryResult:
        """Wait until the next hop has accepted everything recorded so far.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            True when that is so, and for a sink that delivers nowhere. It says how many records of
            this process were delivered, what is pending, and why.

        Raises:
            SinkError: When events that a buffer had accepted could not be written.
        """
        from wakelog.otel import (
            DeliveryResult,
        )  # not before it is needed: it loads the journal's books

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
        """Close the logger's own sink, the one made from a path. Sinks of others stay open."""
        if self._owns_sink and isinstance(self.sink, JSONLSink):
            self.sink.close()

    def tracer(self) -> trace.Tracer:
        """Return the tracer that blocks open their spans with."""
        provider = self.tracer_provider or trace.get_tracer_provider()
        known, tracer = self._tracer
        if known is not provider:
            tracer = trace.get_tracer(SCOPE_NAME, tracer_provider=provider, schema_url=SCHEMA_URL)
            self._tracer = (provider, tracer)
        return tracer

    def links_to_earlier(self, event_key: str, event_type: str) -> list[trace.Link]:
        """Return a link to the span of the event that a replay has recorded before, if there is one.

        Args:
            event_key: The key, without what is bound before it.
            event_type: The type of the event that opens the block.

        Raises:
            TypeError: When no run is open.
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
        """Return what an exception says, redacted as payloads are; its type's name if that fails."""
        text = text_of(error)
        if not self.redact_payloads:
            return text
        try:
            return str(redact(text, self.redaction_config))
        except RedactionError:
            return type_name(type(error))


def _copied(given: Any, name: str) -> dict[str, Any]:
    """Return a copy of a dict, or of what was given in its place under a name."""
    if given is None:
        return {}
    copy = kept(given)
    return copy if type(copy) is dict else {name: copy}


def _merged(held: dict[str, Any], given: Any, name: str) -> dict[str, Any]:
    """Return a copy of what a logger holds, with what was given for one event."""
    return {**held, **_copied(given, name)}


def _genai_metrics() -> GenAIMetrics:
    from wakelog.otel import genai_metrics

    return genai_metrics()
