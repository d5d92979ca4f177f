"""Session streams of several processes: kills, adoption, forks, clocks and positions."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.session_streams import SECONDS, Program, program, run, take, text_of, write
from wakelog.errors import ConfigurationError
from wakelog.journal import read
from wakelog.logger import AgentLogger
from wakelog.sinks import MemorySink
from wakelog.streams import SessionStreams

__all__ = ["program"]


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
