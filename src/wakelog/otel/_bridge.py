"""``EventToSpanEventBridge``: adds events to the current span as span events.

``ContentAwareBridge`` does so with content only where a policy allows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import Event, Span
from opentelemetry.trace import Span as APISpan

from wakelog.events import semconv as s
from wakelog.otel._content import ContentPolicy, without_content
from wakelog.otel._others import failures, span_of

if TYPE_CHECKING:
    from wakelog.otel._redactor import Redactor

_FLAT = frozenset({str, int, bool, float, bytes, type(None)})
_TEXT = frozenset({str})
# Private names of the SDK. Without one of them, its spans are called like all others.
_add_made: Any = getattr(Span, "_add_event", None)
_known = _add_made is not None and type(getattr(BoundedAttributes(), "_dict", None)) is dict
_add_event: object = Span.add_event if _known else object()


class EventToSpanEventBridge(LogRecordProcessor):
    """Adds each emitted event to its span, if the span is recording.

    A record is bridged if, and only if, all of this holds: it has an event name; it has a valid
    trace id and span id; the current span of its context is recording; and that span has these
    ids. It then becomes one span event: name, attributes, and the timestamp or else the observed
    timestamp. Body and severity are not mapped. The record always continues through the pipeline;
    an exception that the span raises is counted and logged.

    The bridge may be at any place in the pipeline, because it works in the caller's thread.

    Source: OpenTelemetry specification 1.60, logs SDK, "Event to span event bridge"; it defines no
    parameters.
    """

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Bridge one record, if it is an event of the current span."""
        record = log_record.log_record
        if not record.event_name or not record.trace_id or not record.span_id:
            return
        try:  # inlined from `asked`, because every record comes through here
            span, ids = span_of(record.context)
            if ids is None or ids[0] != record.trace_id or ids[1] != record.span_id:
                return
            if not span.is_recording():
                return
            add_event(
                span,
                str(record.event_name),
                self.attributes_of(log_record),
                record.timestamp or record.observed_timestamp,
            )
        except Exception as error:  # noqa: BLE001 - counted and logged: the span is the user's
            failures.note(error)

    def attributes_of(self, log_record: ReadWriteLogRecord) -> Mapping[str, Any]:
        """Return the attributes that the span event gets: all of the record's."""
        return log_record.log_record.attributes or {}

    def shutdown(self) -> None:
        """Do nothing: the bridge holds no records."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - the interface's
        """Return True: the bridge holds no records."""
        return True


def add_event(
    span: APISpan, name: str, attributes: Mapping[str, Any], timestamp: int | None
) -> None:
    """Add an event to a span, with the result of its own ``add_event``.

    The SDK checks every attribute of an event, which takes longer than everything else that a record
    costs here. Attributes that are valid as they are become the same event without its checks.

    Args:
        span: The span.
        name: The event's name.
        attributes: The event's attributes, which are copied.
        timestamp: The event's time in nanoseconds since 1970, None for now.
    """
    kind = type(attributes)
    # Neither a subclass nor the object has one of these methods of its own.
    if (
        (kind is dict or kind is BoundedAttributes)
        and getattr(span.add_event, "__func__", None) is _add_event
        and getattr(type(span), "_add_event", None) == _add_made  # `is` would narrow its type
        and (limits := getattr(span, "_limits", None)) is not None
        and limits.max_attribute_length is None
    ):
        plain: Any = attributes.copy()  # type: ignore[attr-defined] # of both kinds
        most = limits.max_event_attributes
        if (
            (most is None or len(plain) <= most)
            and "" not in plain
            and _FLAT.issuperset(map(type, plain.values()))
            and _TEXT.issuperset(map(type, plain))
        ):
            valid = BoundedAttributes(most)
            valid._dict = plain  # noqa: SLF001 - a private name, as above
            _add_made(span, Event(name, valid, timestamp))
            return
    span.add_event(name, attributes=attributes, timestamp=timestamp)


class ContentAwareBridge(EventToSpanEventBridge):
    """The bridge that copies content of Wakelog's own events to spans only if the policy allows it.

    Args:
        policy: Where content may go.
        redactor: Redacts the records that other libraries emit.
    """

    def __init__(self, policy: ContentPolicy, redactor: Redactor | None = None) -> None:
        self._policy, self._redactor = policy, redactor

    def attributes_of(self, log_record: ReadWriteLogRecord) -> Mapping[str, Any]:
        """Return the record's attributes, without content of own events unless allowed."""
        attributes = log_record.log_record.attributes or {}
        scope = log_record.instrumentation_scope
        if scope is None or scope.name != s.SCOPE_NAME:
            return attributes if self._redactor is None else self._redactor.attributes(attributes)
        if not self._policy.spans:
            return attributes if s.CONTENT.isdisjoint(attributes) else without_content(attributes)
        content = getattr(log_record.log_record, "content", None)
        return {**attributes, **content} if content else attributes
