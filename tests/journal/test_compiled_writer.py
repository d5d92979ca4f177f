"""The compiled writer does what ``Writer.write`` does, whatever the file system answers."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wakelog._native import native
from wakelog.errors import JournalError
from wakelog.journal import Durability, Folder, Journal, Observer, Rotation, Writer, first_misfit
from wakelog.journal._writer import line_writer, write_line
from wakelog.record import Resource, encode
from wakelog.runtime import FileSystem
from wakelog.storage import Unsynced

pytestmark = pytest.mark.skipif(native is None, reason="wakelog-native is not used")
RESOURCE, ID = Resource({"service.name": "tests"}), "01a1fc74-cf13-7f51-9dc4-fd6f11066fc1"
COUNTS = ("_epoch", "_seq", "_crc", "_offset", "_beside", "_segment", "_written", "_granted")
FLAGS = ("_sync_wanted", "_sync_alone", "_closed", "_saving", "_distrusted", "_tick_due")
Write = Callable[..., int]
Outcome = Callable[["Disk", bytes], int]
both = pytest.mark.parametrize("write", [Writer.write, write_line], ids=["python", "compiled"])


class Disk:
    """A file system whose next writes have given outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.fd = -1
        self.record: Callable[[], object] = list

    def write(self, fd: int, data: bytes) -> int:
        self.fd = fd
        return self.outcomes.pop(0)(self, data) if self.outcomes else os.write(fd, data)


def whole(disk: Disk, data: bytes) -> int:
    return os.write(disk.fd, data)


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
        whole(disk, data)
        raise error

    return fail


def recording(disk: Disk, data: bytes) -> int:
    """Record another line like a signal handler, once the line is written."""
    size = whole(disk, data)
    disk.record()
    return size


def ending(disk: Disk, data: bytes) -> int:
    """Write a part, and record another line: it goes into a new segment."""
    size = short(disk, data)
    disk.record()
    return size


OUTCOMES: dict[str, list[Outcome]] = {
    "whole": [],
    "short": [short],
    "short twice": [short, short],
    "nothing, then whole": [nothing],
    "full": [failing(errno.ENOSPC)],
    "broken": [failing(errno.EIO)],
    "short, then full": [short, failing(errno.ENOSPC)],
    "short, then broken": [short, failing(errno.EIO)],
    "interrupted": [after(KeyboardInterrupt())],
    "timed out": [after(TimeoutError("a handler's"))],
    "records": [recording],
    "records, then full": [recording, whole, failing(errno.ENOSPC)],
    "records after a part": [ending],
}


def state_of(writer: Writer) -> dict[str, Any]:
    waiting = [(type(line), *line) for line in writer._unsynced]
    return {name: getattr(writer, name) for name in (*COUNTS, *FLAGS)} | {"_unsynced": waiting}


def content(number: int, size: int = 20) -> bytes:
    return encode({"body": f"{number}:" + "x" * size}, 1 << 20)


def compiled_with(other: Write) -> Any:
    """Return a compiled writer that leaves all but ordinary lines to a function."""
    durabilities = Durability.FSYNC, Durability.PERIODIC
    return type(line_writer)(other, *durabilities, 16, time.monotonic, Unsynced)


def played(write: Write, root: Path, outcomes: list[Outcome], counted: bool, level: Durability) -> tuple[Any, ...]:  # fmt: skip
    """Write lines, one of them with given outcomes, and return what came of it."""
    disk = Disk()
    fs = FileSystem(write=disk.write)
    root.mkdir()
    writer = Writer(Folder.create(root, ID), segment_bytes=1 << 20, fs=fs, clock=lambda: 1e9)
    writer._tick_at = math.inf  # so that it is not due in one of the two alone
    said: list[object] = []

    def one(number: int, counted: bool = True) -> None:
        try:
            said.append(write(writer, f"id-{number}", content(number), RESOURCE, level, counted))
        except (JournalError, TimeoutError, KeyboardInterrupt) as error:
            said.append((type(error), str(error).replace(str(root), ""), type(error.__cause__)))

    disk.record = lambda: one(99)
    for number in range(3):
        one(number)
    disk.outcomes = [*outcomes]
    one(3, counted)
    state = state_of(writer)
    for number in range(4, 7):
        one(number, counted=number != 5)
    files = {file.name: file.read_bytes() for file in sorted(writer.folder.path.glob("*.jsonl"))}
    faults = first_misfit(writer.folder.path)
    last = state_of(writer)
    writer.close()
    return said, state, last, files, faults is None


