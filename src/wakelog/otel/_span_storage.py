"""Where the SDK's spans keep their values, found out with a span that is made for it.

The public properties of a span call functions of Python, take locks, and copy attributes, events
and links. Reading the values themselves costs a tenth. With an SDK that keeps them in another way,
they are read through the properties.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

_MOST_CLASSES: Final = 100
_PROPERTIES: Final = (
    "name",
    "context",
    "parent",
    "resource",
    "attributes",
    "events",
    "links",
    "kind",
    "status",
    "start_time",
    "end_time",
    "instrumentation_scope",
)
_COUNTS: Final = ("dropped_attributes", "dropped_events", "dropped_links")


class SDKClasses(NamedTuple):
    """The SDK's classes whose objects are read without their properties, and its usual values."""

    span_kind: type = SpanKind
    status_code: type = StatusCode
    status: type = Status
    span_context: type = SpanContext
    bounded_attributes: type = BoundedAttributes
    bounded_list: type = BoundedList
    event: type = Event
    link: type = Link
    internal: SpanKind = SpanKind.INTERNAL
    unset: StatusCode = StatusCode.UNSET
    no_state: TraceState = SpanContext(0, 0, is_remote=False).trace_state


class SpanStorage(NamedTuple):
    """The names of the SDK's own attributes behind the properties of a span and its parts.

    Attributes:
        held: Where bounded attributes have their dict.
        queue: Where a bounded list has its deque.
        event_name: Where an event has its name, like the next ones.
        event_time: Its time.
        event_attributes: Its attributes.
        link_context: Where a link has its context.
        link_attributes: Where a link has its attributes.
        classes: For each class of spans, whether its spans keep their values there.
    """

    name: str
    context: str
    parent: str
    resource: str
    attributes: str
    events: str
    links: str
    kind: str
    status: str
    start_time: str
    end_time: str
    instrumentation_scope: str
    status_code: str
    description: str
    held: str
    queue: str
    event_name: str
    event_time: str
    event_attributes: str
    link_context: str
    link_attributes: str
    classes: Classes


class Classes(dict[type, bool]):
    """For each class of spans, whether its spans keep their values as the SDK's own do.

    A class of a user that has another method or property, or an attribute of one of the names, does
    not.

    Args:
        base: The SDK's class from which it has to inherit.
        methods: The names of the methods and properties that have to be the SDK's.
        names: The names of the attributes that are read.
    """

    def __init__(self, base: type, methods: Sequence[str], names: Sequence[str]) -> None:
        super().__init__()
        self._base, self._methods, self._names = base, methods, names

    def __missing__(self, kind: type) -> bool:
        if len(self) >= _MOST_CLASSES:
            self.clear()
        self[kind] = plain = (
            issubclass(kind, self._base)
            and kind.__getattribute__ is object.__getattribute__
            and all(
                getattr(kind, name) in (getattr(self._base, name), getattr(Span, name))
                for name in self._methods
            )
            and not any(hasattr(kind, name) for name in self._names)
        )
        return plain


def span_storage() -> SpanStorage | None:
    """Return where this SDK's spans keep their values, None if that is not known."""
    context = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=_STATE)
    event, link = Event("b", {"e": 1}, 7 << 60), Link(context, {"f": 1})
    given: dict[str, Any] = {
        "name": "a",
        "context": context,
        "parent": SpanContext(3, 4, is_remote=False),
        "resource": SDKResource({}),
        "attributes": BoundedAttributes(attributes={"a": 1}),
        "events": BoundedList.from_seq(1, [event]),
        "links": BoundedList.from_seq(1, [link]),
        "kind": SpanKind.CLIENT,
        "status": Status(StatusCode.ERROR, "c"),
        "start_time": 5 << 60,
        "end_time": 6 << 60,
        "instrumentation_scope": InstrumentationScope("d"),
    }
    span = ReadableSpan(**given)
    names = [_name_of(span, given[name]) for name in _PROPERTIES]
    status, held, queue = given["status"], given["attributes"], given["events"]
    names += [_name_of(status, status.status_code), _name_of(status, status.description)]
    at, kept = _only(held, dict), _only(queue, deque)
    names += [at, kept, *(_name_of(event, value) for value in _values_of(event))]
    names += [_name_of(link, context), _name_of(link, link.attributes)]
    usual = {"attributes": {"a": 1}, "events": tuple(queue), "links": tuple(given["links"])}
    if (
        not all(names)
        or any(getattr(span, name) != usual.get(name, given[name]) for name in _PROPERTIES)
        or getattr(held, at) != {"a": 1}
        or list(getattr(queue, kept)) != list(queue)
        or _values_of(event) != ("b", 7 << 60, {"e": 1})
        or (link.context, link.attributes) != (context, {"f": 1})
        or tuple(context)[:5] != (1, 2, True, 1, _STATE)
    ):
        return None
    methods = ("get_span_context", *_PROPERTIES, *_COUNTS)
    classes = Classes(ReadableSpan, methods, names[: len(_PROPERTIES)])
    return SpanStorage(*names, classes)  # type: ignore[call-arg, arg-type] # as many


_STATE: Final = TraceState([("a", "b")])


def _values_of(event: Event) -> tuple[object, ...]:
    return event.name, event.timestamp, event.attributes


def _name_of(kept_in: object, value: object) -> str:
    """Return under which name an object has a value; empty if it has not that very one."""
    return next((name for name, own in vars(kept_in).items() if own is value), "")


def _only(kept_in: object, kind: type) -> str:
    """Return under which name an object has its only value of a type; empty without one."""
    found = [name for name, own in vars(kept_in).items() if type(own) is kind]
    return found[0] if len(found) == 1 else ""
