"""Audit sinks: a narrow channel for what happened to a run, which never raises."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable

from wakelog import context
from wakelog.audit._breach import UsageLimitBreach
from wakelog.audit._channel import AuditCounts, Channel, channel_over
from wakelog.audit._failures import Failures, PartialKey
from wakelog.audit._keys import ThreadKey, checked
from wakelog.audit._log import SessionLog
from wakelog.audit._metrics import metrics_of
from wakelog.events import AgentEvent
from wakelog.otel import span_context_of

if TYPE_CHECKING:
    from wakelog.logger import AgentLogger


@runtime_checkable
class AuditSink(Protocol):
    """Receives what tools, graphs and agents report about a run. No call returns anything, blocks or raises."""

    def record_sub_agent_invoked(self, agent_id: str, sub_thread_id: str) -> None:
        """Record that another agent was given work, in a thread of its own."""
        ...

    def record_agent_handoff(self, from_: str | None, to: str) -> None:
        """Record that the conversation goes over to another agent; from nobody at the beginning."""
        ...

    def record_resumed(self, from_checkpoint: str) -> None:
        """Record that a run goes on from a checkpoint; from a fresh state when it is empty."""
        ...

    def record_memory_recall(self, tier: str, namespace_key: str, hits: int) -> None:
        """Record that memory was searched and how many records it gave, never which."""
        ...

    def record_usage_limit_exceeded(self, breach: UsageLimitBreach) -> None:
        """Record that a budget was overrun."""
        ...

    def record_context_compacted(self, dropped_chars: int, retained_chars: int) -> None:
        """Record that the conversation was shortened, and by how much."""
        ...


class _EventAuditSink(abc.ABC):
    """Turns each record into an event, made where and when the record was."""

    __slots__ = ()

    @abc.abstractmethod
    def record(self, event: AgentEvent) -> None:
        """Record an event as it is, which is not to be changed afterwards; nothing is raised."""

    def emit(self, event_type: str, payload: dict[str, Any] | None = None, **fields: Any) -> None:
        """Record an event of any type: a message, a tool call, a checkpoint. Nothing is raised.

        Args:
            event_type: The type, as ``AgentLogger.emit`` takes it.
            payload: What was said, asked or returned.
            fields: Any other field of ``AgentEvent``. What is not given comes from the blocks and
                from ``bound`` around the call.
        """
        self._make(event_type, payload or {}, **fields)

    @abc.abstractmethod
    def _lost(self, error: Exception, event: AgentEvent | None = None) -> None:
        """Note that an event was not recorded, or could not even be made."""

    def _key(self) -> ThreadKey | None:
        """Return the thread that the sink's records belong to, when it knows."""
        return None

    def record_sub_agent_invoked(self, agent_id: str, sub_thread_id: str) -> None:
        """Record that another agent was given work, in a thread of its own."""
        self._make("sub_agent_invoked", {"agent_id": agent_id, "sub_thread_id": sub_thread_id})

    def record_agent_handoff(self, from_: str | None, to: str) -> None:
        """Record that the conversation goes over to another agent; from nobody at the beginning."""
        self._make("agent_handoff", {"from": from_, "to": to})

    def record_resumed(self, from_checkpoint: str) -> None:
        """Record that a run goes on from a checkpoint; from a fresh state when it is empty."""
        self._make("resumed", {"from_checkpoint": from_checkpoint})

    def record_memory_recall(self, tier: str, namespace_key: str, hits: int) -> None:
        """Record that memory was searched and how many records it gave, never which."""
        self._make("memory_recall", {"tier": tier, "namespace_key": namespace_key, "hits": hits})

    def record_usage_limit_exceeded(self, breach: UsageLimitBreach) -> None:
        """Record that a budget was overrun."""
        try:
            payload = breach.payload()
        except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
            self._lost(error)
        else:
            self._make("usage_limit_exceeded", payload)

    def record_context_compacted(self, dropped_chars: int, retained_chars: int) -> None:
        """Record that the conversation was shortened, and by how much."""
        data = {"dropped_chars": dropped_chars, "retained_chars": retained_chars}
        self._make("context_compacted", data)

    def _make(self, event_type: str, payload: dict[str, Any], **fields: Any) -> None:
        try:
            key = self._key()
            around: dict[str, Any] = {
                "run_id": context.run_id.get(),
                "agent_name": context.agent.get(),
                "workflow_name": context.workflow.get(),
                "parent_event_id": context.parent_id.get(),
                "session_id": key.thread_id if key else context.session_id.get(),
                "tenant_id": key.tenant_id if key else context.tenant_id.get(),
                "payload": payload,
                "attributes": context.bound_attributes(),
            }
            if fields:
                around.update(fields)
            event = AgentEvent(event_type, **around)
            event.span_context = span_context_of()
            self.record(event)
        except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
            self._lost(error)


