"""Span events that skip the SDK's checks of attributes: equal to those that it has checked."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, Span, SpanLimits, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext

from wakelog.otel import _bridge
from wakelog.otel._bridge import add_event
from wakelog.otel._others import span_context_of, span_of

if TYPE_CHECKING:
    from collections.abc import Mapping


class Text(str):
    __slots__ = ()


FLAT: dict[str, Any] = {"a": "b", "n": 3, "f": 1.5, "t": True, "b": b"x", "none": None}
ATTRIBUTES: list[Any] = [
    {},
    FLAT,
    {"list": [1, "two", None]},
    {"map": {"a": {"b": [1]}, "": 2}},
    {"": "empty key", "a": 1},
    {1: "a number as key", "a": 1},
    {Text("odd"): Text("text")},
    {"object": object, "set": {1}},
    {"long": "x" * 1000},
    {str(number): number for number in range(200)},
    BoundedAttributes(None, FLAT),
    BoundedAttributes(4, FLAT),
    BoundedAttributes(None, {"list": [1, {"a": 2}]}),
]
LIMITS = [
    SpanLimits(),
    SpanLimits(max_event_attributes=3),
    SpanLimits(max_event_attributes=0),
    SpanLimits(max_attribute_length=5),
    SpanLimits(max_events=1),
]


def span_with(limits: SpanLimits) -> Span:
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    span = provider.get_tracer("app").start_span("work")
    assert isinstance(span, Span)
    return span


def shape(event: Event) -> dict[str, Any]:
    attributes = event.attributes
    assert type(attributes) is BoundedAttributes
    kept = {name: value for name, value in vars(attributes).items() if name != "_lock"}
    kept["_dict"] = list(attributes.items())
    return {**vars(event), "_attributes": kept, "dropped": event.dropped_attributes}


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=range(len(ATTRIBUTES)))
def test_an_event_equals_that_of_the_sdk(attributes: Any, limits: SpanLimits) -> None:
    ours, theirs = span_with(limits), span_with(limits)

    for number in (1, 2):
        add_event(ours, "sent", attributes, number)
        theirs.add_event("sent", attributes, number)

    assert [shape(event) for event in ours.events] == [shape(event) for event in theirs.events]
    assert ours.dropped_events == theirs.dropped_events


def test_flat_attributes_are_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    span = span_with(SpanLimits())

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(BoundedAttributes, "_set_items", fail)  # fails if private names change
    add_event(span, "sent", FLAT, 1)

    assert dict(span.events[0].attributes or {}) == FLAT


def test_an_event_does_not_change_with_its_attributes() -> None:
    span, attributes = span_with(SpanLimits()), {"a": 1}

    add_event(span, "sent", attributes, 1)
    attributes["a"] = 2

    [event] = span.events
    assert dict(event.attributes or {}) == {"a": 1}
    with pytest.raises(TypeError):
        event.attributes["a"] = 3  # type: ignore[index]
    assert copy.deepcopy(event.attributes) == event.attributes


def test_an_ended_span_gets_no_event() -> None:
    span = span_with(SpanLimits())
    span.end()

    add_event(span, "sent", FLAT, 1)

    assert not span.events


def test_without_the_private_names_the_span_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    span = span_with(SpanLimits())
    monkeypatch.setattr(_bridge, "_add_event", object())

    add_event(span, "sent", FLAT, 1)

    assert [dict(event.attributes or {}) for event in span.events] == [FLAT]


def test_a_method_of_the_users_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    class Own(Span):
        def add_event(
            self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: Any = None
        ) -> None:
            del attributes, timestamp
            called.append(name)

    own: Any = object.__new__(Own)
    add_event(own, "class", FLAT, 1)
    span = span_with(SpanLimits())
    monkeypatch.setattr(span, "add_event", lambda name, **_: called.append(name))
    add_event(span, "object", FLAT, 1)

    assert called == ["class", "object"]
    assert not span.events


def test_a_subclass_that_sees_every_event_still_does() -> None:
    seen: list[str] = []

    class Own(Span):
        def _add_event(self, event: Any) -> None:
            seen.append(event.name)

    span = span_with(SpanLimits())
    span.__class__ = Own
    add_event(span, "sent", FLAT, 1)

    assert seen == ["sent"]


def test_the_span_of_a_context_is_looked_up_once_and_not_kept_alive() -> None:
    span = span_with(SpanLimits())
    context = trace.set_span_in_context(span)

    ids = span_context_of(context)
    assert span_of(context) == (span, ids)
    assert ids is not None
    assert ids[:2] == span.get_span_context()[:2]
    gone = weakref.ref(span)
    del span, context
    gc.collect()

    assert gone() is None


def test_each_context_has_its_own_span() -> None:
    spans = [span_with(SpanLimits()) for _ in range(3)]
    contexts = [trace.set_span_in_context(span) for span in spans]

    for _ in range(2):
        for span, context in zip(spans, contexts, strict=True):
            assert span_of(context)[0] is span

    invalid = trace.set_span_in_context(trace.INVALID_SPAN)
    assert span_context_of(invalid) is None
    assert span_context_of(contexts[0]) is not None


def test_a_span_with_slots_is_found() -> None:
    class Slotted(NonRecordingSpan):
        __slots__ = ()

    context = trace.set_span_in_context(Slotted(SpanContext(1, 2, is_remote=False)))

    assert span_context_of(context) == span_context_of(context) == (1, 2, 0)
