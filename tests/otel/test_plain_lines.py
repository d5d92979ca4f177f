"""What is written of ordinary records in one step is what is written of them field by field."""

from __future__ import annotations

import re
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import TraceFlags

from tests.support.attack import times
from wakelog.events import AgentEvent, fields_of, plain_content_of
from wakelog.events import semconv as s
from wakelog.otel import _plain_lines
from wakelog.otel._fields import fields_of_record
from wakelog.otel._plain_lines import plain_content
from wakelog.record import encode, salted_part

ENDING = b',"scope":{"name":"x"}'


def by_fields(record: LogRecord) -> bytes:
    """The way of every other record, without its id."""
    fields, attributes = fields_of_record(record)
    attributes.pop(s.LOG_RECORD_UID, None)
    if attributes:
        fields["attributes"] = attributes
    return encode(fields, 1 << 20, ending=ENDING)


def made(**fields: Any) -> LogRecord:
    record = LogRecord(observed_timestamp=fields.pop("observed_timestamp", 7))
    record.trace_flags = TraceFlags(0)
    for name, value in fields.items():
        setattr(record, name, value)  # not through the constructor, which looks at some of them
    return record


def plain(record: LogRecord) -> bytes | None:
    found = plain_content(record, None, body=True, ending=ENDING, longest=1 << 20)
    return None if found is None else found[1]


TEXTS = st.none() | st.text(max_size=20) | st.sampled_from(["", "\ud83d", "INFO", "x" * 600])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.just("$wakelog"), inner, max_size=3)
    ),
    max_leaves=8,
)
TIMES = st.none() | st.integers(-10, 2**65) | st.sampled_from([0, 1.5, True, "1", 10**18, 253_402_300_800 * 10**9])  # fmt: skip
IDS = st.none() | st.integers(-1, 2**130) | st.sampled_from([0, 1, True, "00"])
ATTRIBUTES = st.none() | st.dictionaries(
    st.text() | st.sampled_from(["$wakelog", s.LOG_RECORD_UID]) | st.just(7), VALUES, max_size=5
)


@pytest.mark.attack
@settings(max_examples=times(3000), deadline=None)
@given(
    timestamp=TIMES,
    observed_timestamp=TIMES,
    event_name=TEXTS,
    severity_text=TEXTS,
    severity_number=st.none() | st.sampled_from([*SeverityNumber, 9, "9"]),
    body=VALUES,
    trace_id=IDS,
    span_id=IDS,
    trace_flags=st.sampled_from([None, 0, 1, TraceFlags(1), 2**40, -1, "1"]),
    attributes=ATTRIBUTES,
    bounded=st.booleans(),
)
def test_a_line_is_written_as_it_is_field_by_field(bounded: bool, **fields: Any) -> None:
    if bounded and fields["attributes"] and 7 not in fields["attributes"] and "" not in fields["attributes"]:  # fmt: skip
        fields["attributes"] = BoundedAttributes(attributes=fields["attributes"], immutable=False)
    record = made(**fields)

    if (line := plain(record)) is not None:
        assert line == by_fields(record)


ORDINARY: list[dict[str, Any]] = [
    {},
    {"timestamp": 5},
    {"timestamp": 7},
    {"timestamp": 1_800_000_000_000_000_001, "observed_timestamp": 1_800_000_001_000_000_002},
    {"event_name": "e", "severity_number": SeverityNumber.INFO, "severity_text": "INFO"},
    {"body": "text"},
    {"body": {"a": [1, 2.5, None, True]}},
    {"attributes": {"a": "b", "n": 1, "f": 0.5, "list": ["x"], "none": None}},
    {"attributes": BoundedAttributes(attributes={"a": ("x", 1)}, immutable=False)},
    {"trace_id": 2**127, "span_id": 2**63, "trace_flags": TraceFlags(1)},
    {"trace_id": 2**127, "span_id": 2**63, "trace_flags": TraceFlags(0)},
]


@pytest.mark.parametrize("fields", ORDINARY)
def test_what_instrumentations_record_is_ordinary(fields: dict[str, Any]) -> None:
    record = made(**fields)
    for _ in range(2):  # the second time from what has been kept
        assert plain(record) == by_fields(record) != None  # noqa: E711 - neither is missing


