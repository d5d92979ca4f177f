"""The blocks ``run``, ``model`` and ``tool``: two events and a span around a piece of code."""

from __future__ import annotations

import abc
import asyncio
import traceback
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from wakelog import context
from wakelog.errors import WakelogError
from wakelog.events import semconv as s
from wakelog.logger._decorators import Function, decorated
from wakelog.record import uuid7

if TYPE_CHECKING:
    from wakelog.events import AgentEvent
    from wakelog.logger._front import Front

Given = TypeVar("Given")


class _Block(abc.ABC, Generic[Given]):
    """What the three blocks share: the order of span, context and events, in and out."""

    def __init__(self, log: Front[Any]) -> None:
        self._log = log
        self._tokens: list[Token[str | None]] = []
        self._span: trace.Span = trace.INVALID_SPAN
        self._attached: Token[otel_context.Context] | None = None
        self._opening: AgentEvent | None = None
        self._outcome: dict[str, Any] = {}
        # Events that are recorded, and that somebody still has to wait for.
        self._unsettled: list[AgentEvent] = []

    _result_key = "result"

    # What each block says of itself.

    @abc.abstractmethod
    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        """Return the span's name, kind, attributes and links."""

    @abc.abstractmethod
    def _open(self) -> AgentEvent:
        """Record the opening event."""

    @abc.abstractmethod
    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        """Record how it ended, and return the last event."""

    @abc.abstractmethod
    def _given(self) -> Given:
        """Return what ``with`` gives."""

    def note(self, result: Any = None, items: int | None = None) -> None:
        """Note what came of the block; it is recorded at its end.

        Args:
            result: What was returned.
            items: How many items a generator has given.
        """
        if result is not None:
            self._outcome[self._result_key] = result
        if items is not None:
            self._outcome["items"] = items

    # The order in which it happens.

    def __enter__(self) -> Given:
        """Open the span and record the opening event."""
        try:
            self._prepare()
            name, kind, attributes, links = self._describe()
            self._span = self._log.tracer().start_span(
                name, kind=kind, attributes=attributes, links=links
            )
            self._attach()
            self._opening = self._open()
        except BaseException:
            self._leave()
            raise
        self._bind(context.parent_id, self._opening.event_id)
        return self._given()

    def suspend(self) -> None:
        """Take back what the block has set in this context, and leave the block open."""
        here = True
        while self._tokens:
            here = context.unset(self._tokens.pop()) and here
        # Where our variables were not set, the span was not attached either.
        if self._attached is not None and here:
            otel_context.detach(self._attached)
        self._attached = None

    def resume(self) -> None:
        """Set in this context what ``suspend`` has taken back."""
        assert self._opening is not None  # noqa: S101 - __enter__ has returned
        self._prepare()
        self._attach()
        self._bind(context.parent_id, self._opening.event_id)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace_back: TracebackType | None,
    ) -> None:
        """Record the closing event and end the span; an exception goes on."""
        try:
            self._end(error)
        except WakelogError as failure:
            _yield_to(error, failure)
        finally:
            self._leave()

    async def __aenter__(self) -> Given:
        """Open the span and record the opening event, durably before the body runs."""
        given = self.__enter__()
        try:
            await self._settle()
        except BaseException:
            self._leave()
            raise
        return given

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace_back: TracebackType | None,
    ) -> None:
        """Record the closing event and end the span; an exception goes on."""
        try:
            try:
                self._end(error)
            finally:
                await self._settle()
        except WakelogError as failure:
            _yield_to(error, failure)
        finally:
            self._leave()

    def _end(self, error: BaseException | None) -> AgentEvent:
        assert self._opening is not None  # noqa: S101 - __enter__ has returned
        # A generator that is closed early has done what it was asked for.
        if error is not None and not isinstance(error, GeneratorExit):
            self._span.set_status(StatusCode.ERROR, self._log.redacted_text(error))
            self._span.set_attribute(s.ERROR_TYPE, type_name(error))
        return self._close(_status_of(error), error, self._opening.event_id)

    def _record(self, event_type: str, payload: dict[str, Any], **fields: Any) -> AgentEvent:
        event = self._log.event(event_type, payload, **fields)
        self._log.record(event)
        if event.settling is not None:
            self._unsettled.append(event)
        return event

    async def _settle(self) -> None:
        """Wait for everything recorded, also for what comes after one that fails."""
        while self._unsettled:
            event = self._unsettled.pop(0)
            try:
                await self._log.settle(event)
            except WakelogError:
                if not self._unsettled:
                    raise
                await self._settle()
                raise

    def _prepare(self) -> None:
        """Bind what the block's own events carry already."""

    def _bind(self, variable: ContextVar[str | None], value: str | None) -> None:
        self._tokens.append(variable.set(value))

    def _attach(self) -> None:
        self._attached = otel_context.attach(trace.set_span_in_context(self._span))

    def _leave(self) -> None:
        self.suspend()
        self._span.end()

    def _common(self, operation: str) -> dict[str, Any]:
        values = {
            s.OPERATION_NAME: operation,
            s.AGENT_NAME: context.agent.get() or self._log.agent_name,
            s.CONVERSATION_ID: context.session_id.get(),
            s.RUN_ID: context.run_id.get(),
        }
        return {name: value for name, value in values.items() if value is not None}


