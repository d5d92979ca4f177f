"""``SessionGraph``: one conversation in memory, which can be replayed and branched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Self, TypeVar

from opentelemetry import trace

from wakelog.audit._keys import ThreadKey
from wakelog.audit._log import Logged, SessionLog
from wakelog.audit._messages import messages_of
from wakelog.errors import ConfigurationError, SessionLogError
from wakelog.events import AgentEvent

State = TypeVar("State")


class SessionGraph:
    """The events of one conversation, in order. Everything else about it is derived from them.

    Args:
        thread_id: The id of the conversation.
        archival_watermark: The ordinal up to which events are archived, and not in the graph.

    Attributes:
        thread_id: The id of the conversation.
        archival_watermark: The ordinal up to which events are archived: in the log when it was
            read, or by ``archive_before``.
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
            archived: Whether to read archived events, too.

        Returns:
            The graph, with the ordinals of the log.

        Raises:
            SinkError: If the log cannot be read.
        """
        while True:
            watermark = await log.watermark(key)
            old = await log.load_archived(key) if archived else []
            logged = old + await log.load_since(key)
            # If it changed, events may have been archived between the two reads.
            if await log.watermark(key) == watermark:
                break
        graph = cls(key.thread_id, archival_watermark=watermark)
        graph._begins_after = 0 if archived else watermark
        graph._logged = logged
        return graph

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the graph of which ``to_dict`` returned this.

        Args:
            data: The graph as plain data, which is not changed.

        Returns:
            The graph.

        Raises:
            ConfigurationError: If the data is not of this form.
        """
        try:
            graph = cls(data["thread_id"], archival_watermark=data["archival_watermark"])
            graph._begins_after = data["begins_after"]
            for number, one in enumerate(data["events"], graph._begins_after + 1):
                event = AgentEvent.from_dict(one["event"], allow_custom_event_types=True)
                if "trace_id" in one:
                    ids = int(one["trace_id"], 16), int(one["span_id"], 16)
                    event.span_context = (*ids, one["trace_flags"])
                graph._logged.append(Logged(number, event))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f"data is not what SessionGraph.to_dict returns: {type(error).__name__}: {error}"
            ) from error
        return graph

    def to_dict(self) -> dict[str, Any]:
        """Return the graph as plain data, ready for any JSON encoder.

        Returns:
            A new dict: ``thread_id``, ``archival_watermark``, ``begins_after`` (the ordinal before
            the first event) and ``events``. Each of these has ``event``, the result of
            ``AgentEvent.to_dict``, and, if it has a span, ``trace_id``, ``span_id`` and
            ``trace_flags``.
        """
        events: list[dict[str, Any]] = []
        for event in self.events:
            one: dict[str, Any] = {"event": event.to_dict()}
            if event.span_context is not None:
                trace_id, span_id, trace_flags = event.span_context
                one["trace_id"], one["span_id"] = f"{trace_id:032x}", f"{span_id:016x}"
                one["trace_flags"] = int(trace_flags)
            events.append(one)
        return {
            "thread_id": self.thread_id,
            "archival_watermark": self.archival_watermark,
            "begins_after": self._begins_after,
            "events": events,
        }

    def __len__(self) -> int:
        """Return how many events are in the graph."""
        return len(self._logged)

    def is_empty(self) -> bool:
        """Return whether no event is in the graph."""
        return not self._logged

    @property
    def events(self) -> list[AgentEvent]:
        """The events in order, as a new list."""
        return [one.event for one in self._logged]

    @property
    def last_ordinal(self) -> int:
        """The highest ordinal; 0 without events."""
        return self._logged[-1].ordinal if self._logged else self._begins_after

    def append(self, event: AgentEvent) -> int:
        """Add an event at the end of this graph, without writing it to a log.

        Returns:
            The event's ordinal.
        """
        ordinal = self.last_ordinal + 1
        self._logged.append(Logged(ordinal, event))
        return ordinal

    def events_since(self, cursor: int = 0) -> list[Logged]:
        """Return the events above an ordinal, in order."""
        return [one for one in self._logged if one.ordinal > cursor]

    def replay_into(self, initial: State, reducer: Callable[[State, AgentEvent], State]) -> State:
        """Compute a state from the events.

        Args:
            initial: The state before the first event.
            reducer: Returns the state after an event, given the state before it.

        Returns:
            The state after the last event.
        """
        return reduce(lambda state, one: reducer(state, one.event), self._logged, initial)

    def current_branch_messages(self) -> list[dict[str, Any]]:
        """Return the conversation as input for a model: messages in OpenTelemetry's form.

        They come from ``system_instruction``, ``user_message``, ``assistant_message``,
        ``model_response``, ``tool_call`` and ``tool_result``, in order. A tool call that is in
        several of these, by its id, appears once.
        """
        return messages_of(self.events)

    def fork(self, branch_at: int, new_thread_id: str) -> SessionGraph:
        """Begin another conversation with a copy of this one's first events, and record that here.

        Neither is written to a log: append the new graph's events to the new thread, and
        ``branch_created``, this graph's last event, to this one.

        Args:
            branch_at: The ordinal of the last shared event; 0 for none.
            new_thread_id: The id of the new conversation.

        Returns:
            The new graph, numbered from 1.

        Raises:
            ConfigurationError: If the ordinal is not in the graph, or the thread is the same.
            SessionLogError: If the first events are archived and were not read.
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

    def branch_events(self) -> list[tuple[str, int]]:
        """Return the branches that began here, in order, for a diagram of the tree.

        Returns:
            For each ``branch_created`` the new thread's id, and the ordinal of the last shared
            event.
        """
        payloads = [e.payload for e in self.events if e.event_type == "branch_created"]
        return [
            (payload["thread_id"], payload["at"])
            for payload in payloads
            if "thread_id" in payload and "at" in payload
        ]

    def archive_before(self, watermark: int) -> int:
        """Note that everything up to and including an ordinal is archived.

        The events stay in the graph, and no log is changed. As in a log, the watermark never
        decreases, and is at most the last ordinal.

        Args:
            watermark: The ordinal.

        Returns:
            How many more events are now noted as archived.
        """
        reached = max(self.archival_watermark, min(watermark, self.last_ordinal))
        archived = reached - self.archival_watermark
        self.archival_watermark = reached
        return archived

    def links(self, event_type: str | None = None) -> list[trace.Link]:
        """Return a link to the span of the last event, for the span of what follows.

        ``log.run(links=graph.links())`` links a run that resumes the conversation to the one that
        was interrupted, and ``graph.links("agent_handoff")`` to the span that handed over.

        Args:
            event_type: Consider only events of this type.

        Returns:
            One link, or none if no such event has a span.
        """
        for one in reversed(self._logged):
            event = one.event
            if event.span_context is not None and event_type in (None, event.event_type):
                return [link_to(event)]
        return []


def link_to(event: AgentEvent) -> trace.Link:
    """Return a link to the span in which an event was recorded.

    Raises:
        ConfigurationError: If it was recorded outside any span.
    """
    if event.span_context is None:
        raise ConfigurationError(f"{event!r} was recorded outside any span")
    trace_id, span_id, trace_flags = event.span_context
    return trace.Link(
        trace.SpanContext(
            trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace_flags)
        )
    )
