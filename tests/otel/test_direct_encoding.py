"""What goes from a line to the wire directly is what the official encoder makes of the rebuilt record."""

from __future__ import annotations

import copy
import logging
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HTTPExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.resources import Resource as SDKResource

from tests.support.attack import ATTACKING
from tests.support.journaled import Journaled
from tests.support.scripted import Scripted, ScriptedGRPC, ScriptedHTTP
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.errors import ConfigurationError, CorruptLineError
from wakelog.events import EVENT_TYPES
from wakelog.events import semconv as s
from wakelog.journal import Cursor, Entry, Mark
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._content import ContentPolicy
from wakelog.otel._export_attempt import attempt_through, encode_for
from wakelog.otel._exporters import log_exporter
from wakelog.otel._line_records import FIELDS as FIELDS_OF_RECORDS
from wakelog.otel._line_records import LineLogRecord
from wakelog.otel._protobuf import Attributes, any_value, varint
from wakelog.otel._rebuilder import Rebuilder
from wakelog.otel._requests import compressed_like
from wakelog.record import (
    Resource,
    UnreadRecord,
    decode,
    encode,
    erased_part,
    salted_part,
    seal,
    unread,
    uuid7,
)

WRITER = "01a1fc74-cf13-7f51-9dc4-fd6f11066fc1"
RESOURCE = Resource({"service.name": "shop", "list": ["a", "b"], "n": 1}, "https://schema/r")
DELIVERED = ExportOutcome(Outcome.DELIVERED)


def readable(record: ReadWriteLogRecord) -> ReadableLogRecord:
    """What the batch processor makes of what it is fed."""
    return ReadableLogRecord(
        copy.copy(record.log_record),
        record.resource or SDKResource({}),
        record.instrumentation_scope,
        record.limits,
    )


def direct(entries: Sequence[Entry], **options: Any) -> tuple[bytes | None, int]:
    """The request that is written directly, and how many of its records were not rebuilt for it."""
    policy, replayed = options.pop("policy", ContentPolicy()), options.pop("replayed", False)
    rebuilder = Rebuilder(policy, **options)
    rebuilder.encodes = True
    batch = [readable(rebuilder.prepare(entry, replayed=replayed)) for entry in entries]
    request = rebuilder.request(batch)
    return request, sum(isinstance(one.log_record, LineLogRecord) for one in batch)


def official(entries: Sequence[Entry], **options: Any) -> bytes:
    policy, replayed = options.pop("policy", ContentPolicy()), options.pop("replayed", False)
    rebuilder = Rebuilder(policy, **options)
    fresh = [
        Entry(decode(entry.record.line), entry.resource, entry.writer, entry.mark)
        if isinstance(entry.record, UnreadRecord)
        else entry
        for entry in entries
    ]
    batch = [readable(rebuilder.rebuild(entry, replayed=replayed)) for entry in fresh]
    # Bytes, because in a message NaN would differ from itself.
    return encode_logs(batch).SerializeToString(deterministic=True)


def parsed(request: bytes | None) -> bytes:
    assert request is not None
    return ExportLogsServiceRequest.FromString(request).SerializeToString(deterministic=True)


def in_journal(root: Path, *, later: bool = True) -> list[Entry]:
    """What delivery reads of a journal."""
    entries: list[Entry] = []
    for folder in sorted(path.parent for path in root.glob("*/00000001.jsonl")):
        entries += Cursor(folder, Mark(), later=later).read(100_000, 1 << 30).entries
    return entries


def entry_of(line: bytes, seq: int = 1) -> Entry:
    """A line, as the cursor of delivery hands it over."""
    record = unread(line)
    assert record is not None
    record.seq = seq
    return Entry(record, RESOURCE, WRITER, Mark(1, 1, seq))


def line_of(fields: dict[str, Any], record_id: str = "", seq: int = 1) -> bytes:
    return seal(record_id or uuid7(), seq, encode(fields, 1 << 20), 0)[0][:-1]


POLICIES = (ContentPolicy(), ContentPolicy(events=True))


