"""The ledger: up to which mark a writer's records have been dealt with.

It is a hint. A ledger that is missing, torn, or does not fit its segments is answered by starting
from the beginning, which sends records twice and skips none.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from wakelog.errors import JournalError
from wakelog.journal import _deletions as deletions
from wakelog.journal import _reserve as reserve
from wakelog.journal._filesystem import SYSTEM, FileSystem
from wakelog.journal._mark import Mark

_NAME = "ledger"


def load(folder: Path, writer: str) -> Mark:
    """Read up to where a writer's records have been dealt with.

    Args:
        folder: The writer's folder.
        writer: The writer's id, which the ledger has to name.

    Returns:
        What the ledger says. Where it cannot be believed, or segments have been deleted that it has
        not come to yet, what the record of deletions says; the beginning without either.
    """
    deletion = deletions.load(folder)
    ledger = _read(folder, writer)
    mark = deletion.mark if ledger is None else ledger
    if mark.segment < deletion.segment:
        mark = deletion.after(mark)
    if _fits(folder, mark):
        return mark
    # After a power failure, a segment may end before the place that was noted.
    return deletion.mark if _fits(folder, deletion.mark) else deletion.mark.at_start()


def _read(folder: Path, writer: str) -> Mark | None:
    try:
        data = orjson.loads((folder / _NAME).read_bytes())
        mark = Mark(**data) if data.pop("writer") == writer else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return mark if mark is not None and mark.is_possible else None


def _fits(folder: Path, mark: Mark) -> bool:
    """Tell whether a mark stands at the start of a line that exists."""
    if mark.offset == 0:
        return True
    try:
        with (folder / segment_name(mark.segment)).open("rb") as file:
            file.seek(mark.offset - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False


def save(folder: Path, writer: str, mark: Mark, fs: FileSystem = SYSTEM) -> None:
    """Write the ledger of a writer, whole or not at all. Only for the owner of the folder.

    Raises:
        JournalError: When the file system refuses; the old ledger is still there.
    """
    fields = {name: getattr(mark, name) for name in Mark.__slots__}
    path = folder / _NAME
    try:
        # On a full disk, only what the ledger says allows anything to be deleted.
        text = orjson.dumps({"writer": writer, **fields})
        reserve.write(folder.parent, path, text, fs, leave=reserve.FOR_DELETIONS)
    except OSError as error:
        hint = "Delivery goes on; after a restart, records since the last ledger are sent again"
        raise JournalError("write", path, error.strerror or error, hint) from error


def segment_name(index: int) -> str:
    """Return the file name of a segment."""
    return f"{index:08d}.jsonl"


def segment_index(name: str) -> int | None:
    """Return the index that a segment's file name says, or None for another file."""
    stem, dot, suffix = name.partition(".")
    return int(stem) if dot and suffix == "jsonl" and stem.isdecimal() else None


def segments(folder: Path) -> list[int]:
    """List the indices of a folder's segments, in order.

    Raises:
        JournalError: When the folder cannot be listed.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise JournalError("list", folder, error.strerror or error) from error
    return sorted(index for name in names if (index := segment_index(name)) is not None)
