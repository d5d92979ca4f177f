"""The compiled encoders write what the encoders in Python write, or leave it to them."""

from __future__ import annotations

import enum
import importlib.util
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import TraceFlags

from tests.support.attack import times
from tests.support.parts import REQUIRED
from wakelog.events import semconv as s
from wakelog.otel import _log_encoder
from wakelog.otel._content import NAMES, body_of
from wakelog.otel._log_encoder import LogEncoder, is_ordinary
from wakelog.otel._plain_lines import plain_content
from wakelog.record import salted_part, seal

if importlib.util.find_spec("wakelog_native") is None:
    reason = "wakelog-native is not installed: run `make native` (needs Rust)"
    if "native" in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"it is required here: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)

import wakelog_native

NOTHING: frozenset[str] = frozenset()
SALT = re.compile(rb"(?<=,\")[0-9a-f]{32}(?=\",\{)")
Encode = Callable[..., tuple[str, bytes] | None]
encode: Encode = wakelog_native.LineEncoder(
    BoundedAttributes, SeverityNumber, TraceFlags, s.LOG_RECORD_UID
).encode
SHOWN = "from wakelog._native import native; print(native is not None)"


def record(**fields: Any) -> Any:
    """What the encoder reads of a log record."""
    names = ("timestamp", "event_name", "severity_number", "severity_text", "body", "attributes")
    usual = {"observed_timestamp": 7, "trace_id": 0, "span_id": 0, "trace_flags": TraceFlags(0)}
    return SimpleNamespace(**dict.fromkeys(names) | usual | fields)


def middle(**fields: Any) -> bytes | None:
    found = encode(record(**fields), None, True, b"", 1 << 30, NOTHING)
    return None if found is None else found[1]


@settings(max_examples=times(2000), deadline=None)
@given(st.text(), st.integers(-1, 2**62), st.binary(), st.integers(0, 2**32 - 1))
def test_a_line_is_sealed_as_it_is_in_python(
    record_id: str, seq: int, content: bytes, crc: int
) -> None:
    assert wakelog_native.seal(record_id, seq, content, crc) == seal(record_id, seq, content, crc)


def test_an_id_that_is_no_text_is_refused_as_it_is_in_python() -> None:
    for encoder in (seal, wakelog_native.seal):
        with pytest.raises(TypeError, match="surrogates not allowed"):
            encoder("\ud83d", 1, b"", 0)


@settings(max_examples=times(2000), deadline=None)
@given(st.text())
def test_a_text_is_written_as_the_codec_writes_it(text: str) -> None:
    assert middle(body=text) == b',"observed_timestamp":"1970-01-01T00:00:00.000000007Z"' + (
        b',"body":%b' % orjson.dumps(text)
    )


def test_a_character_is_escaped_at_each_place_of_a_text() -> None:
    for character in [*map(chr, range(0x100)), "\u2028", "\U0001f600"]:
        for before in range(17):
            text = "x" * before + character + "y" * (17 - before)
            assert (middle(body=text) or b"").endswith(b',"body":%b' % orjson.dumps(text))