@pytest.mark.parametrize("policy", POLICIES, ids=["without content", "with content"])
def test_recorded_runs_leave_as_the_official_encoder_has_them(
    tmp_path: Path, trajectories: list[dict[str, Any]], policy: ContentPolicy
) -> None:
    with_runs = Journaled(tmp_path)
    for run in trajectories[:: 1 if policy.events else 4]:
        with with_runs.log.run(session_id=run["run"]):
            for message in run["messages"]:
                replay(with_runs.log, message)
    with_runs.close()
    entries = in_journal(tmp_path)
    assert len(entries) > 500

    for start in range(0, len(entries), 512):
        batch = entries[start : start + 512]
        replayed = bool(start % 1024)
        request, unlooked = direct(batch, policy=policy, replayed=replayed)
        assert unlooked == len(batch)
        assert parsed(request) == official(batch, policy=policy, replayed=replayed)


def replay(log: Any, message: dict[str, Any]) -> None:
    match message["role"]:
        case "user":
            log.user_message(message["content"])
        case "tool":
            call = message["tool_call_id"]
            log.tool_result(message["name"], message["content"], call_id=call)
        case "assistant":
            for call in message.get("tool_calls") or ():
                function = call["function"]
                arguments = orjson.loads(function["arguments"])
                log.tool_call(function["name"], arguments, call_id=call["id"])
            if message["content"]:
                log.emit("model_response", {"output": message["content"]})


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 127, 128, 2**31, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 2**200,
    0.0, -0.0, 1.0, 1.5, 1e308, 5e-324, math.nan, math.inf, -math.inf, "", "a", "ü", "\U0001f600", "\x00\x1f\u2028",
    "x" * 63, "x" * 64, "x" * 100, "x" * 127, "x" * 128, "x" * 20_000, "\ud83d", "\ud83d\ude00", b"", b"\x00\xff", b"x" * 300, [], {},
    [[]], [{}], {"a": {}}, [1, "a", None, 1.5, True, b"x", math.nan], (1, (2, (3,))), {"b": 1, "a": [{"c": None}]},
    {"": 1}, {"$wakelog": "float"}, {"$wakelog": {"$wakelog": 1}}, {"a": {"$wakelog": "map", "value": {"x": b"y"}}}, {1: 2, "1": 3},
    {"x"}, range(3), SeverityNumber.WARN, object,
]  # fmt: skip


@pytest.mark.parametrize("scope", [None, "somebody", s.SCOPE_NAME])
@pytest.mark.parametrize("replayed", [False, True])
def test_every_form_of_a_value_leaves_as_the_official_encoder_has_it(
    scope: str | None, replayed: bool
) -> None:
    schema = s.SCHEMA_URL if scope == s.SCOPE_NAME else "https://schema/s"
    made = {"scope": {"name": scope, "version": "1", "schema_url": schema}}
    forms: list[dict[str, Any]] = []
    for value in VALUES:
        attributes = {"v": value, "again": "same", s.TOOL_CALL_ARGUMENTS: value, "$wakelog": 1}
        forms += [
            {"attributes": attributes},
            {"body": value},
            {"event_name": "wakelog.custom", "attributes": {"v": value}},
            {"body": "b", "attributes": {"again": "same", "v": value}},
        ]
    entries = [entry_of(line_of({**fields, **(made if scope else {})})) for fields in forms]
    request, _ = direct(entries, replayed=replayed)

    assert parsed(request) == official_now(entries, request, replayed=replayed)


def official_now(entries: list[Entry], request: bytes | None, **options: Any) -> bytes:
    """What the official encoder makes; a record without a time has that of its export, which was later."""
    theirs = ExportLogsServiceRequest.FromString(official(entries, **options))
    ours = ExportLogsServiceRequest.FromString(request or b"")
    for one, other in zip(logs_in(theirs), logs_in(ours), strict=True):
        if 0 < one.observed_time_unix_nano - other.observed_time_unix_nano < 60e9:
            one.observed_time_unix_nano = other.observed_time_unix_nano
    return theirs.SerializeToString(deterministic=True)


