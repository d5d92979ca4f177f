"""``AgentLogger`` and ``AsyncAgentLogger``: two ways to wait for the same journal."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any

from wakelog.errors import SinkError, WakelogError
from wakelog.events import AgentEvent
from wakelog.logger._front import Front


class AgentLogger(Front[AgentEvent]):
    """Records what an agent does, event by event.

    Every method below returns the event that it recorded. Beside its own arguments it takes what
    ``AgentEvent`` takes by keyword: ``status``, ``parent_event_id``, ``session_id``,
    ``attributes``, ``durability`` and so on; ``risk`` and ``metadata`` are added to the logger's
    own. When a method returns, the sink has accepted the event; when it could not, the method
    raises ``SinkError``.

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

    Raises:
        JournalError: When the JSONL file cannot be opened.
    """

    def _finish(self, event: AgentEvent) -> AgentEvent:
        self.record(event)
        return event

    def record(self, event: AgentEvent) -> None:
        """Hand an event to the sink.

        Raises:
            SinkError: When it was not accepted.
        """
        try:
            self.sink.write(event)
        except WakelogError:
            raise
        except Exception as error:
            raise SinkError(_not_accepted(self.sink, event, error)) from error

    async def settle(self, event: AgentEvent) -> None:
        """Do nothing: ``record`` has waited."""


class AsyncAgentLogger(Front[Coroutine[Any, Any, AgentEvent]]):
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
    def over(cls, log: Front[Any]) -> AsyncAgentLogger:
        """Return a logger for asyncio with the sink and the settings of another one."""
        return cls(
            log.agent_name,
            log.workflow_name,
            log.sink,
            log.redact_payloads,
            log.redaction_config,
            log.default_risk,
            log.metadata,
            tracer_provider=log.tracer_provider,
        )

    async def _finish(self, event: AgentEvent) -> AgentEvent:
        self.record(event)
        if event.settling is not None:
            await self.settle(event)
        return event

    def record(self, event: AgentEvent) -> None:
        """Hand an event to the sink, and leave waiting to ``settle``.

        Raises:
            SinkError: When it was not accepted.
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
            SinkError: When it was not accepted.
        """
        settling, event.settling = event.settling, None
        if settling is None:
            return
        try:
            await settling()
        except WakelogError:
            raise
        except Exception as error:
            raise SinkError(_not_accepted(self.sink, event, error)) from error


def _not_accepted(sink: object, event: AgentEvent, error: Exception) -> str:
    return f"{type(sink).__name__} did not accept {event!r}: {type(error).__name__}: {error}"
