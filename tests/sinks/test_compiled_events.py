"""The compiled encoder of events and the writer of shared files do what those in Python do."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from wakelog import AgentEvent, AgentLogger, Durability, JSONLSink, bound
from wakelog._native import native
from wakelog.errors import JournalError
from wakelog.events import EVENT_TYPES, _event_lines, event_encoder, plain_content_of
from wakelog.events import semconv as s
from wakelog.journal import FileRotation, Receipt, SharedFile, compiled_writer, read
from wakelog.record import _values, decode, kept, stated_crc, uuid7, verify
from wakelog.runtime import FileSystem

pytestmark = pytest.mark.skipif(native is None, reason="wakelog-native is not used")
LONGEST = 1 << 20
TIME = 1_800_000_000_123_456_789
Write = Callable[[SharedFile, str, bytes, Durability], Receipt]


@pytest.fixture(scope="module", autouse=True)
def in_python() -> Any:
    """Encode an event in Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_event_lines, "event_encoder", None)
        yield


def compiled(event: AgentEvent, longest: int = LONGEST) -> bytes | None:
    content: bytes | None = event_encoder.encode(event, longest)
    return content


class Loud(str):
    """A text whose methods must not be called while an event is encoded."""

    __slots__ = ()

    def __eq__(self, _: object) -> bool:
        raise AssertionError

    def __hash__(self) -> int:
        return str.__hash__(self)


class Subclass(AgentEvent):
    """An event that may read its fields in another way."""

    __slots__ = ()


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = sorted({key for kind in EVENT_TYPES.values() for key in kind.payload} | {"note", "é"})
PAYLOADS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
WORDS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from([s.RUN_ID, s.AGENT_NAME, s.STATUS, s.ERROR_TYPE, s.PAYLOAD, "app.tier", ""])
EVENTS = st.builds(
    AgentEvent,
    st.sampled_from([*sorted(EVENT_TYPES), "own.type"]),
    run_id=WORDS,
    event_id=st.sampled_from([None, "an id", 'of "mine"']),
    agent_name=WORDS,
    workflow_name=WORDS,
    parent_event_id=WORDS,
    provider=WORDS,
    model=WORDS,
    tool_name=WORDS,
    status=WORDS,
    payload=st.none() | PAYLOADS,
    risk=st.none() | st.dictionaries(st.sampled_from(["level", "b"]), VALUES, max_size=2),
    metadata=st.none() | st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2),
    allow_custom_event_types=st.just(True),
    session_id=WORDS,
    tenant_id=WORDS,
    call_id=WORDS,
    attributes=st.none() | st.dictionaries(NAMES, VALUES, max_size=3),
    time_unix_nano=st.integers(0, 2**63),
    event_key=WORDS,
)
SPANS = st.none() | st.tuples(
    st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1), st.integers(0, 255)
)


