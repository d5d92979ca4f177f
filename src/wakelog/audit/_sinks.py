"""Audit sinks: a small interface for reporting what happened to a run, which never raises."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable

from wakelog import _arguments as a
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
        """Record that another agent was invoked, in a thread of its own."""
        ...

    def record_agent_handoff(self, from_: str | None, to: str) -> None:
        """Record that another agent continues the conversation; `from_` is None for the first."""
        ...

    def record_resumed(self, from_checkpoint: str) -> None:
        """Record that a run resumes from a checkpoint, or from a fresh state if that is empty."""
        ...

    def record_memory_recall(self, tier: str, namespace_key: str, hits: int) -> None:
        """Record that memory was searched and how many records were found, but not which."""
        ...

    def record_usage_limit_exceeded(self, breach: UsageLimitBreach) -> None:
        """Record that a budget was exceeded."""
        ...

    def record_context_compacted(self, dropped_chars: int, retained_chars: int) -> None:
        """Record that the conversation was shortened, and by how much."""
        ...


class _EventAuditSink(abc.ABC):
    """Converts each record to an event with the time and context of the call."""

    __slots__ = ()

    @abc.abstractmethod
    def record(self, event: AgentEvent) -> None:
        """Record an event, which must not be changed afterwards. Nothing is raised."""

    def emit(self, event_type: str, payload: dict[str, Any] | None = None, **fields: Any) -> None:
        """Record an event of any type: a message, a tool call, a checkpoint. Nothing is raised.

        Args:
            event_type: The type, as in ``AgentLogger.emit``.
            payload: What was said, asked or returned.
            fields: Other fields of ``AgentEvent``. Missing ones come from the surrounding blocks
                and ``bound``.
        """
        self._make(event_type, payload or {}, **fields)

    @abc.abstractmethod
    def _lost(self, error: Exception, event: AgentEvent | None = None) -> None:
        """Note that an event was not recorded, or could not be created."""

    def _key(self) -> ThreadKey | None:
        """Return the thread to which the sink's records belong, or None if unknown."""
        return None

    def record_sub_agent_invoked(self, agent_id: str, sub_thread_id: str) -> None:
        """Record that another agent was invoked, in a thread of its own."""
        self._make("sub_agent_invoked", {"agent_id": agent_id, "sub_thread_id": sub_thread_id})

    def record_agent_handoff(self, from_: str | None, to: str) -> None:
        """Record that another agent continues the conversation; `from_` is None for the first."""
        self._make("agent_handoff", {"from": from_, "to": to})

    def record_resumed(self, from_checkpoint: str) -> None:
        """Record that a run resumes from a checkpoint, or from a fresh state if that is empty."""
        self._make("resumed", {"from_checkpoint": from_checkpoint})

    def record_memory_recall(self, tier: str, namespace_key: str, hits: int) -> None:
        """Record that memory was searched and how many records were found, but not which."""
        self._make("memory_recall", {"tier": tier, "namespace_key": namespace_key, "hits": hits})

    def record_usage_limit_exceeded(self, breach: UsageLimitBreach) -> None:
        """Record that a budget was exceeded."""
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
    the record survives ``kill -9``. Other backends read records from a queue in memory, which one
    thread for each log empties in order; a record that arrives when it is full is dropped and
    counted. Your own log may belong to an event loop, as a pool of connections does: appends run in
    the loop in which its first sink was created, or else in which the first record was made. What
    is queued when that loop ends is appended before ``asyncio.run`` returns. If the log's attribute
    ``any_event_loop`` is True, appends run in a loop of the queue's thread.

    A record that the log does not accept is counted, and a warning is logged once per burst.

    Args:
        log: The session log. All its sinks share a queue.
        key: The thread to record.
        max_pending: The maximum number of records in the queue; default: that of the log's first
            sink, or 65,536.

    Raises:
        ConfigurationError: If `log` or `key` has the wrong type, or ``max_pending`` differs from
            the queue's.
    """

    __slots__ = ("_channel", "key")

    def __init__(self, log: SessionLog, key: ThreadKey, *, max_pending: int | None = None) -> None:
        self.key = checked(key)
        self._channel: Channel = channel_over(log, max_pending)

    def with_thread_key(self, key: ThreadKey) -> Self:
        """Return a sink of the same log for another thread. The call is cheap.

        Raises:
            ConfigurationError: If it is not a ``ThreadKey``.
        """
        other = type(self).__new__(type(self))
        other.key, other._channel = checked(key), self._channel  # noqa: SLF001 - of the same class
        return other

    def record(self, event: AgentEvent) -> None:
        """Record an event.

        Args:
            event: The event, which must not be changed afterwards.
        """
        try:
            self._channel.submit(self.key, event)
        except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
            self._lost(error)

    def counts(self) -> AuditCounts:
        """Return the counts, by outcome, of the records of all sinks of the log in this process."""
        return self._channel.counts()

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything recorded so far has been passed to the log.

        It blocks; in a coroutine, call it with ``asyncio.to_thread``. In the event loop to which
        the log belongs it returns at once, because waiting there would be a deadlock. The program's
        exit waits in the same way.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether everything has been passed to the log.

        Raises:
            ConfigurationError: If the time-out is not a number.
        """
        return self._channel.flush(a.wait_of(timeout))

    def _key(self) -> ThreadKey:
        return self.key

    def _lost(self, error: Exception, event: AgentEvent | None = None) -> None:  # noqa: ARG002 - the key says whose
        self._channel.lost(error, self.key)

    def __repr__(self) -> str:
        """Return a text with the recorded thread."""
        return f"{type(self).__name__}(key={self.key!r})"