class RunBlock(_Block[str]):
    """A run. ``with log.run() as run_id``."""

    _result_key = "output"

    def __init__(
        self,
        log: Front[Any],
        given: Any,
        metadata: dict[str, Any] | None,
        agent: str | None,
        session_id: str | None,
        run_id: str | None,
        links: list[trace.Link] | None,
    ) -> None:
        super().__init__(log)
        self._input, self._metadata, self._links = given, metadata, links
        self._agent, self._session_id = agent, session_id
        self.run_id = run_id or uuid7()

    def _prepare(self) -> None:
        self._bind(context.run_id, self.run_id)
        if self._agent is not None:
            self._bind(context.agent, self._agent)
        if self._session_id is not None:
            self._bind(context.session_id, self._session_id)

    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        attributes = self._common(s.INVOKE_AGENT)
        agent = attributes.get(s.AGENT_NAME)
        name = f"{s.INVOKE_AGENT} {agent}" if agent else s.INVOKE_AGENT
        return name, SpanKind.INTERNAL, attributes, self._links

    def _open(self) -> AgentEvent:
        payload = {} if self._input is None else {"input": self._input}
        return self._record("run_start", payload, metadata=self._metadata, status="started")

    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        payload = dict(self._outcome)
        if error is not None:
            payload["error_type"] = type_name(error)
        try:
            if error is not None and status == "error":
                self._record("error", payload_of(error), status="error")
        finally:
            ended = self._record(
                "run_end", payload, metadata=self._metadata, status=status, parent_event_id=parent
            )
        return ended

    def _given(self) -> str:
        return self.run_id


class ModelBlock(_Block["ModelBlock"]):
    """A model call. ``with log.model("gpt-4o", "openai") as call: call.respond("hello")``."""

    def __init__(
        self,
        log: Front[Any],
        model: str,
        provider: str | None,
        given: Any,
        fields: dict[str, Any],
    ) -> None:
        super().__init__(log)
        self._model, self._provider, self._input, self._fields = model, provider, given, fields
        self._response: dict[str, Any] = {}

    def respond(
        self,
        output: Any = None,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        finish_reasons: list[str] | None = None,
        response_id: str | None = None,
        response_model: str | None = None,
        **payload: Any,
    ) -> Self:
        """Note the response; it is recorded at the end of the block.

        Args:
            output: What the model said, as text or in the conventions' form.
            input_tokens: How many tokens it read.
            output_tokens: How many it wrote.
            finish_reasons: Why it stopped, one for each choice.
            response_id: The provider's id of the response.
            response_model: The model that answered.
            payload: Anything else, as content.

        Returns:
            The block.
        """
        values = {
            "output_messages": output,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "finish_reasons": finish_reasons,
            "response_id": response_id,
            "response_model": response_model,
            **payload,
        }
        self._response.update({key: value for key, value in values.items() if value is not None})
        return self

    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        attributes = self._common(s.CHAT)
        attributes[s.REQUEST_MODEL] = self._model
        if self._provider is not None:
            attributes[s.PROVIDER_NAME] = self._provider
        return f"{s.CHAT} {self._model}", SpanKind.CLIENT, attributes, None

    def _open(self) -> AgentEvent:
        payload = {} if self._input is None else {"input_messages": self._input}
        return self._emit("model_call", payload, "started", None)

    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        payload = dict(self._response)
        if error is not None:
            payload["error_type"] = type_name(error)
        names = {
            "input_tokens": s.USAGE_INPUT_TOKENS,
            "output_tokens": s.USAGE_OUTPUT_TOKENS,
            "finish_reasons": s.RESPONSE_FINISH_REASONS,
            "response_id": s.RESPONSE_ID,
            "response_model": s.RESPONSE_MODEL,
        }
        self._span.set_attributes({names[k]: v for k, v in payload.items() if k in names})
        return self._emit("model_response", payload, status, parent)

    def _emit(
        self, event_type: str, payload: dict[str, Any], status: str, parent: str | None
    ) -> AgentEvent:
        return self._record(
            event_type,
            payload,
            provider=self._provider,
            model=self._model,
            status=status,
            parent_event_id=parent,
            **self._fields,
        )

    def _given(self) -> ModelBlock:
        return self


