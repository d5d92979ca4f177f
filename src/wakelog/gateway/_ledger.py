"""How far each session's file has been forwarded, and which runs of the logger are alive.

Both are hints. Without them events are sent again, and none is left out: a line itself says
whether it is to be forwarded.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import orjson

from wakelog.errors import CorruptLineError
from wakelog.events import semconv as s
from wakelog.gateway._events import ForwardedEvent
from wakelog.gateway._files import make_private
from wakelog.record import decode, verify

PRIVATE = ".wakelog"
"""The directory, below the base directory, where running loggers hold their locks."""

_CHUNK = 64 * 1024
_MOST_LINE = 64 * 1024 * 1024
_HEAD = 4096
_NAMES_ITS_WRITER = re.compile(rb'"writer":"([^"\\]*)"')
_BEGINS_A_RECORD = b'{"id":'
_MARKED = b'"%b":true' % s.GATEWAY_FORWARD.encode()
_CRC_LENGTH = len(b',"crc":"00000000"}')
_ENDINGS = (".jsonl", ".json")


@dataclass(frozen=True, slots=True)
class FileMark:
    """A place in a file up to which its events have been dealt with.

    Attributes:
        offset: Bytes from its start.
        crc: The checksum of the line before, None where it is not known.
    """

    offset: int = 0
    crc: int | None = 0


class Item(NamedTuple):
    """What was read: an event to forward, or None for a line to pass over, and the place after."""

    event: ForwardedEvent | None
    mark: FileMark
    corrupt: bool = False


def writer_of(path: Path) -> str | None:
    """Return the writer that a file names, None for a file that is not a gateway's."""
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if not head.startswith((_BEGINS_A_RECORD, b'{"writer":')):
        return None
    match = _NAMES_ITS_WRITER.search(head)
    return match[1].decode(errors="replace") if match else None


def run_of(writer: str) -> str:
    """Return the run that a writer belongs to."""
    return writer.partition(".")[0]


def order_of(writer: str) -> tuple[str, int]:
    """Return what sorts writers by the time at which they began."""
    run, _, number = writer.partition(".")
    return run, int(number) if number.isdecimal() else 0


def candidates(folder: Path) -> list[Path]:
    """List the files of a session's directory that may hold events."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(_ENDINGS)]
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".")]


def holds_marked(path: Path, after: int) -> bool:
    """Tell whether a file has a line, after a place, that is to be forwarded."""
    kept = b""
    with path.open("rb") as file:
        file.seek(after)
        while block := file.read(1 << 20):
            if _MARKED in kept + block:
                return True
            kept = block[-len(_MARKED) :]
    return False


def count_marked(path: Path, after: int) -> int:
    """Count the lines of a file, after a place, that are to be forwarded."""
    found = 0
    with path.open("rb") as file:
        file.seek(after)
        for line in file:
            # What a user's event says stands before the attributes.
            found += (
                line.startswith(_BEGINS_A_RECORD)
                and line.endswith(b"\n")
                and line.rfind(_MARKED) > line.rfind(b',"attributes":{')
            )
    return found


def logged_at(path: Path, mark: FileMark) -> int:
    """Return when the next event to forward was logged, in nanoseconds since 1970, 0 if unknown."""
    return next((item.event.timestamp for item in read_items(path, mark) if item.event), 0)


def read_items(path: Path, mark: FileMark, *, most: int = 256) -> list[Item]:
    """Read on in a file.

    Args:
        path: The file.
        mark: Where to go on.
        most: The most items to return.

    Returns:
        What stands on the complete lines that come next; empty when there are none for now.

    Raises:
        OSError: When the file cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wanted = _CHUNK
        while True:
            block = os.pread(descriptor, wanted, mark.offset)
            items = _items(block, mark, most)
            if items or len(block) < wanted or wanted > _MOST_LINE:
                return items
            wanted *= 4
    finally:
        os.close(descriptor)


def _items(block: bytes, mark: FileMark, most: int) -> list[Item]:
    items: list[Item] = []
    crc = mark.crc
    start = 0
    while len(items) < most and (end := block.find(b"\n", start)) >= 0:
        line = block[start:end].removesuffix(b",")
        start, at = end + 1, mark.offset + end + 1
        if not line.startswith(_BEGINS_A_RECORD):
            continue
        fits = crc is None or verify(line, crc) is not None
        event: ForwardedEvent | None = None
        if fits:
            try:
                event = _event_of(line)
            except (CorruptLineError, RecursionError):
                fits = False
        # The line after a damaged one may be seeded with what that one was.
        crc = _stated(line) if fits else None
        items.append(Item(event, FileMark(at, crc), corrupt=not fits))
    return items