def logs_in(request: ExportLogsServiceRequest) -> list[Any]:
    return [
        record
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


@pytest.mark.parametrize("depth", [1, 28, 29, 30, 31, 32, 60, 150])
@pytest.mark.parametrize("kind", [list, dict])
def test_values_nested_in_one_another_leave_as_the_official_encoder_has_them(
    depth: int, kind: type
) -> None:
    value: Any = "inside"
    for _ in range(depth):
        value = {"k": value} if kind is dict else [value, 1]
    entry = entry_of(line_of({"timestamp": "1", "body": value, "attributes": {"v": value}}))

    assert parsed(direct([entry])[0]) == official([entry])


TEXTS = st.text(max_size=150) | st.sampled_from(["a", "same", "x" * 64, "$wakelog", "ü" * 40])
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.binary(max_size=200)
    | st.sampled_from(VALUES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from(
    [
        "a",
        "again",
        "$wakelog",
        s.TOOL_CALL_ARGUMENTS,
        s.TOOL_NAME,
        s.SEQ,
        s.LOG_RECORD_UID,
        s.WRITER_ID,
        "",
    ]
) | st.text(min_size=1, max_size=130)
TIMES = st.sampled_from(
    ["2026-11-21T05:09:27.383963576Z", "2026-11-21T05:09:27Z", "2026-11-21T07:09:27.5+02:00", "0", "-5", "1", str(2**64)]
)  # fmt: skip
LINES = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": TIMES,
        "observed_timestamp": TIMES,
        "event_name": st.sampled_from(["", "wakelog.tool_call", "x" * 300]) | TEXTS,
        "severity_number": st.sampled_from([0, 1, 9, 24, 25, -1]),
        "severity_text": st.sampled_from(["", "INFO", "x" * 200]),
        "body": JSON_VALUES,
        "attributes": st.dictionaries(NAMES, JSON_VALUES, max_size=6),
        "dropped_attributes_count": st.sampled_from([0, 3]),
        "trace_id": st.sampled_from(["0af7651916cd43dd8448eb211c80319c", "0" * 32]),
        "span_id": st.sampled_from(["b7ad6b7169203331", "0" * 16]),
        "trace_flags": st.sampled_from([0, 1, 3, 2**32 - 1]),
        "scope": st.sampled_from(
            [
                {"name": "s"},
                {"name": s.SCOPE_NAME, "version": "1", "schema_url": s.SCHEMA_URL},
                {"name": s.SCOPE_NAME, "schema_url": "https://an.older/one"},
                {"name": "", "attributes": {"k": [1]}},
            ]
        ),
    },
)


@pytest.mark.attack
@settings(max_examples=4000 if ATTACKING else 80, deadline=None)  # of five records each
@given(
    lines=st.lists(
        st.tuples(LINES, st.sampled_from(["", "mine", "ü" * 18])), min_size=5, max_size=5
    ),
    replayed=st.booleans(),
    events=st.booleans(),
    most=st.sampled_from([None, 300, 5000]),
)
def test_any_batch_leaves_as_the_official_encoder_has_it(
    lines: list[tuple[dict[str, Any], str]], replayed: bool, events: bool, most: int | None
) -> None:
    options: dict[str, Any] = {
        "policy": ContentPolicy(events=events),
        "replayed": replayed,
        "max_record_bytes": most,
    }
    entries = [
        entry_of(line_of(fields, record_id, n), n) for n, (fields, record_id) in enumerate(lines, 1)
    ]
    request, _ = direct(entries, **options)

    assert parsed(request) == official_now(entries, request, **options)


