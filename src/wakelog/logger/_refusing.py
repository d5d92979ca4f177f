"""Errors of a logger whose event is not recorded: raised, or counted and logged."""

from __future__ import annotations

import abc
import inspect
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from wakelog import context
from wakelog.errors import ConfigurationError, InvalidEventTypeError, SinkError, WakelogError
from wakelog.events import AgentEvent
from wakelog.journal import Durability
from wakelog.logger._keys import keys_of
from wakelog.otel import Refusals
from wakelog.runtime import let_through

if TYPE_CHECKING:
    from wakelog.logger._budget import Spending

_HINT = (
    ". The program goes on; on_error='raise' or WAKELOG_ON_ERROR=raise raises in the call instead"
)
_ENFORCED = "its budget is enforced, and what was used is recorded"
_FIELDS = frozenset(inspect.signature(AgentEvent).parameters) - {"event_type", "payload"}
_not_recorded = Refusals("events that were not recorded")


class RefusedEvent(AgentEvent):
    """The result of a call whose event could not be created, and is not recorded."""

    __slots__ = ()


class Refusing(abc.ABC):
    """The part of a logger that handles errors.

    Args:
        on_error: ``raise`` or ``log``.

    Attributes:
        refused: Number of events that were not recorded without an exception, by the error's name.

    Raises:
        ConfigurationError: If ``on_error`` is another value.
    """

    def __init__(self, on_error: Literal["raise", "log"]) -> None:
        if on_error not in ("raise", "log"):
            message = f"on_error={on_error!r} is not known: use log or raise"
            raise ConfigurationError(message)
        self.on_error = on_error
        self.refused: Counter[str] = Counter()

    sink: Any
    own_put: ClassVar[bool] = False
    """Whether a subclass of the user has a ``put`` of its own, which then gets every event."""

    @abc.abstractmethod
    def event(
        self, event_type: str, payload: dict[str, Any] | None = None, **fields: Any
    ) -> AgentEvent:
        """Create an event; nothing is recorded."""

    @abc.abstractmethod
    def put(self, event: AgentEvent) -> None:
        """Write an event to the sink.

        Raises:
            SinkError: If it was not accepted, whatever ``on_error`` says.
        """

    def made(
        self, event_type: str, payload: dict[str, Any] | None = None, **fields: Any
    ) -> AgentEvent:
        """Create an event that is to be recorded.

        Returns:
            The event. If it could not be created (for example because a detector failed) and
            ``on_error`` is ``log``, one without content that ``record`` ignores.

        Raises:
            TypeError: If the call's arguments are wrong, whatever ``on_error`` says.
            InvalidEventTypeError: If the event type is not known, likewise.
            WakelogError: If ``on_error`` is ``raise``.
        """
        try:
            return self.event(event_type, payload, **fields)
        except Exception as error:  # noqa: BLE001 - raised again if on_error is "raise"
            return self.refused_event(error, event_type, fields)

    def refused_event(
        self, error: Exception, event_type: str, fields: dict[str, Any]
    ) -> RefusedEvent:
        """Return the event in place of one that could not be created.

        Args:
            error: Why it could not be created.
            event_type: Its type.
            fields: Its fields.

        Raises:
            Exception: The error, in the cases of ``made``.
        """
        if isinstance(error, TypeError | InvalidEventTypeError | ConfigurationError):
            raise error
        self.refuse(error, fields.get("durability"))
        run_id = fields.get("run_id") or context.run_id.get()
        return RefusedEvent(event_type, run_id=run_id, allow_custom_event_types=True)

    def record_for_block(
        self,
        event_type: str,
        payload: dict[str, Any],
        status: str,
        parent: str | None,
        provider: str | None,
        model: str | None,
        tool_name: str | None,
        call_id: str | None,
    ) -> AgentEvent:
        """Do what ``emit`` does for a block of a blocking logger that has no other fields or budget.

        Passing the fields on by keyword, twice, takes as long as creating the event.
        """
        try:
            event = self.event(
                event_type,
                payload,
                status=status,
                parent_event_id=parent,
                provider=provider,
                model=model,
                tool_name=tool_name,
                call_id=call_id,
            )
        except Exception as error:  # noqa: BLE001 - raised again if on_error is "raise"
            return self.refused_event(error, event_type, {})
        if self.own_put:
            self.record(event)
            return event
        try:
            self.sink.write(event)
        except Exception as error:  # noqa: BLE001 - likewise
            self.refuse_any(event, error)
        return event

    def record(self, event: AgentEvent) -> None:
        """Write an event to the sink, and handle an error as ``on_error`` says.

        Raises:
            SinkError: If it was not accepted and ``on_error`` is ``raise``.
        """
        if type(event) is RefusedEvent:
            return
        if event.event_key is not None:
            self._record_once(event)
            return
        try:
            self.put(event)
        except WakelogError as error:
            self.refuse(error, event.durability)

    def _record_once(self, event: AgentEvent) -> None:
        """Record an event with a key, unless it was recorded before a replay of the same code."""
        keys = keys_of(self.sink)
        try:
            if not keys.take(event):
                event.repeated = True
                return
            try:
                self.put(event)
            except BaseException:
                keys.give_back(event)
                raise
        except WakelogError as error:
            self.refuse(error, event.durability)

    def charge(self, spending: Spending, event: AgentEvent) -> tuple[list[AgentEvent], str]:
        """Count an event against the budgets of its runs, and record the limits that it exceeds.

        Args:
            spending: The usage of the innermost run with a budget.
            event: The recorded event.

        Returns:
            The events that were recorded, and the reason to raise, empty if no limit is enforced.
        """
        recorded: list[AgentEvent] = []
        why = ""
        for budget, exceeded, first, key in spending.charge(event):
            kind, limit, observed, run_id = exceeded
            if first:
                data = {"kind": kind, "limit": limit, "observed": observed}
                one = self.made("usage_limit_exceeded", data, run_id=run_id, full_event_key=key)
                recorded.append(one)
                self.record(one)
                if budget.on_limit is not None:
                    budget.on_limit(exceeded)
            if budget.enforce and not why:
                why = f"run {run_id} has used {observed:g} of {limit:g} {kind}: {_ENFORCED}"
        return recorded, why

    def refuse_any(self, event: AgentEvent, error: Exception) -> None:
        """Do what ``refuse`` does, for any exception of a sink.

        Args:
            event: The event that was not recorded.
            error: Why; a ``SinkError`` is made of an error that is none of Wakelog's.
        """
        if not isinstance(error, WakelogError):
            cause, error = error, SinkError(not_accepted(self.sink, event, error))
            error.__cause__ = cause
        self.refuse(error, event.durability)

    def refuse(self, error: Exception, durability: object) -> None:
        """Raise an error, or count it and log it once in a burst, as ``on_error`` says.

        Args:
            error: Why an event was not recorded.
            durability: The requested durability: with ``FSYNC``, the error is always raised.
        """
        let_through(error)
        if self.on_error == "raise" or durability == Durability.FSYNC:
            raise error
        self.refused[type(error).__name__] += 1
        _not_recorded.note(error, hint=_HINT)


def not_accepted(sink: object, event: AgentEvent, error: Exception) -> str:
    """Return what to say of a sink that raised an exception."""
    return f"{type(sink).__name__} did not accept {event!r}: {type(error).__name__}: {error}"


def unknown_field(event_type: str, fields: dict[str, Any]) -> str | None:
    """Return what to say of the first field that events do not have, None if they have all."""
    if not (unknown := sorted(fields.keys() - _FIELDS)):
        return None
    return (
        f"{event_type} takes no {unknown[0]!r}: put it into attributes={{...}} or "
        f"metadata={{...}}. The fields of every event are {', '.join(sorted(_FIELDS))}"
    )
