"""An ordinary span is read where the SDK keeps its values, and every other one through its properties."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from tests.support.attack import times
from wakelog.journal import read
from wakelog.otel import DurableSpanProcessor, _span_storage
from wakelog.otel._scopes import scope_of
from wakelog.otel._span_fields import fields_of_span
from wakelog.otel._span_lines import (
    Encoded,
    SpanLines,
    _line_in_python,
    line_id,
    ordinary_line,
)
from wakelog.otel._span_storage import span_storage
from wakelog.record import encode

LONGEST = 1 << 20
STATE = TraceState([("a", "b")])
CONTEXTS = st.builds(
    SpanContext,
    st.integers(0, 2**128),
    st.integers(0, 2**64),
    st.sampled_from([False, False, True]),
    st.sampled_from([TraceFlags(1), TraceFlags(1), TraceFlags(0), TraceFlags(3)]),
    st.sampled_from([None, None, TraceState(), STATE]),
)
TEXT = st.one_of(st.text(max_size=8), st.sampled_from(["$wakelog", "\ud800", 'a"\n\\']))
VALUES = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.lists(st.integers(-5, 5), max_size=3).map(tuple),
    st.none(),
    st.binary(max_size=3),
)
ATTRIBUTES = st.dictionaries(TEXT.filter(bool), VALUES, max_size=5)


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


def careful(span: ReadableSpan) -> Any:
    context = span.get_span_context()
    assert context is not None
    fields = fields_of_span(span, context, ended=span.end_time is not None)
    return json.loads(b'{"id":""' + encode(fields, LONGEST, ending=scope_of(span)) + b"}")


def check(found: Encoded, span: ReadableSpan) -> None:
    span_id, record_id, content, resource = found
    context = span.get_span_context()
    assert context is not None
    assert (span_id, record_id) == (context.span_id, line_id(context))
    assert resource is span.resource
    assert json.loads(b'{"id":""' + content + b"}") == careful(span)


@settings(max_examples=times(1000), deadline=None)
@given(
    context=CONTEXTS,
    parent=st.one_of(st.none(), CONTEXTS),
    name=TEXT,
    attributes=ATTRIBUTES,
    kind=st.sampled_from(SpanKind),
    status=st.one_of(
        st.builds(Status, st.sampled_from(StatusCode)),
        st.builds(Status, st.just(StatusCode.ERROR), TEXT),
    ),
    span_times=st.tuples(st.integers(0, 2**63), st.one_of(st.none(), st.integers(0, 2**63))),
)
def test_both_encoders_write_the_same_or_leave_the_span(
    context: SpanContext,
    parent: SpanContext | None,
    name: str,
    attributes: dict[str, Any],
    kind: SpanKind,
    status: Status,
    span_times: tuple[int, int | None],
) -> None:
    began, end = span_times
    ended = end is not None
    span = span_with(
        name=name,
        context=context,
        parent=parent,
        attributes=BoundedAttributes(attributes=attributes),
        kind=kind,
        status=status if ended else Status(),
        start_time=began,
        end_time=end,
    )

    in_python = _line_in_python(span, ended, LONGEST)
    found = ordinary_line(span, ended, LONGEST)

    assert found is None or in_python is None or found == in_python
    if in_python is not None:
        check(in_python, span)
    if found is not None:
        check(found, span)


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": BoundedAttributes(1, {"a": 1, "b": 2})},
        {"events": BoundedList.from_seq(1, [1, 2])},
        {"links": BoundedList.from_seq(0, [1])},
        {"name": "\ud800"},
        {"name": 7},
        {"start_time": 1.5},
        {"end_time": None},
        {"context": None},
        {"context": INVALID_SPAN_CONTEXT},
        {"context": (1, 2, False, 1, None, True)},
        {"context": SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))},
        {"parent": SpanContext(1, 2, is_remote=False, trace_state=STATE)},
        {"attributes": BoundedAttributes(attributes={"$wakelog": 1})},
        {"attributes": {"a": float("nan")}},
        {"attributes": {"a": object()}},
        {"attributes": {"a": "b" * LONGEST}},
    ],
)
def test_an_unusual_span_is_left_to_the_properties(fields: dict[str, Any]) -> None:
    span = span_with(**fields)

    found = ordinary_line(span, True, LONGEST)

    if found is not None:
        check(found, span)
        # The encoder in Python writes these itself.
        assert "parent" in fields or "name" in fields


def test_a_span_of_a_class_with_another_property_is_read_through_it() -> None:
    class Renamed(ReadableSpan):
        @property
        def name(self) -> str:
            return "renamed"

    class Watched(ReadableSpan):
        @property
        def attributes(self) -> Mapping[str, Any]:
            return {"a": 2}

    for kind in (Renamed, Watched):
        usual = span_with()
        span = kind("tool", usual.context, resource=usual.resource, start_time=5, end_time=6)
        assert ordinary_line(span, True, LONGEST) is None

        found = SpanLines(max_line_bytes=LONGEST, max_event_bytes=LONGEST).encode(span, ended=True)

        assert found is not None
        check(found, span)


def test_where_this_sdk_keeps_its_values_is_known() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("a").start_span("tool", attributes={"a": 1})
    storage = span_storage()

    assert storage is not None
    assert isinstance(span, Span)
    assert ordinary_line(span, False, LONGEST) is not None
    span.end()
    assert ordinary_line(span, True, LONGEST) is not None
    assert storage.classes[type(span)]
    assert storage.classes[ReadableSpan]


def test_another_sdk_is_read_through_its_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ReadableSpan):
        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)
            self._name = self._name.encode().decode() * 2

    monkeypatch.setattr(_span_storage, "ReadableSpan", Other)

    assert span_storage() is None


@pytest.mark.parametrize("encode_line", [_line_in_python, ordinary_line])
def test_one_parent_of_spans_in_two_traces_is_written_for_each(encode_line: Any) -> None:
    parent = SpanContext(1, 7, is_remote=False, trace_flags=TraceFlags(1))
    for trace_id in (1, 9, 1):
        context = SpanContext(trace_id, 2, is_remote=False, trace_flags=TraceFlags(1))
        span = span_with(context=context, parent=parent)
        check(encode_line(span, True, LONGEST), span)


def test_an_end_that_cannot_be_read_raises_nothing_and_is_counted(tmp_path: Path) -> None:
    class Broken(ReadableSpan):
        def get_span_context(self) -> SpanContext:
            raise RuntimeError

    processor = DurableSpanProcessor(None, directory=tmp_path)
    processor.on_end(Broken("broken", resource=SDKResource({})))
    processor.on_end(span_with())
    processor.shutdown()

    assert len(list(read(tmp_path, signal="spans"))) == 1
