"""The contents of a journal's directory: every writer's files and their sizes."""

from __future__ import annotations

import os
import re
import time
from functools import cache
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.journal import _deletions as deletions
from wakelog.journal import _reserve as reserve
from wakelog.journal import _retired_totals as retired
from wakelog.journal._awaiting import WANTED
from wakelog.journal._delivery_lock import DELIVERY_LOCK
from wakelog.journal._folder import ENDED, INHERITED, LOCK, is_writers
from wakelog.journal._ledger import NAME as LEDGER
from wakelog.journal._owner import OWNER
from wakelog.journal._unserved import UNSERVED
from wakelog.runtime import (
    UNFINISHED,
    ForeignFileError,
    is_directory,
    open_root,
    open_to_read,
    regular_file,
    size_of,
)
from wakelog.storage import (
    ERASING,
    INDEX,
    SUFFIX,
    folder_bytes,
    next_newline,
    segment_index,
    segment_name,
)

# Files of a folder that are deleted with it. Segments are not among them.
_OWN_NAMES = frozenset(
    {
        LOCK,
        OWNER,
        DELIVERY_LOCK,
        ENDED,
        INHERITED,
        LEDGER,
        UNSERVED,
        WANTED,
        ERASING,
        deletions.NAME,
    }
)
# Files of Wakelog that are never deleted. All other files are not Wakelog's.


@cache
def _kept() -> re.Pattern[str]:
    return re.compile(r"\A(\d{8,}\.(torn|damaged)|dead_letters\.jsonl|seals\.jsonl)\Z")


# Files in the journal's directory itself.
_NAMES_OF_ROOTS = frozenset({"wakelog.json", "generation", "space", retired.NAME, reserve.NAME})
_CHECK_EVERY = 64


class Segment:
    """A segment as it was found.

    Attributes:
        index: Its index.
        size: Its size in bytes, with its blobs.
        changed: When it was last written, in seconds since 1970.
    """

    def __init__(self, index: int, size: int, changed: float) -> None:
        self.index, self.size, self.changed = index, size, changed


class FolderContents:
    """A writer's folder as it was found.

    Attributes:
        path: The folder.
        segments: Its segments, in order.
        others: The bytes in its other files.
        books: Whether it has a ledger or a record of deletions.
        keeps_files: Whether it has any file that Wakelog never deletes.
        inherited: Whether a forked child has inherited open spans from it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments: list[Segment] = []
        self.others = 0
        self.books = self.keeps_files = self.inherited = False

    @property
    def size(self) -> int:
        """The size of all its files in bytes."""
        return self.others + sum(segment.size for segment in self.segments)

    def refresh(self) -> None:
        """List the folder again."""
        now = contents_of(self.path)
        self.segments, self.others = now.segments, now.others
        self.books, self.keeps_files = now.books, now.keeps_files

    def ends_before(self, index: int) -> bool:
        """Return whether all segments are below an index."""
        return not self.segments or self.segments[-1].index < index

    @property
    def changed(self) -> float:
        """When its last segment was last written, in seconds since 1970; 0 without segments."""
        return self.segments[-1].changed if self.segments else 0.0

    def size_below(self, index: int) -> int:
        """Return the bytes in the segments below an index."""
        return sum(segment.size for segment in self.segments if segment.index < index)

    def has_pending(self, segment: int, offset: int) -> bool:
        """Return whether there is a complete line after a position."""
        if any(found.index > segment for found in self.segments):
            return True
        if not any(found.index == segment for found in self.segments):
            return False
        try:
            with open_to_read(self.path / segment_name(segment)) as file:
                return next_newline(file.fileno(), offset) >= 0
        except ForeignFileError:
            return False  # replaced in the meantime


class Inventory:
    """A journal's directory as it was found.

    Attributes:
        folders: The writers' folders, oldest writer first.
        others: The bytes in files of the directory itself.
        leftovers: Hidden entries, which are being created or were left by a crash.
        complete: Whether everything was listed within the timeout.
    """

    def __init__(self) -> None:
        self.folders: list[FolderContents] = []
        self.others = 0
        self.leftovers: list[Path] = []
        self.complete = True

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return self.others + sum(found.size for found in self.folders)

    def forget_gone(self) -> None:
        """Remove the folders that no longer exist."""
        self.folders = [found for found in self.folders if is_directory(found.path)]


def take_inventory(root: Path, timeout: float | None = None) -> Inventory:
    """List a journal's directory.

    Args:
        root: The directory.
        timeout: Seconds after which to stop; None for no limit.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    result = Inventory()
    descriptor = -1
    try:
        descriptor = open_root(root)
        owner = os.fstat(descriptor).st_uid
        with os.scandir(descriptor) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        for number, entry in enumerate(entries):
            if entry.name == INDEX:
                continue  # an index, which readers can build again
            if entry.name.startswith("."):
                result.leftovers.append(root / entry.name)
            elif is_writers(root, entry, owner):
                result.folders.append(contents_of(root / entry.name))
            elif entry.name in _NAMES_OF_ROOTS and entry.is_file(follow_symlinks=False):
                result.others += _size(entry)
            if deadline and number % _CHECK_EVERY == 0 and time.monotonic() > deadline:
                result.complete = False
                break
    except OSError as error:
        raise JournalError("list", root, error) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return result


def contents_of(path: Path) -> FolderContents:
    """List one folder; a missing one is empty."""
    found = FolderContents(path)
    beside: dict[int, int] = {}
    try:
        with os.scandir(path) as scan:
            for entry in scan:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # deleted or renamed in the meantime
                    continue
                beside_one = entry.name.endswith(SUFFIX)
                owner = segment_index(entry.name.removesuffix(SUFFIX)) if beside_one else None
                if owner is not None and entry.is_dir(follow_symlinks=False):
                    beside[owner] = folder_bytes(entry.path)
                    continue
                if not entry.is_file(follow_symlinks=False):
                    found.keeps_files = True  # not Wakelog's, and not counted
                    continue
                index = segment_index(entry.name)
                if index is not None:
                    found.segments.append(Segment(index, size_of(status), status.st_mtime))
                    continue
                own = entry.name in _OWN_NAMES or entry.name.endswith(UNFINISHED)
                if own or _kept().search(entry.name):
                    found.others += size_of(status)
                if not own:
                    found.keeps_files = True
                elif entry.name == INHERITED:
                    found.inherited = True
                elif entry.name not in (LOCK, OWNER):
                    found.books = True
    except FileNotFoundError:
        return FolderContents(path)
    found.segments.sort(key=lambda segment: segment.index)
    if beside:
        for segment in found.segments:
            segment.size += beside.pop(segment.index, 0)
        found.others += sum(beside.values())
    # The clock may have been set back, but a segment is never older than the one before it.
    latest = 0.0
    for segment in found.segments:
        latest = segment.changed = max(latest, segment.changed)
    return found


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return size_of(entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return 0


def usage(path: Path) -> int:
    """Return the size in bytes of a journal's directory or of one writer's folder."""
    if not is_directory(path):  # the retired totals have no directory
        return 0
    return contents_of(path).size if regular_file(path / LOCK) else take_inventory(path).size