class ToolBlock(_Block["ToolBlock"]):
    """A tool call. ``with log.tool("search", {"q": "x"}) as call: call.result(search("x"))``."""

    def __init__(
        self,
        log: Front[Any],
        tool_name: str,
        args: Any,
        call_id: str | None,
        tool_type: str | None,
        fields: dict[str, Any],
    ) -> None:
        super().__init__(log)
        self._tool, self._args, self._call_id, self._type = tool_name, args, call_id, tool_type
        self._fields = fields

    def __call__(self, function: Function) -> Function:
        """Put such a block around each call of a function: ``@log.tool("search")``.

        The arguments and the result of the call are recorded, for a generator the number of items.

        Raises:
            TypeError: For what is no function, or one that the logger cannot wait in.
        """

        def block_for(arguments: dict[str, Any]) -> ToolBlock:
            return ToolBlock(
                self._log, self._tool, arguments, self._call_id, self._type, self._fields
            )

        return decorated(function, block_for, blocking=self._log.blocking)

    def result(self, value: Any) -> Any:
        """Note what the tool returned; it is recorded at the end of the block.

        Args:
            value: The result.

        Returns:
            The result, so that the call can stand in an expression.
        """
        self._outcome["result"] = value
        return value

    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        attributes = self._common(s.EXECUTE_TOOL)
        attributes[s.TOOL_NAME] = self._tool
        if self._call_id is not None:
            attributes[s.TOOL_CALL_ID] = self._call_id
        if self._type is not None:
            attributes[s.TOOL_TYPE] = self._type
        return f"{s.EXECUTE_TOOL} {self._tool}", SpanKind.INTERNAL, attributes, None

    def _open(self) -> AgentEvent:
        payload = {"args": {} if self._args is None else self._args}
        return self._emit("tool_call", payload, "started", None)

    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        payload = dict(self._outcome)
        if error is not None:
            payload["error_type"] = type_name(error)
        return self._emit("tool_result", payload, status, parent)

    def _emit(
        self, event_type: str, payload: dict[str, Any], status: str, parent: str | None
    ) -> AgentEvent:
        if self._type is not None:
            payload["tool_type"] = self._type
        return self._record(
            event_type,
            payload,
            tool_name=self._tool,
            call_id=self._call_id,
            status=status,
            parent_event_id=parent,
            **self._fields,
        )

    def _given(self) -> ToolBlock:
        return self


def payload_of(error: BaseException | str) -> dict[str, Any]:
    """Return what an ``error`` event says of an exception, or of what happened in words."""
    payload: dict[str, Any] = {"error": text_of(error)}
    if isinstance(error, BaseException):
        payload["error_type"] = payload["exception_type"] = type_name(error)
        payload["stacktrace"] = "".join(traceback.format_exception(error))
    return payload


def _yield_to(error: BaseException | None, failure: WakelogError) -> None:
    """Raise a failure of ours, or have it travel as a note on the program's own exception."""
    if error is None:
        raise failure
    error.add_note(f"wakelog could not record how this ended: {failure}")


def _status_of(error: BaseException | None) -> str:
    if error is None:
        return "success"
    return "cancelled" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "error"


def text_of(error: BaseException | str) -> str:
    """Return what an error says, or its type's name when it cannot say anything."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not take the exception's place
        return type_name(error)


def type_name(error: object) -> str:
    """Return the qualified name of an object's type, without ``builtins``."""
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"
