"""What tests of session streams share: streams in a temporary directory, readers, and writing programs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from wakelog.streams import Chunk, Reader, SessionStreams

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