SALT = re.compile(rb"(?<=,\")[0-9a-f]{32}(?=\",\{)")
APART = [
    {},
    {s.TOOL_CALL_ARGUMENTS: {"a": [1]}},
    {"a": 1, s.TOOL_CALL_ARGUMENTS: "x", "b": 2, s.PAYLOAD: {"c": None}},
    {"a": "b"},
]


@pytest.mark.parametrize("body", [None, "text", {"a": [1]}])
@pytest.mark.parametrize("content", [None, *APART])
@pytest.mark.parametrize("attributes", APART)
def test_what_is_set_apart_is_what_is_set_apart_field_by_field(
    attributes: dict[str, Any],
    content: dict[str, Any] | None,
    body: object,
) -> None:
    record = made(attributes=dict(attributes), body=body, trace_id=5)
    found = plain_content(record, content, True, ENDING, 1 << 20, s.CONTENT)
    fields, together = fields_of_record(record)
    together.update(content or {})
    if together:
        fields["attributes"] = together
    expected = SALT.sub(b"salt", encode(fields, 1 << 20, ending=ENDING, apart=s.CONTENT))

    assert found is not None
    line = SALT.sub(b"salt", found[1])
    assert record.attributes == attributes
    assert len(line) == len(expected)
    start = b'{"id":"i","seq":1%b}'
    assert orjson.loads(start % line) == orjson.loads(start % expected)
    assert (salted_part(start % found[1]) is None) == (b'"salt"' not in expected)


def test_the_second_that_is_kept_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plain_lines, "_second", (-1, b""))
    now = time.time_ns()
    for happened in (now, now - 10**9, now - 10**9, now, now + 10**12):
        record = made(timestamp=happened, observed_timestamp=now)
        assert plain(record) == by_fields(record)


def test_times_before_1970_are_not_those_of_the_second_that_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_plain_lines, "_second", (-1, b""))
    for observed in (-5, time.time_ns()):
        assert plain(made(timestamp=-5, observed_timestamp=observed)) is None


def test_what_is_kept_of_names_is_bounded() -> None:
    for number in range(2000):
        assert plain(made(event_name=f"e{number}")) == by_fields(made(event_name=f"e{number}"))
    assert plain(made(event_name="x" * 5000)) == by_fields(made(event_name="x" * 5000))
    assert len(_plain_lines._heads) <= 256
    assert max(map(len, _plain_lines._heads.values())) <= 512


def test_what_is_for_the_line_alone_is_not_added_to_the_record() -> None:
    record = made(attributes={"a": 1})
    found = plain_content(record, {"b": [2]}, body=True, ending=b"", longest=1000)
    assert found is not None
    assert orjson.loads(b'{"x":1%b}' % found[1])["attributes"] == {"a": 1, "b": [2]}
    assert record.attributes == {"a": 1}
    assert plain_content(record, None, body=True, ending=b"", longest=10) is None


EVENTS = [
    {},
    {"payload": {"args": {"a": [1, {"b": None}], "f": 0.5}}, "tool_name": "t", "call_id": "c"},
    {"payload": {"args": {"a": b"x"}}},
    {"payload": {"args": float("nan")}},
    {"payload": {"args": 2**70, "rest": {1: 2}}},
    {"payload": {"text": "\ud83d"}},
    {"attributes": {"$wakelog": 1}},
    {"metadata": {"k": ("a", "b")}, "risk": {"level": "high"}, "run_id": "r", "status": "ok"},
    {"payload": {"text": "x" * 3000}},
]


@pytest.mark.parametrize("span", [None, (2**127, 2**63, 1), (2**127, 2**63, 0)])
@pytest.mark.parametrize("fields", EVENTS)
def test_an_event_s_line_is_written_as_it_is_field_by_field(
    fields: dict[str, Any], span: tuple[int, int, int] | None
) -> None:
    event = AgentEvent("tool_call", **fields)
    event.span_context = span
    plain = plain_content_of(event, 2000)

    assert plain is None or plain == encode(fields_of(event), 1 << 20)
    assert plain_content_of(AgentEvent("tool_call", payload={"args": {"a": 1}}), 2000) is not None
