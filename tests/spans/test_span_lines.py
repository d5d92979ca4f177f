"""A span's line gives back what the SDK's own processor would have exported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from tests.support.attack import times
from wakelog.journal import Entry, Mark
from wakelog.otel._fields import resource_of, scope_of
from wakelog.otel._span_fields import fields_of_span
from wakelog.otel._span_lines import SpanLines
from wakelog.otel._span_records import SpanRebuilder
from wakelog.record import decode, encode, seal, unread

TEXT = st.text(max_size=12)
KEYS = st.text(min_size=1, max_size=8)
SCALARS = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=8),
    st.none(),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(TEXT, max_size=3),
    st.lists(st.integers(-5, 5), max_size=3),
    st.dictionaries(KEYS, SCALARS, max_size=3),
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=6)
STATES = st.lists(
    st.tuples(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), st.just("v1")),
    max_size=2,
    unique_by=lambda pair: pair[0],
).map(TraceState)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1)]),
    STATES,
)
LINKS = st.builds(Link, CONTEXTS, ATTRIBUTES)
STATUSES = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    st.builds(Status, st.just(StatusCode.ERROR), st.one_of(st.none(), TEXT)),
)


def written_and_read(span: ReadableSpan) -> ReadableSpan:
    """Takes a span to its line and back."""
    context = span.get_span_context()
    assert context is not None
    found = SpanLines(max_line_bytes=1 << 20, max_event_bytes=1 << 20).encode(span, ended=True)
    assert found is not None
    span_id, record_id, content, _ = found
    assert (span_id, record_id) == (context.span_id, f"{context.trace_id:032x}-{span_id:016x}")
    careful = encode(fields_of_span(span, context, ended=True), 1 << 20, ending=scope_of(span))
    assert json.loads(b'{"id":""' + content + b"}") == json.loads(b'{"id":""' + careful + b"}")
    line, _ = seal(record_id, 1, content, 0)
    resource = resource_of(span.resource)
    rebuilder = SpanRebuilder()
    rebuilder.encodes = True
    record = unread(line.removesuffix(b"\n"))
    assert record is not None
    made = rebuilder.prepare(Entry(record, resource, "w", Mark(1, 0, 1)))
    request = rebuilder.request([made])
    rebuilt = rebuilder.rebuild(Entry(decode(line), resource, "w", Mark(1, 0, 1)))
    if request is not None:
        assert ExportTraceServiceRequest.FromString(request) == exported(rebuilt)
        assert exported(made) == exported(rebuilt)
    return rebuilt


def exported(span: ReadableSpan) -> Any:
    return encode_spans([span])


@pytest.mark.attack
@settings(max_examples=times(2_000), deadline=None)
@given(
    limits=st.sampled_from([SpanLimits(), SpanLimits(2, 2, 2, 2, 2, 5, 5)]),
    parent=st.one_of(st.none(), CONTEXTS),
    kind=st.sampled_from(SpanKind),
    name=TEXT,
    attributes=ATTRIBUTES,
    links=st.lists(LINKS, max_size=4),
    events=st.lists(st.tuples(TEXT, ATTRIBUTES, st.integers(0, 2**63)), max_size=4),
    status=STATUSES,
    span_times=st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)),
)
def test_a_span_leaves_as_the_sdk_would_have_sent_it(
    limits: SpanLimits,
    parent: SpanContext | None,
    kind: SpanKind,
    name: str,
    attributes: dict[str, Any],
    links: list[Link],
    events: list[tuple[str, dict[str, Any], int]],
    status: Status,
    span_times: tuple[int, int],
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        span_limits=limits,
        resource=SDKResource({"service.name": "shop"}, "https://schema"),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("lib", "1.2", "https://scope", {"a": 1})
    context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
    span = tracer.start_span(
        name, context, kind, attributes, links, min(span_times), record_exception=False
    )
    for event in events:
        span.add_event(*event)
    span.set_status(status)
    span.end(max(span_times))

    for one in exporter.get_finished_spans():
        assert exported(written_and_read(one)) == exported(one)
