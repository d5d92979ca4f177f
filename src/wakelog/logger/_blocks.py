"""The blocks ``run``, ``model`` and ``tool``: two events and a span around a piece of code."""

from __future__ import annotations

import abc
import time
from contextvars import Context, ContextVar, Token, copy_context
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from wakelog import context
from wakelog.errors import UsageLimitError, WakelogError
from wakelog.events import semconv as s
from wakelog.logger._decorators import Function, decorated
from wakelog.logger._failures import kind_of, payload_of, status_of
from wakelog.logger._keys import full_key
from wakelog.otel import asked, context_with, failures
from wakelog.record import kept, uuid7

if TYPE_CHECKING:
    from wakelog.events import AgentEvent
    from wakelog.logger._base_logger import BaseLogger
    from wakelog.logger._budget import Budget, Spending

Given = TypeVar("Given")


class Block(abc.ABC, Generic[Given]):
    """The common part of the three blocks: the order of span, context and events."""

    def __init__(self, log: BaseLogger[Any]) -> None:
        self._log = log
        self._tokens: list[Token[Any]] = []
        self._outcome: dict[str, Any] = {}
        # Recorded events that still have to be settled.
        self._unsettled: list[AgentEvent] = []
        if log.blocking:  # then there is nothing to settle
            self._record = log.recorded  # type: ignore[method-assign]

    # Values of the beginning, here because setting each of them takes time.
    _span: trace.Span = trace.INVALID_SPAN
    _attached: Token[otel_context.Context] | None = None
    _opening: AgentEvent | None = None
    # The context of the body.
    _context: Context | None = None
    _began = 0.0

    _result_key = "result"
    _opens: ClassVar[str]
    """The type of the block's opening event."""
    _event_key: str | None = None
    _run_of_keys: str | None = None
    """The run of the block's keys, for a block that opens one."""
    _status: str | None = None

    # What differs between the blocks.

    @abc.abstractmethod
    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        """Return the span's name, kind, attributes and links."""

    @abc.abstractmethod
    def _open(self) -> AgentEvent:
        """Record the opening event."""

    @abc.abstractmethod
    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        """Record the outcome, and return the last event."""

    @abc.abstractmethod
    def _given(self) -> Given:
        """Return the object that the ``with`` statement assigns."""

    def note(self, result: Any = None, items: int | None = None, status: str | None = None) -> None:
        """Set the outcome of the block, which is recorded at its end.

        Args:
            result: The return value.
            items: The number of items that a generator has yielded.
            status: The status, in place of ``success``, ``error`` or ``cancelled``.
        """
        if status is not None:
            self._status = status
        if result is not None:
            self._outcome[self._result_key] = kept(result)
        if items is not None:
            self._outcome["items"] = items

    # The order of events, the same for all blocks.

    def __enter__(self) -> Given:
        """Open the span and record the opening event."""
        try:
            self._prepare()
            if context.spending.get() is not None:  # then recording may raise after it has recorded
                self.__dict__.pop("_record", None)
            name, kind, attributes, links = self._describe()
            if self._event_key is not None:
                links = [*(links or []), *self._log.links_to_earlier(self._event_key, self._opens)]
            try:  # inlined from `asked`, because every block comes through here
                self._span = self._log.tracer().start_span(
                    name, kind=kind, attributes=attributes, links=links
                )
            except Exception as error:  # noqa: BLE001 - counted and logged: the tracer is the user's
                failures.note(error)
            self._attached = otel_context.attach(context_with(self._span))
            self._opening = opening = self._open()
        except BaseException as error:
            if self._opening is not None:
                self._end_unentered(error)
            self._leave()
            raise
        self._tokens.append(context.parent_id.set(opening.event_id))
        self._context = copy_context()
        return self._given()

    def suspend(self) -> None:
        """Unset the block's context variables and detach its span, but leave the block open."""
        here = True
        while self._tokens:
            token = self._tokens.pop()
            try:  # inlined from `context.unset`, because every block comes through here
                token.var.reset(token)
            except ValueError:
                here = False
        # If the variables were not set in this context, the span was not attached in it either.
        if self._attached is not None and here:
            otel_context.detach(self._attached)
        self._attached = None

    def resume(self) -> None:
        """Set the context variables and attach the span again, after ``suspend``."""
        assert self._opening is not None  # noqa: S101 - __enter__ has returned
        self._prepare()
        self._attached = otel_context.attach(context_with(self._span))
        self._bind(context.parent_id, self._opening.event_id)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Record the closing event and end the span; an exception propagates."""
        try:
            opening = self._opening
            assert opening is not None  # noqa: S101 - __enter__ has returned
            if error is None and context.parent_id.get() == opening.event_id:  # the usual case
                self._close(self._status or "success", None, opening.event_id)
            else:
                self._end(error)
        except WakelogError as failure:
            _yield_to(error, failure)
        finally:
            self._leave()

    async def __aenter__(self) -> Given:
        """Open the span and record the opening event with its durability, before the body runs."""
        run_id = self._run_of_keys or context.run_id.get()
        if self._event_key is not None and run_id is not None:
            await self._log.look_for_earlier(run_id)
        given = self.__enter__()
        try:
            await self._settle()
        except WakelogError:  # the opening event was not accepted
            self._leave()
            raise
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return given

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Record the closing event and end the span; an exception propagates."""
        try:
            try:
                self._end(error)
            finally:
                await self._settle()
        except WakelogError as failure:
            _yield_to(error, failure)
        finally:
            self._leave()

    def _end_unentered(self, error: BaseException) -> None:
        """Record the end of a block whose body does not run, although its start is recorded."""
        try:
            self._end_here(error)
        except WakelogError as failure:
            _yield_to(error, failure)

    def _end(self, error: BaseException | None) -> AgentEvent:
        assert self._opening is not None  # noqa: S101 - __enter__ has returned
        assert self._context is not None  # noqa: S101 - likewise
        if context.parent_id.get() == self._opening.event_id:
            return self._end_here(error)
        # A coroutine or a generator is closed elsewhere, perhaps inside the block of another run.
        return self._context.run(self._end_here, error)

    def _end_here(self, error: BaseException | None) -> AgentEvent:
        assert self._opening is not None  # noqa: S101 - __enter__ has recorded it
        # A generator that is closed early has not failed.
        if error is not None and not issubclass(type(error), GeneratorExit):
            said = self._log.redacted_text(error)
            asked(lambda: self._span.set_status(StatusCode.ERROR, said), None)
            asked(lambda: self._span.set_attribute(s.ERROR_TYPE, kind_of(error)), None)
        status = self._status or ("success" if error is None else status_of(error))
        return self._close(status, error, self._opening.event_id)

    def _record(self, event_type: str, payload: dict[str, Any], **fields: Any) -> AgentEvent:
        event = self._log.made(event_type, payload, **fields)
        self._log.record(event)
        if self._opening is None:
            self._opening = event
        if event.settling is not None:
            self._unsettled.append(event)
        if (spending := context.spending.get()) is not None:
            recorded, why = self._log.charge(spending, event)
            self._unsettled.extend(one for one in recorded if one.settling is not None)
            if why:
                raise UsageLimitError(why)
        return event

    async def _settle(self) -> None:
        """Wait for all recorded events, also for those after one that fails."""
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
        """Bind the context that the block's own events need."""

    def _bind(self, variable: ContextVar[Any], value: Any) -> None:
        self._tokens.append(variable.set(value))

    def _leave(self) -> None:
        self.suspend()
        try:  # inlined from `asked`, as above
            self._span.end()
        except Exception as error:  # noqa: BLE001 - counted and logged: the span is the user's
            failures.note(error)

    def _common(self, operation: str) -> dict[str, Any]:
        attributes: dict[str, Any] = {s.OPERATION_NAME: operation}
        if (agent := context.agent.get() or self._log.agent_name) is not None:
            attributes[s.AGENT_NAME] = agent
        if (session_id := context.session_id.get()) is not None:
            attributes[s.CONVERSATION_ID] = session_id
        if (run_id := context.run_id.get()) is not None:
            attributes[s.RUN_ID] = run_id
        return attributes


