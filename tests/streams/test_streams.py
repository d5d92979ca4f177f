"""Session streams: everyone sees everything, from where they asked, and nobody waits for the slow."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from wakelog.errors import ConfigurationError, SinkError
from wakelog.journal import Journal, books, read
from wakelog.logger import AgentLogger
from wakelog.runtime._filesystem import FileSystem
from wakelog.sinks import MemorySink
from wakelog.streams import Chunk, Reader, SessionStreams, _lines, _streams
from wakelog.streams import _lane as lane_module

PROGRAM = ROOT / "tests" / "support" / "stream_program.py"
SECONDS = 60


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[SessionStreams]:
    with SessionStreams(tmp_path / "streams") as made:
        yield made


def run(coroutine: Any) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 2 * SECONDS))


async def text_of(reader: Reader) -> str:
    return "".join([chunk.text async for chunk in reader])


async def take(reader: Reader, count: int) -> list[Chunk]:
    chunks: list[Chunk] = []
    while len(chunks) < count:
        chunk = await reader.next(SECONDS)
        assert chunk is not None, f"{len(chunks)} of {count} chunks came"
        chunks.append(chunk)
    return chunks


def write(streams: SessionStreams, session_id: str, *texts: str) -> None:
    with streams.stream(session_id) as stream:
        for text in texts:
            stream.write(text)


def test_every_reader_sees_everything_and_one_session_nothing_of_another(
    streams: SessionStreams,
) -> None:
    async def session() -> list[str]:
        readers = [streams.read("s-1", until_end=True) for _ in range(3)]
        other = streams.read("s-2", until_end=True)
        write(streams, "s-1", "to ", "Lisbon")
        write(streams, "s-2", "else")
        return await asyncio.gather(*map(text_of, [*readers, other]))

    assert run(session()) == ["to Lisbon"] * 3 + ["else"]


def test_a_reader_begins_where_it_asks_to(streams: SessionStreams) -> None:
    async def session() -> None:
        write(streams, "s", "one")
        first = streams.read("s", from_start=True)
        seen = await take(first, 3)
        position = first.position
        write(streams, "s", "two")
        now = streams.read("s", until_end=True)
        write(streams, "s", "three")

        assert [chunk.kind for chunk in seen] == ["start", "chunk", "end"]
        assert await text_of(now) == "three"
        assert await text_of(streams.read("s", after=position, idle_timeout=0)) == "twothree"
        assert await text_of(streams.read("s", from_start=True, idle_timeout=0)) == "onetwothree"

    run(session())


def test_a_position_is_good_for_a_reader_that_nothing_has_come_to(streams: SessionStreams) -> None:
    async def session() -> None:
        write(streams, "s", "before")
        position = streams.read("s").position
        assert streams.position() == position
        write(streams, "other", "x")
        write(streams, "s", "after")
        assert await text_of(streams.read("s", after=position, idle_timeout=0)) == "after"

    run(session())


@pytest.mark.parametrize(
    "text", ["x", "0.0.0", "AAAA.1.2.3", "~", "AZqvXH2pe_GEQwAAAAAAAQ.-1.0.0", "é"]
)
def test_what_is_no_position_is_said_to_be_none(streams: SessionStreams, text: str) -> None:
    with pytest.raises(ConfigurationError, match="not a position"):
        streams.read("s", after=text)


def test_the_slow_reader_is_given_everything_and_holds_up_nobody(
    streams: SessionStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "RING_CHUNKS", 4)
    monkeypatch.setattr(lane_module, "INDEXED", 32)
    texts = [f"{number} " for number in range(300)]

    async def session() -> None:
        slow = streams.read("s", until_end=True)
        quick = streams.read("s", until_end=True)
        stream = streams.stream("s")
        got = await take(slow, 1)
        for text in texts:
            stream.write(text)
            streams.write("other", "x" * 50)
        stream.end()
        assert await text_of(quick) == "".join(texts)
        recent = streams.lanes.own.sessions["s"]  # type: ignore[union-attr]
        assert len(recent.ring) <= 8
        assert len(recent.begins) <= 64
        assert "".join(c.text for c in got) + await text_of(slow) == "".join(texts)

    run(session())


def test_waiting_wakes_readers_in_other_threads_and_loops_without_polling(
    streams: SessionStreams,
) -> None:
    results: list[str] = []
    ready = threading.Barrier(4)

    def follow() -> None:
        async def session() -> str:
            reader = streams.read("s", until_end=True)
            ready.wait(SECONDS)
            return await text_of(reader)

        results.append(run(session()))

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait(SECONDS)
    write(streams, "s", *"abcdefgh")
    for thread in threads:
        thread.join(SECONDS)

    assert results == ["abcdefgh"] * 3


def test_many_threads_write_and_every_line_is_found(streams: SessionStreams) -> None:
    def write_some(name: str) -> None:
        for number in range(200):
            streams.write(name, f"{number},")

    threads = [threading.Thread(target=write_some, args=(f"s-{n % 2}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    async def session() -> list[str]:
        readers = [streams.read(f"s-{n}", from_start=True, idle_timeout=0) for n in range(2)]
        return [await text_of(reader) for reader in readers]

    for text in run(session()):
        numbers = [int(number) for number in text.split(",")[:-1]]
        assert sorted(numbers) == sorted([*range(200)] * 2)


def test_a_cancelled_reader_goes_on_without_a_gap(streams: SessionStreams) -> None:
    texts = [f"{number} " for number in range(200)]

    async def session() -> None:
        got: list[str] = []
        reader = streams.read("s", until_end=True)

        async def follow(reader: Reader) -> None:
            async for chunk in reader:
                got.append(chunk.text)
                await asyncio.sleep(0)

        stream = streams.stream("s")
        for number, text in enumerate(texts):
            task = asyncio.create_task(follow(reader))
            stream.write(text)
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if number % 2:
                reader = streams.read("s", after=reader.position, until_end=True)
        stream.end()
        await follow(reader)
        assert "".join(got) == "".join(texts)

    run(session())


def test_time_outs_end_a_reader_and_say_why(streams: SessionStreams) -> None:
    async def session() -> None:
        idle = streams.read("s", idle_timeout=0.05)
        total = streams.read("s", timeout=0.1)
        closed = streams.read("s")
        assert await text_of(idle) == ""
        assert idle.ended == "idle"

        async def keep_writing() -> None:
            while total.ended is None:
                streams.write("s", "x")
                await asyncio.sleep(0.01)

        writing = asyncio.create_task(keep_writing())
        assert set(await text_of(total)) <= {"x"}
        assert total.ended == "timeout"
        await writing
        asyncio.get_running_loop().call_soon(closed.close)
        async for _ in closed:
            pass
        assert closed.ended == "closed"

    run(session())


def test_next_gives_none_in_time_and_loses_nothing(streams: SessionStreams) -> None:
    async def session() -> None:
        reader = streams.read("s")
        assert await reader.next(0.01) is None
        assert reader.ended is None
        streams.write("s", "later")
        chunk = await reader.next(SECONDS)
        assert chunk is not None
        assert chunk.text == "later"

    run(session())


def test_closing_the_streams_ends_readers_and_open_streams(tmp_path: Path) -> None:
    async def session() -> None:
        streams = SessionStreams(tmp_path)
        reader = streams.read("s")
        streams.stream("s").write("half")
        await take(reader, 1)
        position = reader.position
        streams.close()
        await text_of(reader)
        assert reader.ended == "closed"
        assert reader.position == position

        again = SessionStreams(tmp_path)
        assert await text_of(again.read("s", after=position, idle_timeout=0)) == "half"
        chunks = [c async for c in again.read("s", from_start=True, idle_timeout=0)]
        again.close()
        assert [(c.kind, c.text, c.status) for c in chunks][1:] == [
            ("chunk", "half", None),
            ("end", "", "interrupted"),
        ]

    run(session())


def test_nothing_is_on_the_disk_before_the_first_use(tmp_path: Path) -> None:
    streams = SessionStreams(tmp_path / "none")

    assert streams.sessions() == []
    assert not (tmp_path / "none").exists()


def test_long_and_strange_texts_come_back_as_they_were(streams: SessionStreams) -> None:
    texts = ["", "\n", ' "gen_ai.conversation.id":"s" ', "\x00\r\n", "🌍" * 100_000, "é" * 70_000]

    async def session() -> None:
        live = streams.read('s"\\ü', until_end=True)
        write(streams, 's"\\ü', *texts)
        assert await text_of(live) == "".join(texts)
        again = streams.read('s"\\ü', from_start=True, until_end=True)
        assert await text_of(again) == "".join(texts)
        assert await text_of(streams.read("s", from_start=True, idle_timeout=0)) == ""

    run(session())


def test_what_is_no_text_is_refused(streams: SessionStreams) -> None:
    with pytest.raises(ConfigurationError, match="text=7 is not text"):
        streams.write("s", 7)  # type: ignore[arg-type]


def test_a_stream_that_has_ended_takes_no_more(streams: SessionStreams) -> None:
    stream = streams.stream("s")
    stream.end()
    stream.end()

    with pytest.raises(SinkError, match="has ended"):
        stream.write("more")


def test_an_exception_ends_the_stream_with_its_name_and_goes_on(streams: SessionStreams) -> None:
    with pytest.raises(KeyError), streams.stream("s"):
        raise KeyError

    end = list(read(streams.directory))[-1].record
    assert end.attributes["wakelog.status"] == "error"
    assert end.attributes["wakelog.stream.reason"] == "KeyError"


def test_a_cancelled_task_leaves_its_stream_interrupted(streams: SessionStreams) -> None:
    async def session() -> None:
        async def answer() -> None:
            with streams.stream("s"):
                await asyncio.Event().wait()

        task = asyncio.create_task(answer())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    run(session())

    assert list(read(streams.directory))[-1].record.attributes["wakelog.status"] == "interrupted"


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


# Joined


def test_joined_streams_are_live_here_and_one_line_on_the_disk(tmp_path: Path) -> None:
    async def session() -> None:
        with SessionStreams(tmp_path, join=True) as streams:
            live, slow = streams.read("s", until_end=True), streams.read("s", until_end=True)
            stream = streams.stream("s")
            for number in range(5):
                stream.write(f"{number} ")
                (chunk,) = (await take(live, 2))[1:] if number == 0 else await take(live, 1)
                assert chunk.text == f"{number} "
            early = await take(slow, 3)
            position = slow.position
            late = streams.read("s")
            stream.write("5 ")
            stream.end()

            assert await text_of(live) == "5 "
            assert "".join(c.text for c in early) + await text_of(slow) == "0 1 2 3 4 5 "
            assert [c.text async for c in streams.read("s", after=position, idle_timeout=0)] == [
                "2 3 4 5 ",
                "",
            ]
            assert (await take(late, 1))[0].text == "5 "
        bodies = [e.record.body for e in read(tmp_path) if e.record.body is not None]
        assert bodies == ["0 1 2 3 4 5 "]

    run(session())


@pytest.mark.parametrize("before", range(4))
def test_what_was_seen_while_it_came_is_not_seen_again_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr(lane_module, "RING_CHUNKS", 1)
    monkeypatch.setattr(lane_module, "INDEXED", 2)

    async def session() -> None:
        with SessionStreams(tmp_path, join=True) as streams:
            for _ in range(before):
                streams.write("s", "")
            reader = streams.read("s", until_end=True)
            stream = streams.stream("s")
            stream.write("one ")
            await take(reader, 2)
            streams.write("other", "so that its line is not where it was seen")
            elsewhere = SessionStreams(tmp_path)
            other = elsewhere.read("s", after=reader.position, until_end=True)
            assert await other.next(0.01) is None
            stream.write("two")
            stream.end()
            assert await text_of(reader) == "two"
            assert await text_of(other) == "two"
            elsewhere.close()

    run(session())


# Export


@pytest.mark.parametrize("join", [False, True])
def test_the_joined_message_is_exported_and_no_chunk(tmp_path: Path, join: bool) -> None:
    sink = MemorySink()
    with SessionStreams(tmp_path, log=AgentLogger("chat", sink=sink), join=join) as streams:
        stream = streams.stream("s-1")
        stream.reasoning(begins=True)
        stream.write("hm ")
        stream.reasoning(begins=False)
        for text in ("two seats ", "to ", "Lisbon"):
            stream.write(text)
        stream.end(reason="stop")

    (event,) = sink.events
    assert event.event_type == "stream_end"
    assert (event.session_id, event.status) == ("s-1", "success")
    assert event.payload == {
        "stream_id": stream.stream_id,
        "chunks": 4,
        "message": "two seats to Lisbon",
        "reasoning": "hm ",
        "reason": "stop",
    }


def test_chunks_are_exported_when_that_is_asked_for(tmp_path: Path) -> None:
    sink = MemorySink()
    log = AgentLogger("chat", sink=sink)
    with SessionStreams(tmp_path, log=log, export_chunks=True) as streams:
        write(streams, "s", "a", "b")

    assert [event.event_type for event in sink.events] == ["stream_chunk"] * 2 + ["stream_end"]


# Other processes, and crashes


class Program:
    """A streaming process, and what it has said."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(directory), *map(str, arguments)],
            stdout=subprocess.PIPE,
        )
        self.stream_id = self._line().removeprefix("stream ")

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def wrote(self, last: int) -> None:
        while int(self._line()) < last:
            pass

    def kill(self) -> int:
        """Return how many chunks it has said that it wrote, of those not waited for."""
        self.process.send_signal(signal.SIGKILL)
        assert self.process.stdout is not None
        said = self.process.stdout.read().count(b"\n")
        self.end()
        return said

    def end(self) -> None:
        assert self.process.stdout is not None
        self.process.wait(SECONDS)
        self.process.stdout.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(*arguments: object) -> Program:
        started.append(Program(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments)


def test_a_killed_stream_is_read_on_without_a_gap_and_closed_once(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    async def session() -> None:
        got: list[str] = []
        with SessionStreams(tmp_path, watch_interval=0.02) as here:
            reader = here.read("s")
            first = await in_thread(program, "s", 0, 200, "hold")
            while not got or not got[-1].startswith("99 "):
                got += [chunk.text for chunk in await take(reader, 1)]
            position = reader.position
        await in_thread(first.wrote, 199)
        first.kill()

        with SessionStreams(tmp_path, watch_interval=0.02) as here:
            reader = here.read("s", after=position)
            while (chunk := await reader.next(SECONDS)) is not None and chunk.kind != "end":
                got.append(chunk.text)
            assert chunk is not None
            assert (chunk.status, chunk.stream_id) == ("interrupted", first.stream_id)
            second = await in_thread(program, "s", 200, 100)
            chunks = await take(reader, 102)
            second.end()
            got += [chunk.text for chunk in chunks]
            assert chunks[-1].status == "success"

        assert "".join(got) == "".join(f"{number} " for number in range(300))

    run(session())

    with SessionStreams(tmp_path, watch_interval=None) as third:
        assert third.adopt() == []
    ends = [e.record for e in read(tmp_path, event_name="wakelog.stream_end")]
    assert sorted(end.attributes["wakelog.status"] for end in ends) == ["interrupted", "success"]


def test_kills_in_the_middle_of_writing_cost_a_reader_nothing(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    async def session() -> None:
        position = "0"
        for turn in range(6):
            with SessionStreams(tmp_path, watch_interval=0.02) as here:
                reader = here.read("s", after=position)
                writing = await in_thread(program, "s", 0, 1_000_000)
                head = await take(reader, 1 + 60 * turn)
                position = reader.position
            said = await in_thread(writing.kill)
            with SessionStreams(tmp_path, watch_interval=0.02) as here:
                reader = here.read("s", after=position)
                tail = [await take(reader, 1)]
                while tail[-1][0].kind != "end":
                    tail.append(await take(reader, 1))
                position = reader.position
            chunks = head + [chunk for (chunk,) in tail]

            assert [chunks[0].kind, chunks[-1].kind] == ["start", "end"]
            assert {chunk.stream_id for chunk in chunks} == {writing.stream_id}
            numbers = [int(chunk.text) for chunk in chunks[1:-1]]
            assert numbers == [*range(len(numbers))]
            assert len(numbers) >= said  # one may have been written and not said any more

    run(session())


def test_who_adopts_writes_the_end_and_sends_what_had_come(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    killed = program("s", 0, 5, "hold")
    killed.wrote(4)
    sink = MemorySink()
    with SessionStreams(tmp_path, log=AgentLogger(sink=sink)) as here:
        assert here.adopt() == []  # it lives
        killed.kill()
        # The thread that does so by itself may have been first.
        here.adopt()
        here.adopt()

    (event,) = sink.events
    assert (event.event_type, event.status, event.session_id) == ("stream_end", "interrupted", "s")
    assert event.payload["message"] == "0 1 2 3 4 "
    assert event.payload["stream_id"] == killed.stream_id


def test_who_dies_while_adopting_leaves_no_second_end(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    killed = program("s", 0, 5, "hold")
    killed.wrote(4)
    killed.kill()
    for _ in range(2):
        with SessionStreams(tmp_path, watch_interval=None) as here:
            here.adopt()
        for ledger in tmp_path.glob("*/ledger"):
            ledger.unlink()  # as if it had died before

    assert len(list(read(tmp_path, event_name="wakelog.stream_end"))) == 1


def test_a_position_stays_short_and_brings_nothing_again_however_many_wrote_before(
    tmp_path: Path,
) -> None:
    now = time.time_ns() // 1_000_000
    for number in range(20):
        with SessionStreams(tmp_path) as before:
            write(before, "s", f"old {number} ")
            assert before.lanes.own is not None
            folder = before.lanes.own.folder
        began = f"{now - 3_600_000 + number:012x}"
        folder.rename(tmp_path / f"{began[:8]}-{began[8:]}{folder.name[13:]}")

    async def session() -> None:
        with SessionStreams(tmp_path) as here:
            write(here, "s", "new ")
            reader = here.read("s", from_start=True, idle_timeout=0)
            olds = "".join(f"old {number} " for number in range(20))
            assert await text_of(reader) == olds + "new "
            for position in (reader.position, here.position(), here.read("s").position):
                assert len(position) < 60
                write(here, "s", "newer ")
                with SessionStreams(tmp_path) as elsewhere:
                    rest = elsewhere.read("s", after=position, idle_timeout=0)
                    assert await text_of(rest) in ("newer ", "newer newer ", "newer " * 3)

    run(session())


def test_several_processes_stream_into_one_session_and_history_is_in_order(
    tmp_path: Path, program: Callable[..., Program]
) -> None:
    with SessionStreams(tmp_path, watch_interval=0.02) as here:

        async def session() -> None:
            reader = here.read("s")
            for turn in range(4):
                if turn % 2:
                    write(here, "s", f"here {turn} ")
                else:
                    one = await in_thread(program, "s", turn, 1)
                    await in_thread(one.end)
            live = await take(reader, 12)
            again = await take(here.read("s", from_start=True), 12)
            expected = "0 here 1 2 here 3 "
            assert "".join(c.text for c in again) == expected
            assert "".join(c.text for c in live if "here" not in c.text) == "0 2 "

        run(session())


def test_a_forked_child_streams_for_itself(tmp_path: Path) -> None:
    with SessionStreams(tmp_path) as streams:
        write(streams, "s", "parent ")
        child = os.fork()
        if child == 0:
            try:
                write(streams, "s", "child ")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        write(streams, "s", "parent again")

        async def session() -> list[str]:
            reader = streams.read("s", from_start=True, idle_timeout=0)
            return [chunk.text async for chunk in reader if chunk.text]

        assert run(session()) == ["parent ", "child ", "parent again"]


# Many at once


async def deltas(reader: Reader, slow: bool) -> AsyncIterator[str]:
    count = 0
    async for chunk in reader:
        count += 1
        if slow and count % 25 == 0:
            await asyncio.sleep(0.02)
        yield chunk.text


def test_forty_sessions_with_three_readers_each_one_slow_one_cancelled(
    streams: SessionStreams,
) -> None:
    sessions, chunks = 40, 150

    async def follow(session_id: str, *, slow: bool) -> str:
        reader = streams.read(session_id, until_end=True)
        return "".join([text async for text in deltas(reader, slow)])

    async def cancelled(session_id: str) -> str:
        reader = streams.read(session_id, until_end=True)
        got: list[str] = []

        enough = asyncio.Event()

        async def some() -> None:
            async for chunk in reader:
                got.append(chunk.text)
                if len(got) > chunks // 3:
                    enough.set()

        task = asyncio.create_task(some())
        await enough.wait()
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0.02)
        return "".join(got) + await text_of(
            streams.read(session_id, after=reader.position, until_end=True)
        )

    async def speak(session_id: str) -> str:
        texts = [f"{session_id}:{number} " for number in range(chunks)]
        with streams.stream(session_id) as stream:
            for text in texts:
                stream.write(text)
                await asyncio.sleep(0)
        return "".join(texts)

    async def session() -> None:
        names = [f"s-{number}" for number in range(sessions)]
        followers = [
            asyncio.gather(follow(n, slow=False), follow(n, slow=True), cancelled(n)) for n in names
        ]
        await asyncio.sleep(0)
        said = await asyncio.gather(*map(speak, names))
        for text, heard in zip(said, await asyncio.gather(*followers), strict=True):
            assert list(heard) == [text] * 3

    began = time.monotonic()
    run(session())
    assert time.monotonic() - began < SECONDS


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


PROCESS_WITH_A_CLOCK = """
import asyncio, sys, time
shift = float(sys.argv[2])
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + shift
time.time_ns = lambda: real_ns() + int(shift * 1e9)
from wakelog.streams import SessionStreams

streams = SessionStreams(sys.argv[1])


async def read(after):
    reader = streams.read("s", after=after or None, from_start=not after, idle_timeout=0.2)
    texts = [chunk.text async for chunk in reader if chunk.text]
    print("|".join(texts))
    print(reader.position)


if sys.argv[3] == "write":
    streams.write("s", sys.argv[4])
else:
    asyncio.run(read(sys.argv[4]))
streams.close()
"""


@pytest.mark.parametrize("shifts", [(0, 600, 0), (600, 0, -600), (-86400, 0, 86400), (0, -30, -60)])
def test_a_reader_that_comes_back_misses_nothing_whatever_the_clocks_of_writers_say(
    tmp_path: Path, shifts: tuple[int, int, int]
) -> None:
    def run(shift: int, *arguments: str) -> list[str]:
        command = [
            sys.executable,
            "-c",
            PROCESS_WITH_A_CLOCK,
            str(tmp_path),
            str(shift),
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )

    seen: list[str] = []
    position = ""
    for number, shift in enumerate(shifts):
        run(shift, "write", f"text {number}")
        texts, position, _ = run(0, "read", position)
        seen += texts.split("|")

    assert seen == ["text 0", "text 1", "text 2"]


def test_a_position_from_before_generations_is_read_as_it_was_meant(tmp_path: Path) -> None:
    streams = SessionStreams(tmp_path)
    streams.write("s", "one")
    position = streams.position()
    streams.write("s", "two")
    old = re.sub(r"~g\d+$", "", position)
    assert old != position

    async def texts(after: str) -> list[str]:
        reader = streams.read("s", after=after, idle_timeout=0.05)
        return [chunk.text async for chunk in reader]

    assert asyncio.run(texts(old)) == asyncio.run(texts(position)) == ["two"]
    streams.close()


@pytest.mark.parametrize("position", ["g", "gx", "g-1", "g1~g", "g\u0661"])
def test_what_is_no_generation_is_no_position(tmp_path: Path, position: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a position"):
        SessionStreams(tmp_path).read("s", after=position)


LEAVES_A_STREAM = """
import os, sys
import wakelog
from wakelog.streams import SessionStreams

log = wakelog.configure("a", directory=sys.argv[2])
streams = SessionStreams(sys.argv[1], log=log)
stream = streams.stream("s-" + os.environ["OTEL_SERVICE_NAME"])
stream.write("what " + os.environ["OTEL_SERVICE_NAME"] + " has said")
os._exit(9)
"""
CLOSES_STREAMS = """
import sys, time
import wakelog
from wakelog.journal import read
from wakelog.streams import SessionStreams

log = wakelog.configure("a", directory=sys.argv[2])
with SessionStreams(sys.argv[1], log=log) as streams:
    deadline = time.monotonic() + 30
    # The first use adopts as well; and cleaning may have a folder's lock just then.
    while not list(read(sys.argv[2], event_name="wakelog.stream_end")):
        assert time.monotonic() < deadline
        streams.adopt()
        time.sleep(0.01)
"""


def test_what_a_killed_services_streams_have_said_leaves_by_its_own_log_alone(
    tmp_path: Path,
) -> None:
    def run(code: str, service: str) -> int:
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "streams"), str(tmp_path / service)],
            env={**os.environ, "OTEL_SERVICE_NAME": service},
            capture_output=True,
            check=False,
        ).returncode

    def ends(service: str) -> list[str]:
        found = read(tmp_path / service, event_name="wakelog.stream_end")
        return [text for entry in found for text in re.findall(r"what \w+ has said", str(entry))]

    assert run(LEAVES_A_STREAM, "payroll") == run(LEAVES_A_STREAM, "webshop") == 9

    assert run(CLOSES_STREAMS, "webshop") == 0
    assert ends("payroll") == []
    assert run(CLOSES_STREAMS, "payroll") == 0

    assert ends("webshop") == ["what webshop has said"]
    assert ends("payroll") == ["what payroll has said"]


@pytest.mark.parametrize("session_id", ["s", 'ü "\\" \n'])
@pytest.mark.parametrize(
    "text", ["", "a word ", 'ü "\\" \n\0 \x7f', "\ud83d", "x" * _lines.LONGEST_TEXT]
)
def test_a_chunk_whose_stream_is_encoded_already_has_the_same_line(
    session_id: str, text: str
) -> None:
    chunk = Chunk(session_id, text, "chunk", 1_800_000_000_000_000_007, "01a1fc74")

    line = _lines.text_line(chunk, _lines.identity_of(session_id, "01a1fc74"))

    assert line == _lines.text_line(chunk)


def test_a_chunk_with_a_long_session_id_has_the_same_line() -> None:
    session_id = "s" * _lines.MAX_LINE_BYTES
    chunk = Chunk(session_id, "a word", "chunk", 1, "01a1fc74")

    line = _lines.text_line(chunk, _lines.identity_of(session_id, "01a1fc74"))

    assert line == _lines.text_line(chunk)


def test_a_subclass_of_text_is_not_what_readers_in_this_process_get(
    streams: SessionStreams,
) -> None:
    class Word(str):
        __slots__ = ()

    async def session() -> None:
        reader = streams.read("s")
        streams.write("s", Word("a word"))
        with streams.stream("s") as stream:
            stream.write(Word("another"))
        for chunk in await take(reader, 3):
            assert type(chunk.text) is str

    run(session())
