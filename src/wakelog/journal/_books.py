"""The books: for every writer, where each accepted record is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from wakelog.errors import CorruptLineError, JournalError
from wakelog.journal import _retired_totals as retired
from wakelog.journal._counts import RecordCounts
from wakelog.journal._cursor import header_of
from wakelog.journal._dead_letters import DEAD_LETTERS, dead_letter_seqs, replayed_ids
from wakelog.journal._ends import end_of_segment, last_mark
from wakelog.journal._folder import folders, is_owned
from wakelog.journal._ledger import load_with_ranges
from wakelog.journal._mark import Mark, MarkRange
from wakelog.record import Header
from wakelog.runtime import ForeignFileError, open_to_read, regular_file, size_of
from wakelog.storage import LONGEST_LINE, segment_name, segments

# Cleaning may delete folders, in batches, while the books are read.
_TRIES = 20
# A backlog up to this size is always read, because that is fast.
_SMALL = 8 * 1024 * 1024


class Books(RecordCounts):
    """Counts of where the records of one writer, or of several writers together, are now.

    ``accepted = delivered + pending + dead_lettered + evicted + corrupt`` holds by construction of
    ``pending``; the books are consistent if no figure is negative. Damaged and missing records in a
    backlog that was not read (see ``books``) count as pending until delivery, or ``exact`` books,
    read them.

    Attributes:
        writer: The writer's id.
        live: Whether a process owns the writer's folder now; None if that is unknown.
    """

    def __init__(self, *, writer: str, live: bool | None, **counts: int) -> None:
        super().__init__(**counts)
        self.writer = writer
        self.live = live


def books(root: Path, *, exact: bool = False) -> list[Books]:
    """Read the books of every writer of a journal, from the files alone.

    Args:
        root: The journal's directory.
        exact: Whether to read every pending record. Otherwise, if more than 8 MiB of a writer are
            pending, only its last segment is read; the segment's header has the number of the
            records before it.

    Returns:
        One entry for each writer, oldest first. If folders have been deleted, the first entry is
        ``swept``, the sum of their books.

    Raises:
        JournalError: When the directory cannot be read.
    """
    for _ in range(_TRIES):
        before = retired.load(root)
        found = []
        for folder in folders(root):
            if folder.name in before.going:
                continue
            try:
                found.append(_books_of(folder, exact=exact))
            except JournalError:
                if folder.exists():
                    raise  # else it has been deleted in the meantime
        # A folder that was deleted in the meantime is in the sum now, and perhaps in the list too.
        if retired.load(root) == before:
            break
    if not before.writers:
        return found
    return [Books(writer="swept", live=False, **before.counts.counted()), *found]


def _books_of(folder: Path, *, exact: bool) -> Books:
    live = is_owned(folder)
    acknowledged, ahead = load_with_ranges(folder, folder.name)
    start = acknowledged if exact else _near_the_end(folder, acknowledged)
    end = last_mark(folder, start)
    dead = _dead_lettered(folder, acknowledged, ahead)
    # The ledger counts dead letters and not their later delivery, which only the file of dead
    # letters records. A damaged dead letter counts as corrupt.
    ever = _ever_dead_lettered(acknowledged, ahead)
    replayed = min(len(replayed_ids(folder)), ever - dead)
    delivered = acknowledged.delivered + sum(part.delivered for part in ahead)
    return Books(
        writer=folder.name,
        live=live,
        accepted=max([end.seq, *(part.end.seq for part in ahead)]),
        delivered=delivered + replayed,
        dead_lettered=dead,
        evicted=end.evicted,
        corrupt=end.corrupt + ever - dead - replayed,
    )


def _ever_dead_lettered(acknowledged: Mark, ahead: Sequence[MarkRange]) -> int:
    parts = (part.end.dead_lettered - part.start.dead_lettered for part in ahead)
    return acknowledged.dead_lettered + sum(parts)


def _dead_lettered(folder: Path, acknowledged: Mark, ahead: Sequence[MarkRange]) -> int:
    """Count the dead letters that the ledger covers; the others still count as pending."""
    if regular_file(folder / DEAD_LETTERS) is None:
        return _ever_dead_lettered(acknowledged, ahead)
    return sum(
        seq <= acknowledged.seq or any(part.start.seq < seq <= part.end.seq for part in ahead)
        for seq in dead_letter_seqs(folder)
    )


def _near_the_end(folder: Path, acknowledged: Mark) -> Mark:
    """Return a mark near the end, so that finding the end needs no read of a large backlog."""
    pending = [index for index in segments(folder) if index >= max(acknowledged.segment, 1)]
    size = sum(_size(folder, index) for index in pending)
    if size - acknowledged.offset <= _SMALL:
        return acknowledged
    for before, index in reversed(list(pairwise(pending))):
        header = _header(folder, index)
        # After a failed sync a segment repeats records of the one before it, and its header states
        # a smaller number than that segment ends with. A damaged header states none.
        if header is not None and header.last_seq == _last_seq(folder, before):
            return replace(acknowledged, segment=index, offset=0, seq=header.last_seq, crc=None)
    return acknowledged


def _size(folder: Path, index: int) -> int:
    status = regular_file(folder / segment_name(index))
    return 0 if status is None else size_of(status)  # deleted in the meantime


def _header(folder: Path, index: int) -> Header | None:
    path = folder / segment_name(index)
    try:
        with open_to_read(path) as file:
            return header_of(file.readline(LONGEST_LINE).removesuffix(b"\n"), path)
    except (CorruptLineError, ForeignFileError):
        return None
    except OSError as error:
        raise JournalError("read", path, error) from error


def _last_seq(folder: Path, index: int) -> int | None:
    """Return the ``seq`` of a segment's last line, or None if that line cannot be read."""
    mark = end_of_segment(folder, index)
    return None if mark is None else mark.seq
