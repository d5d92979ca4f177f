"""Repairing: moves damaged files aside, copies damaged lines, and rebuilds files if possible.

Segments are never changed, because readers' marks and the checksum chain depend on the positions of
their lines. Readers skip damaged lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from wakelog.errors import CorruptLineError
from wakelog.journal import _deletions as deletions
from wakelog.journal import _ledger as ledger
from wakelog.journal import _retired_totals as retired
from wakelog.journal._cursor import Cursor, save_torn_tail
from wakelog.journal._dead_letters import DEAD_LETTERS, is_readable
from wakelog.journal._deleting import is_clean
from wakelog.journal._folder import Folder, folders, is_owned
from wakelog.journal._mark import Mark
from wakelog.journal._owner import OWNER, Owner, owner_of, write_owner
from wakelog.record import FORMAT
from wakelog.runtime import SYSTEM, JournalErrors, open_to_read, read_small
from wakelog.storage import end_of_lines, segment_name, segments

MARKER = "wakelog.json"
DAMAGED = ".damaged"


class Fault(NamedTuple):
    """Something that is damaged.

    Attributes:
        path: The file.
        what: A description of the damage.
        remedy: A description of the repair.
        repair: Performs the repair; None if a process owns the folder, which repairs it itself.
    """

    path: Path
    what: str
    remedy: str
    repair: Callable[[], None] | None


def faults(root: Path, only: str | None = None) -> Iterator[Fault]:
    """Yield the faults of a journal that are not repaired yet.

    Args:
        root: The journal's directory.
        only: If given, only this writer's folder is checked.

    Raises:
        JournalError: When a file operation fails.
    """
    with JournalErrors("repair", root):
        if only is None:
            yield from _of_root(root)
        for folder in folders(root, only):
            writing = is_owned(folder) is not False
            for fault in _of_folder(folder):
                yield fault._replace(repair=None) if writing else fault


def repair(fault: Fault) -> bool:
    """Repair a fault.

    Returns:
        Whether it was repaired; False while another process owns the folder.

    Raises:
        JournalError: When a file operation fails.
    """
    if fault.repair is None:
        return False
    folder = Folder.adopt(fault.path.parent) if (fault.path.parent / "lock").exists() else None
    if folder is None and (fault.path.parent / "lock").exists():
        return False
    try:
        with JournalErrors("repair", fault.path):
            fault.repair()
    finally:
        if folder is not None:
            folder.release()
    return True


def _of_root(root: Path) -> Iterator[Fault]:
    marker = root / MARKER
    if _is_unreadable(marker, lambda data: isinstance(orjson.loads(data)["format"], int)):

        def write() -> None:
            _move_aside(marker)
            text = orjson.dumps({"wakelog": "journal", "format": FORMAT})
            SYSTEM.write_whole(marker, text + b"\n", synced=True)

        yield Fault(
            marker,
            "it does not say the journal's format",
            "is moved aside and written again",
            write,
        )
    path = root / retired.NAME
    if _is_unreadable(path, lambda data: bool(retired.RetiredTotals.from_bytes(data).writers + 1)):
        what = "the sum of the books of deleted folders cannot be read"
        yield Fault(path, what, "is moved aside; the sum begins anew", lambda: _move_aside(path))


def _of_folder(folder: Path) -> Iterator[Fault]:
    yield from _of_books(folder)
    found = segments(folder, missing_ok=True)
    for index in found:
        path = folder / segment_name(index)
        aside = path.with_suffix(DAMAGED)
        if not is_clean(folder, index) and not aside.exists():
            lines = _damaged_lines(folder, index)
            if lines:
                what = f"{len(lines)} damaged lines, which readers pass over"
                yield Fault(path, what, f"are copied to {aside.name}", _copying(aside, lines))
    if found:
        path = folder / segment_name(found[-1])
        with open_to_read(path) as file:
            size = os.fstat(file.fileno()).st_size
            rest = size - end_of_lines(file.fileno())
        aside = path.with_suffix(".torn")
        if rest and not aside.exists():
            what = f"{rest} bytes of a line that was never accepted"
            yield Fault(path, what, f"are copied to {aside.name}", lambda: _torn(folder))


def _of_books(folder: Path) -> Iterator[Fault]:
    owner = folder / OWNER
    if _is_unreadable(owner, lambda data: bool(Owner.from_bytes(data))):
        whose = owner_of(folder)

        def write() -> None:
            _move_aside(owner)
            if whose is not None:
                write_owner(folder, whose)

        again = " and written again from the headers of segments" if whose is not None else ""
        yield Fault(owner, "it does not say whose the records are", f"is moved aside{again}", write)
    path = folder / ledger.NAME
    if _is_unreadable(path, lambda data: ledger.is_readable(data, folder.name)):
        what = "it does not say what has been delivered"
        yield _moved(path, what, "is moved aside; what it knew may be delivered twice")
    path = folder / deletions.NAME
    if path.exists() and deletions.load(folder) == deletions.Deletion():
        what = "it does not say which segments were deleted"
        yield _moved(path, what, "is moved aside; what it knew counts as corrupt")
    path = folder / DEAD_LETTERS
    if path.exists():
        with open_to_read(path) as file:
            lines = [line for line in file.read().split(b"\n") if line]
        bad = [line for line in lines if not is_readable(line)]
        aside = path.with_name(DEAD_LETTERS + DAMAGED)
        if bad and not aside.exists():
            what = f"{len(bad)} lines that cannot be read, which readers pass over"
            yield Fault(path, what, f"are copied to {aside.name}", _copying(aside, bad))


def _moved(path: Path, what: str, remedy: str) -> Fault:
    return Fault(path, what, remedy, lambda: _move_aside(path))


def _is_unreadable(path: Path, is_good: Callable[[bytes], bool]) -> bool:
    """Return whether a file exists and its content is invalid."""
    try:
        data = read_small(path)
    except FileNotFoundError:
        return False
    try:
        return not is_good(data)
    except (CorruptLineError, ValueError, KeyError, TypeError):
        return True


def _damaged_lines(folder: Path, index: int) -> list[bytes]:
    cursor = Cursor(folder, Mark(segment=index), whole=True, blobs=False)
    found: list[bytes] = []
    try:
        while True:
            chunk = cursor.read(1, 1)
            if chunk.mark.segment != index or not (chunk.entries or chunk.damaged):
                return found
            found += chunk.damaged
    finally:
        cursor.close()


def _copying(aside: Path, lines: list[bytes]) -> Callable[[], None]:
    data = b"".join(line + b"\n" for line in lines)
    return lambda: SYSTEM.write_whole(aside, data, synced=True)


def _torn(folder: Path) -> None:
    save_torn_tail(folder)


def _move_aside(path: Path) -> None:
    """Rename a file so that no reader finds it under its former name."""
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}{DAMAGED}" + (f".{number}" if number > 1 else ""))
        if not aside.exists():
            SYSTEM.rename(path, aside)
            return
