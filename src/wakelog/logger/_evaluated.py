"""The subject of an evaluation: an earlier event, run or span."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from opentelemetry import trace

from wakelog.events import AgentEvent
from wakelog.otel import asked
from wakelog.record import uuid7


@cache
def _traceparent() -> re.Pattern[str]:
    return re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Evaluated(NamedTuple):
    """The subject of an evaluation.

    Attributes:
        fields: The fields of the evaluation that identify it.
        span_context: Its trace id, span id and flags, None if they are not known.
        response_id: The provider's id of the response, if the event has it.
    """

    fields: dict[str, Any]
    span_context: tuple[int, int, int] | None = None
    response_id: str | None = None


def evaluated_by(of: object, run_id: str | None) -> Evaluated:
    """Return the subject for the arguments of ``AgentLogger.evaluation``.

    Args:
        of: An event, its id, a span or its context, a ``traceparent``, or None.
        run_id: The run.

    Raises:
        TypeError: If ``of`` is none of these.
    """
    if of is None:
        return Evaluated({} if run_id is None else {"run_id": run_id})
    if isinstance(of, AgentEvent):
        fields: dict[str, Any] = {
            "run_id": run_id or (of.run_id if of.run_id != of.event_id else None),
            "parent_event_id": of.event_id,
            "session_id": of.session_id,
            "tenant_id": of.tenant_id,
            "agent_name": of.agent_name,
        }
        answered = of.payload.get("response_id")
        return Evaluated(
            _apart(fields), of.span_context, answered if type(answered) is str else None
        )
    if isinstance(of, str):
        if (match := _traceparent().fullmatch(of)) is None:  # an event's id
            return Evaluated(_apart({"run_id": run_id, "parent_event_id": of}))
        trace_id, span_id, flags = (int(part, 16) for part in match.groups())
        return Evaluated(_apart({"run_id": run_id}), (trace_id, span_id, flags))
    if isinstance(of, trace.Span):
        of = asked(of.get_span_context, trace.INVALID_SPAN_CONTEXT)
    if not isinstance(of, trace.SpanContext):
        message = f"of={of!r} cannot be evaluated: give an event, its id, a span or a traceparent"
        raise TypeError(message)
    ids = (of.trace_id, of.span_id, int(of.trace_flags)) if of.is_valid else None
    return Evaluated(_apart({"run_id": run_id}), ids)


def _apart(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields that detach an event from the open run.

    An event outside any run has its own id as its run id.
    """
    fields = {name: value for name, value in fields.items() if value is not None}
    if "run_id" not in fields:
        fields["event_id"] = fields["run_id"] = uuid7()
    return fields
