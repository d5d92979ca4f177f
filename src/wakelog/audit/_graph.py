"""``SessionGraph``: one conversation in memory, read from a session log, replayed, branched."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, Self, TypeVar

from opentelemetry import trace

from wakelog.audit._keys import ThreadKey
from wakelog.audit._log import Logged, SessionLog
from wakelog.errors import ConfigurationError, SessionLogError
from wakelog.events import AgentEvent

State = TypeVar("State")


class SessionGraph:
    """The events of one conversation, in order. Everything else about it is derived from them.

    Args:
        thread_id: The conversation.
        archival_watermark: The ordinal up to which everything is archived and not in here.

    Attributes:
        thread_id: The conversation.
        archival_watermark: The ordinal up to which its log had archived everything, when it was
            read.
    """

    def __init__(self, thread_id: str, *, archival_watermark: int = 0) -> None:
        self.thread_id = thread_id
        self.archival_watermark = archival_watermark
        self._begins_after = archival_watermark
        self._logged: list[Logged] = []

    @classmethod
    async def hydrate(cls, log: SessionLog, key: ThreadKey, *, archived: bool = False) -> Self:
        """Read a conversation from its log.

        Args:
            log: Any session log.
            key: The thread.
            archived: Read what is archived too.

        Returns:
            The graph, with the ordinals of the log.

        Raises:
            SinkError: When the log cannot be read.
        """
        while True:
            watermark = await log.watermark(key)
            old = await log.load_archived(key) if archived else []
            logged = old + await log.load_since(key)
            # Otherwise some may have been archived between the two.
            if await log.watermark(key) == watermark:
                break
        graph = cls(key.thread_id, archival_watermark=watermark)
        graph._begins_after = 0 if archived else watermark
        graph._logged = logged
        return graph

    @property
    def last_ordinal(self) -> int:
        """The highest ordinal, 0 when there is nothing yet."""
        return self._logged[-1].ordinal if self._logged else self._begins_after

    def append(self, event: AgentEvent) -> int:
        """Add an event at the end, here and not in any log.

        Returns:
            Its ordinal.
        """
        ordinal = self.last_ordinal + 1
        self._logged.append(Logged(ordinal, event))
        return ordinal

    def events_since(self, cursor: int = 0) -> list[Logged]:
        """Return the events above an ordinal, in order."""
        return [one for one in self._logged if one.ordinal > cursor]

    def replay_into(self, initial: State, reducer: Callable[[State, AgentEvent], State]) -> State:
        """Work out a state from the events.

        Args:
            initial: The state before the first of them.
            reducer: Returns the state after an event, given the state before it.

        Returns:
            The state after the last.
        """
        return reduce(lambda state, one: reducer(state, one.event), self._logged, initial)

    def current_branch_messages(self) -> list[dict[str, Any]]:
        """Return the conversation as a model takes it: messages in OpenTelemetry's form.

        They come from ``system_instruction``, ``user_message``, ``assistant_message``,
        ``model_response``, ``tool_call`` and ``tool_result``, in order.
        """
        return [message for one in self._logged for message in _messages(one.event)]

    def fork(self, branch_at: int, new_thread_id: str) -> SessionGraph:
        """Begin another conversation that has this one's beginning, and record that here.

        Neither is written to a log: append the new graph's events to the new thread, and
        ``branch_created``, this graph's last event, to this one.

        Args:
            branch_at: The ordinal of the last event that both have; 0 for none.
            new_thread_id: The new conversation.

        Returns:
            Its graph, numbered from 1.

        Raises:
            ConfigurationError: For an ordinal that is not in the graph, or the same thread.
            SessionLogError: When the beginning is archived and was not read.
        """
        if not 0 <= branch_at <= self.last_ordinal:
            raise ConfigurationError(
                f"branch_at={branch_at}: {self.thread_id!r} has ordinals up to {self.last_ordinal}"
            )
        if new_thread_id == self.thread_id:
            raise ConfigurationError(f"new_thread_id={new_thread_id!r} is the thread itself")
        if self._begins_after and branch_at:
            raise SessionLogError(
                f"cannot fork {self.thread_id!r}: its events up to {self._begins_after} are archived "
                "and were not read. Read them too: SessionGraph.hydrate(..., archived=True)"
            )
        branch = SessionGraph(new_thread_id)
        for one in self._logged:
            if one.ordinal <= branch_at:
                branch.append(one.event)
        payload = {"thread_id": new_thread_id, "at": branch_at}
        self.append(AgentEvent("branch_created", session_id=self.thread_id, payload=payload))
        return branch

    def links(self, event_type: str | None = None) -> list[trace.Link]:
        """Return a link to the span that the last event was recorded in, for the span of what follows.

        ``log.run(links=graph.links())`` links a run that resumes the conversation to the one that
        was broken off, and ``graph.links("agent_handoff")`` to the span that handed over.

        Args:
            event_type: Only look at events of this type.

        Returns:
            One link, or none when no such event has a span.
        """
        for one in reversed(self._logged):
            event = one.event
            if event.span_context is not None and event_type in (None, event.event_type):
                return [link_to(event)]
        return []


def link_to(event: AgentEvent) -> trace.Link:
    """Return a link to the span that an event was recorded in.

    Raises:
        ConfigurationError: When it was recorded outside any span.
    """
    if event.span_context is None:
        raise ConfigurationError(f"{event!r} was recorded outside any span")
    trace_id, span_id, trace_flags = event.span_context
    return trace.Link(
        trace.SpanContext(
            trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace_flags)
        )
    )


def _messages(event: AgentEvent) -> list[dict[str, Any]]:
    payload = event.payload
    match event.event_type:
        case "user_message":
            return _said("user", payload.get("message"))
        case "assistant_message":
            return _said("assistant", payload.get("message"))
        case "model_response":
            return _said("assistant", payload.get("output_messages"))
        case "system_instruction":
            return _said("system", payload.get("instruction"))
        case "tool_call":
            call = {"type": "tool_call", "id": event.call_id, "name": event.tool_name}
            return [{"role": "assistant", "parts": [{**call, "arguments": payload.get("args")}]}]
        case "tool_result":
            answer = {"type": "tool_call_response", "id": event.call_id}
            return [{"role": "tool", "parts": [{**answer, "response": payload.get("result")}]}]
    return []


def _said(role: str, content: Any) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, list) and all(isinstance(m, dict) and "role" in m for m in content):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and "type" in p for p in content):
        return [{"role": role, "parts": content}]
    return [{"role": role, "parts": [{"type": "text", "content": content}]}]
