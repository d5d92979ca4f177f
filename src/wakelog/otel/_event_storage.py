"""Where the SDK's spans keep their events, found out with a span that is made for it.

The SDK's ``add_event`` calls eight functions of Python. With an SDK that keeps events in another way,
they are added by calling it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Final, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import Event, Span, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags, set_span_in_context

from wakelog._native import native
from wakelog.events import semconv as s
from wakelog.otel._line_records import PreparedRecord
from wakelog.otel._others import take_ids_from
from wakelog.otel._records import EventLogRecord
from wakelog.otel._span_storage import Classes, span_storage

_LOCK: Final = type(threading.Lock())
_MOST, _TIME = 12345, 5 << 60
_FULL: Final = 2
_METHODS: Final = ("get_span_context", "is_recording")
_NO_RESOURCE: Final = SDKResource({})
_SCOPE: Final = InstrumentationScope(s.SCOPE_NAME)


class EventStorage(NamedTuple):
    """The names of the SDK's own attributes that have to do with the events of a span.

    Attributes:
        context: Of a span, like the next ones.
        end_time: When it has ended.
        events: Its bounded list of events.
        lock: The lock that is held while an event is added.
        limits: Its limits.
        queue: Of a bounded list, like the next one.
        list_lock: Its lock.
        name: Of an event, like the next ones.
        timestamp: Its time.
        attributes: Its bounded attributes.
        bounded: The names and values of bounded attributes without an attribute, in their order.
        held: Which of these is the dict.
        attributes_lock: Which of them is the lock.
        most: Which of them is the maximum number of attributes.
        lock_type: The type of all these locks.
        key: The key of the current span in a context.
        classes: For each class of spans, whether its spans keep their events there.
    """

    context: str
    end_time: str
    events: str
    lock: str
    limits: str
    queue: str
    list_lock: str
    name: str
    timestamp: str
    attributes: str
    bounded: list[tuple[str, object]]
    held: int
    attributes_lock: int
    most: int
    lock_type: type
    key: str
    classes: Classes


class _KnownClasses(NamedTuple):
    """The classes and functions that compiled code compares with."""

    context: type = Context
    span_context: type = SpanContext
    bounded_list: type = BoundedList
    bounded_attributes: type = BoundedAttributes
    event: type = Event
    add_event: object = Span.add_event
    add_made: object = getattr(Span, "_add_event", None)
    log_record: type = EventLogRecord
    scope_name: str = s.SCOPE_NAME
    content: frozenset[str] = s.CONTENT


class _Span(Span):
    """A span of no tracer."""


def event_storage() -> EventStorage | None:
    """Return where this SDK's spans keep their events, None if that is not known."""
    known = span_storage()
    if known is None:
        return None
    span, context = _span()
    before = dict(vars(span))
    span.add_event("b", {"c": 1}, _TIME)
    bounded = vars(BoundedAttributes(_MOST))
    kinds = list(map(type, bounded.values()))
    try:
        [key] = context
        events = before[known.events]
        found = EventStorage(
            known.context,
            known.end_time,
            known.events,
            _only(span, _LOCK),
            _only(span, SpanLimits),
            known.queue,
            _only(events, _LOCK),
            known.event_name,
            known.event_time,
            known.event_attributes,
            list(bounded.items()),
            kinds.index(dict),
            kinds.index(_LOCK),
            list(bounded.values()).index(_MOST),
            _LOCK,
            key,
            Classes(Span, _METHODS, (known.context, known.end_time, known.events)),
        )
    except (KeyError, ValueError):
        return None
    unchanged = vars(span).keys() == before.keys() and all(
        vars(span)[name] is value for name, value in before.items()
    )
    valid = [tuple(SpanContext(number, 2, is_remote=False))[5:] for number in (0, 1)]
    sure = all(found[:10]) and unchanged and valid == [(False,), (True,)]
    return found if sure else None


def compiled_events() -> Any:
    """Return the compiled functions for events of spans.

    Returns:
        The object with ``add`` and ``ids``. None without it, or if a span to which it has added an
        event differs from one to which the SDK has added it.
    """
    storage = None if native is None else event_storage()
    if storage is None:
        return None
    compiled = native.SpanEvents(storage, _KnownClasses())
    (theirs, _), (ours, context) = _span(), _span()
    for number in range(_FULL + 1):
        given = {"c": number, "d": "e"}
        theirs.add_event("b", given, _TIME)
        record = EventLogRecord(_TIME, None, "", given, "b", (1, 2, 1), None)
        record.context = context
        if not compiled.add(PreparedRecord(record, _NO_RESOURCE, _SCOPE), False):
            return None
    same = _state(vars(ours)[storage.events]) == _state(vars(theirs)[storage.events])
    return compiled if same and compiled.ids(context) == (1, 2, 1) else None


def _span() -> tuple[Any, Context]:
    """Return a new span with few events at most, and a context with it."""
    unset = SpanLimits.UNSET
    limits = SpanLimits(unset, _FULL, unset, unset, _FULL, unset, unset, unset)
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    span = _Span("a", context, resource=_NO_RESOURCE, limits=limits)
    return span, set_span_in_context(span, Context())


def _state(value: object) -> object:
    """Return everything that an object of the SDK has, with the names of its attributes."""
    if type(value) is _LOCK:
        return _LOCK
    if type(value) is deque:
        return [_state(item) for item in value]
    if type(value) in (Event, BoundedAttributes, BoundedList):
        return type(value), [(name, _state(item)) for name, item in vars(value).items()]
    return value


def _only(kept_in: object, kind: type) -> str:
    """Return under which name an object has its only value of a type, empty without one."""
    found = [name for name, own in vars(kept_in).items() if type(own) is kind]
    return found[0] if len(found) == 1 else ""


compiled: Final[Any] = compiled_events()
if compiled is not None:
    take_ids_from(compiled.ids)
