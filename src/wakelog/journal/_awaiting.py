"""Deletions that need a signature from another process.

A process without a key deletes no sealed segment, not even in its own folder, until ``seals.jsonl``
has a line of the kind ``deletion`` for it. It requests that line by a file in the folder. ``wakelog
verify`` checks the signatures; this module does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import orjson

from wakelog.runtime import (
    SYSTEM,
    FileSystem,
    JournalErrors,
    read_small,
    regular_file,
)
from wakelog.storage import SEALS, lines_of

WANTED = "deletion_wanted"
"""The file in which a folder's owner requests a deletion."""
_KIND = b'{"kind":"deletion",'


class WantedDeletion(NamedTuple):
    """The deletion that a process without a key requests.

    Attributes:
        below: The index of the first segment that stays.
        reason: The reason for the deletion.
    """

    below: int
    reason: str


class AwaitingSigner:
    """The listener of a process without a key: deletions wait for the sealing process.

    Args:
        always: Whether another process will seal every folder, so that deletions wait in folders
            without a seal too. Otherwise they wait only in sealed folders.
        asks: Whether to write the request into the folder.
        fs: The file-system calls.

    Attributes:
        always: As given.
        waiting: The folders in which a deletion waits.
    """

    def __init__(self, *, always: bool, asks: bool = True, fs: FileSystem = SYSTEM) -> None:
        self.always, self._asks, self._fs = always, asks, fs
        self.waiting: set[Path] = set()

    def segment_begun(self) -> None:
        """Do nothing: the sealing process polls."""

    def writer_ended(self, folder: Path) -> None:
        """Do nothing: the sealing process polls."""

    def before_deletion(self, folder: Path, below: int, reason: str) -> int:
        """Return how far segments may be deleted, and request the deletion of the others.

        Args:
            folder: The writer's folder.
            below: The index of the first segment that stays.
            reason: The reason for the deletion.

        Raises:
            JournalError: When a file operation fails.
        """
        if not self.always and not is_sealed(folder):
            return below
        if (declared := declared_below(folder)) >= below:
            self.waiting.discard(folder)
            return below
        self.waiting.add(folder)
        wanted = WantedDeletion(below, reason)
        if self._asks and wanted_deletion(folder) != wanted:
            path = folder / WANTED
            with JournalErrors("write", path):
                self._fs.write_whole(path, orjson.dumps(wanted._asdict()) + b"\n")
        return declared


def is_sealed(folder: Path) -> bool:
    """Return whether a folder has seals."""
    return regular_file(folder / SEALS) is not None


def declared_below(folder: Path) -> int:
    """Return the index below which the deletion of segments has been signed for, or 0.

    Raises:
        JournalError: When a file operation fails.
    """
    below = 0
    for _, line, _ in lines_of(folder / SEALS):
        if line.startswith(_KIND):
            below = max(below, _below_on(line))
    return below


def _below_on(line: bytes) -> int:
    try:
        return int(orjson.loads(line)["below"])
    except (ValueError, KeyError, TypeError):
        return 0


def wanted_deletion(folder: Path) -> WantedDeletion | None:
    """Return the deletion that a folder's owner requests, or None without a readable request."""
    try:
        data = orjson.loads(read_small(folder / WANTED))
        below, reason = data["below"], data["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if type(below) is not int or type(reason) is not str or below < 1:
        return None
    return WantedDeletion(below, reason[:40])
