"""Interruptions: a signal's handler that raises, or that records, at any moment of an emit."""

from __future__ import annotations

import errno
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

from tests.support.attack import ATTACKING, SEED
from tests.support.guarantees import INTERRUPTED, PROPERTY, Row
from tests.support.interruptions import (
    Interrupted,
    Interruption,
    TimedOutError,
    raise_interrupted,
    raise_timed_out,
)
from wakelog._native import native
from wakelog.events import AgentEvent
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._files import SessionFiles
from wakelog.gateway._formats import Document, Lines
from wakelog.gateway._names import DirectoryPattern, FilePattern
from wakelog.journal import Durability, Journal, first_misfit, folders, read
from wakelog.journal._file_rotation import FileRotation
from wakelog.journal._shared_file import SharedFile
from wakelog.logger import AgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem
from wakelog.sinks import BufferedSink, EventSink, JSONLSink, MemorySink, OverflowPolicy
from wakelog.storage import _group

RESOURCE = Resource({})
FAST = FileSystem(fsync=lambda _: None, fdatasync=lambda _: None)
CONTENT = encode({"body": "x" * 100}, 1 << 20)
LEVELS = [Durability.OS_BUFFERED, Durability.PERIODIC, Durability.FSYNC]
SECONDS = 60
AFTERWARDS = 4
FEWEST = 10 if native is None else 6  # compiled, an append makes few calls

Way = tuple[Callable[[], str], Callable[[], object]]
"""How to write a record and return its id, and how to close."""

