"""The books: for every writer, where each accepted record is now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wakelog.journal._folder import folders, is_owned
from wakelog.journal._ledger import Mark, load, segments
from wakelog.journal._reading import Cursor


@dataclass(frozen=True, slots=True)
class Books:
    """What became of the records of one writer, or of several added up.

    ``accepted = delivered + pending + dead_lettered + evicted + corrupt`` holds by construction of
    ``pending``; what has to be true is that no figure is negative.

    Attributes:
        writer: The writer's id.
        live: Whether a process is writing it now.
        accepted: Records whose emit returned.
        delivered: Records that the next hop has accepted.
        dead_lettered: Records set aside with a reason.
        evicted: Records deleted under a quota.
        corrupt: Records that could not be read any more.
    """

    writer: str
    live: bool
    accepted: int
    delivered: int
    dead_lettered: int
    evicted: int
    corrupt: int

    @property
    def pending(self) -> int:
        """Records that still have to be delivered."""
        return self.accepted - self.delivered - self.dead_lettered - self.evicted - self.corrupt


def books(root: Path) -> list[Books]:
    """Read the books of every writer of a journal, from the files alone.

    Args:
        root: The journal's directory.

    Returns:
        One entry a writer, oldest first.

    Raises:
        JournalError: When the directory cannot be read.
    """
    return [_books_of(folder) for folder in folders(root)]


def _books_of(folder: Path) -> Books:
    live = is_owned(folder)
    dealt_with = load(folder, folder.name)
    end = last_mark(folder, dealt_with)
    return Books(
        writer=folder.name,
        live=live,
        accepted=end.seq,
        delivered=dealt_with.delivered,
        dead_lettered=dealt_with.dead_lettered,
        evicted=dealt_with.evicted,
        corrupt=end.corrupt,
    )


def last_mark(folder: Path, after: Mark) -> Mark:
    """Find the end of a writer's records.

    Args:
        folder: The writer's folder.
        after: A mark that is known to be good; what stands before it is not read again.

    Returns:
        The mark after the last record.
    """
    if not segments(folder):
        return after
    cursor = Cursor(folder, after)
    while (chunk := cursor.read(4096, 1 << 20)).entries or chunk.damaged:
        pass
    cursor.close()
    return cursor.mark
