"""The fields of a span in its lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceState

from wakelog.otel._fields import attributes_of
from wakelog.record import SPAN, SPAN_START, rfc3339, text_of

KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}
_INTERNAL: Final = SpanKind.INTERNAL
_UNSET: Final = StatusCode.UNSET


def fields_of_span(
    span: ReadableSpan, context: SpanContext, *, ended: bool, at: int | None = None
) -> dict[str, Any]:
    """Return the fields of a span's line by the names of the line format.

    Args:
        span: The span, which is not changed.
        context: Its context.
        ended: Whether it has ended; if not, the line is that of a start.
        at: The end time to use in place of the span's, in nanoseconds since 1970.

    Returns:
        A new dict without ``id``, ``seq`` and scope. Events and links are the body.
    """
    began = span.start_time
    if at is None:
        at = span.end_time
    about: dict[str, Any] = {"name": plain_text(span.name)}
    fields: dict[str, Any] = {"signal": SPAN if ended else SPAN_START}
    time = at if ended else began
    if type(time) is int:
        fields["timestamp"] = rfc3339(time)
    fields["trace_id"] = f"{context.trace_id:032x}"
    fields["span_id"] = f"{context.span_id:016x}"
    if context.trace_flags:
        fields["trace_flags"] = int(context.trace_flags)
    if span.kind is not _INTERNAL:
        about["kind"] = KINDS.get(span.kind, "internal")
    if (parent := span.parent) is not None:
        about["parent"] = context_fields(parent, context.trace_id)
    if context.trace_state:
        about["trace_state"] = _state(context.trace_state)
    if context.is_remote:
        about["remote"] = True
    if ended and type(began) is int:
        about["start"] = rfc3339(began)
    status = span.status
    if status.status_code is not _UNSET:
        about["status"] = status.status_code.name
        if status.description is not None:
            about["status_message"] = plain_text(status.description)
    attributes, dropped = attributes_of(span.attributes)
    counts = {
        "dropped_attributes": dropped or span.dropped_attributes,
        "dropped_events": span.dropped_events,
        "dropped_links": span.dropped_links,
    }
    about.update({name: count for name, count in counts.items() if count})
    fields["span"] = about
    if body := body_of(span.events, span.links):
        fields["body"] = body
    if attributes:
        fields["attributes"] = attributes
    return fields


def body_of(events: Sequence[Event], links: Sequence[Link]) -> dict[str, Any]:
    """Return the body of a span's line, which is empty for a span without events and links."""
    body: dict[str, Any] = {}
    if events:
        body["events"] = _events(events)
    if links:
        body["links"] = _links(links)
    return body


def _events(events: Sequence[Event]) -> list[dict[str, Any]]:
    found = []
    for event in events:
        one: dict[str, Any] = {"name": plain_text(event.name)}
        if event.timestamp is not None:
            one["timestamp"] = event.timestamp
        _add_attributes(one, event.attributes)
        found.append(one)
    return found


def _links(links: Sequence[Link]) -> list[dict[str, Any]]:
    found = []
    for link in links:
        one = context_fields(link.context, None)
        _add_attributes(one, link.attributes)
        found.append(one)
    return found


def _add_attributes(fields: dict[str, Any], given: Any) -> None:
    attributes, dropped = attributes_of(given)
    if attributes:
        fields["attributes"] = attributes
    if dropped:
        fields["dropped_attributes"] = dropped


def context_fields(context: SpanContext, trace_id: int | None) -> dict[str, Any]:
    """Return the fields of another span's context; its trace id only if it is not the given one."""
    fields: dict[str, Any] = {"span_id": f"{context.span_id:016x}"}
    if context.trace_id != trace_id:
        fields["trace_id"] = f"{context.trace_id:032x}"
    if context.is_remote:
        fields["remote"] = True
    if context.trace_flags:
        fields["trace_flags"] = int(context.trace_flags)
    if context.trace_state:
        fields["trace_state"] = _state(context.trace_state)
    return fields


def _state(state: TraceState) -> list[list[str]]:
    # Not the header's text, because entries that the header cannot hold are exported, too.
    return [[key, value] for key, value in state.items()]


def plain_text(given: Any) -> str:
    """Return a name or a message as a text."""
    return given if type(given) is str else text_of(given)
