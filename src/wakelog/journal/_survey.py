"""What a journal's directory holds: every writer's files with their sizes, without reading them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.journal import _deletions as deletions
from wakelog.journal._claim import CLAIM
from wakelog.journal._folder import LOCK
from wakelog.journal._ledger import segment_index, segment_name

# What a folder holds that is neither a segment nor set aside by somebody.
_OWN_NAMES = frozenset(
    {LOCK, CLAIM, "ledger", "ledger.new", deletions.NAME, f"{deletions.NAME}.new"}
)
_CHECK_EVERY = 64
_BLOCK = 256 * 1024


@dataclass(frozen=True, order=True, slots=True)
class Segment:
    """A segment as it was found."""

    index: int
    size: int
    changed: float
    """When it was last written to, in seconds since 1970."""


@dataclass(slots=True)
class Found:
    """A writer's folder as it was found.

    Attributes:
        path: The folder.
        segments: Its segments, in order.
        others: The bytes in its other files.
        books: Whether it has a ledger or a record of deletions.
        set_aside: Whether it holds anything that Wakelog does not delete.
    """

    path: Path
    segments: list[Segment] = field(default_factory=list)
    others: int = 0
    books: bool = False
    set_aside: bool = False

    @property
    def size(self) -> int:
        """The bytes in all its files."""
        return self.others + sum(segment.size for segment in self.segments)

    def look_again(self) -> None:
        """Find out what is in the folder now."""
        now = look_into(self.path)
        self.segments, self.others = now.segments, now.others
        self.books, self.set_aside = now.books, now.set_aside

    def ends_before(self, index: int) -> bool:
        """Tell whether all segments are below an index."""
        return not self.segments or self.segments[-1].index < index

    @property
    def changed(self) -> float:
        """When its last segment was last written to."""
        return self.segments[-1].changed if self.segments else 0.0

    def size_below(self, index: int) -> int:
        """Return the bytes in the segments below an index."""
        return sum(segment.size for segment in self.segments if segment.index < index)

    def has_pending(self, segment: int, offset: int) -> bool:
        """Tell whether anything but the rest of a cut-off line stands after a place."""
        if any(found.index > segment for found in self.segments):
            return True
        if not any(found.index == segment for found in self.segments):
            return False
        with (self.path / segment_name(segment)).open("rb") as file:
            file.seek(offset)
            return any(b"\n" in block for block in iter(lambda: file.read(_BLOCK), b""))


@dataclass(slots=True)
class Survey:
    """A journal's directory as it was found.

    Attributes:
        folders: The writers' folders, oldest writer first.
        others: The bytes in files of the directory itself.
        leftovers: Hidden entries: what is being made, or what a crash has left.
        complete: Whether everything was looked at in the time given.
    """

    folders: list[Found] = field(default_factory=list)
    others: int = 0
    leftovers: list[Path] = field(default_factory=list)
    complete: bool = True

    @property
    def size(self) -> int:
        """The bytes in all files."""
        return self.others + sum(found.size for found in self.folders)

    def forget_gone(self) -> None:
        """Leave out the folders that are not there any more."""
        self.folders = [found for found in self.folders if found.path.exists()]


def survey(root: Path, timeout: float | None = None) -> Survey:
    """Look at a journal's directory.

    Args:
        root: The directory.
        timeout: The seconds after which to stop looking; None for no end.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    result = Survey()
    try:
        with os.scandir(root) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        for number, entry in enumerate(entries):
            if entry.name.startswith("."):
                result.leftovers.append(Path(entry.path))
            elif not entry.is_dir():
                result.others += _size(entry)
            elif os.path.exists(os.path.join(entry.path, LOCK)):
                result.folders.append(look_into(Path(entry.path)))
            if deadline and number % _CHECK_EVERY == 0 and time.monotonic() > deadline:
                result.complete = False
                break
    except OSError as error:
        raise JournalError("list", root, error.strerror or error) from error
    return result


def look_into(path: Path) -> Found:
    """Look at one folder; one that is gone holds nothing."""
    found = Found(path)
    try:
        with os.scandir(path) as scan:
            for entry in scan:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # it was deleted or renamed in this moment
                    continue
                index = segment_index(entry.name)
                if index is not None:
                    found.segments.append(Segment(index, status.st_size, status.st_mtime))
                    continue
                found.others += status.st_size
                if entry.name not in _OWN_NAMES:
                    found.set_aside = True
                elif entry.name != LOCK:
                    found.books = True
    except FileNotFoundError:
        return Found(path)
    found.segments.sort()
    # Whatever the clock did: a segment is no older than the one before it.
    latest = 0.0
    for place, segment in enumerate(found.segments):
        latest = max(latest, segment.changed)
        found.segments[place] = replace(segment, changed=latest)
    return found


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def usage(path: Path) -> int:
    """Return the bytes in the files of a journal's directory, or of one writer's folder."""
    if not path.is_dir():  # the sum of swept folders has none
        return 0
    return look_into(path).size if (path / LOCK).exists() else survey(path).size
