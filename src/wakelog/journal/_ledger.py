"""The ledger: up to which mark a writer's records have been dealt with.

It is a hint. A ledger that is missing, torn, or does not fit its segments is answered by starting
from the beginning, which sends records twice and skips none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from wakelog.errors import JournalError
from wakelog.journal._filesystem import SYSTEM, FileSystem

_NAME = "ledger"


@dataclass(frozen=True, slots=True)
class Mark:
    """A place between two lines of a writer, and what was counted up to there.

    Attributes:
        segment: The index of the segment, from 1; 0 before the first.
        offset: Bytes from the start of the segment; always the start of a line.
        seq: The ``seq`` of the last record before this place.
        crc: The checksum of the last line before this place, None when it is not known.
        corrupt: How many of the ``seq`` records could not be read.
        dead_lettered: How many were set aside with a reason.
        evicted: How many were deleted under a quota before they were delivered.
    """

    segment: int = 0
    offset: int = 0
    seq: int = 0
    crc: int | None = None
    corrupt: int = 0
    dead_lettered: int = 0
    evicted: int = 0

    @property
    def delivered(self) -> int:
        """How many records before this place the next hop has accepted."""
        return self.seq - self.corrupt - self.dead_lettered - self.evicted

    def after(self, offset: int, seq: int, crc: int | None) -> Mark:
        """Return the mark after the next line; a third of what ``replace`` costs."""
        counted = (self.corrupt, self.dead_lettered, self.evicted)
        return Mark(self.segment, offset, seq, crc, *counted)


@dataclass(frozen=True, slots=True)
class Span:
    """Records that have been dealt with ahead of others: those between two marks.

    Attributes:
        start: The place before the first of them.
        end: The place after the last one. What was counted there less what was counted at
            ``start`` is what became of them.
    """

    start: Mark
    end: Mark

    @property
    def delivered(self) -> int:
        """How many of them the next hop has accepted."""
        return self.end.delivered - self.start.delivered


def load(folder: Path, writer: str) -> Mark:
    """Read the ledger of a writer: up to where everything has been dealt with.

    Args:
        folder: The writer's folder.
        writer: The writer's id, which the ledger has to name.

    Returns:
        The mark, or the beginning when there is no ledger that can be believed.
    """
    return load_with_spans(folder, writer)[0]


def load_with_spans(folder: Path, writer: str) -> tuple[Mark, list[Span]]:
    """Read the ledger of a writer: the mark, and what has been dealt with ahead of it.

    Args:
        folder: The writer's folder.
        writer: The writer's id, which the ledger has to name.

    Returns:
        The mark, or the beginning when there is no ledger that can be believed; and the spans
        after it that can be, in order.
    """
    try:
        data = orjson.loads((folder / _NAME).read_bytes())
        if data.pop("writer") != writer:
            return Mark(), []
        pairs = data.pop("ahead", [])
        mark = Mark(**data)
        spans = [Span(Mark(**start), Mark(**end)) for start, end in pairs]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Mark(), []
    if not _fits(folder, mark):
        return Mark(), []
    believed: list[Span] = []
    reached = mark.seq
    for span in spans:
        if not (_fits(folder, span.start) and _fits(folder, span.end)):
            break
        if not reached <= span.start.seq <= span.end.seq:
            break
        believed.append(span)
        reached = span.end.seq
    return mark, believed


def _fits(folder: Path, mark: Mark) -> bool:
    """Tell whether a mark stands at the start of a line that exists."""
    # What was read from a file need not be of the types that the class says.
    numbers: tuple[object, ...] = (mark.segment, mark.offset, mark.seq, mark.delivered)
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return False
    if mark.offset == 0:
        return True
    try:
        with (folder / segment_name(mark.segment)).open("rb") as file:
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
    ahead: Sequence[Span] = (),
) -> None:
    """Write the ledger of a writer, whole or not at all. Only for whoever delivers the writer.

    Raises:
        JournalError: When the file system refuses; the old ledger is still there.
    """
    data: dict[str, object] = {"writer": writer, **_plain(mark)}
    if ahead:
        data["ahead"] = [[_plain(span.start), _plain(span.end)] for span in ahead]
    path = folder / _NAME
    try:
        fs.write_whole(path, orjson.dumps(data))
    except OSError as error:
        hint = "Delivery goes on; after a restart, records since the last ledger are sent again"
        raise JournalError("write", path, error.strerror or error, hint) from error


def _plain(mark: Mark) -> dict[str, object]:
    return {name: getattr(mark, name) for name in Mark.__slots__}


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
