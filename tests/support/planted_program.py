"""Uses a part of Wakelog, notes every name that it touches, and uses it again with links at those names.

``python planted_program.py PART DIRECTORY``. No list of names is kept: an audit hook of the interpreter sees
each file that is opened, renamed, deleted or made. What two runs from the same state have in common is
what a neighbour can predict; at each of these names, one after another, links to things outside are planted.
Then FIFOs, devices, sparse files and endless lines are put there, and each run has little time and memory.
Prints, as JSON, the names, what changed outside, and what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import resource
import shutil
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

import wakelog
from tests.support.attack import ATTACKING
from wakelog import AgentEvent, cli
from wakelog.audit import JournalSessionLog, SQLiteSessionLog, ThreadKey
from wakelog.cli._follow import follow
from wakelog.errors import ConfigurationError, WakelogError
from wakelog.gateway import EventSessionLogger
from wakelog.journal import (
    Cursor,
    Durability,
    Journal,
    Mark,
    QuotaPolicy,
    Space,
    add_dead_letter,
    folders,
    note_replayed,
    usage,
    write_dead_letter,
)
from wakelog.journal._file_rotation import FileRotation
from wakelog.journal._ledger import save
from wakelog.journal._shared_file import SharedFile
from wakelog.record import Resource, encode, uuid7
from wakelog.sinks import JSONLSink
from wakelog.streams import SessionStreams

RESOURCE = Resource({"service.name": "planted"})
KEY = ThreadKey("acme", "t-1")
LARGE = "large " * 50_000
NEIGHBOUR = 65_534
LONG_LINE_MEGABYTES = 3 * 1024 if ATTACKING else 136
# Reading 3 GB takes as long as the disk, which other programs use, so waiting has a bound of its own.
RUN_SECONDS, WAIT_SECONDS = 20, 200
GROWTH = 768 * 2**20
WITH_BOOKS = frozenset({"journal", "streams"})
PRECIOUS = b'{"id":"precious"}\n'


class Trace:
    """The names below a directory that the interpreter was asked to do something with."""

    def __init__(self) -> None:
        self.below: Path | None = None
        self.names: set[str] = set()
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.below is None or not event.startswith(("open", "os.", "sqlite3.connect")):
            return
        if event == "open":
            # The hook is not told the directory that a name is relative to; the seam knows the path.
            caller = sys._getframe(1)
            seam = caller.f_code.co_name == "open_file"
            self._note(caller.f_locals["path"] if seam else arguments[0])
        elif event == "sqlite3.connect":
            for suffix in ("", "-wal", "-shm", "-journal"):
                self._note(os.fspath(arguments[0]) + suffix)
        elif event in ("os.rename", "os.link", "os.symlink"):
            source, target, of_source, of_target = arguments
            self._note(source, of_source)
            self._note(target, of_target)
        elif event in ("os.remove", "os.rmdir"):
            self._note(*arguments)
        elif event == "os.mkdir":
            self._note(arguments[0], arguments[2])
        elif event in ("os.truncate", "os.chmod", "os.listdir", "os.scandir", "os.utime"):
            self._note(arguments[0])

    def _note(self, path: Any, directory: int = -1) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or self.below is None:
            return
        name = os.fsdecode(path)
        if directory >= 0:
            name = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), name)
        with contextlib.suppress(ValueError):
            self.names.add(str(Path(name).relative_to(self.below)))

    def of(self, run: Callable[[Path], None], base: Path) -> set[str]:
        self.names, self.below = set(), base
        try:
            run(base)
        finally:
            self.below = None
        return self.names


def journal(base: Path) -> None:
    """A journal with delivery, retention, eviction, adoption, large values and dead letters."""
    root = base / "journal"
    space = Space(quota_bytes=2_000_000, quota_policy=QuotaPolicy.EVICT_OLDEST, retention_bytes=1)
    try:
        made = Journal(root, segment_bytes=4_000, space=space)
    except WakelogError:
        return
    with contextlib.suppress(WakelogError):
        for n in range(12):
            made.append(uuid7(), encode({"body": f"{n} " * 400}, 1 << 20), RESOURCE)
        made.append(uuid7(), encode({"body": LARGE}, 1 << 16), RESOURCE)
        for path in folders(root):
            cursor = Cursor(path, Mark())
            chunk = cursor.read(3, 1 << 20)
            cursor.close()
            if chunk.entries:
                letter = write_dead_letter(path, chunk.entries[0], "refused", "no")
                add_dead_letter(path, letter)
                note_replayed(path, letter.id)
            save(path, path.name, chunk.mark)
            for folder in made.orphans(lambda one, path=path: one == path):  # type: ignore[misc]
                folder.release()
    with contextlib.suppress(WakelogError):
        made.clean_up()
    made.close()
    with contextlib.suppress(WakelogError):
        made.clean_up()


def logger(base: Path) -> None:
    """`configure()` with a next hop, as programs use it."""
    with contextlib.suppress(WakelogError):
        log = wakelog.configure(
            "a", directory=base / "journal", exporter=InMemoryLogRecordExporter(), on_error="raise"
        )
        log.user_message("x")
    wakelog.shutdown()


def commands(base: Path) -> None:
    """Every command that reads or ships a journal."""
    root = str(base / "journal")
    hop = ["--endpoint", "http://127.0.0.1:9", "--protocol", "http/protobuf"]
    for line in (
        ["status", root, "--json"],
        ["verify", root],
        ["show", root],
        ["show", root, "--json"],
        ["dead-letters", "list", root],
        ["dead-letters", "replay", root, *hop],
        ["ship", root, *hop, "--timeout", "0.1", "--json"],
    ):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            cli.main(line)
    with contextlib.suppress(WakelogError):
        follow(base / "journal", from_start=True).read()


def named_file(base: Path) -> None:
    """A sink's single file, set aside and begun anew."""
    path = base / "logs" / "events.jsonl"
    with contextlib.suppress(WakelogError):
        file = SharedFile(path, rotation=FileRotation(max_bytes=200_000, keep_files=1))
        for n in range(3):
            content = encode({"body": f"{n} {LARGE}"}, 1 << 16)
            file.append(uuid7(), content, Durability.FSYNC)
        file.close()
    with contextlib.suppress(WakelogError):
        sink = JSONLSink(path)
        sink.write(AgentEvent("user_message", payload={"message": "x"}))
        sink.close()


