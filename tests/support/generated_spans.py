"""Generated spans, and the line that is written for one which is read through its properties."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from wakelog.otel._fields import scope_of
from wakelog.otel._span_fields import fields_of_span
from wakelog.otel._span_lines import Encoded, line_id
from wakelog.record import encode

LONGEST = 1 << 20
STATE = TraceState([("a", "b")])
CONTEXT = SpanContext(3, 4, is_remote=False, trace_flags=TraceFlags(1))
PLAIN: dict[str, Any] = {
    "a": 1,
    "b": "text",
    "c": 1.5,
    "d": True,
    "e": None,
    "f": (1, 2),
    "g": {"h": [""]},
}


class OtherText(str):
    """A text that is not written as it is."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class OtherEvent(Event):
    @property
    def name(self) -> str:
        return "other"


class OtherLink(Link):
    @property
    def attributes(self) -> Any:
        return {"other": 1}


class OtherAttributes(BoundedAttributes):
    def copy(self) -> Any:
        return {"other": 1}


def context(sampled: bool, remote: bool) -> st.SearchStrategy[SpanContext]:
    """Contexts of ordinary spans."""
    return st.builds(
        SpanContext,
        st.integers(0, 2**128 - 1),
        st.integers(0, 2**64 - 1),
        st.booleans() if remote else st.just(False),
        st.sampled_from([TraceFlags(flags) for flags in (1, 3, 0, 2)[: 2 if sampled else 4]]),
        st.sampled_from([None, TraceState()]),
    )


def lists_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[BoundedList[Any]]:
    """Lists of events or links, some of which have dropped one."""
    most = st.sampled_from([None, 0, 2])
    return st.builds(BoundedList.from_seq, most, st.lists(items, max_size=3))


def held(attributes: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What the SDK makes of attributes, some of which it drops, and what a program may pass itself."""
    most = st.sampled_from([None, None, 0, 1])
    return st.one_of(st.none(), attributes, st.builds(BoundedAttributes, most, attributes))


# Values, names and parts of ordinary spans, whose lines the fast encoders write.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.just('a"\n\\\x7f')
VALUES = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.lists(TEXT | st.integers(-5, 5), max_size=3),
    st.dictionaries(TEXT, st.lists(st.floats(-1, 1)), max_size=2),
)
ATTRIBUTES = st.dictionaries(TEXT.filter(bool), VALUES, max_size=4)
TIMES = st.integers(0, 2**63 - 1)
EVENTS = st.builds(Event, TEXT, held(ATTRIBUTES), TIMES)
LINKS = st.builds(Link, context(sampled=False, remote=True), held(ATTRIBUTES))
ORDINARY = st.fixed_dictionaries(
    {
        "name": TEXT,
        "context": context(sampled=True, remote=False),
        "parent": st.none() | context(sampled=False, remote=True),
        "attributes": held(ATTRIBUTES),
        "events": lists_of(EVENTS),
        "links": lists_of(LINKS),
        "kind": st.sampled_from(SpanKind),
        "status": st.builds(Status, st.sampled_from(StatusCode))
        | st.builds(Status, st.just(StatusCode.ERROR), TEXT),
        "start_time": TIMES,
        "end_time": st.none() | TIMES,
    }
)
# Parts of others.
ODD_CONTEXTS = st.builds(
    SpanContext,
    st.sampled_from([0, 1, 2**128]),
    st.sampled_from([0, 1, 2**64]),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    st.sampled_from([None, STATE]),
)
ODD_TIMES: list[Any] = [2**63, 2**64, 1.5, True]
ODD_TEXT = st.one_of(TEXT, st.sampled_from(["$wakelog", "\ud800"]), TEXT.map(OtherText))
ODD_VALUES = st.one_of(
    VALUES,
    ODD_TEXT,
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.binary(max_size=3),
    st.just({"$wakelog": 1}),
)
ODD_ATTRIBUTES = st.dictionaries(ODD_TEXT.filter(bool), ODD_VALUES, max_size=3)
ODD_HELD = st.one_of(
    held(ODD_ATTRIBUTES),
    ODD_ATTRIBUTES.map(MappingProxyType),
    st.builds(OtherAttributes, st.just(1), ODD_ATTRIBUTES),
)
ODD_EVENTS = st.one_of(
    [
        st.builds(kind, ODD_TEXT | st.just(7), ODD_HELD, TIMES | st.sampled_from(ODD_TIMES))
        for kind in (Event, OtherEvent)
    ]
)
ODD_LINKS = st.one_of([st.builds(kind, ODD_CONTEXTS, ODD_HELD) for kind in (Link, OtherLink)])
ODD: dict[str, st.SearchStrategy[Any]] = {
    "name": ODD_TEXT,
    "context": ODD_CONTEXTS,
    "parent": ODD_CONTEXTS,
    "attributes": st.builds(BoundedAttributes, st.none(), ODD_ATTRIBUTES),
    "events": lists_of(ODD_EVENTS) | st.lists(EVENTS, max_size=2).map(tuple),
    "links": lists_of(ODD_LINKS) | st.lists(LINKS, max_size=2).map(tuple),
    "start_time": st.sampled_from([2**63, 2**64, 2**70]),
}
ONE_ODD = st.one_of([st.fixed_dictionaries({name: part}) for name, part in ODD.items()])
"""A field of a span that may not be ordinary."""


def span_with(**fields: Any) -> ReadableSpan:
    usual: dict[str, Any] = {
        "name": "tool",
        "context": SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)),
        "resource": SDKResource({}),
        "attributes": BoundedAttributes(attributes={"a": 1}),
        "events": BoundedList(2),
        "links": BoundedList(2),
        "start_time": 5,
        "end_time": 6,
    }
    return ReadableSpan(**usual | fields)


def careful(span: ReadableSpan) -> bytes:
    """The middle part that is written for a span that is read through its properties."""
    context = span.get_span_context()
    assert context is not None
    fields = fields_of_span(span, context, ended=span.end_time is not None)
    return encode(fields, LONGEST, ending=scope_of(span))


def check(found: Encoded, span: ReadableSpan) -> None:
    span_id, record_id, content, resource = found
    context = span.get_span_context()
    assert context is not None
    assert (span_id, record_id) == (context.span_id, line_id(context))
    assert resource is span.resource
    assert content == careful(span)


def events(*given: Any, most: int | None = 128) -> dict[str, Any]:
    """The field of a span with events of ordinary names and times."""
    made = [Event(f"event {number}", one, number) for number, one in enumerate(given)]
    return {"events": BoundedList.from_seq(most, made)}