class RunBlock(Block[str]):
    """A run. ``with log.run() as run_id``."""

    _result_key = "output"
    _opens = "run_start"

    def __init__(
        self,
        log: BaseLogger[Any],
        given: Any,
        metadata: dict[str, Any] | None,
        agent: str | None,
        session_id: str | None,
        run_id: str | None,
        links: list[trace.Link] | None,
        workflow: str | None = None,
        budget: Budget | None = None,
        event_key: str | None = None,
    ) -> None:
        super().__init__(log)
        if event_key is not None and run_id is None:
            message = (
                "event_key= of a run needs run_id=: the id that the engine has for the workflow"
            )
            raise TypeError(message)
        self._event_key = event_key
        # A copy, so that both events have the metadata of the time when the block was created.
        self._input, self._metadata, self._links = given, kept(metadata), links
        self._workflow = workflow
        self._agent, self._session_id = agent, session_id
        self._parent_session: str | None = None
        self.run_id = self._run_of_keys = run_id or uuid7()
        self._spending: Spending | None = None
        if budget is not None:
            from wakelog.logger._budget import Spending  # loaded with `Budget`

            key = None if event_key is None else full_key(event_key, run_id)
            self._spending = Spending(budget, self.run_id, context.spending.get(), key)

    def _prepare(self) -> None:
        self._bind(context.run_id, self.run_id)
        if self._spending is not None:
            self._bind(context.spending, self._spending)
        if self._agent is not None:
            self._bind(context.agent, self._agent)
        if self._workflow is not None:
            self._bind(context.workflow, self._workflow)
        if self._session_id is not None:
            if self._opening is None and (outer := context.session_id.get()) != self._session_id:
                self._parent_session = outer
            self._bind(context.session_id, self._session_id)

    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        operation = s.INVOKE_AGENT if self._workflow is None else s.INVOKE_WORKFLOW
        attributes = self._common(operation)
        if self._workflow is not None:
            attributes[s.AGENT_NAME] = self._workflow  # as in the conventions for workflows
        if self._parent_session is not None:
            attributes[s.PARENT_SESSION_ID] = self._parent_session
        agent = attributes.get(s.AGENT_NAME)
        name = f"{operation} {agent}" if agent else operation
        return name, SpanKind.INTERNAL, attributes, self._links

    def _open(self) -> AgentEvent:
        payload = {} if self._input is None else {"input": self._input}
        self._began = time.perf_counter()
        return self._record(
            "run_start", payload, metadata=self._metadata, status="started", **self._named()
        )

    def _named(self) -> dict[str, Any]:
        """Return the common fields of both events, such as a workflow's name."""
        fields: dict[str, Any] = {"event_key": self._event_key}
        attributes: dict[str, Any] = {}
        if self._workflow is not None:
            fields["agent_name"] = self._workflow
            attributes[s.OPERATION_NAME] = s.INVOKE_WORKFLOW
        if self._parent_session is not None:
            attributes[s.PARENT_SESSION_ID] = self._parent_session
        return {**fields, "attributes": attributes} if attributes else fields

    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        payload = dict(self._outcome)
        if error is not None:
            payload["error_type"] = kind_of(error)
        try:
            if error is not None and status == "error":
                key = self._event_key
                self._record("error", payload_of(error), status="error", event_key=key)
        finally:
            ended = self._record(
                "run_end",
                payload,
                metadata=self._metadata,
                status=status,
                parent_event_id=parent,
                **self._named(),
            )
        if self._log.genai_metrics is not None:
            attributes = self._describe()[2]
            if error is not None:
                attributes[s.ERROR_TYPE] = payload["error_type"]
            self._log.genai_metrics.run(attributes, time.perf_counter() - self._began)
        return ended

    def _given(self) -> str:
        return self.run_id


