"""``AgentEvent``: something that an agent did."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Self

import orjson

from wakelog.errors import InvalidEventTypeError
from wakelog.events._mapping import EVENT_TYPES
from wakelog.journal import Durability, Receipt
from wakelog.record import from_line, kept, parse_rfc3339, rfc3339, to_line, uuid7, uuid8

_registered: set[str] = set()


def register_event_type(name: str) -> None:
    """Allow a custom event type.

    Args:
        name: The name, in the form of the built-in ones: lower-case words joined by ``_``, with
            dots between parts. It becomes the event name ``wakelog.<name>``, so it must not vary
            per event.

    Raises:
        InvalidEventTypeError: When the name has another form.
    """
    if not name or not all(part.isidentifier() and part.islower() for part in name.split(".")):
        message = f"event type {name!r} is not valid: use lower-case words, as in 'order_sent'"
        raise InvalidEventTypeError(message)
    _registered.add(name)


class AgentEvent:
    """Something that an agent did, with the fields that identify and describe it.

    Args:
        event_type: One of ``AgentEvent.STANDARD_EVENT_TYPES``, or a registered type.
        schema_version: The version of this envelope, for readers of ``to_dict``.
        run_id: The id of the run. An event outside any run has its own id here.
        event_id: The event's id; by default a UUID of version 7.
        timestamp: The time of the event as RFC 3339 text; by default now.
        agent_name: The name of the agent.
        workflow_name: The name of the agent's workflow.
        parent_event_id: The id of the event that this one belongs to or answers.
        provider: The model's provider.
        model: The requested model.
        tool_name: The name of the called tool.
        status: The result: ``started``, ``success``, ``error`` or another word.
        payload: Content, such as messages, arguments and results. It is kept in the journal, and
            exported only if the export of content is enabled.
        risk: Classifications of the event.
        metadata: Further data by which to find the event; exported.
        allow_custom_event_types: Whether to accept any event type.
        session_id: The id of the conversation, if there is one.
        tenant_id: The id of the customer whose data it is.
        call_id: The id of the tool call that it belongs to.
        attributes: Attributes in addition to those of the type; exported.
        time_unix_nano: The time in nanoseconds since 1970, instead of ``timestamp``.
        durability: The durability of this event, if stronger than the sink's.
        event_key: A key that is unique in its run, for programs whose code is replayed.
            ``event_id`` is derived from it.

    Raises:
        InvalidEventTypeError: For an unknown event type.
        ValueError: For a timestamp that is not an RFC 3339 time.
    """

    STANDARD_EVENT_TYPES: ClassVar[frozenset[str]] = frozenset(EVENT_TYPES)
    CURRENT_SCHEMA_VERSION: ClassVar[str] = "1.0"

    __slots__ = (
        "agent_name",
        "attributes",
        "call_id",
        "deferred",
        "durability",
        "event_id",
        "event_key",
        "event_type",
        "metadata",
        "model",
        "parent_event_id",
        "payload",
        "provider",
        "receipt",
        "repeated",
        "risk",
        "run_id",
        "schema_version",
        "session_id",
        "settling",
        "span_context",
        "status",
        "tenant_id",
        "time_unix_nano",
        "tool_name",
        "workflow_name",
    )

    # Long: every event takes this path, and each call costs time.
    def __init__(
        self,
        event_type: str,
        schema_version: str = CURRENT_SCHEMA_VERSION,
        run_id: str | None = None,
        event_id: str | None = None,
        timestamp: str | None = None,
        agent_name: str | None = None,
        workflow_name: str | None = None,
        parent_event_id: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        tool_name: str | None = None,
        status: str | None = None,
        payload: dict[str, Any] | None = None,
        risk: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        allow_custom_event_types: bool = False,  # noqa: FBT001, FBT002 - agentlogsafe's position
        *,
        session_id: str | None = None,
        tenant_id: str | None = None,
        call_id: str | None = None,
        attributes: dict[str, Any] | None = None,
        time_unix_nano: int | None = None,
        durability: Durability | str | None = None,
        event_key: str | None = None,
    ) -> None:
        if event_type not in EVENT_TYPES and not (
            event_type and (allow_custom_event_types or event_type in _registered)
        ):
            raise InvalidEventTypeError(_unknown(event_type))
        self.event_type = event_type
        self.schema_version = schema_version
        if event_id is None and event_key is not None and run_id:
            event_id = uuid8(run_id, event_key, event_type)
        self.event_key = event_key
        self.event_id = event_id = event_id or uuid7()
        self.run_id = run_id or event_id
        if time_unix_nano is None:
            time_unix_nano = _time_of(timestamp) if timestamp else time.time_ns()
        self.time_unix_nano = time_unix_nano
        self.agent_name = agent_name
        self.workflow_name = workflow_name
        self.parent_event_id = parent_event_id
        self.provider = provider
        self.model = model
        self.tool_name = tool_name
        self.status = status
        self.payload = {} if payload is None else payload
        self.risk = {} if risk is None else risk
        self.metadata = {} if metadata is None else metadata
        self.session_id = session_id
        self.tenant_id = tenant_id
        self.call_id = call_id
        self.attributes = attributes
        if durability is not None and type(durability) is not Durability:
            durability = Durability(durability)
        self.durability: Durability | None = durability
        # Set when the event is recorded: (trace id, span id, trace flags) as integers, and the
        # receipt.
        self.span_context: tuple[int, int, int] | None = None
        self.receipt: Receipt | None = None
        # For asyncio: whether the sink may skip waiting for the sync, and then the function that
        # waits. `repeated`: whether a replay has recorded the event before, so that it was not
        # recorded again.
        self.deferred = self.repeated = False
        self.settling: Callable[[], Awaitable[object]] | None = None

    @property
    def timestamp(self) -> str:
        """The time of the event as RFC 3339 text in UTC."""
        return rfc3339(self.time_unix_nano)

    def detach(self) -> None:
        """Replace the event's values by copies, for sinks that keep events.

        Later changes of the original objects no longer affect it.
        """
        self.payload, risk, metadata = kept(self.payload), self.risk, self.metadata
        # Most events have only a payload.
        self.risk = {} if type(risk) is dict and not risk else kept(risk)
        self.metadata = {} if type(metadata) is dict and not metadata else kept(metadata)
        if self.attributes is not None:
            self.attributes = kept(self.attributes)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain data, ready for any JSON encoder.

        Returns:
            A new dict. ``session_id``, ``tenant_id``, ``call_id``, ``attributes`` and ``event_key``
            are in it if they are set, the other keys always.
        """
        names = (*ALWAYS, *(name for name in WHEN_SET if getattr(self, name) is not None))
        return {name: to_line(getattr(self, name)) for name in names}

    def to_json(self) -> str:
        """Return the event as one compact line of JSON."""
        return orjson.dumps(self.to_dict()).decode()

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of the results of ``to_dict`` and ``to_json``.

        Returns:
            A new dict, by draft 2020-12. It allows any event type, because registrations are not
            stored.
        """
        return json_schema()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, allow_custom_event_types: bool = False) -> Self:
        """Return the event of a dict that ``to_dict`` returned.

        Args:
            data: The fields. They are not changed.
            allow_custom_event_types: Whether to accept any event type.

        Returns:
            The event.

        Raises:
            InvalidEventTypeError: For an unknown event type.
            TypeError: For a field that events do not have.
        """
        values: dict[str, Any] = {name: from_line(value) for name, value in data.items()}
        return cls(**values, allow_custom_event_types=allow_custom_event_types)

    def __eq__(self, other: object) -> bool:
        """Return whether all fields of two events are equal."""
        if not isinstance(other, AgentEvent):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        """Return the hash of the id."""
        return hash(self.event_id)

    def __repr__(self) -> str:
        """Return the type and the id; the payload may be private and long."""
        return f"AgentEvent({self.event_type!r}, event_id={self.event_id!r})"


def _time_of(timestamp: str) -> int:
    """Return the time of RFC 3339 text in nanoseconds since 1970.

    Raises:
        ValueError: If it is anything else.
    """
    try:
        return parse_rfc3339(timestamp)
    except (TypeError, ValueError):
        message = (
            f"timestamp={timestamp!r} cannot be used: give an RFC 3339 time as text, such as "
            "'2026-11-30T17:00:00Z', or time_unix_nano="
        )
        raise ValueError(message) from None


def _unknown(event_type: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(event_type), [*EVENT_TYPES, *_registered], n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"unknown event type {event_type!r}.{guess} Use one of Wakelog's event types, 'custom', or "
        "allow it first: wakelog.register_event_type(...)"
    )


_TEXT: dict[str, Any] = {"type": "string"}
_MAYBE: dict[str, Any] = {"type": ["string", "null"]}
_NAME: dict[str, Any] = {"type": "string", "minLength": 1}
_OBJECT: dict[str, Any] = {"type": "object"}

# The schemas of the fields that ``to_dict`` always has, in the same order.
ALWAYS: dict[str, dict[str, Any]] = {
    "event_type": _NAME,
    "schema_version": {"const": "1.0"},
    "run_id": _NAME,
    "event_id": _NAME,
    "timestamp": {"type": "string", "format": "date-time"},
    "agent_name": _MAYBE,
    "workflow_name": _MAYBE,
    "parent_event_id": _MAYBE,
    "provider": _MAYBE,
    "model": _MAYBE,
    "tool_name": _MAYBE,
    "status": _MAYBE,
    "payload": _OBJECT,
    "risk": _OBJECT,
    "metadata": _OBJECT,
}
# The schemas of the fields that it has if they are set.
WHEN_SET: dict[str, dict[str, Any]] = {
    "session_id": _TEXT,
    "tenant_id": _TEXT,
    "call_id": _TEXT,
    "attributes": _OBJECT,
    "event_key": _TEXT,
}


def json_schema() -> dict[str, Any]:
    """Return the schema, by JSON Schema's draft 2020-12, as a new dict."""
    properties = {name: dict(says) for name, says in {**ALWAYS, **WHEN_SET}.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Wakelog AgentEvent",
        "description": "One thing that an AI agent did.",
        "type": "object",
        "properties": properties,
        "required": list(ALWAYS),
        "additionalProperties": False,
    }
