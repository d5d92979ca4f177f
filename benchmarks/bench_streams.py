"""What it costs to stream many sessions to many readers, beside bare queues.

    python benchmarks/bench_streams.py [--sessions N] [--chunks N] [--directory DIR]

Each session is written by one task and read by three: one that is quick, one that is slower than
the writer as long as it writes, and one that is cancelled on the way and goes on later. Beside it,
the same with an ``asyncio.Queue`` for each reader, which keeps nothing, holds what the slow ones
have not read, and whose cancelled reader goes on with the same queue. The checksum of each reader's
text is compared with that of what was written.

First as fast as the event loop allows, then at a pace that a chat has: 25 chunks a second for each
session. Columns: chunks written a second, how late the event loop was when 5 ms were asked for
(median and 99th percentile), and how much the process grew meanwhile. Each row is a process.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from wakelog.streams import SessionStreams

PAUSE = 0.005
PACE = 25.0
PACED_CHUNKS = 100
SLOW_EVERY, SLOW_PAUSE = 16, 0.24


class Queues:
    """A fan-out of queues, as one would write it in a minute."""

    def __init__(self) -> None:
        self.readers: dict[str, list[asyncio.Queue[str | None]]] = {}

    def writer(self, session_id: str) -> Callable[[str | None], None]:
        """Return what hands a chunk to every reader; None ends."""
        queues = self.readers[session_id]

        def write(text: str | None) -> None:
            for queue in queues:
                queue.put_nowait(text)

        return write

    def reader(self, session_id: str) -> Callable[[], AsyncIterator[str]]:
        """Return what begins to read, or goes on."""
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.readers.setdefault(session_id, []).append(queue)

        async def read() -> AsyncIterator[str]:
            while (text := await queue.get()) is not None:
                yield text

        return read


class Streams:
    """The same on ``SessionStreams``."""

    def __init__(self, directory: Path) -> None:
        self.streams = SessionStreams(directory)

    def writer(self, session_id: str) -> Callable[[str | None], None]:
        """Return what writes a chunk; None ends."""
        stream = self.streams.stream(session_id)
        return lambda text: stream.end() if text is None else stream.write(text)

    def reader(self, session_id: str) -> Callable[[], AsyncIterator[str]]:
        """Return what begins to read, or goes on from the position that was reached."""
        reader = self.streams.read(session_id, until_end=True)

        async def read() -> AsyncIterator[str]:
            nonlocal reader
            reader = self.streams.read(session_id, after=reader.position, until_end=True)
            async for chunk in reader:
                if chunk.kind == "chunk":
                    yield chunk.text

        return read


class Heard:
    """What a reader was given: a checksum, so that readers themselves hold nothing."""

    def __init__(self) -> None:
        self.chunks = 0
        self._sum = hashlib.blake2b()

    def add(self, text: str) -> None:
        """Take a chunk."""
        self.chunks += 1
        self._sum.update(text.encode())

    def sum(self) -> bytes:
        """Return the checksum of all of the text."""
        return self._sum.digest()


async def quick(read: Callable[[], AsyncIterator[str]], heard: Heard) -> bytes:
    async for text in read():
        heard.add(text)
    return heard.sum()


async def slow(
    read: Callable[[], AsyncIterator[str]], heard: Heard, written: asyncio.Event
) -> bytes:
    async for text in read():
        heard.add(text)
        if heard.chunks % SLOW_EVERY == 0 and not written.is_set():
            await asyncio.sleep(SLOW_PAUSE)
    return heard.sum()


async def cancelled(read: Callable[[], AsyncIterator[str]], heard: Heard, after: int) -> bytes:
    enough = asyncio.Event()

    async def some() -> None:
        async for text in read():
            heard.add(text)
            if heard.chunks >= after:
                enough.set()

    task = asyncio.create_task(some())
    await enough.wait()
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0.1)
    return await quick(read, heard)


async def speak(write: Callable[[str | None], None], texts: list[str], pace: float) -> None:
    due = time.perf_counter()
    for text in texts:
        write(text)
        due += 1 / pace if pace else 0.0
        await asyncio.sleep(max(0.0, due - time.perf_counter()) if pace else 0)
    write(None)


async def beat(delays: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(PAUSE)
        delays.append(time.perf_counter() - before - PAUSE)


def resident() -> int:
    """Return the kilobytes of memory that the process has."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def measure(fan: Any, sessions: int, chunks: int, pace: float) -> str:
    texts = {
        f"s-{n}": [f"s-{n} says {m} and more. " for m in range(chunks)] for n in range(sessions)
    }
    written = asyncio.Event()
    readers = []
    for name in texts:
        one, two, three = (fan.reader(name) for _ in range(3))
        readers.append(
            asyncio.gather(
                quick(one, Heard()),
                slow(two, Heard(), written),
                cancelled(three, Heard(), chunks // 3),
            )
        )
    await asyncio.sleep(0)
    delays: list[float] = []
    beating = asyncio.create_task(beat(delays))
    grown = resident()
    began = time.perf_counter()
    await asyncio.gather(*(speak(fan.writer(n), said, pace) for n, said in texts.items()))
    wrote = time.perf_counter() - began
    grown = resident() - grown
    written.set()
    beating.cancel()
    for said, heard in zip(texts.values(), await asyncio.gather(*readers), strict=True):
        whole = hashlib.blake2b("".join(said).encode()).digest()
        assert list(heard) == [whole] * 3, "a reader's text differs from what was written"
    delays.sort()
    median, late = delays[len(delays) // 2], delays[int(len(delays) * 0.99)]
    rate = sessions * chunks / wrote
    return f"{rate:>10,.0f} {median * 1e3:>9.1f} {late * 1e3:>9.1f} {grown / 1024:>9.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--row", choices=["queues", "streams"], help=argparse.SUPPRESS)
    parser.add_argument("--pace", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        fan: Any = Queues() if options.row == "queues" else Streams(options.directory)
        print(asyncio.run(measure(fan, options.sessions, options.chunks, options.pace)))
        return
    print(f"{options.sessions} sessions, three readers each; every text as it was written")
    print(f"{'':<30}{'chunks/s':>10} {'late p50':>9} {'late p99':>9} {'grew MiB':>9}")
    for pace, chunks in ((0.0, options.chunks), (PACE, min(options.chunks, PACED_CHUNKS))):
        for row in ("queues", "streams"):
            with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                numbers = ["--sessions", options.sessions, "--chunks", chunks, "--pace", pace]
                command = [sys.executable, __file__, "--row", row, "--directory", directory]
                done = subprocess.run(
                    [*command, *map(str, numbers)], capture_output=True, text=True, check=True
                )
            name = f"{row}, {'flat out' if not pace else f'{pace:.0f} a second each'}"
            print(f"{name:<30}{done.stdout.rstrip()}", flush=True)


if __name__ == "__main__":
    main()
