"""Session streams and their files: a full disk, deleted and damaged segments, and what is kept."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.session_streams import (
    SECONDS,
    Program,
    program,
    run,
    streams,
    take,
    text_of,
    write,
)
from wakelog.errors import SinkError
from wakelog.journal import Journal, books
from wakelog.runtime._filesystem import FileSystem
from wakelog.streams import SessionStreams, _streams
from wakelog.streams import _lane as lane_module

__all__ = ["program", "streams"]


def test_a_write_waits_for_the_disk_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fdatasync(fd: int) -> None:
        synced.append(fd)

    monkeypatch.setattr(
        _streams,
        "open_journal",
        lambda path, level: Journal(path, durability=level, fs=FileSystem(fdatasync=fdatasync)),
    )

    with SessionStreams(tmp_path, durability="fsync") as streams:
        for count in range(1, 4):
            streams.write("s", "x")
            assert len(synced) == count


def test_a_full_disk_refuses_chunks_and_those_that_come_later_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 10_000

    def write_some(fd: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, data[:left])
        left -= written
        return written

    monkeypatch.setattr(
        _streams,
        "open_journal",
        lambda path, level: Journal(path, fs=FileSystem(write=write_some)),
    )

    async def session() -> None:
        nonlocal left
        with SessionStreams(tmp_path) as streams:
            written = []
            reader = streams.read("s")
            for number in range(60):
                try:
                    streams.write("s", f"{number} " + "x" * 300)
                except SinkError:
                    left = 2_000
                else:
                    written.append(number)
            assert 40 < len(written) < 60
            heard = await take(reader, len(written))
            assert [int(chunk.text.split()[0]) for chunk in heard] == written
            for from_memory in (True, False):
                if not from_memory:
                    for lane in streams.lanes.by_writer.values():
                        lane.forget("s")
                again = streams.read("s", from_start=True, idle_timeout=0)
                assert [int(chunk.text.split()[0]) async for chunk in again] == written

    run(session())


def test_a_directory_that_somebody_deletes_is_begun_again(
    streams: SessionStreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakelog.journal._writer._TICK_SECONDS", 0.0)

    async def session() -> None:
        reader = streams.read("s")
        streams.write("s", "before")
        gone = streams.directory.rename(
            tmp_path / "gone"
        )  # at one stroke: threads are at work in it
        shutil.rmtree(gone)
        with pytest.raises(SinkError):
            streams.write("s", "lost")
        streams.write("s", "after")
        assert [chunk.text for chunk in await take(reader, 2)] == ["before", "after"]

    run(session())


def test_segments_that_end_in_between_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "RING_CHUNKS", 2)
    monkeypatch.setattr(
        _streams, "open_journal", lambda path, level: Journal(path, segment_bytes=1500)
    )
    texts = [f"{number} " for number in range(100)]

    async def session() -> None:
        with SessionStreams(tmp_path) as streams:
            early = streams.read("s", until_end=True)
            write(streams, "s", *texts)
            assert len(list(tmp_path.glob("*/*.jsonl"))) > 5
            assert await text_of(early) == "".join(texts)
            for begun in range(0, 90, 13):
                reader = streams.read("s", from_start=True, until_end=True)
                head = "".join(chunk.text for chunk in await take(reader, begun))
                with SessionStreams(tmp_path) as elsewhere:
                    rest = elsewhere.read("s", after=reader.position, until_end=True)
                    assert head + await text_of(rest) == "".join(texts)

    run(session())


def test_deleting_old_segments_costs_their_chunks_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "RING_CHUNKS", 2)
    monkeypatch.setattr(
        _streams, "open_journal", lambda path, level: Journal(path, segment_bytes=1500)
    )

    async def session() -> None:
        with SessionStreams(tmp_path) as streams:
            reader = streams.read("s", until_end=True)
            write(streams, "s", *[f"{number} " for number in range(100)])
            for path in sorted(tmp_path.glob("*/*.jsonl"))[:3]:
                path.unlink()
            numbers = [int(n) for n in (await text_of(reader)).split()]
            assert numbers == [*range(numbers[0], 100)]
            assert 0 < numbers[0] < 50

    run(session())


def test_a_damaged_line_costs_one_chunk(tmp_path: Path) -> None:
    with SessionStreams(tmp_path) as streams:
        write(streams, "s", *[f"<{number}>" for number in range(6)])
    path = next(tmp_path.glob("*/*.jsonl"))
    data = path.read_bytes()
    lines = data.split(b"\n")
    crc = lines[5].rindex(b'"crc":"') + 7
    lines[3] = lines[3].replace(b"<1>", b"<7>")
    lines[5] = lines[5][:crc] + (b"0" if lines[5][crc:][:1] != b"0" else b"1") + lines[5][crc + 1 :]
    path.write_bytes(b"\n".join(lines))

    async def session() -> str:
        with SessionStreams(tmp_path) as streams:
            return await text_of(streams.read("s", from_start=True, until_end=True))

    assert run(session()) == "<0><2><4><5>"


def test_what_a_crash_would_leave_open_is_never_said_to_be_dealt_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        _streams, "open_journal", lambda path, level: Journal(path, segment_bytes=1500)
    )
    with SessionStreams(tmp_path, watch_interval=None) as streams:
        stream = streams.stream("s")
        for _ in range(40):
            stream.write("x")
            assert books(tmp_path)[0].pending > 0
        assert books(tmp_path)[0].delivered > 20

    assert books(tmp_path)[0].pending == 0


def test_nothing_in_a_closed_journal_waits_for_delivery(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    killed = program("s", 0, 5, "hold")
    killed.wrote(4)
    killed.kill()
    with SessionStreams(tmp_path) as streams:
        write(streams, "s", "a", "b")
        streams.adopt()

    found = books(tmp_path)
    assert [book.accepted for book in found] == [6, 5]
    assert [book.pending for book in found] == [0, 0]


def test_idle_sessions_are_forgotten_and_still_found(tmp_path: Path) -> None:
    async def session() -> None:
        with SessionStreams(tmp_path, max_idle_sessions=4) as streams:
            early = streams.read("s-0", until_end=True)
            for number in range(50):
                write(streams, f"s-{number}", f"text {number}")
            assert len(streams.sessions()) <= 9
            assert await text_of(early) == "text 0"
            for number in (0, 7, 48):
                reader = streams.read(f"s-{number}", from_start=True, until_end=True)
                assert await text_of(reader) == f"text {number}"

    run(session())


def test_memory_does_not_grow_with_what_was_written(streams: SessionStreams) -> None:
    async def session() -> tuple[int, int]:
        slow = streams.read("s")
        stream = streams.stream("s")

        def grow(chunks: int) -> int:
            for _ in range(chunks):
                stream.write("some text of the usual length")
            return tracemalloc.get_traced_memory()[0]

        grow(10_000)
        tracemalloc.start()
        first = grow(100)
        second = grow(5_000)
        tracemalloc.stop()
        await take(slow, 1)
        return first, second

    first, second = run(session())
    assert second - first < 200_000


def test_what_is_kept_is_seven_days_of_whole_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, now = 86_400, [time.time() - 30 * 86_400]
    monkeypatch.setattr(_streams, "Journal", functools.partial(Journal, clock=lambda: now[0]))
    streams = SessionStreams(tmp_path, clock=lambda: int(now[0] * 1e9))

    def kept() -> list[str]:
        async def read() -> list[str]:
            with SessionStreams(tmp_path) as elsewhere:  # which has nothing in memory
                reader = elsewhere.read("s", from_start=True, idle_timeout=0.05)
                return [chunk.text async for chunk in reader]

        assert streams.journal is not None
        streams.journal.clean_up()
        return asyncio.run(asyncio.wait_for(read(), SECONDS))

    def write(text: str) -> None:
        streams.write("s", text)
        newest = max(tmp_path.glob("*/*.jsonl"))
        os.utime(newest, (now[0], now[0]))  # as if the file system had the same clock

    for number in range(4):
        write(f"day {number}")
        now[0] += day
    assert kept() == ["day 0", "day 1", "day 2", "day 3"]
    now[0] += 4.5 * day
    write("day 8")

    assert kept() == ["day 2", "day 3", "day 8"]
    assert len(list(tmp_path.glob("*/*.jsonl"))) == 3
    streams.close()