@pytest.mark.parametrize("level", list(Durability))
@pytest.mark.parametrize("counted", [True, False], ids=["counted", "uncounted"])
@pytest.mark.parametrize("name", OUTCOMES)
def test_both_end_in_the_same_state_with_the_same_files(
    tmp_path: Path, name: str, counted: bool, level: Durability
) -> None:
    python = played(Writer.write, tmp_path / "python", OUTCOMES[name], counted, level)
    compiled = played(write_line, tmp_path / "compiled", OUTCOMES[name], counted, level)

    assert compiled == python


def test_ordinary_lines_are_written_without_code_of_python(tmp_path: Path) -> None:
    def never(*_: object) -> int:
        raise AssertionError

    writer = Writer(Folder.create(tmp_path, ID), segment_bytes=1 << 20)
    assert write_line(writer, "a", content(1), RESOURCE, Durability.PERIODIC, True) == 1
    other = compiled_with(never)
    for seq in range(1, 40):
        level = list(Durability)[seq % 4]
        assert other.write(writer, "a", content(seq), RESOURCE, level, False) == seq
        assert other.write(writer, "a", content(seq), RESOURCE, level, True) == seq + 1
    with pytest.raises(AssertionError):
        other.write(writer, "a", content(1), Resource({"b": 1}), Durability.OS_BUFFERED, True)
    writer.close()
    with pytest.raises(AssertionError):
        other.write(writer, "a", content(1), RESOURCE, Durability.OS_BUFFERED, True)


def test_lines_of_a_segment_with_a_last_moment_are_ordinary_until_then(tmp_path: Path) -> None:
    def never(*_: object) -> int:
        raise AssertionError

    rotation = Rotation(1 << 20, at_midnight=True)
    writer = Writer(Folder.create(tmp_path, ID), segment_bytes=1 << 20, rotation=rotation)
    assert write_line(writer, "a", content(1), RESOURCE, Durability.OS_BUFFERED, True) == 1
    other = compiled_with(never)
    now = time.time()
    writer._began, writer._ends = now - 3600, now + 3600  # not in the minute before midnight
    assert other.write(writer, "a", content(2), RESOURCE, Durability.OS_BUFFERED, True) == 2
    for began, ends in ((now - 7200, now - 3600), (now + 3600, now + 7200)):  # a clock set back
        writer._began, writer._ends = began, ends
        with pytest.raises(AssertionError):
            other.write(writer, "a", content(3), RESOURCE, Durability.OS_BUFFERED, True)
    writer._began, writer._ends, writer._clock = now - 3600, now + 3600, lambda: now
    with pytest.raises(AssertionError):  # such a clock may run code of Python
        other.write(writer, "a", content(3), RESOURCE, Durability.OS_BUFFERED, True)
    writer.close()


@pytest.mark.parametrize("age", [None, 60.0])
@both
def test_limits_observers_and_ticks_hold(tmp_path: Path, write: Write, age: float | None) -> None:
    now, granted = [1e9], []
    ticks: list[bool] = []
    took: list[float] = []
    observer = Observer(wrote=took.append, synced=took.append, committed=took.append)

    def grant(size: int) -> int:
        granted.append(size)
        return 2000

    writer = Writer(
        Folder.create(tmp_path, ID),
        segment_bytes=2000,
        rotation=Rotation(2000, max_age=age),
        grant=grant,
        tick=ticks.append,
        clock=lambda: now[0],
        observer=observer,
    )
    for number in range(64):
        if number == 32:
            now[0] += 61
        assert write(writer, "a", content(number), RESOURCE, Durability.OS_BUFFERED, True)

    assert len(took) == 4
    assert len(granted) > 2
    assert ticks.count(True) == len(list(writer.folder.path.glob("*.jsonl"))) > 2
    assert first_misfit(writer.folder.path) is None
    assert writer.seq == 64
    writer.close()


@both
def test_a_writer_whose_folder_is_deleted_ends(tmp_path: Path, write: Write) -> None:
    writer = Writer(Folder.create(tmp_path, ID), segment_bytes=1 << 20)
    assert write(writer, "a", content(1), RESOURCE, Durability.OS_BUFFERED, True) == 1
    for file in writer.folder.path.iterdir():
        file.unlink()
    writer.folder.path.rmdir()
    writer._tick_at = 0.0  # a second later

    with pytest.raises(JournalError):
        write(writer, "a", content(2), RESOURCE, Durability.OS_BUFFERED, True)
    assert write(writer, "a", content(3), RESOURCE, Durability.OS_BUFFERED, True) == 0


def test_a_full_disk_refuses_a_record_and_the_next_one_follows_the_last(tmp_path: Path) -> None:
    disk = Disk()
    journal = Journal(tmp_path, fs=FileSystem(write=disk.write))
    journal.append("a", content(1), RESOURCE)
    disk.outcomes = [failing(errno.ENOSPC)]

    with pytest.raises(JournalError):
        journal.append("b", content(2), RESOURCE)
    assert journal.append("c", content(3), RESOURCE).seq == 2
    journal.close()