def gateway(base: Path) -> None:
    """A gateway that forwards, dead letters and finds what a dead run has left."""

    async def log_some() -> None:
        async def down(_: Any) -> bool:
            return False

        made = EventSessionLogger(
            base / "sessions", down, retry_delay_seconds=0.001, close_timeout_seconds=0.05
        )
        await made({"session_id": "s", "n": 1})
        await made({"session_id": "s", "n": 2})
        with contextlib.suppress(Exception):
            await made.close()

    with contextlib.suppress(WakelogError):
        asyncio.run(log_some())


def session_log(base: Path) -> None:
    """A session log in files, archived in part."""

    async def append_some() -> None:
        log = JournalSessionLog(base / "audit", durability="fsync", segment_bytes=600)
        for n in range(4):
            event = AgentEvent("user_message", payload={"message": f"{n} " * 100})
            await log.append(KEY, [event])
        await log.archive_before(KEY, 2)
        await log.load_archived(KEY)
        await log.load_since(KEY)
        log.close()

    with contextlib.suppress(WakelogError):
        asyncio.run(append_some())


def sqlite(base: Path) -> None:
    """A session log in SQLite."""

    async def append_some() -> None:
        log = SQLiteSessionLog(base / "sqlite" / "log.db")
        await log.append(KEY, [AgentEvent("user_message", payload={"message": "x"})])
        await log.load_since(KEY)
        log.close()

    with contextlib.suppress(WakelogError):
        asyncio.run(append_some())


def streams(base: Path) -> None:
    """Session streams, written and read."""

    async def stream_some() -> None:
        with SessionStreams(base / "streams") as made:
            with made.stream("s") as stream:
                stream.write("text")
            async with asyncio.timeout(0.3):
                async for _ in made.read("s"):
                    break

    with contextlib.suppress(WakelogError, TimeoutError):
        asyncio.run(stream_some())


PARTS: dict[str, tuple[Callable[[Path], None], ...]] = {
    "journal": (journal,),
    "logger": (journal, logger),
    "commands": (journal, logger, commands),
    "named_file": (named_file,),
    "gateway": (gateway,),
    "session_log": (session_log,),
    "sqlite": (sqlite,),
    "streams": (streams,),
}


def outside(where: Path) -> Path:
    """Make what a link may lead to: a file, a folder with the names that Wakelog gives."""
    where.mkdir()
    (where / "file").write_bytes(PRECIOUS)
    folder = where / "folder"
    folder.mkdir()
    for name in ("lock", "owner", "ledger", "00000001.jsonl", "0" * 64, "keep.jsonl"):
        (folder / name).write_bytes(PRECIOUS)
    (folder / "00000001.jsonl.blobs").mkdir()
    (folder / "00000001.jsonl.blobs" / ("a" * 64)).write_bytes(PRECIOUS)
    return where


def state_of(where: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(where)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in where.rglob("*")
    }


class StuckError(Exception):
    """A run took too long."""