ODD = [
    b'"timestamp":1', b'"timestamp":"yesterday"', b'"timestamp":"2026-99-99T05:09:27.383963576Z"', b'"observed_timestamp":[]',
    b'"severity_number":"9"', b'"severity_number":[1]', b'"severity_text":9', b'"event_name":[1]', b'"trace_id":"zz"', b'"trace_id":7',
    b'"trace_id":"0af76519 6cd43dd8448eb211c80319c"', b'"span_id":"b7 ad 6b 71 69 2"', b'"trace_flags":"1"', b'"trace_flags":-1',
    b'"scope":7', b'"scope":{}', b'"scope":{"name":null}', b'"attributes":[1]', b'"attributes":"a"', b'"attributes":null',
    b'"attributes":{"a":{"$wakelog":"bytes","value":"!"}}', b'"attributes":{"a":{"$wakelog":"bytes","value":7}}', b'"attributes":{"$wakelog":"map"}',
    b'"attributes":{"$wakelog":"map","value":[1]}', b'"body":{"$wakelog":"float","value":"x"}', b'"event":{"a":1}', b'"event":1,"body":2',
    b'"dropped_attributes_count":"x"', b'"more":1',
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_a_line_that_wakelog_does_not_write_is_encoded_as_it_is_rebuilt_or_not_at_all(
    odd: bytes,
) -> None:
    line = b'{"id":"a","seq":1,%b,"crc":"00000000"}' % odd
    try:
        rebuilt = (
            Rebuilder(ContentPolicy())
            .rebuild(entry_of(line)._replace(record=decode(line)))
            .log_record
        )
    except Exception:
        for encodes in (True, False):
            rebuilder = Rebuilder(ContentPolicy())
            rebuilder.encodes = encodes
            with pytest.raises(Exception):  # noqa: B017 - as above
                rebuilder.prepare(entry_of(line))
        return
    prepared = Rebuilder(ContentPolicy()).prepare(entry_of(line)).log_record
    request, _ = direct([entry_of(line)])
    now = {"observed_timestamp": 0}

    assert {**fields_of(prepared), **now} == {**fields_of(rebuilt), **now}
    try:
        official([entry_of(line)])
    except Exception:
        assert request is None
    else:
        assert parsed(request) == official_now([entry_of(line)], request)


def test_values_beside_their_line_leave_whole(tmp_path: Path) -> None:
    made = Journaled(tmp_path, max_line_bytes=4096)
    made.log.emit("custom", {"text": "x" * 9000, "data": b"\x00" * 9000, "list": ["y" * 5000] * 2})
    made.close()

    [entry] = in_journal(tmp_path)
    policy = ContentPolicy(events=True)
    request, _ = direct([entry], policy=policy)
    assert len(request or b"") > 28_000
    assert parsed(request) == official([entry], policy=policy)


def test_batches_are_grouped_by_resource_and_scope() -> None:
    entries = []
    for number in range(40):
        fields = {"timestamp": "1", "body": number, "scope": {"name": f"s{number % 3}"}}
        if number % 7 == 0:
            del fields["scope"]
        entry = entry_of(line_of(fields))
        resource = Resource({"service.name": f"r{number // 10 % 2}"})  # equal ones, each made anew
        entries.append(Entry(entry.record, resource, entry.writer, entry.mark))

    assert parsed(direct(entries)[0]) == official(entries)


def test_what_is_kept_of_keys_and_texts_is_bounded() -> None:
    attributes = Attributes()
    for number in range(3000):
        written = attributes.sized({f"k{number % 1000}": f"v{number}", "same": f"{number}"})
        assert [name_in(one) for one in written] == [f"k{number % 1000}", "same"]
    assert len(attributes._keys) <= 512
    assert max(len(key.texts) for key in attributes._keys.values()) <= 64
    attributes.sized({"k": "x" * 65, "n" * 257: 1})
    assert not attributes._keys["k"].texts
    assert "n" * 257 not in attributes._keys
    for number in range(200):
        assert attributes.sized({"n": number}) == Attributes().sized({"n": number})
    assert attributes.sized({"n": True, "f": 1}) != attributes.sized({"n": 1, "f": True})
    assert len(attributes._keys["n"].numbers) <= 64


def name_in(sized: bytes) -> str:
    return sized[3 : 3 + sized[2]].decode()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**14, 2**32, 2**63 - 1, 2**64 - 1])
def test_numbers_are_written_as_protobuf_writes_them(number: int) -> None:
    value = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(varint(number)))
    assert value == number
    assert [byte >> 7 for byte in varint(number)][-1] == 0


def test_what_otlp_has_no_value_for_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        any_value({1})


# --- Records that decode themselves when somebody looks ------------------------------------------


def fed(fields: dict[str, Any]) -> tuple[Any, LogRecord]:
    """A record as delivery feeds it to the batch processor, and the same rebuilt."""
    line = line_of(fields)
    rebuilder = Rebuilder(ContentPolicy())
    rebuilt = Rebuilder(ContentPolicy()).rebuild(entry_of(line))
    return rebuilder.prepare(entry_of(line)).log_record, rebuilt.log_record


FIELDS = {
    "timestamp": "2026-11-21T05:09:27.383963576Z",
    "event_name": "e",
    "severity_number": 9,
    "body": "b",
    "attributes": {"a": [1, {"b": 2}]},
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
}


def fields_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in vars(LogRecord(observed_timestamp=1))}


def test_a_record_with_its_line_has_the_fields_of_one_that_was_rebuilt() -> None:
    line, rebuilt = fed(FIELDS)
    assert type(line) is LineLogRecord
    assert vars(LogRecord()).keys() == FIELDS_OF_RECORDS

    assert fields_of(line) == fields_of(rebuilt)
    assert not hasattr(line, "no_such_field")


