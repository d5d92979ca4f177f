"""``AgentLogger`` and ``AsyncAgentLogger``: a blocking and an asyncio API for the same journal."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any

from wakelog import context
from wakelog.errors import SinkError, UsageLimitError, WakelogError
from wakelog.events import AgentEvent
from wakelog.logger._base_logger import BaseLogger
from wakelog.logger._keys import keys_of
from wakelog.logger._refusing import RefusedEvent, not_accepted
from wakelog.runtime import in_asyncio

_SIZED = frozenset({str, bytes})
# A smaller value is written faster than another thread starts.
_LARGE = 256 * 1024


class AgentLogger(BaseLogger[AgentEvent]):
    """Records what an agent does, event by event.

    Every method below returns the event that it recorded. Besides its own arguments it takes those
    of ``AgentEvent`` by keyword: ``status``, ``parent_event_id``, ``session_id``, ``attributes``,
    ``durability`` and so on; ``risk`` and ``metadata`` are added to the logger's own. When a method
    returns, the sink has accepted the event; if the sink refuses it, the method raises
    ``SinkError`` or counts the refusal, as ``on_error`` says.

    Args:
        agent_name: The agent of these events.
        workflow_name: The agent's workflow.
        sink: A sink, or the path of a JSONL file. Without a sink events are discarded;
            ``wakelog.configure()`` returns a logger that writes to a journal and to OpenTelemetry.
        redact_payloads: Whether secrets and personal data are redacted before anything is written.
        redaction_config: What is redacted, and how it is replaced.
        default_risk: Risk classifications of every event.
        metadata: Other data of every event.
        tracer_provider: Where ``run``, ``model`` and ``tool`` open their spans; OpenTelemetry's
            global provider by default.
        on_error: What a call does if its event was not recorded: ``raise`` raises; ``log`` counts
            it in ``refused``, logs it once a minute, and returns. A call with
            ``durability=Durability.FSYNC`` always raises.
        genai_events: Whether model calls and exceptions are also recorded as the events of
            OpenTelemetry's conventions.
        genai_metrics: Whether tokens and durations are also reported as the metrics of the
            conventions.
        costs: Whether records of model calls have their costs, by the price list of
            ``genai-prices``.

    Raises:
        ConfigurationError: If an argument has a wrong type; the message names it.
        JournalError: If the JSONL file cannot be opened.
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Note whether a subclass has a ``put`` of its own."""
        super().__init_subclass__(**arguments)
        cls.own_put = cls.put is not AgentLogger.put

    def emit(
        self, event_type: str, payload: dict[str, Any] | None = None, **fields: Any
    ) -> AgentEvent:
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
        # What `made` and `_finish` do for a usual event, because each call costs time.
        try:
            event = self.event(event_type, payload, **fields)
        except Exception as error:  # noqa: BLE001 - raised again if on_error is "raise"
            return self._finish(self.refused_event(error, event_type, fields))
        if event.event_key is not None or self.own_put or context.spending.get() is not None:
            return self._finish(event)
        try:
            self.sink.write(event)
        except Exception as error:  # noqa: BLE001 - raised again if on_error is "raise"
            self.refuse_any(event, error)
        return event

    recorded = emit

    def _recorded_with(
        self,
        event_type: str,
        payload: dict[str, Any] | None,
        fields: dict[str, Any],
        tool_name: str | None = None,
    ) -> AgentEvent:
        # As `emit`, from which it is not called, because each call costs time.
        try:
            if not fields:
                event = self.event(event_type, payload, tool_name=tool_name)
            else:
                if tool_name is not None:
                    fields["tool_name"] = tool_name
                event = self.event(event_type, payload, **fields)
        except Exception as error:  # noqa: BLE001 - raised again if on_error is "raise"
            return self._finish(self.refused_event(error, event_type, fields))
        if event.event_key is not None or self.own_put or context.spending.get() is not None:
            return self._finish(event)
        try:
            self.sink.write(event)
        except Exception as error:  # noqa: BLE001 - raised again if on_error is "raise"
            self.refuse_any(event, error)
        return event

    def _finish(self, event: AgentEvent) -> AgentEvent:
        self.record(event)
        if (spending := context.spending.get()) is not None:
            _, why = self.charge(spending, event)
            if why:
                raise UsageLimitError(why)
        return event

    def put(self, event: AgentEvent) -> None:
        """Write an event to the sink.

        Raises:
            SinkError: If it was not accepted, whatever ``on_error`` says.
        """
        try:
            self.sink.write(event)
        except WakelogError:
            raise
        except Exception as error:
            raise SinkError(not_accepted(self.sink, event, error)) from error

    async def settle(self, event: AgentEvent) -> None:
        """Do nothing: ``record`` has waited."""

    async def look_for_earlier(self, run_id: str) -> None:
        """Do nothing: ``record`` reads them, and may block."""


class AsyncAgentLogger(BaseLogger[Coroutine[Any, Any, AgentEvent]]):
    """Records what an agent does, for asyncio: waiting for the disk never blocks the event loop.

    It takes the arguments of ``AgentLogger``, and its methods have to be awaited. An event is
    created when the method is called, and written when it is awaited. The await lasts until the
    durability is reached: with ``FSYNC``, tasks that wait at the same moment share one sync. If a
    task is cancelled while it waits, its event is written, but may not yet be synced. Under another
    event loop, such as trio's, an event is recorded as ``AgentLogger`` does it, which blocks.

    Blocks are for ``async with``. A sink whose ``write`` is a coroutine is awaited; any other is
    called in the event loop's thread, so it should not block for long.

    ``AsyncAgentLogger.over(log)`` creates one from a logger of ``wakelog.configure``.
    """

    blocking = False

    @classmethod
    def over(cls, log: BaseLogger[Any]) -> AsyncAgentLogger:
        """Return a logger for asyncio with the sink and the settings of another one."""
        over = cls(
            log.agent_name,
            log.workflow_name,
            log.sink,
            log.redact_payloads,
            log.redaction_config,
            log.default_risk,
            log.metadata,
            tracer_provider=log.tracer_provider,
            on_error=log.on_error,
            genai_events=log.genai_events,
            genai_metrics=log.genai_metrics is not None,
            costs=log.prices is not None,
        )
        over.refused = log.refused
        return over

    async def _finish(self, event: AgentEvent) -> AgentEvent:
        if event.event_key is not None and type(event) is not RefusedEvent:
            await self.look_for_earlier(event.run_id)
        if (
            is_large(event)
            and event.event_key is None
            and getattr(self.sink, "takes_threads", False)
            and in_asyncio()
        ):
            # Encoding, writing and syncing a large event would block the event loop.
            from asyncio import to_thread

            await to_thread(self._record_at_once, event)
        else:
            self.record(event)
            if event.settling is not None:
                await self.settle(event)
        if (spending := context.spending.get()) is not None:
            recorded, why = self.charge(spending, event)
            for one in recorded:
                await self.settle(one)
            if why:
                raise UsageLimitError(why)
        return event

    async def look_for_earlier(self, run_id: str) -> None:
        """Read a run's lines in another thread, for events that were recorded before a replay."""
        keys = keys_of(self.sink)
        if not keys.knows(run_id) and in_asyncio():
            from asyncio import to_thread  # imported late: only keyed events need it

            await to_thread(keys.earlier, run_id, "")

    def _record_at_once(self, event: AgentEvent) -> None:
        try:
            self.sink.write(event)
        except Exception as error:  # noqa: BLE001 - raised as a SinkError if on_error is "raise"
            self.refuse_any(event, error)

    def put(self, event: AgentEvent) -> None:
        """Write an event to the sink; ``settle`` waits for its durability.

        Raises:
            SinkError: If it was not accepted, whatever ``on_error`` says.
        """
        event.deferred = in_asyncio()
        try:
            answer: object = self.sink.write(event)
        except WakelogError:
            raise
        except Exception as error:
            raise SinkError(not_accepted(self.sink, event, error)) from error
        if answer is not None and inspect.isawaitable(answer):
            event.settling = lambda: answer

    async def settle(self, event: AgentEvent) -> None:
        """Wait until a recorded event has the requested durability.

        Raises:
            SinkError: If it was not accepted and ``on_error`` is ``raise``.
        """
        settling, event.settling = event.settling, None
        if settling is None:
            return
        try:
            await settling()
        except Exception as error:  # noqa: BLE001 - raised as a SinkError if on_error is "raise"
            self.refuse_any(event, error)


def is_large(event: AgentEvent) -> bool:
    """Return whether a text or bytes in the two top levels of an event's payload are large."""
    if type(event) is RefusedEvent:
        return False
    for top in event.payload.values():  # loops, because generators would take twice as long
        if type(top) is dict:
            for value in top.values():
                if type(value) in _SIZED and len(value) > _LARGE:
                    return True
        elif type(top) in _SIZED and len(top) > _LARGE:
            return True
    return False


# The logger of the last ``configure``, for integrations without a logger of their own.
_current: AgentLogger | None = None


def current() -> AgentLogger | None:
    """Return the logger of the last ``configure``, or None if there has been none."""
    return _current


def set_current(log: AgentLogger | None) -> AgentLogger | None:
    """Make a logger the one that ``current`` returns.

    Args:
        log: The logger, or None for none.

    Returns:
        The previous one.
    """
    global _current
    before, _current = _current, log
    return before
