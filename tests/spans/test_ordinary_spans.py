"""An ordinary span is read where the SDK keeps its values, and every other one through its properties."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
)

from tests.support.attack import times
from tests.support.generated_spans import (
    CONTEXT,
    LONGEST,
    ONE_ODD,
    ORDINARY,
    PLAIN,
    STATE,
    TIMES,
    OtherAttributes,
    OtherEvent,
    OtherLink,
    OtherText,
    careful,
    check,
    events,
    span_with,
)
from wakelog._native import native
from wakelog.journal import read
from wakelog.otel import DurableSpanProcessor, _span_storage
from wakelog.otel._span_encoder import SpanEncoder
from wakelog.otel._span_lines import SpanLines, _line_in_python, ordinary_line
from wakelog.otel._span_storage import span_storage
from wakelog.record import seal

ENCODERS = [_line_in_python, ordinary_line]


@settings(max_examples=times(1000), deadline=None)
@given(ORDINARY)
def test_both_encoders_write_each_ordinary_span(fields: dict[str, Any]) -> None:
    ended = fields["end_time"] is not None
    span = span_with(**fields if ended else fields | {"status": Status()})

    found = ordinary_line(span, ended, LONGEST)

    assert found is not None
    assert found == _line_in_python(span, ended, LONGEST)
    check(found, span)


@settings(max_examples=times(1000), deadline=None)
@given(ORDINARY, ONE_ODD)
def test_both_encoders_write_the_same_or_leave_the_span(
    fields: dict[str, Any], odd: dict[str, Any]
) -> None:
    ended = fields["end_time"] is not None
    span = span_with(**fields | odd | ({} if ended else {"status": Status()}))

    for encode_line in ENCODERS:
        found = encode_line(span, ended, LONGEST)

        if found is not None:
            check(found, span)


@pytest.mark.parametrize(
    "fields",
    [
        events({"a": float("nan")}),
        events({"a": 2**64}),
        events({"a": b"bytes"}),
        events({"a": OtherText("text")}),
        events({"$wakelog": 1}),
        events({"a": "\ud800"}),
        events({"a": "b" * LONGEST}),
        events(*[{"a": "b" * 5000}] * 250),
        events(OtherAttributes(attributes={"a": 1})),
        {"events": BoundedList.from_seq(1, [OtherEvent("a", {}, 1)])},
        {"events": BoundedList.from_seq(1, [Event(OtherText("a"), {}, 1)])},
        {"events": BoundedList.from_seq(1, [Event("\ud800", {}, 1)])},
        {"events": BoundedList.from_seq(1, [Event("a", {}, 2**63)])},
        {"links": BoundedList.from_seq(1, [OtherLink(CONTEXT)])},
        {"links": BoundedList.from_seq(1, [Link(SpanContext(1, 2, False, trace_state=STATE))])},
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
        assert fields.keys() & {"parent", "name", "events", "links"}
        assert native is None


@pytest.mark.parametrize("encode_line", ENCODERS)
@pytest.mark.parametrize(
    "fields",
    [
        events(BoundedAttributes(attributes=PLAIN), BoundedAttributes(attributes={"a": 1})),
        events(None, {}, BoundedAttributes(), PLAIN),
        events(BoundedAttributes(1, {"a": 1, "b": 2, "c": 3}), {"a": 1}),
        events({}, {}, {}, most=2),
        events({}, most=0),
        events(*[PLAIN] * 128),
        {"events": BoundedList.from_seq(1, [Event('a"\n\u00e9', None, 2**63 - 1)])},
        {"links": BoundedList.from_seq(1, [Link(CONTEXT), Link(CONTEXT, PLAIN)])},
        {"links": BoundedList.from_seq(0, [Link(CONTEXT)])},
        {
            "links": BoundedList.from_seq(
                9, [Link(SpanContext(3, 4, is_remote=True), BoundedAttributes(0, PLAIN))]
            )
        }
        | events({"a": 1}),
        {"attributes": BoundedAttributes(1, {"a": 1, "b": 2})},
        {"attributes": BoundedAttributes(0, {"a": 1})} | events({"a": 1}, {}, most=1),
    ],
)
def test_events_links_and_dropped_counts_are_ordinary(
    encode_line: Any, fields: dict[str, Any]
) -> None:
    for end in (6, None):
        span = span_with(**fields, end_time=end)

        found = encode_line(span, end is not None, LONGEST)

        assert found is not None
        check(found, span)


@pytest.mark.parametrize("encode_line", ENCODERS)
def test_the_events_of_the_sdk_are_ordinary(encode_line: Any) -> None:
    span: Any = TracerProvider(shutdown_on_exit=False).get_tracer("a").start_span("tool")
    span.add_event("called", {"a": 1, "b": ["c"]})
    span.add_event("done")
    span.add_link(CONTEXT, {"d": 1.5})
    try:
        raise ValueError("no such file")
    except ValueError as error:
        span.record_exception(error, {"e": True})
    span.set_status(StatusCode.ERROR, "failed")
    span.end()

    found = encode_line(span, True, LONGEST)

    assert found is not None
    check(found, span)
    assert found[2].count(b'"name":') == 5


@pytest.mark.parametrize("encode_line", ENCODERS)
def test_a_line_with_events_is_as_long_as_it_may_be(encode_line: Any) -> None:
    span = span_with(**events(PLAIN, PLAIN))
    length = len(careful(span))

    assert encode_line(span, True, length) is not None
    assert encode_line(span, True, length - 1) is None


@pytest.mark.skipif(native is None, reason="wakelog-native is not used")
@settings(max_examples=times(500), deadline=None)
@given(ORDINARY, TIMES.filter(bool), TIMES.filter(bool))
def test_a_line_with_events_is_encoded_for_otlp_by_compiled_code(
    fields: dict[str, Any], began: int, end: int
) -> None:
    span = span_with(**fields | {"start_time": began, "end_time": end, "links": BoundedList(1)})
    found = ordinary_line(span, True, LONGEST)
    assert found is not None
    line, _ = seal(found[1], 1, found[2], 0)
    in_python = SpanEncoder()
    in_python._native = None

    encoded = native.encode_span(line)

    assert encoded is not None
    assert encoded == in_python.encode(line)


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

    class Shouting(Event):
        @property
        def name(self) -> str:
            return super().name.upper()

    class Copying(Link):
        @property
        def attributes(self) -> Any:
            return dict(super().attributes or {})

    for name, kind in (("ReadableSpan", Other), ("Event", Shouting), ("Link", Copying)):
        with monkeypatch.context() as patch:
            patch.setattr(_span_storage, name, kind)
            assert span_storage() is None
    assert span_storage() is not None


@pytest.mark.parametrize("encode_line", ENCODERS)
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