@pytest.mark.parametrize(
    "look",
    [vars, copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))],
    ids=["vars", "copy", "deepcopy", "pickle"],
)
def test_whatever_looks_at_all_fields_at_once_finds_them(look: Callable[[Any], Any]) -> None:
    line, rebuilt = fed(FIELDS)
    seen = look(line)
    seen = seen if isinstance(seen, dict) else fields_of(seen)
    assert seen == fields_of(rebuilt)


def test_a_field_that_an_exporter_has_set_stays() -> None:
    line, _ = fed(FIELDS)
    line.body = "another"
    assert (line.event_name, line.body) == ("e", "another")


class Nobody(LogRecordExporter):
    """Looks at no record."""

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def test_nothing_is_decoded_for_an_exporter_that_looks_at_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Journaled(tmp_path)
    monkeypatch.setattr(Rebuilder, "rebuild", None)
    durable = DurableLogRecordProcessor(Nobody(), directory=tmp_path / "other")
    made.provider.add_log_record_processor(durable)
    made.log.tool_call("search", {"q": 1}, call_id="c")
    made.provider.get_logger("x").emit(body={"a": [1]}, attributes={"b": 1.5})

    assert durable.force_flush(60_000)
    made.close()


def test_a_record_whose_line_is_no_record_after_all_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = Rebuilder.rebuild, []

    def rebuild(self: Any, entry: Entry, **named: Any) -> Any:
        if entry.record.seq == 2:
            message = "odd"
            raise CorruptLineError(message)
        return real(self, entry, **named)

    class Looks(Nobody):
        def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
            bodies = [one.log_record.body for one in batch]
            seen.extend(bodies)
            return LogRecordExportResult.SUCCESS

    monkeypatch.setattr(Rebuilder, "rebuild", rebuild)
    durable = DurableLogRecordProcessor(Looks(), directory=tmp_path, schedule_delay_millis=50)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    for number in range(1, 5):
        provider.get_logger("x").emit(body=number)

    assert not durable.force_flush(60_000)  # one of them was not accepted
    assert [body for body in seen if isinstance(body, int)] == [1, 3, 4]
    provider.shutdown()


# --- Through the official exporters ---------------------------------------------------------------