@settings(max_examples=times(2000), deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_as_the_codec_writes_it(number: float) -> None:
    assert (middle(body=number) or b"").endswith(b',"body":%b' % orjson.dumps(number))


class Loud(str):
    """A text whose methods must not be called while a record is encoded."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        raise AssertionError

    def __eq__(self, _: object) -> bool:
        raise AssertionError

    def __hash__(self) -> int:
        return str.__hash__(self)


class Colour(enum.IntEnum):
    """A number that is no plain number."""

    RED = 1


def circle() -> list[Any]:
    """A list that is its own item."""
    items: list[Any] = []
    items.append(items)
    return items


def deep() -> list[Any]:
    """A list in more lists than are encoded."""
    items: list[Any] = []
    for _ in range(100_000):
        items = [items]
    return items


@pytest.mark.parametrize(
    "value",
    [
        Loud("x"),
        Colour.RED,
        float("nan"),
        float("inf"),
        2**63,
        -(2**63) - 1,
        10**5000,
        b"bytes",
        {1: 2},
        {"$wakelog": 1},
        {Loud("x"): 1},
        {"\ud83d": 1},
        "\ud83d",
        circle(),
        deep(),
        [[0] * 600, [0] * 600],
        object(),
        {"a"},
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_ordinary_is_left_to_python(value: Any) -> None:
    assert middle(body=value) is None
    assert middle(attributes={"a": value}) is None
    assert middle(attributes={"a": [1, {"b": value}]}) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"observed_timestamp": None},
        {"observed_timestamp": -1},
        {"observed_timestamp": 2**64},
        {"observed_timestamp": True},
        {"timestamp": 1.5},
        {"severity_number": 9},
        {"severity_text": Loud("INFO")},
        {"event_name": 1},
        {"trace_id": 2**128},
        {"trace_id": None},
        {"span_id": 2**64},
        {"span_id": -1},
        {"trace_flags": "1"},
        {"trace_flags": 2**32},
        {"attributes": {s.LOG_RECORD_UID: ""}},
        {"attributes": {s.LOG_RECORD_UID: "é"}},
        {"attributes": {s.LOG_RECORD_UID: "x" * 201}},
        {"attributes": {s.LOG_RECORD_UID: 7}},
        {"attributes": {"$wakelog": 7}},
        {"attributes": {7: 7}},
        {"attributes": [("a", 1)]},
        {"attributes": BoundedAttributes(1, {"a": 1, "b": 2})},
    ],
    ids=str,
)
def test_a_field_that_is_not_ordinary_is_left_to_python(fields: dict[str, Any]) -> None:
    assert middle(**fields) is None


def test_content_beside_an_attribute_of_the_same_name_is_left_to_python() -> None:
    one = record(attributes={"a": 1})

    assert encode(one, {"b": 2}, True, b"", 1 << 30, NOTHING) is not None
    assert encode(one, {"a": 2}, True, b"", 1 << 30, NOTHING) is None
    assert encode(one, {s.LOG_RECORD_UID: "x"}, True, b"", 1 << 30, NOTHING) is None


NAMES_USED = ("n", s.TOOL_NAME, s.TOOL_CALL_ARGUMENTS, s.PAYLOAD, s.LOG_RECORD_UID, s.SEQ)
VALUES = st.one_of(st.none(), st.text(max_size=3), st.integers(-9, 9), st.just({"a": [1]}))
ATTRIBUTES = st.dictionaries(st.sampled_from(NAMES_USED), VALUES, max_size=4)


@settings(max_examples=times(3000), deadline=None)
@given(ATTRIBUTES, st.none() | ATTRIBUTES, VALUES, st.integers(0, 400))
def test_content_is_set_apart_on_a_line_as_it_is_in_python(
    attributes: dict[str, Any], content: dict[str, Any] | None, body: object, longest: int
) -> None:
    one: Any = LogRecord(timestamp=5, event_name="e")
    one.body, one.attributes = body, attributes
    compiled = encode(one, content, True, b",ending", longest, s.CONTENT)
    if compiled is not None:
        found = plain_content(one, content, True, b",ending", longest, s.CONTENT)
        assert found is not None
        assert SALT.sub(b"salt", compiled[1]) == SALT.sub(b"salt", found[1])
        assert salted_part(b'{"id":"i","seq":1%b}' % compiled[1]) == salted_part(
            b'{"id":"i","seq":1%b}' % found[1]
        )
    elif attributes.keys().isdisjoint(content or ()) and s.LOG_RECORD_UID not in attributes:
        assert plain_content(one, content, True, b",ending", longest, s.CONTENT) is None


PARTS: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries({}, optional={"attributes": ATTRIBUTES, "body": VALUES, "more": VALUES}),
    st.sampled_from(["010101", None, [], {"attributes": None}]),
)


@settings(max_examples=times(3000), deadline=None)
@given(st.data(), st.booleans(), st.booleans(), st.booleans())
def test_content_set_apart_leaves_as_it_does_in_python(
    data: st.DataObject, events: bool, own: bool, replayed: bool
) -> None:
    fields = {
        "timestamp": "2026-11-29T17:00:00.000000000Z",
        "salted": data.draw(st.tuples(st.just(7), st.just("0" * 64), PARTS)),
        "event_name": data.draw(st.sampled_from(["", "wakelog.tool_call"])),
        "attributes": data.draw(ATTRIBUTES),
        "body": data.draw(VALUES),
    }
    names = data.draw(st.lists(st.sampled_from([*fields]), unique=True))
    line = orjson.dumps({"id": "i", "seq": 3} | {name: fields[name] for name in names})
    plain = LogEncoder(events=events, max_record_bytes=None)
    compiled = compiled_encoder(events)(line, 3, "w", own, replayed)
    expected = plain.encode(line, 3, "w", own, replayed)
    assert compiled in (None, expected)


def compiled_encoder(events: bool) -> Callable[..., bytes | None]:
    names = (s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ, s.REPLAYED)
    made = wakelog_native.LogEncoder(events, set(s.CONTENT), *names, [*NAMES], body_of)
    encoded: Callable[..., bytes | None] = made.encode
    return encoded


def test_content_set_apart_by_agents_is_not_left_to_python() -> None:
    one = record(timestamp=5, attributes={s.TOOL_NAME: "x", s.TOOL_CALL_ARGUMENTS: {"a": 1}})
    found = encode(one, None, True, b"", 1 << 20, s.CONTENT)
    assert found is not None
    line = seal("i", 1, found[1], 0)[0][:-1]
    assert salted_part(line) is not None
    for events in (False, True):
        encoded = compiled_encoder(events)(line, 1, "w", True, False)
        assert encoded is not None
        assert (s.TOOL_CALL_ARGUMENTS.encode() in encoded) == events


@pytest.mark.parametrize(
    "number, is_encoded",
    [
        ("1790000000000000001", True),
        ("9223372036854775807", True),
        ("-9223372036854775808", True),
        ("0", True),
        ("1.5", True),
        ("-1e-7", True),
        ("12345678901234567890.5", True),
        ("9223372036854775808", False),
        ("-9223372036854775809", False),
        ("1e999", False),
        ("01", False),
        ("+1", False),
        ("NaN", False),
        ("-Infinity", False),
        ("1.", False),
        ("-", False),
    ],
)
def test_a_number_leaves_as_it_does_in_python(number: str, is_encoded: bool) -> None:
    time = '"timestamp":"2026-11-29T17:00:00.000000000Z"'
    line = f'{{"id":"i","seq":1,{time},"attributes":{{"a":{number},"b":[{number}]}}}}'.encode()

    encoded = compiled_encoder(False)(line, 1, "w", True, False)

    assert (encoded is not None) == is_encoded
    if is_encoded:
        in_python = LogEncoder(events=False, max_record_bytes=None)
        assert encoded == in_python.encode(line, 1, "w", True, False)


def salts(count: int) -> list[bytes]:
    content = {s.TOOL_CALL_ARGUMENTS: "x"}
    made = [encode(record(), content, True, b"", 1000, s.CONTENT) for _ in range(count)]
    return [one for found in made if found for one in SALT.findall(found[1])]


def test_salts_differ_in_every_thread_and_in_a_forked_child() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [one for found in pool.map(salts, [500] * 8) for one in found]
    reads, writes = os.pipe()
    if (process := os.fork()) == 0:
        os.write(writes, b"".join(salts(100)))
        os._exit(0)
    os.close(writes)
    os.waitpid(process, 0)
    with os.fdopen(reads, "rb") as pipe:
        child = re.findall(b".{32}", pipe.read())
    made += salts(100) + child

    assert len(child) == 100
    assert len({*made}) == 4200


def test_a_line_above_the_limit_is_left_to_python() -> None:
    size = len(middle(body="x") or b"")

    assert encode(record(body="x"), None, True, b"", size, NOTHING) is not None
    assert encode(record(body="x"), None, True, b"", size - 1, NOTHING) is None


def test_a_text_that_a_value_has_many_times_is_not_written_beyond_the_limit() -> None:
    shared = "x" * (1 << 20)

    assert encode(record(body=[shared] * 900), None, True, b"", 1 << 22, NOTHING) is None
    assert encode(record(attributes={"a": {shared: 1}}), None, True, b"", 1 << 19, NOTHING) is None


def test_an_exception_of_a_record_reaches_the_caller() -> None:
    with pytest.raises(AttributeError, match="timestamp"):
        encode(object(), None, True, b"", 100, NOTHING)


def new_ids(count: int) -> list[str]:
    return [
        (encode(record(), None, True, b"", 1000, NOTHING) or ("", b""))[0] for _ in range(count)
    ]


def test_ids_are_uuids_of_version_7_that_sort_and_differ_in_every_thread() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [one for found in pool.map(new_ids, [500] * 8) for one in found]

    assert len({*made}) == 4000
    assert {uuid.UUID(one).version for one in made} == {7}
    assert {uuid.UUID(one).variant for one in made} == {uuid.RFC_4122}
    assert all(re.fullmatch(r"[0-9a-f-]{36}", one) for one in made)


def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    new_ids(1)
    children, processes = [], []
    for _ in range(3):
        reads, writes = os.pipe()
        if (process := os.fork()) == 0:
            os.write(writes, new_ids(1)[0].encode())
            os._exit(0)
        os.close(writes)
        children.append(reads)
        processes.append(process)
    parent = new_ids(1)
    made = [os.read(reads, 100).decode() for reads in children] + parent
    for reads in children:
        os.close(reads)
    for process in processes:
        os.waitpid(process, 0)

    # From the variant on, an id has only the process's random part and its counter.
    assert len({one[19:23] for one in made}) > 1
    assert len({one[19:] for one in made}) == 4


def test_a_child_forgets_its_parents_ids_even_with_the_same_process_id() -> None:
    first, second = new_ids(2)
    wakelog_native.forget()  # what a forked child calls
    (third,) = new_ids(1)

    assert int(second[24:], 16) == int(first[24:], 16) + 1
    assert int(third[24:], 16) != int(second[24:], 16) + 1
    program = """
import os, wakelog_native
called, forget = [], wakelog_native.forget
wakelog_native.forget = lambda: called.append(forget())
import wakelog.record
if os.fork() == 0:
    print(len(called), flush=True)
    os._exit(0)
os.wait()
"""
    assert said(program) == "1"


def said(program: str, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "WAKELOG_NATIVE"} | variables
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_it_is_used_unless_it_is_switched_off() -> None:
    assert said(SHOWN) == "True"
    assert said(SHOWN, WAKELOG_NATIVE="true") == "True"
    assert said(SHOWN, WAKELOG_NATIVE="false") == "False"


def test_the_tests_switch_it_off_for_themselves_alone() -> None:
    # Benchmarks import the tests' servers.
    assert (
        said("import tests.support.collector\n" + SHOWN, PYTHONPATH=str(Path(__file__).parents[2]))
        == "True"
    )


def test_one_with_another_interface_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "wakelog_native.py").write_text("INTERFACE = 0\n")

    assert said(SHOWN, PYTHONPATH=str(tmp_path)) == "False"


PROGRAM = """
import wakelog
log = wakelog.configure("clerk", directory="journal", exporter=None)
with log.run(session_id="s-1"):
    log.user_message("hello \\u00e9 \\ud83d\\ude00")
    log.tool_call("search", {"query": "x", "n": 1.5, "list": [1, None, True]}, call_id="c")
wakelog.shutdown()
"""
_VARYING = re.compile(rb'"[0-9a-f]{8}-[0-9a-f-]{27}"|"[0-9T:.-]+Z"|"crc":"\w+"|"[0-9a-f]{16,32}"')


@pytest.fixture
def journals(tmp_path: Path) -> dict[str, list[bytes]]:
    """The lines that a program writes with the compiled encoders, and without them."""
    found: dict[str, list[bytes]] = {}
    for native in ("true", "false"):
        work = tmp_path / native
        work.mkdir()
        environment = os.environ | {"WAKELOG_NATIVE": native, "OTEL_SERVICE_NAME": "shop"}
        subprocess.run([sys.executable, "-c", PROGRAM], cwd=work, env=environment, check=True)
        found[native] = [
            _VARYING.sub(b"-", line)
            for file in sorted((work / "journal").rglob("*.jsonl"))
            for line in file.read_bytes().splitlines()
            if line.startswith(b'{"id"')
        ]
    return found


def test_a_program_writes_the_same_lines_with_it(journals: dict[str, list[bytes]]) -> None:
    assert journals["true"] == journals["false"] != []


LINE = (
    b'{"id":"a","seq":12,"timestamp":"2026-11-30T12:00:00.000000001Z","observed_timestamp":'
    b'"2026-11-30T12:00:00.000000002Z","event_name":"b","severity_number":9,"severity_text":"INFO",'
    b'"body":"c \\"d\\u0001","attributes":{"n":3,"f":-1.5e-3,"l":[1,2.0,{"a":null}],"t":"\\u00e9"},'
    b'"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","trace_flags":1,'
    b'"scope":{"name":"e"},"crc":"00000000"}'
)
SALTED = (
    b'{"id":"1","seq":1,"salted":[66,"00112233445566778899aabbccddeeff",{"attributes":{"a":["b"]},'
    b'"body":{"c":1}}],"attributes":{"d":true},"crc":"00000000"}'
)
ERASED = (
    b'{"id":"1","seq":1,"signal":"span","salted":[66,"0123456789abcdef","0101"],"crc":"00000000"}'
)
LINES = (LINE, '{"id":"1","seq":1,"body":"é€","attributes":{}}'.encode(), SALTED, ERASED)
PIECES = (
    b'null 1e999 01 1. - .5 1e \\ud800 \\uD83D\\uDE00 \\x " { } [ ] , : NaN \x00 \xff 99999999999999999999 '
    b'\\u true tru "salted":[], "salted":{}, [] {}] ,{}] "attributes":[], "event":1, "id":2, 24 25 4294967296 "$wakelog"'
).split(b" ")


@pytest.mark.parametrize("line", LINES)
def test_an_ordinary_line_is_known_as_one_without_python(line: bytes) -> None:
    assert wakelog_native.is_ordinary(line)


@settings(max_examples=times(20_000), deadline=None)
@given(st.data())
def test_a_line_is_ordinary_only_if_it_is_so_in_python(data: st.DataObject) -> None:
    line = data.draw(st.sampled_from(LINES))
    for _ in range(data.draw(st.integers(1, 3))):
        at, cut = data.draw(st.integers(0, len(line))), data.draw(st.integers(0, 3))
        piece = data.draw(st.sampled_from(PIECES) | st.binary(max_size=2))
        line = line[:at] + piece + line[at + cut :]

    if wakelog_native.is_ordinary(line):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_log_encoder, "_surely_ordinary", None)
            assert is_ordinary(line)
