"""The line: whatever Python object arrives, a line comes out, and what went in comes out again."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import time
import uuid
from decimal import Decimal
from hashlib import sha256
from pathlib import PurePosixPath

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from wakelog.errors import CorruptLineError, EventTooLargeError, JournalFormatError
from wakelog.record import (
    Resource,
    blobs_of,
    decode,
    encode,
    parse_rfc3339,
    read_header,
    rfc3339,
    seal,
    seal_header,
    uuid7,
    verify,
)

MAX = 1024 * 1024
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats() | TEXT | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


often = settings(max_examples=times(5_000), deadline=None)


def line_of(attributes: dict[str, object], **fields: object) -> bytes:
    return seal("id-1", 1, encode({**fields, "attributes": attributes}, MAX), 0)[0]


def through(value: object) -> object:
    return decode(line_of({"value": value})).attributes["value"]


def same(left: object, right: object) -> bool:
    """Compare as OTLP would: NaN is NaN, 1 is not 1.0, True is not 1."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return math.isnan(left) and math.isnan(right) if math.isnan(left) else left == right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    return left == right


@pytest.mark.attack
@often
@given(VALUES)
def test_what_goes_in_comes_out(value: object) -> None:
    assert same(through(value), value)


@pytest.mark.attack
@often
@given(st.dictionaries(TEXT, VALUES, max_size=4), VALUES)
def test_a_line_is_one_line_of_utf8_json(attributes: dict[str, object], body: object) -> None:
    line = line_of(attributes, body=body)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["id"] == "id-1"


@pytest.mark.parametrize(
    "value",
    [
        {"$wakelog": "bytes", "value": "AAAA"},
        {"$wakelog": "map", "value": {"$wakelog": "x"}},
        [{"$wakelog": 1}],
        "null",
        ["null", None, {"null": None}],
        {"$wakelog": "float"},
    ],
)
def test_content_that_looks_like_a_tagged_form_is_not_taken_for_one(value: object) -> None:
    assert same(through(value), value)


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: object


class Model(pydantic.BaseModel):
    a: int = 1
    b: bytes = b"x"


class BrokenModel(Model):
    def model_dump(self, **_: object) -> dict[str, object]:
        raise RuntimeError

    def __str__(self) -> str:
        return "a broken model"


def cyclic() -> list[object]:
    value: list[object] = [1]
    value.append(value)
    return value


def nested(levels: int) -> object:
    value: object = "core"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value, form",
    [
        ("a\ud83d", "a\ufffd"),
        ("\ud83d\ude00", "😀"),
        (2**63, str(2**63)),
        (2**70, str(2**70)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        ((1, "a"), [1, "a"]),
        ({3, 1, 2}, [1, 2, 3]),
        ({1: "a", "1": "b"}, {"1": "a", "1#2": "b"}),
        (Colour.RED, "red"),
        (Point(1, b"x"), {"x": 1, "y": b"x"}),
        (Model(), {"a": 1, "b": b"x"}),
        (BrokenModel(), "a broken model"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.timedelta(seconds=1.5), 1.5),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (PurePosixPath("/a/b"), "/a/b"),
        (bytearray(b"x"), b"x"),
        (object(), "<builtins.object object>"),
        (Broken(), f"<{__name__}.Broken object>"),
        (cyclic(), [1, "[wakelog: cycle]"]),
    ],
)
def test_every_object_has_a_defined_form(value: object, form: object) -> None:
    assert same(through(value), form)


def test_numbers_of_any_length_and_nesting_of_any_depth_come_out_as_a_line() -> None:
    huge = through(10**6000)
    deep = line_of({"value": nested(5000)})

    assert huge == hex(10**6000)
    assert b"nested deeper than 200 levels" in deep


def test_the_same_value_twice_is_no_cycle() -> None:
    shared = {"a": object()}

    assert through([shared, shared]) == [{"a": "<builtins.object object>"}] * 2