@pytest.fixture(params=["http", "grpc"])
def hop(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    with ScriptedHTTP() if request.param == "http" else ScriptedGRPC() as hop:
        yield hop


def exporter_to(hop: Scripted, **options: Any) -> LogRecordExporter:
    if isinstance(hop, ScriptedHTTP):
        return HTTPExporter(endpoint=hop.logs_endpoint, **options)
    return GRPCExporter(endpoint=hop.endpoint, **options)


def batch_for(rebuilder: Rebuilder, count: int = 20) -> tuple[list[Entry], list[ReadableLogRecord]]:
    entries = [
        entry_of(line_of({**FIELDS, "body": "x" * number * 50}, seq=number), number)
        for number in range(1, count + 1)
    ]
    again = [entry_of(entry.record.line, entry.record.seq) for entry in entries]  # type: ignore[attr-defined]
    return entries, [readable(rebuilder.prepare(entry)) for entry in again]


def set_up(exporter: LogRecordExporter) -> tuple[Any, Rebuilder]:
    judge, rebuilder = attempt_through(exporter), Rebuilder(ContentPolicy())
    rebuilder.encodes = encode_for(judge, rebuilder.request)
    return judge, rebuilder


@pytest.fixture
def _no_official_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but an empty batch may reach the official encoder."""

    def refuse(batch: Any) -> Any:
        assert not list(batch)
        return ExportLogsServiceRequest()

    for module in ("http", "grpc"):
        name = f"opentelemetry.exporter.otlp.proto.{module}._log_exporter.encode_logs"
        monkeypatch.setattr(name, refuse)


@pytest.mark.usefixtures("_no_official_encoder")
@pytest.mark.parametrize(
    "hop, compression",
    # Over gRPC, the exporter's variable names no deflate.
    [("http", "none"), ("http", "gzip"), ("http", "deflate"), ("grpc", "none"), ("grpc", "gzip")],
    indirect=["hop"],
)
@pytest.mark.parametrize("made_by", ["user", "environment"])
def test_requests_arrive_with_the_exporters_settings(
    hop: Scripted, made_by: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
    if compression != "none":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hop.endpoint)
    over = "http/protobuf" if isinstance(hop, ScriptedHTTP) else "grpc"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", over)
    exporter = exporter_to(hop) if made_by == "user" else log_exporter()
    assert exporter is not None
    judge, rebuilder = set_up(exporter)
    assert rebuilder.encodes
    entries, batch = batch_for(rebuilder)

    assert judge(batch) == DELIVERED
    [received] = hop.received
    assert received.headers["x-key"] == "secret"
    assert received.message.SerializeToString(deterministic=True) == official(entries)
    if isinstance(hop, ScriptedHTTP):
        assert received.headers.get("content-encoding", "none") == compression
        plain = len(received.message.SerializeToString())
        assert (received.size < plain / 3) == (compression != "none")
    exporter.shutdown()


def test_a_variable_leaves_the_encoding_to_the_exporter(
    hop: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKELOG_DIRECT_ENCODING", "false")
    judge, rebuilder = set_up(exporter_to(hop))
    assert not rebuilder.encodes
    entries, batch = batch_for(rebuilder)

    assert judge(batch) == DELIVERED
    assert hop.received[0].message.SerializeToString(deterministic=True) == official(entries)

    monkeypatch.setenv("WAKELOG_DIRECT_ENCODING", "sometimes")
    with pytest.raises(ConfigurationError, match="WAKELOG_DIRECT_ENCODING='sometimes'"):
        set_up(exporter_to(hop))


def test_a_subclass_of_an_exporter_is_given_the_records(hop: Scripted) -> None:
    seen: list[Any] = []

    def export(self: Any, batch: Sequence[Any]) -> Any:
        seen.extend(one.log_record.event_name for one in batch)
        return base.export(self, batch)

    base: Any = type(exporter_to(hop))
    options = {"endpoint": getattr(hop, "logs_endpoint", hop.endpoint)}
    judge, rebuilder = set_up(type("Theirs", (base,), {"export": export})(**options))
    entries, batch = batch_for(rebuilder)

    assert not rebuilder.encodes
    assert judge(batch) == DELIVERED
    assert seen == ["e"] * len(batch)
    assert hop.received[0].message.SerializeToString(deterministic=True) == official(entries)


def test_an_exporter_that_sends_nothing_when_there_is_nothing_encodes_by_itself(
    hop: Scripted, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = exporter_to(hop)
    real = type(exporter).export

    def export(self: Any, batch: Sequence[Any]) -> Any:
        # A list of what is in it, and not how many it says.
        return real(self, batch) if list(batch) else LogRecordExportResult.SUCCESS

    monkeypatch.setattr(type(exporter), "export", export)
    judge, rebuilder = set_up(exporter)
    entries, batch = batch_for(rebuilder)

    assert judge(batch) == judge(batch) == DELIVERED
    assert [len(received.records) for received in hop.received] == [20, 20]
    assert hop.received[0].message.SerializeToString(deterministic=True) == official(entries)
    assert caplog.text.count("its own encoder is used") == 1


def test_a_request_beyond_the_exporters_limit_is_too_large() -> None:
    with ScriptedHTTP() as hop:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        judge, rebuilder = set_up(exporter_to(hop, max_request_size=3000))
        _, batch = batch_for(rebuilder)

        verdict = judge(batch)
        assert verdict.kind is Outcome.TOO_LARGE
        assert "max_request_size of 3000" in verdict.reason
        assert judge(batch[:2]) == DELIVERED
        assert len(hop.received) == 1


def test_a_batch_with_a_record_of_another_making_goes_as_one(hop: Scripted) -> None:
    judge, rebuilder = set_up(exporter_to(hop))
    entries, batch = batch_for(rebuilder, 3)
    other = LogRecord(timestamp=5, observed_timestamp=6, body=b"x", severity_number=SeverityNumber.WARN, event_name="o")  # fmt: skip
    odd = LogRecord(timestamp=5, observed_timestamp=6, body="y", attributes={"n": 1})  # fmt: skip
    odd.attributes = {"n": Number(7)}
    for one in (other, odd):
        stranger = ReadableLogRecord(one, batch[0].resource, batch[0].instrumentation_scope)
        whole = [*batch, stranger]
        assert judge(whole) == DELIVERED
        theirs = [readable(Rebuilder(ContentPolicy()).rebuild(entry)) for entry in entries]
        assert hop.received[-1].message == encode_logs([*theirs, stranger])


class Number(int):
    """A number of a class that only the official encoder may know how to write."""


def test_what_the_exporter_did_to_nothing_is_done_to_the_request() -> None:
    assert compressed_like(b"", b"data") == b"data"
    assert compressed_like(b"somehow", b"data") is None
    assert compressed_like(None, b"data") is None


def test_delivery_over_both_protocols_equals_what_the_sdk_sends(
    hop: Scripted, tmp_path: Path
) -> None:
    """Emitted once, through the SDK's processor and ours in one provider."""
    own = ScriptedHTTP() if isinstance(hop, ScriptedHTTP) else ScriptedGRPC()
    with own:
        options: dict[str, Any] = {}
        if isinstance(hop, ScriptedHTTP):
            options["compression"] = Compression.Gzip
        durable = DurableLogRecordProcessor(exporter_to(own, **options), directory=tmp_path)
        provider = LoggerProvider(
            shutdown_on_exit=False, resource=SDKResource({"service.name": "s"})
        )
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter_to(hop)))
        provider.add_log_record_processor(durable)
        logger = provider.get_logger("scope", "1.2", "https://schema/s")
        for number in range(1200):
            logger.emit(body={"n": number}, attributes={"a": "b", "f": 1.0}, timestamp=number + 1)

        assert provider.force_flush(60_000)
        ours, theirs = (
            sorted(
                (record for received in one.received for record in received.records),
                key=lambda record: record.time_unix_nano,
            )
            for one in (own, hop)
        )
        for record in ours:
            kept = [a for a in record.attributes if a.key not in (s.LOG_RECORD_UID, s.WRITER_ID, s.SEQ)]  # fmt: skip
            del record.attributes[:]
            record.attributes.extend(kept)
        assert ours == theirs
        provider.shutdown()