class ToolBlock(Block["ToolBlock"]):
    """A tool call. ``with log.tool("search", {"q": "x"}) as call: call.result(search("x"))``."""

    _opens = "tool_call"

    def __init__(
        self,
        log: BaseLogger[Any],
        tool_name: str,
        args: Any,
        call_id: str | None,
        tool_type: str | None,
        fields: dict[str, Any],
        description: str | None = None,
    ) -> None:
        super().__init__(log)
        self._description = description
        self._tool, self._args, self._call_id, self._type = tool_name, args, call_id, tool_type
        self._fields: dict[str, Any] = kept(fields) if fields else fields
        self._event_key = self._fields.get("event_key")

    def __call__(self, function: Function) -> Function:
        """Record each call of a function as a tool call: ``@log.tool("search")``.

        The arguments and the result of the call are recorded; for a generator, the number of items.

        Raises:
            TypeError: If the object is not a function, or if an asyncio logger decorates a function
                that is not async.
        """

        def block_for(arguments: dict[str, Any]) -> ToolBlock:
            return ToolBlock(
                self._log,
                self._tool,
                arguments,
                self._call_id,
                self._type,
                self._fields,
                self._description,
            )

        return decorated(function, block_for, blocking=self._log.blocking)

    def result(self, value: Any) -> Any:
        """Set the tool's result, which is recorded at the end of the block.

        Args:
            value: The result.

        Returns:
            The result, so that the call can be a part of an expression.
        """
        self._outcome["result"] = kept(value)
        return value

    def _describe(self) -> tuple[str, SpanKind, dict[str, Any], list[trace.Link] | None]:
        attributes = self._common(s.EXECUTE_TOOL)
        attributes[s.TOOL_NAME] = self._tool
        if self._call_id is not None:
            attributes[s.TOOL_CALL_ID] = self._call_id
        if self._type is not None:
            attributes[s.TOOL_TYPE] = self._type
        if self._description is not None:
            attributes[s.TOOL_DESCRIPTION] = self._description
        return f"{s.EXECUTE_TOOL} {self._tool}", SpanKind.INTERNAL, attributes, None

    def _open(self) -> AgentEvent:
        payload = {"args": {} if self._args is None else self._args}
        if self._description is not None:
            payload["tool_description"] = self._description
        self._began = time.perf_counter()
        return self._emit("tool_call", payload, "started", None)

    def _close(self, status: str, error: BaseException | None, parent: str) -> AgentEvent:
        payload = dict(self._outcome)
        if error is not None:
            payload["error_type"] = kind_of(error)
        if self._log.genai_metrics is not None:
            attributes = self._describe()[2]
            if error is not None:
                attributes[s.ERROR_TYPE] = payload["error_type"]
            self._log.genai_metrics.tool(attributes, time.perf_counter() - self._began)
        try:
            if error is not None and status == "error" and self._log.genai_events:
                about = {"tool_name": self._tool, "call_id": self._call_id}
                about["event_key"] = self._event_key
                self._record("tool_exception", payload_of(error), parent_event_id=parent, **about)
        finally:
            ended = self._emit("tool_result", payload, status, parent)
        return ended

    def _emit(
        self, event_type: str, payload: dict[str, Any], status: str, parent: str | None
    ) -> AgentEvent:
        if self._type is not None:
            payload["tool_type"] = self._type
        if not self._fields and self._log.blocking and context.spending.get() is None:
            return self._log.record_for_block(
                event_type, payload, status, parent, None, None, self._tool, self._call_id
            )
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


def _yield_to(error: BaseException | None, failure: WakelogError) -> None:
    """Raise a failure of the logger, or add it as a note to the program's own exception."""
    if error is None:
        raise failure
    if isinstance(failure, UsageLimitError):
        error.add_note(f"wakelog: {failure}")
        return
    error.add_note(f"wakelog could not record how this ended: {failure}")