class SessionAuditSink(_EventAuditSink):
    """Records to a session log, in order for each thread.

    A ``JournalSessionLog`` is written in the calling thread, in microseconds: when a call returns,
    the record survives ``kill -9``. Other backends take records from a queue in memory that one
    thread for each log empties, in order; what finds it full is dropped and counted. A log of
    one's own may be bound to an event loop, as a pool of connections is: appends run in the loop in
    which the first sink over it was made, or in which a record first was. What waits when that loop
    ends is appended before ``asyncio.run`` returns. A log whose attribute ``any_event_loop`` is True
    is appended to in a loop of that thread.

    A record that the log does not accept is counted, and a warning is logged once for a burst.

    Args:
        log: The session log. All sinks over it share a queue.
        key: The thread that is recorded.
        max_pending: The most records that may wait in the queue; 65,536 unless the first sink over
            the log has said otherwise.

    Raises:
        ConfigurationError: For what is no log or no key, or a ``max_pending`` other than the queue's.
    """

    __slots__ = ("_channel", "key")

    def __init__(self, log: SessionLog, key: ThreadKey, *, max_pending: int | None = None) -> None:
        self.key = checked(key)
        self._channel: Channel = channel_over(log, max_pending)

    def with_thread_key(self, key: ThreadKey) -> Self:
        """Return a sink over the same log for another thread, which costs next to nothing.

        Raises:
            ConfigurationError: For what is no key.
        """
        other = type(self).__new__(type(self))
        other.key, other._channel = checked(key), self._channel  # noqa: SLF001 - of the same class
        return other

    def record(self, event: AgentEvent) -> None:
        """Record an event as it is.

        Args:
            event: The event, which is not to be changed afterwards.
        """
        try:
            self._channel.submit(self.key, event)
        except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
            self._lost(error)

    def counts(self) -> AuditCounts:
        """Return what became of the records of this process's sinks over the log."""
        return self._channel.counts()

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until the log has been offered everything recorded so far.

        It blocks; in a coroutine, call it by ``asyncio.to_thread``. In the event loop that the log
        lives in, it returns at once, because it would hold up what it waits for. The exit of the
        program waits in the same way.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether that is so.
        """
        return self._channel.flush(timeout)

    def _key(self) -> ThreadKey:
        return self.key

    def _lost(self, error: Exception, event: AgentEvent | None = None) -> None:  # noqa: ARG002 - the key says whose
        self._channel.lost(error, self.key)

    def __repr__(self) -> str:
        """Show the thread that is recorded."""
        return f"{type(self).__name__}(key={self.key!r})"


class LoggerAuditSink(_EventAuditSink):
    """Records through an ``AgentLogger``: into its journal, and on to OpenTelemetry.

    The logger redacts what it is given. What it does not accept is counted, and a warning is logged
    once for a burst.

    Args:
        log: The logger, for example the one that ``wakelog.configure`` returns.

    Attributes:
        failed: How many records the logger did not accept.
    """

    def __init__(self, log: AgentLogger) -> None:
        self._log = log
        self._metrics = metrics_of(log)
        self._failures = Failures("the logger does not take audit records")
        self.failed = 0

    def record(self, event: AgentEvent) -> None:
        """Record an event as it is."""
        try:
            made = self._log.event(
                event.event_type,
                event.payload,
                event_id=event.event_id,
                time_unix_nano=event.time_unix_nano,
                # An event outside any run has its own id here, which the logger gives it too.
                run_id=event.run_id,
                risk=event.risk,
                metadata=event.metadata,
                attributes=event.attributes,
                agent_name=event.agent_name,
                workflow_name=event.workflow_name,
                parent_event_id=event.parent_event_id,
                session_id=event.session_id,
                tenant_id=event.tenant_id,
                provider=event.provider,
                model=event.model,
                tool_name=event.tool_name,
                call_id=event.call_id,
                status=event.status,
            )
            self._log.put(made)  # raises, whatever the logger does with errors
        except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
            self._lost(error, event)
        else:
            self._metrics.note_appended(1)
            self._failures.worked(_whose(event))

    def __repr__(self) -> str:
        """Show the logger."""
        return f"{type(self).__name__}({self._log!r})"

    def _lost(self, error: Exception, event: AgentEvent | None = None) -> None:
        self.failed += 1
        self._metrics.note_failed(1, error)
        self._failures.failed(1, f"{type(error).__name__}: {error}", _whose(event))


class FanOutAuditSink(_EventAuditSink):
    """Records to several sinks; each gets the same event under the same id.

    A sink that raises, which none should, does not keep the record from the others.

    Args:
        sinks: The sinks. Records belong to the thread of the first that has one.
    """

    def __init__(self, *sinks: AuditSink) -> None:
        self.sinks = sinks
        self._failures = Failures("an audit sink raised")

    def record(self, event: AgentEvent) -> None:
        """Record an event as it is; sinks of others get the six kinds that they know."""
        for sink in self.sinks:
            try:
                if isinstance(sink, _EventAuditSink):
                    sink.record(event)
                elif event.event_type in _CALLS:
                    _CALLS[event.event_type](sink, event.payload)
            except Exception as error:  # noqa: BLE001 - the others still get it
                self._lost(error, event)

    def __repr__(self) -> str:
        """Show the sinks, with the threads that they record."""
        return f"{type(self).__name__}({', '.join(map(repr, self.sinks))})"

    def _key(self) -> ThreadKey | None:
        keys = (s._key() for s in self.sinks if isinstance(s, _EventAuditSink))  # noqa: SLF001 - of the same class
        return next((key for key in keys if key is not None), None)

    def _lost(self, error: Exception, event: AgentEvent | None = None) -> None:
        self._failures.failed(1, f"{type(error).__name__}: {error}", _whose(event))


def _whose(event: AgentEvent | None) -> PartialKey:
    if isinstance(event, AgentEvent):
        return PartialKey(event.tenant_id, event.session_id)
    return PartialKey(context.tenant_id.get(), context.session_id.get())


_CALLS: Final[Mapping[str, Callable[[AuditSink, dict[str, Any]], None]]] = {
    "sub_agent_invoked": lambda sink, payload: sink.record_sub_agent_invoked(**payload),
    "agent_handoff": lambda sink, payload: sink.record_agent_handoff(
        payload["from"], payload["to"]
    ),
    "resumed": lambda sink, payload: sink.record_resumed(**payload),
    "memory_recall": lambda sink, payload: sink.record_memory_recall(**payload),
    "usage_limit_exceeded": lambda sink, payload: sink.record_usage_limit_exceeded(
        UsageLimitBreach.from_payload(payload)
    ),
    "context_compacted": lambda sink, payload: sink.record_context_compacted(**payload),
}

_NOWHERE: Final = FanOutAuditSink()
_current: ContextVar[AuditSink] = ContextVar("wakelog.audit_sink", default=_NOWHERE)


@contextmanager
def using_audit_sink(sink: AuditSink) -> Iterator[AuditSink]:
    """Make a sink the current one, for code that has no reference to it.

    Tasks and threads that copy the context, such as ``asyncio.to_thread``, see it too.

    Args:
        sink: The sink.

    Yields:
        The sink.
    """
    token = _current.set(sink)
    try:
        yield sink
    finally:
        context.unset(token)


def current_audit_sink() -> AuditSink:
    """Return the current sink, or one that discards everything if there is none."""
    return _current.get()