def put_special(path: Path, kind: str, long: Path) -> None:
    """Put in the place of a name what nobody should wait for or read whole."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # as /dev/zero, which has no end
        except PermissionError:
            os.mkfifo(path)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.write(PRECIOUS)
            file.seek(2**40)
            file.write(PRECIOUS)
    else:
        os.link(long, path)


def bounded(run: Callable[[Path], None], base: Path) -> str:
    """Run in little processor time and memory, without waiting for ever, and return what went wrong."""

    def stop(*_: Any) -> None:
        raise StuckError

    failed: list[str] = []
    threading.excepthook = lambda what: failed.append(f"in a thread: {what.exc_value!r}")
    signal.signal(signal.SIGALRM, stop)
    signal.signal(signal.SIGPROF, stop)
    signal.alarm(WAIT_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, RUN_SECONDS)
    try:
        run(base)
    except StuckError:
        return "took too long: " + traceback.format_exc(limit=-6)
    except MemoryError:
        return "grew: " + traceback.format_exc(limit=-6)
    except ConfigurationError:
        return ""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    return "; ".join(failed)


def plant_special(
    run: Callable[[Path], None], first: Path, work: Path, names: list[str]
) -> dict[str, str]:
    """Put something special at each predictable name, and return what went wrong."""
    long = work / "long"
    with long.open("wb") as file:
        for _ in range(LONG_LINE_MEGABYTES):
            file.write(b"x" * 2**20)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = size + GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    wrong: dict[str, str] = {}
    kinds = ("fifo", "device", "sparse", "long")
    for number, name in enumerate(names):
        for kind in kinds if ATTACKING else (kinds[number % len(kinds)],):
            base = work / f"special{number}{kind}"
            if (planted := cleared(first, base, name)) is None:
                continue
            put_special(planted, kind, long)
            if said := bounded(run, base):
                wrong[f"{name}: {kind}"] = said
            taken = sum(usage(base / one) for one in os.listdir(base) if one in WITH_BOOKS)
            if taken > 2 * LONG_LINE_MEGABYTES * 2**20 or (kind != "long" and taken > 2**26):
                wrong[f"{name}: {kind} "] = f"{taken} bytes are counted"
            shutil.rmtree(base)
    return wrong


def cleared(first: Path, base: Path, name: str) -> Path | None:
    """Copy a state, and return the path of a name where there is nothing now, None where none can be."""
    shutil.copytree(first, base, symlinks=True)
    path = base / name
    if path.parent.is_file():
        shutil.rmtree(base)
        return None
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def touched(
    trace: Trace, run: Callable[[Path], None], first: Path, work: Path
) -> tuple[list[str], list[str]]:
    """Return the names that two runs from the same state have in common, and all of theirs."""
    seen: list[set[str]] = []
    for number in range(2):
        base = work / f"control{number}"
        shutil.copytree(first, base, symlinks=True)
        seen.append(trace.of(run, base))
    # Our own link is followed at the root; only root can make one that is somebody else's.
    roots = {"."} if os.geteuid() == 0 else {".", *os.listdir(first)}
    return sorted(seen[0] & seen[1] - roots), sorted(seen[0] | seen[1])


def plant_links(
    run: Callable[[Path], None], first: Path, work: Path, names: list[str]
) -> dict[str, list[str]]:
    """Put links at each of some names, and return what changed outside."""
    changed: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        # Else each name leads to what could be harmed by it.
        likely = "folder" if (first / name).is_dir() else ("file", "missing")[number % 2]
        for target in ("file", "folder", "missing") if ATTACKING else (likely,):
            base, away = work / f"base{number}{target}", outside(work / f"away{number}{target}")
            if (planted := cleared(first, base, name)) is None:
                continue
            planted.symlink_to(away / target)
            if os.geteuid() == 0:  # a neighbour's, where this user may give files away
                os.lchown(planted, NEIGHBOUR, NEIGHBOUR)
            was = state_of(away)
            with contextlib.suppress(ConfigurationError):
                run(base)
            if (now := state_of(away)) != was:
                different = sorted(n for n in now.keys() | was.keys() if now.get(n) != was.get(n))
                changed[f"{name} -> {target}"] = different
            shutil.rmtree(base)
    return changed


def main(part: str, work: Path) -> None:
    logging.disable(logging.CRITICAL)
    *before, run = PARTS[part]
    trace = Trace()
    first = work / "first"
    first.mkdir()
    for step in (*before, run):
        step(first)
    names, everything = touched(trace, run, first, work)
    changed = plant_links(run, first, work, names)
    wrong = plant_special(run, first, work, names)
    print(json.dumps({"names": names, "all": everything, "changed": changed, "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
