"""What is too large for its line is whole beside it, and nothing of an event is ever cut."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

import wakelog
from tests.support.attack import times
from tests.support.delivering import Bench, Hop
from tests.support.faults import with_calls
from wakelog import (
    AgentEvent,
    AsyncAgentLogger,
    ConfigurationError,
    Durability,
    EventTooLargeError,
    JSONLSink,
)
from wakelog.delivery import ExportOutcome, Outcome
from wakelog.gateway import EventSessionLogger
from wakelog.journal import (
    Cursor,
    Journal,
    Mark,
    dead_letters,
    first_misfit,
    folders,
    read,
    usage,
)
from wakelog.journal._file_rotation import FileRotation
from wakelog.journal._shared_file import SharedFile
from wakelog.journal._space import Space
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor
from wakelog.record import Blob, Resource, decode, encode, from_line, rfc3339, to_line, uuid7
from wakelog.runtime import SYSTEM, FileSystem
from wakelog.storage import LONGEST_LINE, blob_folder, put_blobs

MEGABYTE = 1024 * 1024
RESOURCE = Resource({"service.name": "s"})
STAYING = frozenset({"wakelog.run.id", "gen_ai.conversation.id"})


def content(value: object, **attributes: object) -> bytes:
    fields: dict[str, object] = {"body": value, "attributes": attributes}
    return encode(fields, MEGABYTE, staying=STAYING)


def blob_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.blobs/*"))


# A character or a byte of a large value is repeated: what counts is the length.
_LARGE = st.builds(
    lambda unit, size: unit * (size // max(1, len(unit))),
    st.one_of(st.text(min_size=1, max_size=8), st.binary(min_size=1, max_size=8)),
    st.sampled_from([0, 1500, 5000, 70_000]),
)
_LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=20), _LARGE
)  # fmt: skip
_VALUE = st.recursive(
    _LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.text(max_size=8) | st.just("$wakelog"), inner, max_size=6),
    ),
    max_leaves=12,
)
_ID = st.one_of(st.text(max_size=40), st.builds(lambda size: "i" * size, st.integers(0, 5000)))
_EVENT = st.fixed_dictionaries(
    {
        "body": _VALUE,
        "attributes": st.dictionaries(
            st.one_of(st.text(max_size=30), st.sampled_from(["$wakelog", "more_attributes"])),
            _VALUE,
            max_size=8,
        ),
        "many": st.sampled_from([0, 0, 0, 0, 300]),
        "run": _ID,
        "session": _ID,
        "trace": st.integers(1, 2**128 - 1),
        "time": st.integers(0, 2**62),
    }
)


def same(one: Any, other: Any) -> bool:
    """Compare values; NaN is NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(itertools.starmap(same, zip(one, other, strict=True)))
    return type(one) is type(other) and one == other


def check(journal: Journal, event: dict[str, Any], limit: int) -> int:
    """Record an event and read it back; return the size of its line."""
    attributes = event["attributes"] | {f"n{i}": "v" * 50 for i in range(event["many"])}
    attributes |= {"wakelog.run.id": event["run"], "gen_ai.conversation.id": event["session"]}
    fields = {
        "timestamp": rfc3339(event["time"]),
        "event_name": "e",
        "body": event["body"],
        "attributes": attributes,
        "trace_id": f"{event['trace']:032x}",
    }
    record_id = uuid7()
    line = encode(fields, limit, staying=STAYING)
    receipt = journal.append(record_id, line, RESOURCE)
    writer = journal.writer
    assert writer is not None
    cursor = Cursor(writer.folder.path, Mark())
    *_, entry = cursor.read(10_000_000, sys.maxsize).entries
    cursor.close()  # thousands of open segments leave gRPC no descriptor that it can use
    record = entry.record
    assert (record.id, record.seq, record.event_name) == (record_id, receipt.seq, "e")
    assert (record.trace_id, record.timestamp) == (fields["trace_id"], event["time"])
    assert same(record.body, from_line(to_line(event["body"])))
    assert same(record.attributes, {str(k): v for k, v in from_form(attributes).items()})
    # Without what stands beside it, the record is still known.
    alone = decode(b'{"id":"i"%b}' % line)
    assert alone.trace_id == record.trace_id
    assert alone.attributes["wakelog.run.id"] == record.attributes["wakelog.run.id"]
    assert alone.attributes["gen_ai.conversation.id"] == record.attributes["gen_ai.conversation.id"]
    return len(line)


