"""Sinks: the named file that is set aside in time, several sinks at once, and logging."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import wakelog.sinks
from tests.support.faults import with_calls
from wakelog import (
    AgentEvent,
    AgentLogger,
    AsyncAgentLogger,
    AsyncEventSink,
    AsyncJSONLSink,
    ConfigurationError,
    Durability,
    EventSink,
    FanOutSink,
    JSONLSink,
    MemorySink,
    NullSink,
    SinkError,
    StructuredLoggingSink,
)
from wakelog.journal import _file_rotation, read
from wakelog.journal._file_rotation import FileRotation, rotated_files
from wakelog.journal._shared_file import SharedFile
from wakelog.runtime._filesystem import SYSTEM

LONG = 60.0


def named(name: object, **fields: Any) -> AgentEvent:
    return AgentEvent("custom", payload={"n": str(name)}, **fields)


def rotated(path: Path) -> list[Path]:
    return [old for old, _ in rotated_files(path)]


def names_in(*paths: Path) -> list[str]:
    return [e.record.attributes["wakelog.payload"]["n"] for p in paths for e in read(p)]


def everything(path: Path) -> list[str]:
    return names_in(*rotated(path), path)


# --- a file that is set aside -------------------------------------------------------------------


def test_a_file_never_grows_beyond_its_size_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JSONLSink(path, max_bytes=2000)

    for number in range(50):
        sink.write(named(number))

    files = [*rotated(path), path]
    assert len(files) > 5
    assert all(0 < file.stat().st_size <= 2000 for file in files)
    assert everything(path) == [str(n) for n in range(50)]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_a_batch_is_spread_over_files_as_single_events_are(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JSONLSink(path, max_bytes=2000)

    sink.write_many([named(n) for n in range(50)])

    assert all(0 < file.stat().st_size <= 2000 for file in [*rotated(path), path])
    assert everything(path) == [str(n) for n in range(50)]


def test_a_line_that_is_larger_than_a_file_may_be_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JSONLSink(path, max_bytes=100)

    sink.write(named("a"))
    sink.write_many([named("b"), named("c")])

    assert [names_in(file) for file in [*rotated(path), path]] == [["a"], ["b"], ["c"]]


class Clock:
    """Replaces the wall clock of files that are set aside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: str) -> None:
        self.set(now)
        for module in ("_file_rotation", "_shared_file"):
            proxy = type(
                "time", (), {"time": self, "monotonic": time.monotonic, "sleep": time.sleep}
            )
            monkeypatch.setattr(f"wakelog.journal.{module}.time", proxy)

    def set(self, now: str) -> None:
        self.now = datetime.fromisoformat(now).timestamp()

    def __call__(self) -> float:
        return self.now


def test_an_old_file_is_rotated_also_by_a_program_that_was_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    clock = Clock(monkeypatch, "2026-11-21T12:00:00")

    def write(name: str) -> None:
        with JSONLSink(path, max_age=3600) as sink:
            sink.write(named(name, time_unix_nano=int(clock.now * 1e9)))

    write("a")
    clock.set("2026-11-21T12:59:59")
    write("b")
    clock.set("2026-11-21T13:00:00")
    write("c")

    [old] = rotated(path)
    assert (names_in(old), names_in(path)) == (["a", "b"], ["c"])


def test_each_day_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    clock = Clock(monkeypatch, "2026-11-21T23:59:59")
    sink = JSONLSink(path, at_midnight=True)

    for now in ("2026-11-21T23:59:59.9", "2026-11-22T00:00:00", "2026-11-25T12:00:00"):
        clock.set(now)
        sink.write(named(now[8:10], time_unix_nano=int(clock.now * 1e9)))

    assert [names_in(f) for f in [*rotated(path), path]] == [["21"], ["22"], ["25"]]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"])