# Where an exception meets a finalizer, Python drops it and says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
either = pytest.mark.parametrize("nested", [False, True], ids=["raises", "records"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait for a thread that is gone find out sooner."""
    monkeypatch.setattr(_group, "_LOOK_SECONDS", 0.02)


class Recorder:
    """Records, and notes the ids of what was acknowledged."""

    def __init__(self, write: Callable[[], str]) -> None:
        self._write = write
        self.acknowledged: set[str] = set()

    def record(self) -> None:
        self.acknowledged.add(self._write())


def until_done(act: Callable[[], object]) -> bool:
    """Do something that may hang, and return whether it came to an end."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return not thread.is_alive()


def interruptions(
    write_to: Callable[[int], Way],
    *,
    nested: bool,
    before: int = 0,
    moments: Iterable[int] | None = None,
    raises: Callable[[], object] = raise_interrupted,
) -> Iterator[tuple[int, str, Recorder]]:
    """Interrupt recording at one moment after another, and record some more each time.

    Args:
        write_to: Returns how to write a record, and how to close, in the run of a number.
        nested: Whether the interruption records; else it raises.
        before: How many records there are before.
        moments: Which moments, without end; every one unless told otherwise.
        raises: What raises.
    """
    for moment in count() if moments is None else moments:
        write, close = write_to(moment)
        recorder = Recorder(write)
        interruption = Interruption(recorder.record if nested else raises, moment)

        def act(recorder: Recorder = recorder, interruption: Interruption = interruption) -> None:
            for _ in range(before):
                recorder.record()
            with suppress(Interrupted, TimedOutError):
                interruption.of(recorder.record)
            for _ in range(AFTERWARDS):
                recorder.record()

        assert until_done(act), interruption.where
        if not interruption.came:
            assert moment > FEWEST  # it has been in the way of something
            close()
            return
        assert until_done(close), interruption.where
        assert len(recorder.acknowledged) >= before + AFTERWARDS, interruption.where
        yield moment, interruption.where, recorder


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize("segment_bytes", [300, 1 << 20], ids=["rotating", "whole"])
@either
def test_the_journal_keeps_what_it_acknowledged_whatever_comes_between(
    tmp_path: Path,
    durability: Durability,
    segment_bytes: int,
    nested: bool,
    record_property: Callable[[str, object], None],
) -> None:
    fault = INTERRUPTED.format("records" if nested else "raises")

    def write_to(moment: int) -> Way:
        root = tmp_path / str(moment)
        journal = Journal(root, durability=durability, segment_bytes=segment_bytes, fs=FAST)
        return lambda: journal.append(uuid7(), CONTENT, RESOURCE).id, journal.close

    for moment, where, recorder in interruptions(write_to, nested=nested, before=1):
        root = tmp_path / str(moment)
        found = [entry.record.id for entry in read(root)]
        assert recorder.acknowledged <= set(found), where
        assert len(found) == len(set(found)), where
        assert not any(map(first_misfit, folders(root))), where
        tried, acknowledged = 2 + nested + AFTERWARDS, len(recorder.acknowledged)
        record_property(PROPERTY, Row(fault, durability, 1, tried, acknowledged, 0, 0))


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize("segment_bytes", [300, 1 << 20], ids=["rotating", "whole"])
def test_what_a_handler_raises_is_not_taken_for_an_answer_of_the_disk(
    tmp_path: Path, durability: Durability, segment_bytes: int
) -> None:
    def write_to(moment: int) -> Way:
        root = tmp_path / str(moment)
        journal = Journal(root, durability=durability, segment_bytes=segment_bytes, fs=FAST)
        return lambda: journal.append(uuid7(), CONTENT, RESOURCE).id, journal.close

    for moment, where, recorder in interruptions(
        write_to, nested=False, before=1, raises=raise_timed_out
    ):
        root = tmp_path / str(moment)
        found = [entry.record.id for entry in read(root)]
        assert recorder.acknowledged <= set(found), where
        assert len(found) == len(set(found)), where
        assert not any(map(first_misfit, folders(root))), where


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize("max_bytes", [300, None], ids=["rotating", "whole"])
def test_a_file_of_lines_does_not_take_what_a_handler_raises_for_an_answer_of_the_disk(
    tmp_path: Path, durability: Durability, max_bytes: int | None
) -> None:
    def write_to(moment: int) -> Way:
        path = tmp_path / str(moment) / "events.jsonl"
        file = SharedFile(path, rotation=FileRotation(max_bytes=max_bytes), fs=FAST)
        return lambda: file.append(uuid7(), CONTENT, durability).id, file.close

    for moment, where, recorder in interruptions(
        write_to, nested=False, before=1, raises=raise_timed_out
    ):
        written = (tmp_path / str(moment)).iterdir()
        found = [entry.record.id for file in written for entry in read(file)]
        assert recorder.acknowledged <= set(found), where
        assert len(found) == len(set(found)), where


@pytest.mark.attack
@either
def test_the_first_record_may_be_interrupted_like_any_other(tmp_path: Path, nested: bool) -> None:
    def write_to(moment: int) -> Way:
        journal = Journal(tmp_path / str(moment), fs=FAST)
        return lambda: journal.append(uuid7(), CONTENT, RESOURCE).id, journal.close

    # Opening has a thousand moments: `make attack` tries all of them, every other run one in four.
    moments = count() if ATTACKING else count(SEED % 4, 4)
    for moment, where, recorder in interruptions(write_to, nested=nested, moments=moments):
        root = tmp_path / str(moment)
        assert recorder.acknowledged <= {entry.record.id for entry in read(root)}, where
        assert not any(map(first_misfit, folders(root))), where


def written_to(sink: EventSink) -> str:
    event = AgentEvent("custom")
    sink.write(event)
    return event.event_id


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize("max_bytes", [500, None], ids=["rotating", "whole"])
@either
def test_a_sink_of_lines_keeps_what_it_acknowledged_whatever_comes_between(
    tmp_path: Path, durability: Durability, max_bytes: int | None, nested: bool
) -> None:
    def write_to(moment: int) -> Way:
        path = tmp_path / str(moment) / "events.jsonl"
        sink = JSONLSink(path, durability, max_bytes=max_bytes)
        sink._file._fs = FAST
        log = AgentLogger(sink=sink, redact_payloads=False)
        return lambda: log.tool_call("search", {"query": "x"}).event_id, sink.close

    for moment, where, recorder in interruptions(write_to, nested=nested, before=1):
        written = (tmp_path / str(moment)).iterdir()
        found = [entry.record.id for file in written for entry in read(file)]
        assert recorder.acknowledged <= set(found), where
        assert len(found) == len(set(found)), where


@pytest.mark.parametrize("durability", LEVELS)
@pytest.mark.parametrize("max_bytes", [300, None], ids=["rotating", "whole"])
@either
def test_a_file_of_lines_keeps_what_it_acknowledged_whatever_comes_between(
    tmp_path: Path, durability: Durability, max_bytes: int | None, nested: bool
) -> None:
    def write_to(moment: int) -> Way:
        path = tmp_path / str(moment) / "events.jsonl"
        file = SharedFile(path, rotation=FileRotation(max_bytes=max_bytes), fs=FAST)
        return lambda: file.append(uuid7(), CONTENT, durability).id, file.close

    for moment, where, recorder in interruptions(write_to, nested=nested, before=1):
        written = (tmp_path / str(moment)).iterdir()
        found = [entry.record.id for file in written for entry in read(file)]
        assert recorder.acknowledged <= set(found), where
        assert len(found) == len(set(found)), where


@pytest.mark.parametrize("overflow", OverflowPolicy)
@either
def test_a_buffer_hands_over_what_it_took_whatever_comes_between(
    overflow: OverflowPolicy, nested: bool
) -> None:
    sinks: list[MemorySink] = []

    def write_to(_: int) -> Way:
        sinks.append(MemorySink())
        buffer = BufferedSink(sinks[-1], 100, overflow)
        return lambda: written_to(buffer), lambda: buffer.close(SECONDS)

    for _, where, recorder in interruptions(write_to, nested=nested, before=1):
        found = [event.event_id for event in sinks[-1].events]
        assert recorder.acknowledged <= set(found), where
        assert len(found) == len(set(found)), where


def test_a_handler_may_record_though_the_buffer_is_full_and_it_has_interrupted_its_thread() -> None:
    gate = threading.Event()

    class Stalled(MemorySink):
        def write(self, event: AgentEvent) -> None:
            assert gate.wait(SECONDS)
            super().write(event)

    for moment in count():
        gate.clear()
        sink = Stalled()
        buffer = BufferedSink(sink, 2)
        recorder = Recorder(partial(written_to, buffer))
        recorder.record()
        while buffer.size:  # it is with the destination
            time.sleep(0.001)
        interruption = Interruption(recorder.record, moment)

        def act(recorder: Recorder = recorder, interruption: Interruption = interruption) -> None:
            recorder.record()
            interruption.of(recorder.record)

        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        while len(recorder.acknowledged) < 3 + interruption.came and thread.is_alive():
            if buffer.size >= 2:  # one waits for room, which is right where it holds no lock
                gate.set()
            time.sleep(0.001)
        gate.set()
        thread.join(SECONDS)
        assert not thread.is_alive(), interruption.where
        assert buffer.close(SECONDS)
        assert {event.event_id for event in sink.events} == recorder.acknowledged
        if not interruption.came:
            return


@pytest.fixture(params=["journal", "file", "buffer"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventSink]:
    """Each kind of way to the disk."""
    if request.param != "journal":
        file = JSONLSink(tmp_path / "events.jsonl")
        yield file if request.param == "file" else BufferedSink(file)
        return
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(DurableLogRecordProcessor(None, directory=tmp_path / "j"))
    yield OTelSink(provider)
    provider.shutdown()


@either
def test_signals_of_the_system_may_come_at_any_time(
    tmp_path: Path, sink: EventSink, nested: bool
) -> None:
    log = AgentLogger(sink=sink)
    recorder = Recorder(lambda: log.user_message("hello").event_id)
    came = 0

    def handler(*_: object) -> None:
        nonlocal came
        came += 1
        if nested:
            recorder.record()
        else:
            raise Interrupted

    before = signal.signal(signal.SIGVTALRM, handler)
    try:
        deadline = time.monotonic() + SECONDS
        while came < 100 and time.monotonic() < deadline:
            next_one = came + 1
            with suppress(Interrupted):
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)
                while came < next_one:
                    recorder.record()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if isinstance(sink, BufferedSink):
        sink.close()

    path = tmp_path / "events.jsonl"
    found = {entry.record.id for entry in read(path if path.exists() else tmp_path / "j")}
    assert came >= 100
    assert recorder.acknowledged <= found


class OverdueError(Exception):
    """As Celery's ``SoftTimeLimitExceeded``."""


OVERDUE = [
    TimedOutError("late"),
    ConnectionResetError(errno.ECONNRESET, "late"),
    OverdueError("late"),
]


@pytest.mark.parametrize("error", OVERDUE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("on_error", ["log", "raise"])
@pytest.mark.parametrize("durability", [None, Durability.FSYNC])
def test_what_a_handler_raises_reaches_the_program(
    sink: EventSink, on_error: Any, durability: Durability | None, error: Exception
) -> None:
    log = AgentLogger(sink=sink, on_error=on_error)
    log.user_message("hello", durability=durability)

    def end_what_takes_too_long(*_: object) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, end_what_takes_too_long)
    try:
        for moment in count():
            interruption = Interruption(lambda: signal.raise_signal(signal.SIGUSR1), moment)
            raised = None
            try:
                interruption.of(lambda: log.user_message("hello", durability=durability))
            except Exception as found:
                raised = found
            if not interruption.came:
                break
            assert raised is error, interruption.where
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert moment > 10
    assert not log.refused


class Deadline:
    """Handlers of the kinds that programs have."""

    def method(self, *_: object) -> None:
        raise TimedOutError

    def __call__(self, *_: object) -> None:
        raise TimedOutError


def told_more(_more: str, *_: object) -> None:
    raise TimedOutError


HANDLERS = [
    Deadline(),
    Deadline().method,
    partial(partial(told_more), "more"),
    lambda *_: raise_timed_out(),
]


@pytest.mark.parametrize("handler", HANDLERS, ids=["object", "method", "partial", "lambda"])
def test_handlers_of_every_kind_are_known(handler: Callable[..., None]) -> None:
    class Late(MemorySink):
        def write(self, event: AgentEvent) -> None:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        log = AgentLogger(sink=Late(), on_error="log")
        with pytest.raises(TimedOutError):
            log.user_message("hello")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not log.refused


def test_a_time_out_of_a_sink_is_no_handlers() -> None:
    class Slow(MemorySink):
        def write(self, event: AgentEvent) -> None:
            raise TimeoutError("no answer")

    log = AgentLogger(sink=Slow(), on_error="log")

    log.user_message("hello")

    assert log.refused == {"SinkError": 1}


@either
def test_delivery_goes_on_whatever_comes_between(tmp_path: Path, nested: bool) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path, schedule_delay_millis=10)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(durable)
    sink = OTelSink(provider)

    def write_to(_: int) -> Way:
        # Each record wakes the thread that delivers.
        durable_delivery = durable._delivery
        assert durable_delivery is not None
        durable_delivery._wake_at = 0
        return lambda: written_to(sink), lambda: None

    acknowledged: set[str] = set()
    for _, _, recorder in interruptions(write_to, nested=nested):
        acknowledged |= recorder.acknowledged

    assert provider.force_flush(SECONDS * 1000)
    found = [
        (one.log_record.attributes or {})["log.record.uid"] for one in exporter.get_finished_logs()
    ]
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))
    provider.shutdown()