def from_form(attributes: dict[str, Any]) -> dict[str, Any]:
    plain = from_line(to_line(attributes))
    assert isinstance(plain, dict)
    return plain


@pytest.mark.attack
@settings(
    max_examples=times(20_000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(_EVENT, st.sampled_from([2000, 4000, 20_000, MEGABYTE]))
def test_an_event_of_any_shape_is_read_as_it_went_in(event: dict[str, Any], limit: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(directory)
        check(journal, event, limit)
        journal.close()


@pytest.mark.parametrize("many", [0, 500])
@pytest.mark.parametrize("name", ["bytes", "map", "blob", "float"])
def test_an_attribute_named_like_the_tag_survives_alone_and_among_many(
    tmp_path: Path, name: str, many: int
) -> None:
    journal = Journal(tmp_path)
    attributes = {"$wakelog": name, "value": "x"} | {f"n{i}": "v" * 50 for i in range(many)}
    fields: dict[str, object] = {"event_name": "e", "attributes": attributes}
    journal.append(uuid7(), encode(fields, 2000, staying=STAYING), RESOURCE)
    assert journal.writer is not None
    cursor = Cursor(journal.writer.folder.path, Mark())
    *_, entry = cursor.read(10_000_000, sys.maxsize).entries
    cursor.close()
    assert entry.record.attributes == attributes
    journal.close()


@pytest.mark.attack
@settings(max_examples=times(500) // 5, deadline=None)
@given(
    _EVENT,
    st.integers(MEGABYTE, 16 * MEGABYTE),
    st.sampled_from(["body", "attribute", "bytes", "list", "many"]),
)
def test_an_event_of_up_to_16_mib_is_read_as_it_went_in(
    event: dict[str, Any], size: int, where: str
) -> None:
    # A copy: a failure is shown by what was drawn.
    event = event | {"attributes": dict(event["attributes"])}
    event["attributes"]["large"] = {
        "body": 1,
        "attribute": "é" * (size // 2),
        "bytes": os.urandom(size),
        "list": ["w" * 1000] * (size // 1000),
        "many": 2,
    }[where]
    if where == "body":
        event["body"] = {"text": "x" * size}
    if where == "many":
        event["many"] = min(size // 60, 200_000)  # more values than MAX_NODES are left out
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(directory)
        assert check(journal, event, MEGABYTE) <= MEGABYTE
        assert sum(file.stat().st_size for file in blob_files(Path(directory))) > size // 3
        journal.close()


def test_what_stands_beside_a_line_is_for_its_owner_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(uuid7(), content("x" * 2 * MEGABYTE), RESOURCE)

    [file] = blob_files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.parent.name == "00000001.jsonl.blobs"
    journal.close()


@pytest.mark.parametrize("harm", ["missing", "damaged", "shorter", "link", "fifo"])
def test_a_value_that_is_missing_or_damaged_costs_that_value_alone(
    tmp_path: Path, harm: str
) -> None:
    journal = Journal(tmp_path)
    journal.append(uuid7(), content("before" * MEGABYTE, n=1), RESOURCE)
    journal.append(uuid7(), content("small"), RESOURCE)
    journal.close()
    [file] = blob_files(tmp_path)
    data = file.read_bytes()
    [folder] = folders(tmp_path)
    assert first_misfit(folder) is None

    file.unlink()
    if harm == "damaged":
        file.write_bytes(b"X" + data[1:])
    elif harm == "shorter":
        file.write_bytes(data[:-1])
    elif harm == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        file.symlink_to(tmp_path / "elsewhere")
    elif harm == "fifo":
        os.mkfifo(file)

    first, second = (entry.record for entry in read(tmp_path))
    assert str(first.body).startswith("beforebefore")
    assert f"{6 * MEGABYTE} bytes of text/plain are not here" in str(first.body)
    assert (first.attributes, second.body) == ({"n": 1}, "small")
    misfit = first_misfit(folder)
    assert misfit is not None
    assert file.name in misfit.what


def test_large_values_count_for_the_size_of_segments_and_of_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=MEGABYTE)
    for number in range(4):
        journal.append(uuid7(), content(str(number) * 2 * MEGABYTE), RESOURCE)

    assert len({file.parent for file in blob_files(tmp_path)}) == 4
    assert 8 * MEGABYTE < usage(tmp_path) <= journal.disk_usage + MEGABYTE
    journal.close()


def test_large_values_go_with_their_segment(tmp_path: Path) -> None:
    space = Space(quota_bytes=10 * MEGABYTE, quota_policy="evict_oldest")
    journal = Journal(tmp_path, space=space)
    for number in range(12):
        journal.append(uuid7(), content(str(number % 10) * 2 * MEGABYTE), RESOURCE)
        size = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
        assert size <= 10 * MEGABYTE
    journal.close()

    left = [entry.record for entry in read(tmp_path)]
    assert left[-1].seq == 12
    assert all(len(str(record.body)) == 2 * MEGABYTE for record in left)
    segments = {file.name for file in tmp_path.rglob("*.jsonl")}
    assert {file.parent.name.removesuffix(".blobs") for file in blob_files(tmp_path)} <= segments


def test_delivery_reads_no_more_of_large_values_at_once_than_it_should(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(6):
        journal.append(uuid7(), content(str(number) * 2 * MEGABYTE), RESOURCE)
    [folder] = folders(tmp_path)
    cursor = Cursor(folder, Mark())

    assert [len(cursor.read(512, 3 * MEGABYTE).entries) for _ in range(3)] == [2, 2, 2]
    cursor.close()
    journal.close()


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fdatasync", "fsync", "rename"])
def test_a_value_that_cannot_be_written_is_not_called_recorded(tmp_path: Path, call: str) -> None:
    failing = [False]

    def fails(real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            if failing[0]:
                raise OSError(28, "No space left on device")
            return real(*arguments, **named)

        return called

    fs = FileSystem(**{call: fails(getattr(SYSTEM, call))})
    journal = Journal(tmp_path, durability=Durability.FSYNC, fs=fs)
    journal.append(uuid7(), content("first"), RESOURCE)
    failing[0] = True
    with pytest.raises(wakelog.SinkError):
        journal.append(uuid7(), content("x" * 2 * MEGABYTE), RESOURCE)
    failing[0] = False
    journal.append(uuid7(), content("y" * 2 * MEGABYTE), RESOURCE)
    journal.close()

    assert [str(entry.record.body)[:5] for entry in read(tmp_path)] == ["first", "yyyyy"]
    assert [file for file in blob_files(tmp_path) if file.name.startswith(".")] == []


def test_a_large_value_is_on_the_disk_before_its_line_is_written(tmp_path: Path) -> None:
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        real = getattr(SYSTEM, name)

        def called(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return real(*arguments, **named)

        return called

    fs = FileSystem(
        **{name: noted(name) for name in ("write", "fdatasync", "fsync", "rename", "mkdir")}
    )
    journal = Journal(tmp_path, durability=Durability.FSYNC, fs=fs)
    journal.append(uuid7(), content("first"), RESOURCE)
    calls.clear()
    journal.append(uuid7(), content("x" * 2 * MEGABYTE), RESOURCE)
    journal.close()

    wanted = ["mkdir", "write", "fdatasync", "rename", "fsync", "fsync", "write", "fdatasync"]
    assert calls[: len(wanted)] == wanted


def test_a_named_file_is_rotated_and_deleted_with_its_large_values(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = SharedFile(path, rotation=FileRotation(max_bytes=1500, keep_files=2))
    for number in range(8):
        value = str(number) * 2 * MEGABYTE
        file.append(uuid7(), content(value, pad="p" * 800), Durability.OS_BUFFERED)
    file.close()

    names = {one.name for one in tmp_path.iterdir()}
    lines = sorted(name for name in names if name.endswith(".jsonl"))
    assert {f"{name}.blobs" for name in lines} == {name for name in names if name not in lines}
    found = [entry.record.body for name in lines for entry in read(tmp_path / name)]
    assert sorted(str(value)[0] for value in found) == ["5", "6", "7"]
    assert {len(str(value)) for value in found} == {2 * MEGABYTE}


def test_a_crash_between_the_two_names_of_a_rotated_file_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = SharedFile(path)
    file.append(uuid7(), content("x" * 2 * MEGABYTE), Durability.OS_BUFFERED)
    file.close()
    stamp = "events.20261121T075022.123456Z.jsonl"
    path.with_name("events.jsonl.blobs").rename(tmp_path / f"{stamp}.blobs")

    again = SharedFile(path, rotation=FileRotation(max_bytes=MEGABYTE))
    again.append(uuid7(), content("y" * 2 * MEGABYTE), Durability.OS_BUFFERED)
    again.close()

    assert [len(str(entry.record.body)) for entry in read(tmp_path / stamp)] == [2 * MEGABYTE]
    assert [len(str(entry.record.body)) for entry in read(path)] == [2 * MEGABYTE]


SHARES = """
import sys
from wakelog import AgentEvent, JSONLSink
sink = JSONLSink(sys.argv[1], max_bytes=4000)
for number in range(30):
    sink.write(AgentEvent("custom", payload={"text": f"{sys.argv[2]}{number}." * 300_000}))
"""


def test_processes_that_share_and_rotate_a_file_keep_lines_and_values_together(
    tmp_path: Path,
) -> None:
    programs = [
        subprocess.Popen([sys.executable, "-c", SHARES, str(tmp_path / "e.jsonl"), who])
        for who in "ab"
    ]
    assert [program.wait(120) for program in programs] == [0, 0]

    texts = [
        entry.record.attributes["wakelog.payload"]["text"]
        for path in tmp_path.glob("*.jsonl")
        for entry in read(path)
    ]
    assert sorted(text.partition(".")[0] for text in texts) == sorted(
        f"{who}{number}" for who in "ab" for number in range(30)
    )
    assert all(text == f"{text.partition('.')[0]}." * 300_000 for text in texts)


@pytest.fixture
def hop() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()


def emit(directory: Path, exporter: InMemoryLogRecordExporter | None, *records: LogRecord, **more: Any) -> DurableLogRecordProcessor:  # fmt: skip
    durable = DurableLogRecordProcessor(exporter, directory=directory, **more)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    for record in records:
        provider.get_logger("x").emit(record)
    return durable


def test_a_foreign_record_that_is_too_large_is_counted_beside_its_stub(
    tmp_path: Path, hop: InMemoryLogRecordExporter
) -> None:
    big = LogRecord(body="x" * 5000, event_name="e", attributes={"wakelog.run.id": "r"})
    durable = emit(tmp_path, hop, big, LogRecord(body="small"), max_event_bytes=2000)
    assert durable.force_flush()
    durable.shutdown()

    assert durable.refused == {"EventTooLargeError": 1}
    stub, small = (log.log_record for log in hop.get_finished_logs())
    assert (stub.event_name, stub.body, small.body) == ("e", None, "small")
    assert stub.attributes is not None
    assert stub.attributes["wakelog.run.id"] == "r"
    assert int(str(stub.attributes["wakelog.too_large.bytes"])) > 5000


def test_an_event_that_is_too_large_raises_with_the_receipt_of_its_stub(tmp_path: Path) -> None:
    sink = JSONLSink(tmp_path / "e.jsonl", max_event_bytes=2000)
    event = AgentEvent("custom", payload={"text": "x" * 5000}, session_id="s")

    with pytest.raises(EventTooLargeError) as raised:
        sink.write(event)

    [stub] = (entry.record for entry in read(tmp_path / "e.jsonl"))
    assert raised.value.receipt is not None
    assert (stub.id, stub.seq) == (event.event_id, raised.value.receipt.seq)
    assert stub.attributes["gen_ai.conversation.id"] == "s"
    assert event.receipt is None


def test_only_free_text_is_shorter_in_an_exported_copy(
    tmp_path: Path, hop: InMemoryLogRecordExporter
) -> None:
    kept: dict[str, Any] = {
        "wakelog.run.id": "r" * 300,
        "number": 10**15,
        "name": "n" * 100,
        "gen_ai.tool.name": "t",
    }
    big = LogRecord(body="word " * 10_000, attributes={**kept, "image": os.urandom(50_000)})
    durable = emit(tmp_path, hop, big, max_record_bytes=4000)
    assert durable.force_flush()
    durable.shutdown()

    [log] = hop.get_finished_logs()
    attributes = dict(log.log_record.attributes or {})
    assert {name: attributes[name] for name in kept} == kept
    assert str(log.log_record.body).startswith("word word ")
    assert str(attributes["image"]).startswith("[wakelog: 50000 bytes in the journal, sha256 ")
    assert next(read(tmp_path)).record.body == "word " * 10_000


def test_a_record_that_the_next_hop_calls_too_large_is_sent_once_more_with_previews(
    tmp_path: Path,
) -> None:
    sizes: list[int] = []

    def judge(bodies: Any) -> ExportOutcome:
        sizes.append(max(len(str(body)) for body in bodies))
        if sizes[-1] > 100_000:
            return ExportOutcome(Outcome.TOO_LARGE, "413")
        return ExportOutcome(Outcome.DELIVERED)

    one = Bench(tmp_path, Hop(judge))
    one.record("small", "word " * 400_000, "last")
    one.drain()

    first, preview, last = one.hop.bodies
    assert (first, last) == ("small", "last")
    assert preview.startswith("word word ")
    assert f"{2_000_000} bytes in the journal, sha256 " in preview
    assert sizes.count(2_000_000) <= 3
    assert list(tmp_path.rglob("dead_letters.jsonl")) == []
    one.close()


def test_a_dead_letter_holds_the_whole_record_after_its_segment_is_gone(tmp_path: Path) -> None:
    def judge(bodies: Any) -> ExportOutcome:
        small = all(len(str(body)) < 100 for body in bodies)
        return (
            ExportOutcome(Outcome.DELIVERED) if small else ExportOutcome(Outcome.TOO_LARGE, "413")
        )

    one = Bench(tmp_path, Hop(judge))
    one.record("small", {"text": "word " * 400_000, "image": b"\x00\xff" * MEGABYTE}, "last")
    one.drain()
    one.close()
    for file in blob_files(tmp_path):
        file.unlink()

    [folder] = folders(tmp_path)
    [letter] = dead_letters(folder)
    body = {"text": "word " * 400_000, "image": b"\x00\xff" * MEGABYTE}
    assert letter.entry().record.body == body


@pytest.mark.parametrize("format_", ["jsonl", "json"])
@pytest.mark.parametrize("durability", list(Durability))
def test_a_large_event_reaches_the_gateways_transport_whole_after_a_restart_too(
    tmp_path: Path, format_: str, durability: Durability
) -> None:
    event = {"session_id": "s", "type": "page", "content": "é" * MEGABYTE, "image": b"\xff" * 99}

    async def log() -> None:
        def down(_: Any) -> None:
            raise ConnectionError("down")

        logger = EventSessionLogger(
            tmp_path, down, log_format=format_, durability=durability,
            max_retry_attempts=0, redact_payloads=False, pipeline="p", close_timeout_seconds=0.1,
        )  # fmt: skip
        assert await logger(event)
        await logger.close()

    async def forward() -> list[Any]:
        got: list[Any] = []
        async with EventSessionLogger(tmp_path, got.append, pipeline="p") as logger:
            assert await logger.flush(20)
        return got

    asyncio.run(log())
    [file] = tmp_path.glob(f"s/*.{format_}")
    assert file.stat().st_size < 3000
    assert [dict(one) for one in asyncio.run(forward())] == [event]
    assert [entry.record.body for entry in read(file)] == [event]


def test_a_large_event_of_asyncio_is_whole_and_has_its_receipt(tmp_path: Path) -> None:
    log = AsyncAgentLogger(sink=JSONLSink(tmp_path / "e.jsonl"), on_error="raise")

    async def run() -> list[AgentEvent]:
        calls = (log.user_message(f"{n} " * 500_000, durability=Durability.FSYNC) for n in range(3))
        return await asyncio.gather(*calls)

    events = asyncio.run(run())

    assert sorted(event.receipt.seq for event in events if event.receipt) == [1, 2, 3]
    assert [entry.record.id for entry in read(tmp_path / "e.jsonl")] == [
        event.event_id
        for event in sorted(events, key=lambda one: one.receipt.seq if one.receipt else 0)
    ]


def test_nothing_stands_beside_a_device() -> None:
    sink = JSONLSink("/dev/null")
    sink.write(AgentEvent("custom", payload={"text": "x" * 3 * MEGABYTE}))
    sink.close()

    assert not Path("/dev/null.blobs").exists()


APPENDS = """
import sys
from wakelog.journal import Durability, Journal
from wakelog.record import Resource, encode, uuid7
from tests.support.faults import with_calls
journal = Journal(sys.argv[1], durability=Durability.FSYNC)
resource = Resource({"service.name": "s"})
for number in range(3):
    content = encode({"body": str(number) * 30_000}, 2000)
    print(journal.append(uuid7(), content, resource).seq, flush=True)
"""
CALLS = [
    *(f"{when}:{call}" for when in ("before", "after") for call in (
        "mkdir:2", "mkdir:3", "rename:2", "rename:3", "rename:4", "write:4", "write:5", "write:6",
        "fdatasync:1", "fdatasync:2", "fdatasync:3", "fsync:3", "fsync:4",
    )),
]  # fmt: skip


@pytest.mark.parametrize("fault", CALLS)
def test_a_kill_between_any_two_calls_leaves_every_acknowledged_value_whole(
    tmp_path: Path, fault: str
) -> None:
    program = subprocess.run(
        [sys.executable, "-c", APPENDS, str(tmp_path)],
        env={**os.environ, "WAKELOG_FAULT": fault},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    acknowledged = [int(line) for line in program.stdout.split()]
    assert program.returncode in (0, -9), program.stderr

    bodies = {entry.record.seq: entry.record.body for entry in read(tmp_path)}
    assert set(acknowledged) <= bodies.keys()
    assert all(body == str(seq - 1) * 30_000 for seq, body in bodies.items())
    assert [first_misfit(folder) for folder in folders(tmp_path)] in ([None], [])


@pytest.mark.parametrize(
    "door", [DurableLogRecordProcessor, DurableSpanProcessor, EventSessionLogger]
)
def test_no_line_can_be_asked_for_that_readers_would_pass_over(
    tmp_path: Path, door: Callable[..., Any]
) -> None:
    first = (tmp_path,) if door is EventSessionLogger else (None,)
    with pytest.raises(ConfigurationError, match="at most 67108864 bytes"):
        door(*first, max_line_bytes=LONGEST_LINE + 1)


def test_a_blob_whose_sync_has_failed_is_written_anew_when_it_is_wanted_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "00000001.jsonl"
    blob = Blob(sha256(b"x").hexdigest(), b"x")
    put_blobs(path, [blob])
    [file] = blob_folder(path).iterdir()
    before, synced = file.stat().st_ino, []

    def fdatasync(fd: int) -> None:
        if os.fstat(fd).st_ino == before:
            raise OSError(5, "Input/output error")
        synced.append(os.fstat(fd).st_ino)

    put_blobs(path, [blob], with_calls(SYSTEM, fdatasync=fdatasync), synced=True)

    assert [one.stat().st_ino for one in blob_folder(path).iterdir()] == synced