@pytest.mark.parametrize("size", [2000, 60_000, 3_000_000])
def test_content_above_the_limit_leaves_the_line_whole(size: int) -> None:
    fields: dict[str, object] = {"attributes": {"text": "é" * size, "small": "kept", "n": 7}}

    content = encode(fields, 1500)

    line = seal("x" * 36, 10**9, content, 0, "w" * 36)[0]
    assert len(line) <= 1500
    [blob] = blobs_of(content)
    assert (blob.data, blob.sha256) == (("é" * size).encode(), sha256(blob.data).hexdigest())
    assert (
        decode(line, lambda digest, _: {blob.sha256: blob.data}[digest]).attributes
        == fields["attributes"]
    )
    missing = decode(line).attributes
    assert (missing["small"], missing["n"]) == ("kept", 7)
    assert missing["text"].startswith("éé")
    assert f"{2 * size} bytes of text/plain are not here" in missing["text"]


def test_an_event_that_is_too_large_is_one_clear_error_with_a_stub() -> None:
    fields: dict[str, object] = {
        "event_name": "e",
        "body": "b" * 700,
        "attributes": {"run": "r", "numbers": list(range(5000))},
    }
    with pytest.raises(EventTooLargeError, match="max_event_bytes=1,000") as raised:
        encode(fields, 1000, max_event_bytes=1000, staying=frozenset({"run"}))

    assert raised.value.stub is not None
    stub = decode(seal("i", 1, raised.value.stub, 0)[0])
    assert (stub.event_name, stub.body, stub.attributes["run"]) == ("e", None, "r")
    assert stub.attributes["wakelog.too_large.sizes"].keys() == {"body", "numbers"}
    assert stub.attributes["wakelog.too_large.bytes"] > 24_000


@pytest.mark.attack
@settings(max_examples=times(20_000), deadline=None)
@given(st.integers(0, 253_402_300_799_999_999_999) | st.integers())
def test_times_keep_their_nanoseconds(nanoseconds: int) -> None:
    assert parse_rfc3339(rfc3339(nanoseconds)) == nanoseconds


@pytest.mark.parametrize("nanoseconds", [-1, 2**63, 253_402_300_800 * 10**9])
def test_a_time_without_a_name_costs_no_event(nanoseconds: int) -> None:
    line = seal("i", 1, encode({"timestamp": rfc3339(nanoseconds)}, MAX), 0)[0]

    assert decode(line).timestamp == nanoseconds


def test_times_of_others_are_read() -> None:
    assert parse_rfc3339("2026-01-01T01:00:00.5+01:00") == parse_rfc3339("2026-01-01T00:00:00.500Z")


def test_ids_are_distinct_uuids_of_version_7_that_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [uuid7() for _ in range(20_000)]
    after = time.time_ns() // 1_000_000

    assert len(set(ids)) == len(ids)
    parsed = [uuid.UUID(i) for i in ids]
    assert {(u.version, u.variant, str(u)) for u in parsed} == {(7, uuid.RFC_4122, i) for i in ids}
    assert all(before <= u.int >> 80 <= after for u in parsed)
    assert [u.int >> 80 for u in parsed] == sorted(u.int >> 80 for u in parsed)


@pytest.mark.parametrize("seconds", [-3 * 10**9, 3 * 10**11])
def test_an_id_is_a_uuid_whatever_the_clock_says(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: seconds * 10**9)

    made = uuid7()

    assert str(uuid.UUID(made)) == made
    assert uuid.UUID(made).version == 7


def test_every_flipped_byte_of_a_line_is_noticed() -> None:
    line, crc = seal("id-1", 7, encode({"body": "hello", "attributes": {"a": 1}}, MAX), 99)
    whole = line[:-1]

    assert verify(whole, 99) == crc
    for place in range(len(whole)):
        for bit in range(8):
            damaged = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
            assert verify(damaged, 99) is None
    assert verify(whole, 98) is None


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b'{"id":1', b'{"seq":1}', b"\xff\xfe"])
def test_what_is_no_record_is_one_kind_of_error(line: bytes) -> None:
    with pytest.raises(CorruptLineError):
        decode(line)


def test_a_header_says_its_writer_within_its_first_hundred_bytes() -> None:
    line, header = seal_header("w" * 36, 3, 41, 0xABC, Resource({"service.name": "x", "b": b"1"}))

    assert line.index(b"w" * 36) + 36 + len(b'","segment":3') < 100
    assert read_header(line[:-1], "f") == header


def test_a_header_of_a_newer_format_says_so() -> None:
    line, _ = seal_header("w", 1, 0, 0, Resource({}))

    with pytest.raises(JournalFormatError, match=r"line format is 99.*Install the newer"):
        read_header(line[:-1].replace(b'"format":2', b'"format":99'), "f")