class LoggerAuditSink(_EventAuditSink):
    """Records through an ``AgentLogger`` to its journal, and from there to OpenTelemetry.

    The logger redacts the records. What it does not accept is counted, and a warning is logged once
    per burst.

    Args:
        log: The logger, for example that of ``wakelog.configure``.

    Attributes:
        failed: How many records the logger did not accept.
    """

    def __init__(self, log: AgentLogger) -> None:
        self._log = log
        self._metrics = metrics_of(log)
        self._failures = Failures("the logger does not accept audit records")
        self.failed = 0

    def record(self, event: AgentEvent) -> None:
        """Record an event."""
        try:
            made = self._log.event(
                event.event_type,
                event.payload,
                event_id=event.event_id,
                time_unix_nano=event.time_unix_nano,
                # Outside any run, an event's run_id is its own id, which the logger would replace
                # by another.
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
            self._log.put(made)  # raises, whatever the logger's error policy is
        except Exception as error:  # noqa: BLE001 - nothing is raised into the agent
            self._lost(error, event)
        else:
            self._metrics.note_appended(1)
            self._failures.worked(_whose(event))

    def __repr__(self) -> str:
        """Return a text with the logger."""
        return f"{type(self).__name__}({self._log!r})"

    def _lost(self, error: Exception, event: AgentEvent | None = None) -> None:
        self.failed += 1
        self._metrics.note_failed(1, error)
        self._failures.failed(1, f"{type(error).__name__}: {error}", _whose(event))


class FanOutAuditSink(_EventAuditSink):
    """Records to several sinks, each of which receives the same event with the same id.

    If one sink raises, which it should not, the others still receive the record.

    Args:
        sinks: The sinks. Records belong to the thread of the first sink that has one.
    """

    def __init__(self, *sinks: AuditSink) -> None:
        self.sinks = sinks
        self._failures = Failures("an audit sink raised")

    def record(self, event: AgentEvent) -> None:
        """Record an event. Sinks of other classes get only the six kinds in ``AuditSink``."""
        for sink in self.sinks:
            try:
                if isinstance(sink, _EventAuditSink):
                    sink.record(event)
                elif event.event_type in _CALLS:
                    _CALLS[event.event_type](sink, event.payload)
            except Exception as error:  # noqa: BLE001 - the other sinks still receive it
                self._lost(error, event)

    def __repr__(self) -> str:
        """Return a text with the sinks and their threads."""
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
    """Make a sink the current one inside the block, for code without a reference to it.

    Tasks and threads that copy the context, such as those of ``asyncio.to_thread``, use it, too.

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