def _event_of(line: bytes) -> ForwardedEvent | None:
    record = decode(line)
    if not record.attributes.get(s.GATEWAY_FORWARD):
        return None
    body = record.body if isinstance(record.body, dict) else {"value": record.body}
    session = str(record.attributes.get(s.CONVERSATION_ID, ""))
    return ForwardedEvent(body, record.id, session, record.timestamp or 0, record.event_name)


def _stated(line: bytes) -> int | None:
    try:
        return int(line[-_CRC_LENGTH:].partition(b'"crc":"')[2][:8], 16)
    except ValueError:
        return None


def load(path: Path, writer: str) -> FileMark:
    """Read how far a file has been dealt with; from its beginning where nobody can say."""
    try:
        data = orjson.loads(_ledger_of(path).read_bytes())
        offset, known = int(data["offset"]), data["crc"] is not None
        if data["writer"] != writer or offset <= 0:
            return FileMark()
        with path.open("rb") as file:
            begin = max(0, offset - _CRC_LENGTH - 1)
            file.seek(begin)
            around = file.read(offset - begin + 1)
    except (OSError, ValueError, KeyError, TypeError):
        return FileMark()
    before, after = around[: offset - begin], around[offset - begin :]
    # In a document, the comma before the next event stands where the newline was.
    if len(before) != offset - begin or not (
        before.endswith(b"\n") or (before.endswith(b",") and after == b"\n")
    ):
        return FileMark()
    return FileMark(offset, _stated(before[:-1]) if known else None)


def save(path: Path, writer: str, mark: FileMark) -> None:
    """Note how far a file has been dealt with, whole or not at all.

    Raises:
        OSError: When the file system refuses.
    """
    if not path.exists():
        return  # deleted, and its ledger with it
    ledger = _ledger_of(path)
    temporary = ledger.with_name(ledger.name + ".new")
    data = orjson.dumps({"writer": writer, "offset": mark.offset, "crc": mark.crc})
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    os.rename(temporary, ledger)


def at_end(path: Path, mark: FileMark) -> FileMark:
    """Return the place at the end of a file to which nothing more is written."""
    return replace(mark, offset=max(mark.offset, path.stat().st_size))


def _ledger_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.forwarded")


class Locks:
    """Which runs of loggers are alive on a base directory, by kernel locks.

    Args:
        base: The base directory.
        run: This run.
    """

    def __init__(self, base: Path, run: str) -> None:
        self._folder = base / PRIVATE
        self._run = run
        self._mine = -1
        self._recovery = -1

    def begin(self) -> None:
        """Say that this run is alive.

        Raises:
            OSError: When the base directory cannot be written.
        """
        if self._mine < 0:
            make_private(self._folder)
            self._mine = self._take(f"{self._run}.lock")

    def take_recovery(self) -> bool:
        """Become the one process that forwards what dead runs have left; whether that is so."""
        if self._recovery < 0 and self._mine >= 0:
            self._recovery = self._take("recovery")
        return self._recovery >= 0

    @property
    def recovers(self) -> bool:
        """Whether this is the process that forwards what dead runs have left."""
        return self._recovery >= 0

    def is_alive(self, run: str) -> bool:
        """Tell whether a run, not this one, is going on in some process."""
        lock = self._take(f"{run}.lock", flags=0)
        if lock == _BUSY:
            return True
        if lock >= 0:
            os.close(lock)
        return False

    def dead_runs(self) -> Iterator[str]:
        """List the runs that ended without having forwarded everything."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return
        for name in names:
            run, dot, ending = name.partition(".")
            if dot and ending == "lock" and run != self._run and not self.is_alive(run):
                yield run

    def path_of(self, run: str) -> Path:
        """Return where the lock of a run is."""
        return self._folder / f"{run}.lock"

    def forget(self, run: str) -> None:
        """Remove the lock of a dead run of which everything has been forwarded."""
        self.path_of(run).unlink(missing_ok=True)

    def end(self, *, forwarded: bool) -> None:
        """Say that this run has ended.

        Args:
            forwarded: Whether nothing is left for others to forward.
        """
        if self._mine >= 0 and forwarded:
            self.forget(self._run)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors, which in a forked child leaves the parent's locks alone."""
        for descriptor in (self._mine, self._recovery):
            if descriptor >= 0:
                os.close(descriptor)
        self._mine = self._recovery = -1

    def _take(self, name: str, flags: int = os.O_CREAT) -> int:
        """Lock a file and return its descriptor; negative when somebody else has, or it is not there."""
        try:
            lock = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        except FileNotFoundError:
            return _MISSING
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return _BUSY
        return lock


_BUSY, _MISSING = -1, -2