def test_the_events_of_agents_are_all_ordinary(tmp_path: Path) -> None:
    """None of them takes the longer way by accident."""
    made = Journaled(tmp_path)
    for event_type in EVENT_TYPES:
        made.log.emit(event_type, {"text": "t", "number": 1, "ratio": 0.5, "list": [1]})
    made.close()
    entries = in_journal(tmp_path)

    request, unlooked = direct(entries)
    assert len(entries) == unlooked == len(EVENT_TYPES)
    assert parsed(request) == official(entries)


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("scope", [s.SCOPE_NAME, "another"])
@pytest.mark.parametrize("body", [None, "said"])
@pytest.mark.parametrize("encodes", [False, True])
def test_content_that_can_be_erased_leaves_like_content_that_cannot(
    events: bool, scope: str, body: str | None, encodes: bool
) -> None:
    fields: dict[str, object] = {
        "timestamp": "2026-11-29T17:00:00.000000000Z",
        "event_name": "wakelog.tool_call",
        "attributes": {"n": 1, s.TOOL_NAME: "search", s.TOOL_CALL_ARGUMENTS: "words"},
        **({"body": body} if body else {}),
    }
    ending = b',"scope":' + orjson.dumps({"name": scope, "schema_url": s.SCHEMA_URL})
    rebuilder = Rebuilder(ContentPolicy(events=events))
    rebuilder.encodes = encodes
    left = []
    for apart in (frozenset[str](), s.CONTENT):
        line = seal("an-id", 3, encode(fields, 1 << 20, apart=apart, ending=ending), 0)[0][:-1]
        place = salted_part(line)
        left.append(exported(rebuilder, line))
    assert left[0] == left[1]
    assert ("words" in str(left)) == (events or scope != s.SCOPE_NAME)

    assert place is not None
    gone = line[: place.start] + erased_part(line[place]) + line[place.stop :]
    assert "[wakelog: " in str(exported(rebuilder, gone))
    assert "words" not in str(exported(rebuilder, gone))
    broken = line.replace(b'"salted":[', b'"salted":[[],', 1)
    with pytest.raises(CorruptLineError):
        exported(rebuilder, broken)


def exported(rebuilder: Rebuilder, line: bytes) -> tuple[Any, ...]:
    """Return what leaves of a line: the body, and the attributes in any order."""
    record = unread(line)
    assert record is not None
    prepared = rebuilder.prepare(Entry(record, Resource({}), "w", Mark()))
    request = rebuilder.request([prepared])  # type: ignore[list-item] # has all its fields
    assert request is not None
    [message] = ExportLogsServiceRequest.FromString(request).resource_logs
    [one] = message.scope_logs[0].log_records
    return one.body, sorted(map(str, one.attributes))