def unread() -> ForwardedEvent:
    raise AssertionError


@pytest.mark.parametrize("format_", [Lines, Document])
def test_a_sessions_files_are_whole_though_an_event_was_interrupted(
    tmp_path: Path, format_: type[Lines | Document]
) -> None:
    def write_to(moment: int) -> Way:
        files = SessionFiles(
            tmp_path / str(moment),
            uuid7(),
            DirectoryPattern("{session_id}"),
            FilePattern("%Y"),
            format_(),
            max_open=2,
            max_bytes=0,
        )

        lengths = iter([1, 2000, 1, 1, 1, 1])  # those that follow do not cover the one interrupted

        def write() -> str:
            record_id = uuid7()
            content = encode({"body": "x" * next(lengths)}, 1 << 20)
            files.append("s", record_id, content, unread)
            return record_id

        return write, files.close

    for moment, where, recorder in interruptions(write_to, nested=False, before=1):
        found: list[str] = []
        for file in (tmp_path / str(moment) / "s").iterdir():
            if format_ is Lines:
                assert all(map(json.loads, file.read_text().splitlines())), where
                found += [entry.record.id for entry in read(file)]
            elif text := file.read_text():
                found += [event["id"] for event in json.loads(text)["events"]]
        assert recorder.acknowledged <= set(found), where
        assert len(found) == len(set(found)), where
