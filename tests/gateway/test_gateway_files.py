"""The gateway's files: how many, how they go on after failures, and what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.appending import in_place_of_the_system
from tests.support.faults import with_calls
from tests.support.session_files import lines_of, log_all
from wakelog.gateway import EventSessionLogger, LocalLoggingError
from wakelog.journal import Entry, read
from wakelog.runtime import FileSystem
from wakelog.runtime._filesystem import SYSTEM


def test_few_files_are_open_however_many_sessions_are_alive(tmp_path: Path) -> None:
    sessions = 300
    logger = EventSessionLogger(tmp_path, max_open_files=8)

    async def run() -> None:
        for n in range(3):
            for session in range(sessions):
                await logger({"session_id": f"s{session}", "n": n})
                assert logger.stats().open_files <= 8
        await logger.close()
        assert logger.stats().open_files == 0

    asyncio.run(run())

    for session in range(sessions):
        (file,) = (tmp_path / f"s{session}").glob("*.jsonl")
        assert [json.loads(line)["event"]["n"] for line in file.read_bytes().splitlines()] == [
            0,
            1,
            2,
        ]


def test_a_session_goes_on_in_another_file_when_one_is_full(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, max_file_bytes=1000)
    log_all(logger, *({"session_id": "s", "n": n} for n in range(20)))

    files = list((tmp_path / "s").glob("*.jsonl"))
    assert len(files) > 3
    assert all(file.stat().st_size < 1500 for file in files)
    assert sorted(line["event"]["n"] for line in lines_of(tmp_path / "s")) == list(range(20))


def test_a_file_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, max_open_files=1)

    async def run() -> None:
        await logger({"session_id": "s", "n": 1})
        path = logger.get_log_file_path("s")
        assert path is not None
        path.unlink()
        path.parent.rmdir()
        await logger({"session_id": "other"})  # so that the first one is closed
        await logger({"session_id": "s", "n": 2})
        await logger.close()

    asyncio.run(run())

    assert [line["event"]["n"] for line in lines_of(tmp_path / "s")] == [2]


def test_two_loggers_of_one_second_do_not_share_a_file(tmp_path: Path) -> None:
    pattern = "always-the-same"
    for n in range(3):
        logger = EventSessionLogger(tmp_path, file_naming_pattern=pattern)
        log_all(logger, {"session_id": "s", "n": n})

    assert {file.name for file in (tmp_path / "s").iterdir()} == {
        "always-the-same.jsonl",
        "always-the-same-2.jsonl",
        "always-the-same-3.jsonl",
    }


@pytest.mark.parametrize("durability", ["os_buffered", "flush", "periodic", "fsync"])
def test_every_durability_keeps_every_event(tmp_path: Path, durability: str) -> None:
    logger = EventSessionLogger(tmp_path, durability=durability, max_open_files=2)

    async def run() -> None:
        async with logger:
            await asyncio.gather(*(logger({"session_id": f"s{n % 5}", "n": n}) for n in range(100)))

    asyncio.run(run())

    found = [line["event"]["n"] for k in range(5) for line in lines_of(tmp_path / f"s{k}")]
    assert sorted(found) == list(range(100))


@pytest.mark.parametrize("log_format", ["jsonl", "json"])
def test_after_a_failed_sync_the_event_goes_into_another_file_and_is_forwarded(
    tmp_path: Path, log_format: str
) -> None:
    got: list[int] = []
    logger = EventSessionLogger(
        tmp_path, lambda event: got.append(event["n"]), durability="fsync", log_format=log_format
    )

    async def run() -> None:
        await logger({"session_id": "s", "n": 1})
        before = logger.get_log_file_path("s")
        with in_place_of_the_system(failing_syncs(1)):
            await logger({"session_id": "s", "n": 2})
        await logger({"session_id": "s", "n": 3})
        after = logger.get_log_file_path("s")
        assert numbers_in(before) == [1, 2]
        assert numbers_in(after) == [2, 3]
        assert await logger.flush()
        # What was written twice is sent twice, and counted so.
        assert list(dict.fromkeys(got)) == [1, 2, 3]
        stats = logger.stats()
        assert (stats.logged, stats.forwarded, stats.pending) == (3, len(got), 0)
        await logger.close()

    asyncio.run(run())


def test_a_sync_that_fails_again_is_told_and_its_files_are_not_used_again(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, durability="fsync")

    async def run() -> None:
        await logger({"session_id": "s", "n": 1})
        before = logger.get_log_file_path("s")
        with (
            in_place_of_the_system(failing_syncs(2)),
            pytest.raises(LocalLoggingError, match="sync"),
        ):
            await logger({"session_id": "s", "n": 2})
        await logger({"session_id": "s", "n": 3})
        assert logger.get_log_file_path("s") != before
        assert numbers_in(logger.get_log_file_path("s")) == [3]
        await logger.close()

    asyncio.run(run())


def failing_syncs(count: int) -> FileSystem:
    """Return a file system on which the next syncs fail."""
    left, real = [5] * count, SYSTEM.fdatasync

    def fdatasync(descriptor: int) -> None:
        if left:
            raise OSError(left.pop(), "Input/output error")
        real(descriptor)

    return with_calls(SYSTEM, fdatasync=fdatasync)


def numbers_in(path: Path) -> list[int]:
    return [body_of(entry)["n"] for entry in read(path)]


def body_of(entry: Entry) -> dict[str, Any]:
    assert isinstance(entry.record.body, dict)
    return entry.record.body


@pytest.mark.parametrize("log_format", ["jsonl", "json"])
def test_a_write_that_the_disk_takes_in_part_never_joins_two_events(
    tmp_path: Path, log_format: str
) -> None:
    logger = EventSessionLogger(tmp_path, log_format=log_format)
    calls = 0

    def short(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            return os.write(descriptor, data[:20])
        if calls == 4:
            raise OSError(28, "No space left on device")
        return os.write(descriptor, data)

    async def run() -> list[bool]:
        told = []
        for n in range(5):
            try:
                told.append(await logger({"session_id": "s", "n": n}))
            except LocalLoggingError:
                told.append(False)
        await logger.close()
        return told

    with in_place_of_the_system(with_calls(SYSTEM, write=short)):
        assert asyncio.run(run()) == [True, True, False, True, True]
    files = list((tmp_path / "s").glob(f"*.{log_format}"))
    assert len(files) == 2
    if log_format == "json":
        assert all(json.loads(file.read_bytes())["events"] for file in files)
    bodies: list[Any] = [entry.record.body for file in files for entry in read(file)]
    assert sorted(body["n"] for body in bodies) == [0, 1, 3, 4]


KILLED = """
import asyncio, os, signal, sys
from wakelog.gateway import EventSessionLogger
from wakelog.runtime import FileSystem
from wakelog.runtime._filesystem import SYSTEM
from tests.support.faults import with_calls
async def run():
    logger = EventSessionLogger(sys.argv[1], log_format=sys.argv[2])
    for n in range(20):
        await logger({"session_id": "s", "n": n})
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(run())
"""


@pytest.mark.parametrize("log_format", ["jsonl", "json"])
def test_files_are_whole_after_a_kill(tmp_path: Path, log_format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), log_format], check=False, timeout=60
    )
    assert done.returncode == -9

    (file,) = (tmp_path / "s").glob(f"*.{log_format}")
    if log_format == "json":
        document = json.loads(file.read_bytes())
        assert "closed" not in document
        events = [line["event"] for line in document["events"]]
    else:
        events = [line["event"] for line in lines_of(tmp_path / "s")]
    assert [event["n"] for event in events] == list(range(20))
    bodies: list[Any] = [entry.record.body for entry in read(file)]
    assert [body["n"] for body in bodies] == list(range(20))


def test_a_json_document_is_complete_at_close_and_at_every_moment_before(tmp_path: Path) -> None:
    logger = EventSessionLogger(tmp_path, log_format="json", max_open_files=1)

    async def run() -> None:
        for n in range(5):
            await logger({"session_id": "s", "n": n})
            await logger({"session_id": "other", "n": n})
            path = logger.get_log_file_path("s")
            assert path is not None
            assert len(json.loads(path.read_bytes())["events"]) == n + 1
        await logger.close()

    asyncio.run(run())

    (file,) = (tmp_path / "s").glob("*.json")
    document = json.loads(file.read_bytes())
    assert document["closed"] is True
    assert document["session_id"] == "s"