def test_the_day_ends_at_local_midnight_also_when_the_clocks_change(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for day in ("2026-03-29", "2026-10-25", "2026-11-01", "2026-12-31"):
            begun = datetime.fromisoformat(f"{day}T10:00:00").timestamp()
            due = datetime.fromtimestamp(FileRotation(at_midnight=True).ends_at(begun) or 0.0)
            assert (due.hour, due.minute) == (0, 0)
            assert (due - datetime.fromisoformat(day)).days == 1
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_empty_file_is_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    clock = Clock(monkeypatch, "2026-11-21T12:00:00")
    sink = JSONLSink(path, max_age=60)

    clock.set("2026-11-21T14:00:00")
    sink.write(named("a"))

    assert rotated(path) == []


def test_a_file_of_others_lines_is_rotated_by_the_time_of_its_last_change(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("a line of somebody else's\n")
    os.utime(path, (1, 1))

    JSONLSink(path, max_age=60).write(named("a"))

    [old] = rotated(path)
    assert old.read_text() == "a line of somebody else's\n"


# --- what is kept --------------------------------------------------------------------------------


def test_only_so_many_files_are_kept_and_nothing_but_ours_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    others = [
        "events.jsonl.1",
        "events.20260101T000000.jsonl",
        "xevents.20260101T000000.000000Z.jsonl",
    ]
    for name in others:
        (tmp_path / name).write_text("not ours\n")
    sink = JSONLSink(path, max_bytes=500, keep_files=2)

    for number in range(20):
        sink.write(named(number))

    assert len(rotated(path)) == 2
    kept = everything(path)
    assert kept == [str(n) for n in range(20)][-len(kept) :]
    assert all((tmp_path / name).exists() for name in others)


def test_only_so_many_bytes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JSONLSink(path, max_bytes=1000, keep_bytes=3000)

    for number in range(100):
        sink.write(named(number))

    sizes = [old.stat().st_size for old in rotated(path)]
    assert 2000 < sum(sizes) <= 3000


def test_what_is_too_old_is_deleted_when_the_sink_is_made(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    ages = {"20260101T000000.000000Z": False, f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}": True}
    for stamp in ages:
        (tmp_path / f"events.{stamp}.jsonl").write_text("old\n")

    JSONLSink(path, max_bytes=1000, keep_age=3600)

    assert {s: (tmp_path / f"events.{s}.jsonl").exists() for s in ages} == ages


def test_a_file_that_somebody_still_writes_to_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    slow, busy = JSONLSink(path), JSONLSink(path, max_bytes=300, keep_files=0)
    busy.write(named("a"))
    slow._file._check_at = float("inf")  # it has just looked, and not again within the second
    busy.write(named("b"))  # rotates the file that the first sink still holds

    slow.write(named("c"))

    [held] = rotated(path)
    assert names_in(held) == ["a", "c"]
    slow.close()
    busy.write(named("d"))
    assert rotated(path) == []


@pytest.mark.parametrize(
    "options",
    [
        {"max_bytes": 0},
        {"max_age": -1},
        {"max_bytes": 1, "keep_files": -1},
        {"max_bytes": 1, "keep_age": 0},
        {"keep_files": 3},
    ],
)
def test_a_number_that_cannot_be_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        JSONLSink(tmp_path / "events.jsonl", **options)
    with pytest.raises(ConfigurationError):
        AsyncJSONLSink(tmp_path / "events.jsonl", **options)


# --- faults --------------------------------------------------------------------------------------


def test_an_event_does_not_pay_for_a_file_that_cannot_be_rotated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    file = SharedFile(
        path, rotation=FileRotation(max_bytes=300), fs=with_calls(SYSTEM, rename=refuse)
    )
    for number in range(5):
        file.append(str(number), b"", Durability.OS_BUFFERED)
    file.append_many([(str(n), b"") for n in range(5)], Durability.OS_BUFFERED)

    assert len(list(read(path))) == 10
    assert rotated(path) == []
    assert [r.message for r in caplog.records] == [
        f"cannot rotate {path}, it grows on: [Errno 13] Permission denied"
    ]


def test_a_sync_reaches_the_lines_of_a_file_that_was_rotated_before_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    synced: list[int] = []

    def fdatasync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        SYSTEM.fdatasync(fd)

    file = SharedFile(
        path, rotation=FileRotation(max_bytes=200), fs=with_calls(SYSTEM, fdatasync=fdatasync)
    )
    for number in range(4):  # as asyncio tasks do, whose waiting begins later
        file.write(str(number), b',"x":"' + b"x" * 60 + b'"', Durability.FSYNC)
    inodes = {p.stat().st_ino for p in (*rotated(path), path)}
    file.commit_written()

    assert len(inodes) == 4
    assert set(synced) == inodes
    file.close()


def test_a_sync_reaches_the_lines_of_a_file_that_was_renamed_by_others(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    synced: list[int] = []

    def fdatasync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)

    file = SharedFile(path, fs=with_calls(SYSTEM, fdatasync=fdatasync))
    file.write("1", b"", Durability.FSYNC)
    path.rename(tmp_path / "renamed")
    file._check_at = 0.0
    file.write("2", b"", Durability.FSYNC)
    file.commit_written()

    assert set(synced) == {p.stat().st_ino for p in (tmp_path / "renamed", path)}


@pytest.mark.parametrize("room", [0, 1, 50, 150, 151, 300, 452, 453, 604])
def test_of_a_batch_that_a_full_disk_cuts_short_the_whole_lines_are_accepted(
    room: int, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    cut = [True]

    def write(fd: int, data: bytes) -> int:
        if not cut.pop() if cut else True:
            return os.write(fd, data)
        if room == 0:
            raise OSError(28, "No space left on device")
        return os.write(fd, data[:room])

    file = SharedFile(path, fs=with_calls(SYSTEM, write=write))

    receipts, refusal = file.append_many([(str(n), b"") for n in range(4)], Durability.OS_BUFFERED)
    later = file.append("later", b"", Durability.OS_BUFFERED)

    accepted = [str(n) for n in range(len(receipts))]
    assert [receipt.id for receipt in receipts] == accepted
    assert (refusal is None) == (len(receipts) == 4)
    assert later.seq == len(receipts) + 1
    assert [entry.record.id for entry in read(path)] == [*accepted, "later"]


def test_of_a_batch_whose_sync_fails_nothing_is_accepted(tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    file = SharedFile(tmp_path / "events.jsonl", fs=with_calls(SYSTEM, fdatasync=fail))

    receipts, refusal = file.append_many([("1", b""), ("2", b"")], Durability.FSYNC)

    assert receipts == []
    assert "Input/output error" in str(refusal)


def test_a_batch_is_few_system_calls(tmp_path: Path) -> None:
    calls: list[str] = []

    def counted(name: str) -> Any:
        def call(*arguments: Any) -> Any:
            calls.append(name)
            return getattr(SYSTEM, name)(*arguments)

        return call

    fs = with_calls(SYSTEM, write=counted("write"), fdatasync=counted("fdatasync"))
    sink = JSONLSink(tmp_path / "events.jsonl", Durability.FSYNC)
    sink._file._fs = fs

    sink.write_many([named(n) for n in range(500)])

    assert calls == ["write", "fdatasync"]


# --- several processes ----------------------------------------------------------------------------

EACH = 400


def _write_and_rotate(path: str, who: str, options: dict[str, Any]) -> None:
    sink = JSONLSink(path, **options)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: sink.write(named(f"{who}{n}")), range(EACH // 2)))
        batches = [
            [named(f"{who}{n}") for n in range(b, b + 20)] for b in range(EACH // 2, EACH, 20)
        ]
        assert not any(pool.map(sink.write_many, batches))


FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@FORKS
@pytest.mark.parametrize(
    "options", [{"max_bytes": 3000}, {"max_bytes": 3000, "keep_files": 10_000}]
)
def test_processes_that_rotate_a_shared_file_lose_and_double_nothing(
    options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_write_and_rotate, args=(str(path), who, options)) for who in "abc"
    ]

    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    files = [*rotated(path), path]
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    found = everything(path)
    assert len(files) > 20
    assert len(lines) == len(found)
    assert sorted(found) == sorted(f"{who}{n}" for who in "abc" for n in range(EACH))


@FORKS
def test_processes_that_keep_little_delete_only_the_oldest_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("fork")
    options: dict[str, Any] = {"max_bytes": 3000, "keep_files": 3}
    processes = [
        context.Process(target=_write_and_rotate, args=(str(path), who, options)) for who in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]

    JSONLSink(path, **options)  # by now nobody else writes

    assert len(rotated(path)) <= 3
    by_writer = defaultdict(list)
    for file in [*rotated(path), path]:
        for entry in read(file):
            by_writer[entry.writer].append(entry.record.seq)
    for numbers in by_writer.values():
        assert len(set(numbers)) == len(numbers)
    assert max(max(numbers) for numbers in by_writer.values()) == EACH


def test_the_time_of_a_rotation_is_never_given_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    times = iter([1.0, 1.0, 1.0, 2.0])
    monkeypatch.setattr(_file_rotation, "time", type("time", (), {"time": lambda: next(times)}))
    for name in "ab":
        path.write_text(name)
        with path.open() as file:
            _file_rotation.rotate(path, _file_rotation.identity(file.fileno()))

    assert [old.read_text() for old in rotated(path)] == ["a", "b"]


def test_while_a_file_is_renamed_nobody_else_renames_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("a")
    directory = os.open(tmp_path, os.O_RDONLY)
    renamed = []

    def rename(*names: Any) -> None:
        with pytest.raises(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        renamed.append(names)

    with path.open() as file:
        _file_rotation.rotate(
            path, _file_rotation.identity(file.fileno()), with_calls(SYSTEM, rename=rename)
        )

    assert len(renamed) == 1
    os.close(directory)


def test_a_file_that_is_just_being_deleted_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("old\n")
    deleting = os.open(path, os.O_RDONLY)
    fcntl.flock(deleting, fcntl.LOCK_EX)
    opened = 0

    def open_(*arguments: Any) -> int:
        nonlocal opened
        opened += 1
        if opened == 3:
            path.unlink()
        return os.open(*arguments)

    file = SharedFile(path, fs=with_calls(SYSTEM, open=open_))
    file.append("1", b"", Durability.OS_BUFFERED)
    os.close(deleting)

    assert opened == 3
    assert [entry.record.id for entry in read(path)] == ["1"]


# --- several sinks at once ------------------------------------------------------------------------


class Refusing:
    def write(self, event: AgentEvent) -> None:
        raise OSError("no")

    def flush(self) -> None:
        raise OSError("no flush")

    def close(self) -> None:
        raise OSError("no close")


def test_each_sink_gets_the_event_and_one_that_fails_keeps_it_from_nobody(tmp_path: Path) -> None:
    first, last = MemorySink(), MemorySink()
    file = JSONLSink(tmp_path / "events.jsonl")
    sink = FanOutSink(first, Refusing(), file, last)
    event = named("a")

    with pytest.raises(
        SinkError, match="1 of 4 sinks did not accept the event: Refusing: OSError: no"
    ):
        sink.write(event)
    with pytest.raises(SinkError, match="1 of 4 sinks could not be flushed"):
        sink.flush()
    with pytest.raises(SinkError, match="1 of 4 sinks could not be closed"):
        sink.close()

    assert first.events == last.events == [event]
    assert names_in(file.path) == ["a"]
    assert event.receipt is not None
    with pytest.raises(SinkError):
        file.write(named("b"))


def test_a_sink_that_has_to_be_awaited_is_named_and_not_left_waiting() -> None:
    class Waits:
        async def write(self, event: AgentEvent) -> None:
            raise AssertionError

    with pytest.raises(SinkError, match="Waits: TypeError: its write has to be awaited"):
        FanOutSink(Waits(), MemorySink()).write(named("a"))


def test_an_async_logger_waits_for_every_disk(tmp_path: Path) -> None:
    files = [JSONLSink(tmp_path / name, Durability.FSYNC) for name in "ab"]
    synced: list[int] = []

    def fdatasync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)

    for file in files:
        file._file._fs = with_calls(SYSTEM, fdatasync=fdatasync)

    event = asyncio.run(_say(AsyncAgentLogger(sink=FanOutSink(*files))))

    assert sorted(synced) == sorted(file.path.stat().st_ino for file in files)
    assert event.receipt is not None


async def _say(log: AsyncAgentLogger) -> AgentEvent:
    return await log.user_message("hi")


# --- logging -------------------------------------------------------------------------------------


def test_an_event_becomes_a_log_record_with_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "audit")
    log = AgentLogger(sink=StructuredLoggingSink(logging.getLogger("audit")))

    with log.run() as run_id:
        event = log.decision("refund", requires_human_review=True)
        log.error("boom")
        log.usage_limit_exceeded("tokens", 10, 11)

    said = caplog.records[1]
    assert (said.getMessage(), said.name) == ("agent_event", "audit")
    assert said.__dict__["agent_event"] == event.to_dict()
    assert json.dumps(said.__dict__["agent_event"])
    assert said.__dict__["event_id"] == event.event_id
    assert (said.__dict__["run_id"], said.__dict__["event_type"]) == (run_id, "decision")
    assert [r.levelname for r in caplog.records] == ["INFO", "INFO", "ERROR", "WARNING", "INFO"]


def test_the_level_can_be_given_and_a_logger_may_leave_events_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "audit")

    for level in (logging.DEBUG, logging.CRITICAL):
        StructuredLoggingSink(logging.getLogger("audit"), level).write(named("a"))

    assert [record.levelname for record in caplog.records] == ["CRITICAL"]


def test_what_logging_raises_is_a_sink_error() -> None:
    logger = logging.getLogger("audit.broken")
    logger.setLevel(logging.INFO)
    logger.addFilter(lambda _: bool(1 // 0))

    with pytest.raises(SinkError, match=r"'audit\.broken' raised ZeroDivisionError"):
        StructuredLoggingSink(logger).write(named("a"))


# --- all of them ----------------------------------------------------------------------------------


def test_every_sink_is_one_and_can_be_flushed_and_closed_twice(tmp_path: Path) -> None:
    sinks: list[Any] = [NullSink(), MemorySink(), JSONLSink(tmp_path / "a"), FanOutSink()]
    assert all(isinstance(sink, EventSink) for sink in sinks)
    for sink in sinks * 2:
        sink.flush()
        sink.close()
    assert isinstance(AsyncJSONLSink(tmp_path / "b"), AsyncEventSink)
    assert isinstance(StructuredLoggingSink(), EventSink)


def test_the_packages_names_are_the_sinks() -> None:
    assert sorted(wakelog.sinks.__all__) == wakelog.sinks.__all__
    for name in wakelog.sinks.__all__:
        assert getattr(wakelog, name) is getattr(wakelog.sinks, name)


def test_the_async_file_takes_what_the_file_takes() -> None:
    ours = inspect.signature(AsyncJSONLSink.__init__).parameters

    assert ours == inspect.signature(JSONLSink.__init__).parameters


def test_importing_the_sinks_loads_neither_opentelemetrys_sdk_nor_asyncios_loops() -> None:
    code = "import sys, wakelog.sinks; print([m for m in sys.modules if m.startswith('opentelemetry')])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_many_threads_and_one_file_that_is_rotated_all_the_time(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JSONLSink(path, Durability.PERIODIC, max_bytes=1000)

    def write(who: str) -> None:
        for number in range(100):
            sink.write(named(f"{who}{number}"))

    threads = [threading.Thread(target=write, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sink.close()

    assert sorted(everything(path)) == sorted(f"{w}{n}" for w in "abcd" for n in range(100))
