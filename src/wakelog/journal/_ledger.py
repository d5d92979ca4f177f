"""The ledger: the mark up to which delivery of a writer's records is finished.

It is a hint. If it is missing, torn, changed, or does not fit the segments, delivery starts from
the beginning, which sends records twice and skips none. A folder of format 1 keeps a ledger without
a checksum, which releases that know only format 1 can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from wakelog.journal import _deletions as deletions
from wakelog.journal import _reserve as reserve
from wakelog.journal._mark import Mark, MarkRange
from wakelog.journal._owner import generation_of
from wakelog.record import read_fields, seal_fields
from wakelog.runtime import SYSTEM, FileSystem, JournalErrors, open_to_read, read_small
from wakelog.storage import segment_name

NAME = "ledger"


def load(folder: Path, writer: str) -> Mark:
    """Return the mark up to which a writer's delivery is finished.

    Args:
        folder: The writer's folder.
        writer: The writer's id, which the ledger must have too.

    Returns:
        The ledger's mark. If the ledger is invalid, or segments after its mark have been deleted,
        the mark in the record of deletions; the beginning without either.
    """
    return load_with_ranges(folder, writer)[0]


def load_with_ranges(folder: Path, writer: str) -> tuple[Mark, list[MarkRange]]:
    """Return the mark of a writer's ledger, and the ranges after it that are finished.

    Args:
        folder: The writer's folder.
        writer: The writer's id, which the ledger must have too.

    Returns:
        The mark, as ``load`` returns it, and the valid ranges after it, in order.
    """
    deletion = deletions.load(folder)
    mark, parts = _read(folder, writer) or (deletion.mark, [])
    if mark.segment < deletion.segment:
        mark = deletion.after(mark)
    if not _fits(folder, mark):
        # After a power failure, a segment may end before the ledger's mark.
        mark = deletion.mark if _fits(folder, deletion.mark) else deletion.mark.at_start()
        return mark, []
    believed: list[MarkRange] = []
    reached = mark.seq
    for part in parts:
        fits = _fits(folder, part.start) and _fits(folder, part.end)
        if fits and reached <= part.start.seq <= part.end.seq:
            believed.append(part)
            reached = part.end.seq
    return mark, believed


def _read(folder: Path, writer: str) -> tuple[Mark, list[MarkRange]] | None:
    try:
        data = _fields(read_small(folder / NAME))
        if data.pop("writer") != writer:
            return None
        pairs = data.pop("ahead", [])
        mark = Mark(**data.get("mark", data))
        parts = [MarkRange(Mark(**start), Mark(**end)) for start, end in pairs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    marks = [mark, *(one for part in parts for one in (part.start, part.end))]
    return (mark, parts) if all(one.is_possible for one in marks) else None


def _fields(text: bytes) -> dict[str, Any]:
    """Parse a ledger, with or without a checksum.

    Raises:
        ValueError: When it is not valid JSON, or its checksum does not match.
    """
    data: dict[str, Any] = orjson.loads(text)
    if "mark" not in data:
        return data
    if "crc" not in data:
        raise ValueError(f"a ledger without its checksum: {text[:80]!r}")
    return read_fields(text)


def is_readable(text: bytes, writer: str) -> bool:
    """Return whether a ledger is valid and belongs to a writer."""
    try:
        return bool(_fields(text)["writer"] == writer)
    except (ValueError, KeyError, TypeError):
        return False


def noted(folder: Path) -> int:
    """Return the number of finished records in a ledger, even if it does not fit the segments."""
    try:
        data = _fields(read_small(folder / NAME))
        return int(data.get("mark", data)["seq"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def _fits(folder: Path, mark: Mark) -> bool:
    """Return whether a mark is at the start of a line or at the end of the last one."""
    if mark.offset == 0:
        return True
    try:
        with open_to_read(folder / segment_name(mark.segment)) as file:
            file.seek(mark.offset - 1)
            return file.read(1) == b"\n"
    except OSError:
        return False


def save(
    folder: Path,
    writer: str,
    mark: Mark,
    fs: FileSystem = SYSTEM,
    *,
    ahead: Sequence[MarkRange] = (),
) -> None:
    """Write a writer's ledger atomically. The caller holds the delivery lock.

    Raises:
        JournalError: When a file operation fails. Then the old ledger remains.
    """
    sealed = generation_of(folder) > 0
    data: dict[str, object] = {
        "writer": writer,
        **({"mark": _fields_of(mark)} if sealed else _fields_of(mark)),
    }
    if ahead:
        data["ahead"] = [[_fields_of(part.start), _fields_of(part.end)] for part in ahead]
    path = folder / NAME
    text = seal_fields(data)[0] if sealed else orjson.dumps(data)
    hint = "Delivery goes on; after a restart, records since the last ledger are sent again"
    with JournalErrors("write", path, hint):
        # On a full disk, nothing can be deleted before the ledger says that it was delivered.
        reserve.write(folder.parent, path, text, fs, leave=reserve.FOR_DELETIONS)


def _fields_of(mark: Mark) -> dict[str, object]:
    return {name: getattr(mark, name) for name in Mark.__slots__}
