"""``AgentLogger`` and ``AsyncAgentLogger``: two ways to wait for the same journal."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any

from wakelog import context
from wakelog.errors import SinkError, UsageLimitError, WakelogError
from wakelog.events import AgentEvent
from wakelog.logger._base_logger import BaseLogger
from wakelog.logger._keys import keys_of
from wakelog.logger._refusing import RefusedEvent

_SIZED = frozenset({str, bytes})
# A smaller value takes less time to write than another thread takes to begin.
_LARGE = 256 * 1024


class AgentLogger(BaseLogger[AgentEvent]):
    """Records what an agent does, event by event.

    Every method below returns the event that it recorded. Beside its own arguments it takes what
    ``AgentEvent`` takes by keyword: ``status``, ``parent_event_id``, ``session_id``,
    ``attributes``, ``durability`` and so on; ``risk`` and ``metadata`` are added to the logger's
    own. When a method returns, the sink has accepted the event; when it could not, the method
    raises ``SinkError``, or counts that, as ``on_error`` says.

    Args:
        agent_name: The agent whose events these are.
        workflow_name: The workflow that it works in.
        sink: Where events go: a sink, or the path of a JSONL file. Without one they go nowhere;
            ``wakelog.configure()`` returns a logger that writes to a journal and to OpenTelemetry.
        redact_payloads: Whether secrets and personal data are taken out before anything is
            written.
        redaction_config: What is taken out, and what stands in its place.
        default_risk: Classifications that every event carries.
        metadata: Anything else that every event carries.
        tracer_provider: Where ``run``, ``model`` and ``tool`` open their spans; OpenTelemetry's
            global provider by default.
        on_error: What a call does whose event was not recorded: ``raise`` raises; ``log`` counts it
            in ``refused``, says so once a minute, and returns. A call with
            ``durability=Durability.FSYNC`` raises in any case.
        genai_events: Whether calls of models, and exceptions, are also recorded as the events that
            OpenTelemetry's conventions have for them.
        genai_metrics: Whether tokens and durations are also counted as the metrics that the conventions
            have for them.
        costs: Whether the costs of calls are on their records, by the price list of ``genai-prices``.

    Raises:
        ConfigurationError: For an argument of a wrong type; it says which.
        JournalError: When the JSONL file cannot be opened.
    """

    def _finish(self, event: AgentEvent) -> AgentEvent:
        self.record(event)
        if (spending := context.spending.get()) is not None:
            _, why = self.charge(spending, event)
            if why:
                raise UsageLimitError(why)
        return event

    def put(self, event: AgentEvent) -> None:
        """Hand an event to the sink.

        Raises:
            SinkError: When it was not accepted, whatever ``on_error`` says.
        """
        try:
            self.sink.write(event)
        except WakelogError:
            raise
        except Exception as error:
            raise SinkError(_not_accepted(self.sink, event, error)) from error

    async def settle(self, event: AgentEvent) -> None:
        """Do nothing: ``record`` has waited."""

    async def look_for_earlier(self, run_id: str) -> None:
        """Do nothing: the call that needs it waits for it."""


class AsyncAgentLogger(BaseLogger[Coroutine[Any, Any, AgentEvent]]):
    """Records what an agent does, for asyncio: waiting for the disk never blocks the event loop.

    It takes what ``AgentLogger`` takes, and its methods are to be awaited. An event is made
    when the method is called and written when it is awaited; what the wait is for is the
    durability: with ``FSYNC``, tasks that wait at the same moment share one sync. A task that is
    cancelled while it waits leaves its event written, and not known to be on the disk.

    Blocks are for ``async with``. A sink whose ``write`` is a coroutine is awaited; any other is
    called in the event loop's thread, so it should not block for long.

    ``AsyncAgentLogger.over(log)`` makes one of a logger that ``wakelog.configure`` has returned.
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
        if is_large(event) and event.event_key is None and self._takes_threads:
            # Encoding, writing and syncing it must not hold the event loop.
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

    @property
    def _takes_threads(self) -> bool:
        return getattr(self.sink, "takes_threads", False)

    async def look_for_earlier(self, run_id: str) -> None:
        """Have the lines of a run read, in another thread, for what a replay has recorded before."""
        keys = keys_of(self.sink)
        if not keys.knows(run_id):
            from asyncio import to_thread  # not before it is needed

            await to_thread(keys.earlier, run_id, "")

    def _record_at_once(self, event: AgentEvent) -> None:
        try:
            self.sink.write(event)
        except Exception as error:  # noqa: BLE001 - raised as a SinkError where errors are raised
            self._refuse_any(event, error)

    def _refuse_any(self, event: AgentEvent, error: Exception) -> None:
        if not isinstance(error, WakelogError):
            cause, error = error, SinkError(_not_accepted(self.sink, event, error))
            error.__cause__ = cause
        self.refuse(error, event.durability)

    def put(self, event: AgentEvent) -> None:
        """Hand an event to the sink, and leave waiting to ``settle``.

        Raises:
            SinkError: When it was not accepted, whatever ``on_error`` says.
        """
        event.deferred = True
        try:
            answer: object = self.sink.write(event)
        except WakelogError:
            raise
        except Exception as error:
            raise SinkError(_not_accepted(self.sink, event, error)) from error
        if inspect.isawaitable(answer):
            event.settling = lambda: answer

    async def settle(self, event: AgentEvent) -> None:
        """Wait until a recorded event has the durability that was asked for.

        Raises:
            SinkError: When it was not accepted, where errors are raised.
        """
        settling, event.settling = event.settling, None
        if settling is None:
            return
        try:
            await settling()
        except Exception as error:  # noqa: BLE001 - raised as a SinkError where errors are raised
            self._refuse_any(event, error)


def is_large(event: AgentEvent) -> bool:
    """Tell whether a text or bytes near the top of an event's payload are large."""
    return type(event) is not RefusedEvent and any(
        type(value) in _SIZED and len(value) > _LARGE
        for top in event.payload.values()
        for value in (top.values() if type(top) is dict else (top,))
    )


def _not_accepted(sink: object, event: AgentEvent, error: Exception) -> str:
    return f"{type(sink).__name__} did not accept {event!r}: {type(error).__name__}: {error}"
