"""Session streams in one process: readers, writers, joined messages and export."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.session_streams import SECONDS, run, streams, take, text_of, write
from wakelog.errors import ConfigurationError, SinkError
from wakelog.journal import read
from wakelog.logger import AgentLogger
from wakelog.sinks import MemorySink
from wakelog.streams import Chunk, Reader, SessionStreams, _lines
from wakelog.streams import _lane as lane_module

__all__ = ["streams"]


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