@settings(max_examples=times(5000), deadline=None)
@given(EVENTS, SPANS)
def test_an_event_is_encoded_as_it_is_in_python(
    event: AgentEvent, span: tuple[int, int, int] | None
) -> None:
    event.span_context = span
    found = compiled(event)

    assert found is None or found == plain_content_of(event, LONGEST)
    if found is not None:
        assert compiled(event, len(found)) == found
        assert compiled(event, len(found) - 1) is None


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_an_ordinary_event_of_each_type_is_encoded_in_compiled_code(event_type: str) -> None:
    names = ("agent_name", "workflow_name", "parent_event_id", "provider", "model", "tool_name")
    # Each key once, as some types have two for one attribute.
    mapped = {name: key for key, name in EVENT_TYPES[event_type].payload.items()}
    event = AgentEvent(
        event_type,
        run_id="r",
        status="success",
        payload={key: 3 for name, key in mapped.items() if name != s.AGENT_NAME} | {"rest": [1]},
        risk={"level": "low"},
        metadata={"a": 1},
        session_id="s",
        tenant_id="t",
        call_id="c",
        attributes={"app.tier": "gold"},
        time_unix_nano=TIME,
        event_key="k",
        **dict.fromkeys(names, "name"),  # type: ignore[arg-type] # all of them are texts
    )
    event.span_context = (1, 2, 1)

    assert compiled(event) is not None
    assert compiled(event) == plain_content_of(event, LONGEST)
    assert compiled(AgentEvent(event_type)) is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": {Loud("args"): 1}},
        {"payload": {"rest": Loud("x")}},
        {"payload": {"$wakelog": 1}},
        {"payload": {"rest": {"$wakelog": 1}}},
        {"payload": {"rest": float("nan")}},
        {"payload": {"args": 2**64}},
        {"payload": {"args": "\ud83d"}},
        {"payload": {str(number): number for number in range(101)}},
        {"attributes": {str(number): number for number in range(101)}},
        {"attributes": {s.TOOL_NAME: "mine"}},
        {"attributes": {s.OPERATION_NAME: "mine"}},
        {"attributes": {s.PAYLOAD: "mine"}},
        {"attributes": {1: 2}},
        {"attributes": {Loud("a"): 1}},
        {"metadata": {"a": object()}},
        {"risk": {"a": {1}}},
        {"risk": [1]},
        {"payload": [1]},
        {"run_id": Loud("r")},
        {"event_id": "\ud83d"},
        {"event_id": Loud("e")},
        {"tool_name": object()},
        {"time_unix_nano": -1},
        {"time_unix_nano": 2**64},
        {"time_unix_nano": True},
    ],
    ids=str,
)
def test_what_is_not_ordinary_is_left_to_python(fields: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"tool_name": "search", "payload": {"args": 1, "rest": 2}}
    assert compiled(AgentEvent("tool_call", **usual)) is not None
    assert compiled(AgentEvent("tool_call", **usual | fields)) is None


def test_events_with_spans_or_classes_of_others_are_left_to_python() -> None:
    event: Any = AgentEvent("tool_call")
    for span in ((1, 2), (1, 2, 3, 4), [1, 2, 3], (2**128, 1, 1), (1, 2**64, 1), (1, -1, 1), ("1", 2, 3), (True, 2, 3)):  # fmt: skip
        event.span_context = span
        assert compiled(event) is None
    assert compiled(Subclass("tool_call")) is None
    assert event_encoder.encode(object(), LONGEST) is None


def test_more_types_of_ones_own_than_are_kept_are_encoded() -> None:
    for number in range(600):
        event = AgentEvent(f"own.type{number % 300}", allow_custom_event_types=True)
        assert compiled(event) == plain_content_of(event, LONGEST) is not None


def test_a_payload_that_another_thread_changes_meanwhile_does_no_harm() -> None:
    payload: dict[str, Any] = {"input_messages": "hello"}
    event = AgentEvent("model_call", payload=payload)
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for number in range(50):
                payload[f"k{number}"] = number
            for number in range(50):
                del payload[f"k{number}"]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert all(compiled(event) is not None for _ in range(times(20_000)))
    finally:
        done.set()
        thread.join()


