"""Events that compiled code adds to spans are those that the bridge in Python adds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, Span, SpanLimits, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from wakelog._native import native
from wakelog.events import semconv as s
from wakelog.otel import _others
from wakelog.otel._bridge import ContentAwareBridge
from wakelog.otel._content import ContentPolicy
from wakelog.otel._event_storage import compiled, event_storage
from wakelog.otel._line_records import PreparedRecord
from wakelog.otel._records import EventLogRecord

pytestmark = pytest.mark.skipif(native is None, reason="wakelog-native is not used")
PLAIN: dict[str, Any] = {"a": 1, "b": "text", "c": 1.5, "d": True, "e": None, "f": b"bytes"}
CONTENT = {s.TOOL_CALL_ARGUMENTS: "secret"}


class Overriding(Span):
    def add_event(self, name: str, *args: Any, **named: Any) -> None:
        super().add_event(f"own {name}", *args, **named)


class Counting(Span):
    def is_recording(self) -> bool:
        return False


LIMITS = (
    "max_attributes",
    "max_events",
    "max_links",
    "max_span_attributes",
    "max_event_attributes",
    "max_link_attributes",
    "max_attribute_length",
)


def span(kind: Callable[..., Any] | None = None, limits: dict[str, int] | None = None) -> Any:
    if kind is not None:
        return kind("work", SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)))
    all_limits = SpanLimits(**{**dict.fromkeys(LIMITS, SpanLimits.UNSET), **(limits or {})})
    provider = TracerProvider(shutdown_on_exit=False, span_limits=all_limits)
    return provider.get_tracer("a").start_span("work")


def record(
    of: Any, attributes: Any = PLAIN, content: Any = None, scope: str = s.SCOPE_NAME, **fields: Any
) -> ReadWriteLogRecord:
    context = of.get_span_context()
    ids = int(context.trace_id), int(context.span_id), int(context.trace_flags)
    made = EventLogRecord(5, None, "", attributes, "an.event", ids, None, content=content)
    made.context = trace.set_span_in_context(of, Context())
    for name, value in fields.items():
        setattr(made, name, value)
    return PreparedRecord(made, Resource({}), InstrumentationScope(scope))


def state(value: Any) -> Any:
    """Everything that is in the events of a span, with the names behind its properties."""
    if isinstance(value, deque):
        return [state(item) for item in value]
    if isinstance(value, Event | BoundedAttributes | BoundedList):
        return type(value), [(n, state(v)) for n, v in vars(value).items() if "lock" not in n]
    return value


def both(
    make: Callable[[], Any], *given: dict[str, Any], spans: bool = False
) -> tuple[list[bool], Any, Any]:
    """Whether compiled code added each event, and the events with it and without it."""
    bridge, (ours, theirs) = ContentAwareBridge(ContentPolicy(spans=spans)), (make(), make())
    added = []
    for fields in given:
        one = record(ours, **fields)
        added.append(compiled.add(one, spans))
        if not added[-1]:
            bridge.on_emit(one)
        bridge.on_emit(record(theirs, **fields))
    return added, state(ours._events), state(theirs._events)


@pytest.mark.parametrize("content", [None, CONTENT])
@pytest.mark.parametrize("spans", [False, True])
def test_an_ordinary_event_is_the_sdks_own(spans: bool, content: Any) -> None:
    added, ours, theirs = both(span, {"content": content}, {"attributes": {}}, spans=spans)

    assert added == [True, True]
    assert ours == theirs


def test_the_oldest_event_of_a_full_span_is_dropped_and_counted() -> None:
    added, ours, theirs = both(lambda: span(limits={"max_events": 2}), *[{}] * 4)

    assert added == [True] * 4
    assert ours == theirs
    assert dict(ours[1])["dropped"] == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"attributes": {"a": [1, 2]}},
        {"attributes": {"": 1, "b": 2}},
        {"attributes": {1: 1}},
        {"attributes": BoundedAttributes(None, PLAIN)},
        {"attributes": PLAIN | CONTENT},
        {"attributes": None},
        {"event_name": ""},
        {"event_name": 1},
        {"timestamp": None},
        {"timestamp": 0},
        {"trace_id": 3},
        {"span_id": 3},
        {"trace_id": 0},
        {"span_id": 0},
        {"context": Context()},
        {"context": None},
        {"scope": "another"},
    ],
    ids=str,
)
def test_every_other_record_is_left_to_the_bridge(fields: dict[str, Any]) -> None:
    added, ours, theirs = both(span, fields)

    assert added == [False]
    if fields.get("event_name", "an.event") and fields.get("timestamp", 1):
        assert ours == theirs


def test_a_record_of_another_class_is_left_to_the_bridge() -> None:
    of = span()
    log = LogRecord(event_name="a", timestamp=5, context=trace.set_span_in_context(of))
    one = ReadWriteLogRecord(log, Resource({}), InstrumentationScope(s.SCOPE_NAME))

    assert not compiled.add(one, False)


@pytest.mark.parametrize("kind", [Overriding, Counting])
def test_a_span_of_a_users_class_is_left_to_the_bridge(kind: type) -> None:
    added, ours, theirs = both(lambda: span(kind), {})

    assert added == [False]
    assert ours == theirs


@pytest.mark.parametrize("limits", [{"max_event_attributes": 2}, {"max_attribute_length": 2}])
def test_attributes_that_the_sdk_would_cut_are_left_to_it(limits: dict[str, int]) -> None:
    added, ours, theirs = both(lambda: span(limits=limits), {})

    assert added == [False]
    assert ours == theirs


def test_a_span_that_has_ended_gets_no_event() -> None:
    of = span()
    of.end()

    assert not compiled.add(record(of), False)
    assert not of.events


def test_a_span_with_a_method_of_its_own_is_left_to_the_bridge() -> None:
    of = span()
    of.add_event = lambda *_, **__: None

    assert not compiled.add(record(of), False)


def test_a_span_that_says_itself_whether_it_is_recording_is_left_to_the_bridge() -> None:
    of = span()
    of.is_recording = lambda: False

    assert not compiled.add(record(of), False)


def test_the_ids_that_a_span_returns_itself_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    of = span()
    of.get_span_context = lambda: SpanContext(7, 8, is_remote=False)
    context = trace.set_span_in_context(of, Context())

    assert _others.span_context_of(context) == (7, 8, 0)
    monkeypatch.setattr(_others, "_ids_in", None)
    assert _others.span_context_of(context) == (7, 8, 0)


def test_a_class_that_was_changed_later_is_left_to_the_bridge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = span()
    assert compiled.add(record(of), False)

    monkeypatch.setattr(Span, "add_event", Overriding.add_event)

    assert not compiled.add(record(of), False)


@pytest.mark.parametrize("of_list", [False, True])
def test_an_event_waits_in_python_for_a_lock_that_another_thread_holds(of_list: bool) -> None:
    of = span()
    with of._events._lock if of_list else of._lock:
        assert not compiled.add(record(of), False)

    assert compiled.add(record(of), False)


@pytest.mark.parametrize(
    "of",
    [
        trace.INVALID_SPAN,
        NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(3))),
        span(),
        span(Overriding),
        span(Counting),
        None,
    ],
    ids=["invalid", "not recording", "ordinary", "overriding", "counting", "none"],
)
def test_the_ids_of_a_contexts_span_are_those_that_are_looked_up_in_python(
    of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context() if of is None else trace.set_span_in_context(of, Context())
    token = attach(context)
    found = _others.span_context_of(context), _others.span_context_of()
    monkeypatch.setattr(_others, "_ids_in", None)

    assert found == (_others.span_context_of(context), _others.span_context_of())
    detach(token)


def test_a_span_that_was_never_initialized_has_no_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unready(Span):
        def __init__(self) -> None:
            pass

    context = trace.set_span_in_context(Unready(), Context())
    found = _others.span_context_of(context)
    monkeypatch.setattr(_others, "_ids_in", None)

    assert found is _others.span_context_of(context) is None


def test_this_sdk_keeps_events_where_compiled_code_finds_them() -> None:
    assert event_storage() is not None
    assert compiled is not None


def test_an_sdk_that_keeps_events_elsewhere_is_left_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Span.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        made(self, *args, **named)
        self.another_lock = threading.Lock()

    monkeypatch.setattr(Span, "__init__", init)

    assert event_storage() is None