@settings(max_examples=times(5000), deadline=None)
@given(
    st.recursive(
        LEAVES | st.binary(max_size=3) | st.complex_numbers(allow_nan=False),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_a_value_is_copied_as_it_is_in_python(value: Any) -> None:
    copy = kept(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_values, "_copy_small", None)
        of_python = kept(value)

    assert copy == of_python
    assert repr(copy) == repr(of_python)  # 1 is equal to True


def test_a_compiled_copy_shares_nothing_that_can_change() -> None:
    inner: list[Any] = [1, {"b": [2]}]
    value = {"a": inner, "c": {"d": inner}}
    copy = native.copy_small(value)
    inner[1]["b"] = 3
    inner.append(4)

    assert copy is None  # four levels
    copy = native.copy_small({"a": inner})
    inner[1]["b"] = 5
    inner.append(6)
    assert copy == {"a": [1, {"b": 3}, 4]}
    for large in (
        {str(n): n for n in range(33)},
        {"a": [*range(33)]},
        {"a": (1,)},
        {"a": {1}},
        {1: 2},
    ):
        assert native.copy_small(large) is None


# The writer


class Disk:
    """A file system whose next writes have given outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.fd = -1
        self.record: Callable[[], object] = list

    def write(self, fd: int, data: bytes) -> int:
        self.fd = fd
        return self.outcomes.pop(0)(self, data) if self.outcomes else os.write(fd, data)


Outcome = Callable[[Disk, bytes], int]


def short(disk: Disk, data: bytes) -> int:
    return os.write(disk.fd, data[: len(data) // 2])


def nothing(disk: Disk, data: bytes) -> int:
    del disk, data
    return 0


def failing(code: int) -> Outcome:
    def fail(disk: Disk, data: bytes) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def after(error: BaseException) -> Outcome:
    """Raise like a signal handler, once the line is written."""

    def fail(disk: Disk, data: bytes) -> int:
        os.write(disk.fd, data)
        raise error

    return fail


def recording(disk: Disk, data: bytes) -> int:
    """Record another line like a signal handler, once the line is written."""
    size = os.write(disk.fd, data)
    disk.record()
    return size


OUTCOMES: dict[str, list[Outcome]] = {
    "whole": [],
    "short": [short],
    "nothing": [nothing],
    "full": [failing(errno.ENOSPC)],
    "broken": [failing(errno.EIO)],
    "short, then full": [short, failing(errno.ENOSPC)],
    "interrupted": [after(KeyboardInterrupt())],
    "timed out": [after(TimeoutError("a handler's"))],
    "records": [recording],
    "records, then full": [recording, failing(errno.ENOSPC)],
}


def in_compiled_code(
    file: SharedFile, record_id: str, content: bytes, level: Durability
) -> Receipt:
    writer = compiled_writer(file, event_encoder, LONGEST, LONGEST)
    receipt: Receipt | None = writer.write(record_id, content, level)
    if receipt is None:
        return file.write(record_id, content, level)
    if level is Durability.PERIODIC:
        file.sync_soon()
    return receipt


def played(write: Write, root: Path, name: str, most: int | None, level: Durability) -> list[Any]:
    """Write lines, one of them with given outcomes, and return what came of it."""
    disk = Disk()
    said: list[Any] = []
    file = SharedFile(
        root / "events.jsonl",
        rotation=FileRotation(max_bytes=most),
        fs=FileSystem(write=disk.write),
        new_id=lambda: "writer",
        sync_interval=3600.0,
    )
    file._check_at = math.inf  # so that it is not due in one of the two alone

    def one(number: int) -> None:
        content = b',"event_name":"%d%b"' % (number, b"x" * 60)
        try:
            said.append(write(file, f"id-{number}", content, level))
            said.append(type(said[-1]))
        except (JournalError, TimeoutError, KeyboardInterrupt) as error:
            said.append((type(error), str(error).replace(str(root), ""), type(error.__cause__)))

    disk.record = lambda: one(99)
    for number in range(3):
        one(number)
    disk.outcomes = [*OUTCOMES[name]]
    for number in range(3, 7):
        one(number)
        names = ("_epoch", "_seq", "_crc", "_torn", "_size", "_sync_wanted", "_segment")
        said.append([getattr(file, name) for name in names])
        said.append([(type(line), *line) for line in file._unsynced])
    file.close()
    with pytest.raises(JournalError):
        write(file, "id", b"", level)
    return [*said, *(path.read_bytes() for path in sorted(root.glob("*.jsonl")))]


@pytest.mark.parametrize("level", list(Durability))
@pytest.mark.parametrize("most", [None, 400], ids=["whole", "rotating"])
@pytest.mark.parametrize("name", OUTCOMES)
def test_both_writers_end_in_the_same_state_with_the_same_files(
    tmp_path: Path, name: str, most: int | None, level: Durability
) -> None:
    python = played(SharedFile.write, tmp_path / "python", name, most, level)
    compiled = played(in_compiled_code, tmp_path / "compiled", name, most, level)

    assert compiled == python


@pytest.mark.parametrize("write", [SharedFile.write, in_compiled_code], ids=["python", "compiled"])
def test_lines_whose_sync_has_failed_are_written_again(tmp_path: Path, write: Write) -> None:
    failures = [errno.EIO]

    def fdatasync(fd: int) -> None:
        if failures:
            raise OSError(failures.pop(), "a failed sync")
        os.fsync(fd)

    path = tmp_path / "events.jsonl"
    file = SharedFile(path, fs=FileSystem(fdatasync=fdatasync))
    write(file, "a", b"", Durability.OS_BUFFERED)
    receipt = write(file, "b", b',"event_name":"b"', Durability.FSYNC)
    file.wait(receipt.seq)
    write(file, "c", b"", Durability.FSYNC)
    file.close()

    [old] = set(tmp_path.glob("*.jsonl")) - {path}
    assert [entry.record.id for entry in read(old)] == ["a", "b"]
    assert [entry.record.id for entry in read(path)] == ["b", "c"]
    assert old.read_bytes().splitlines()[1] == path.read_bytes().splitlines()[0]


def test_ordinary_events_are_written_without_code_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated = JSONLSink(tmp_path / "rotated.jsonl", max_bytes=1 << 20, max_age=3600.0)
    for sink in (JSONLSink(tmp_path / "plain.jsonl"), rotated):
        sink.write(AgentEvent("custom"))  # the first one looks whether the file has its name
        with monkeypatch.context() as patch:
            patch.setattr(SharedFile, "write", None)
            patch.setattr(SharedFile, "append", None)
            for level in (None, *Durability):
                event = AgentEvent("tool_call", tool_name="search", durability=level)
                sink.write(event)
                assert event.receipt is not None
                assert event.receipt.id == event.event_id
        sink.close()


def chain(path: Path, last: dict[str | None, int | None]) -> list[int]:
    """Return the numbers of a file's lines, each of which follows the last one of its writer."""
    numbers = []
    for line in path.read_bytes().splitlines():
        record = decode(line)
        before = last.get(record.writer, 0)
        assert before is None or verify(line, before)
        last[record.writer] = stated_crc(line)
        numbers.append(record.seq)
    return numbers


def test_files_that_are_renamed_deleted_or_shared_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink, other = JSONLSink(path), JSONLSink(path)

    def record() -> None:
        for one in (sink, other):
            one._file._check_at = 0.0  # a second later
            one.write(AgentEvent("custom"))
            one.write(AgentEvent("custom"))

    record()
    path.rename(tmp_path / "old.jsonl")
    record()
    path.unlink()
    record()
    sink.close()
    other.close()

    assert chain(tmp_path / "old.jsonl", {}) == [1, 2, 1, 2]
    begun: dict[str | None, int | None] = dict.fromkeys(e.record.writer for e in read(path))
    assert chain(path, begun) == [5, 6, 5, 6]


def test_threads_share_a_chain(tmp_path: Path) -> None:
    log = AgentLogger(sink=JSONLSink(tmp_path / "events.jsonl", max_bytes=50_000))
    ids: list[str] = []

    def record() -> None:
        with bound(tier="gold"):
            ids.extend(log.tool_call("search", {"n": n}).event_id for n in range(300))

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.sink.close()  # type: ignore[attr-defined] # it is a JSONLSink

    entries = [entry for path in tmp_path.glob("*.jsonl") for entry in read(path)]
    assert sorted(entry.record.seq for entry in entries) == list(range(1, 1201))
    assert {entry.record.id for entry in entries} == set(ids)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_a_forked_child_writes_lines_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JSONLSink(path)
    sink.write(AgentEvent("custom"))
    sink.write(AgentEvent("custom"))
    if not (child := os.fork()):
        try:
            sink.write(AgentEvent("custom", event_id=uuid7()))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    sink.write(AgentEvent("custom"))
    sink.close()

    assert len({entry.record.writer for entry in read(path)}) == 2
    assert chain(path, {}) == [1, 2, 1, 3]
    assert len({entry.record.id for entry in read(path)}) == 4
