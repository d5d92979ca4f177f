"""Deletions that somebody else has to sign for: asked for in the folder, and waited for.

A process that has no key deletes nothing that was sealed, not even of its own folder, until ``seals.jsonl`` has a line of
the kind ``deletion`` for it. Whoever signs decides; nothing here checks the signature, which ``wakelog verify`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import orjson

from wakelog.errors import JournalError
from wakelog.runtime import SYSTEM, FileSystem, open_to_read, read_small, regular_file
from wakelog.storage import SEALS, lines

WANTED = "deletion_wanted"
"""The file in a folder that says what its owner would delete."""
_KIND = b'{"kind":"deletion",'


class WantedDeletion(NamedTuple):
    """What a process without a key would delete.

    Attributes:
        below: The index of the first segment that stays.
        reason: Why.
    """

    below: int
    reason: str


class AwaitingSigner:
    """The listener of a process that signs nothing: deletions wait for whoever seals the folder.

    Args:
        always: Whether every folder will be sealed by another process, so that also what has no seal
            yet waits; else only what somebody has sealed.
        asks: Whether it leaves word that it would delete.
        fs: The system calls.

    Attributes:
        always: As given.
        waiting: The folders in which a deletion waits.
    """

    def __init__(self, *, always: bool, asks: bool = True, fs: FileSystem = SYSTEM) -> None:
        self.always, self._asks, self._fs = always, asks, fs
        self.waiting: set[Path] = set()

    def segment_begun(self) -> None:
        """Do nothing: who seals looks by itself."""

    def writer_ended(self, folder: Path) -> None:
        """Do nothing: who seals looks by itself."""

    def before_deletion(self, folder: Path, below: int, reason: str) -> int:
        """Tell how far segments may be deleted, and ask for it where they may not yet.

        Args:
            folder: The writer's folder.
            below: The index of the first segment that stays.
            reason: Why.

        Raises:
            JournalError: When the file system refuses.
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
            try:
                self._fs.write_whole(path, orjson.dumps(wanted._asdict()) + b"\n")
            except OSError as error:
                raise JournalError("write", path, error.strerror or error) from error
        return declared


def is_sealed(folder: Path) -> bool:
    """Tell whether somebody has sealed what stands in a folder."""
    return regular_file(folder / SEALS) is not None


def declared_below(folder: Path) -> int:
    """Return up to which segment a folder's deletions are declared, 0 without any.

    Raises:
        JournalError: When the file system refuses.
    """
    path, below = folder / SEALS, 0
    try:
        with open_to_read(path) as file:
            for _, line, _ in lines(file):
                if line.startswith(_KIND):
                    below = max(below, _below_on(line))
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise JournalError("read", path, error.strerror or error) from error
    return below


def _below_on(line: bytes) -> int:
    try:
        return int(orjson.loads(line)["below"])
    except (ValueError, KeyError, TypeError):
        return 0


def wanted_deletion(folder: Path) -> WantedDeletion | None:
    """Return what a folder's owner would delete, None when nothing, or nothing that can be read."""
    try:
        data = orjson.loads(read_small(folder / WANTED))
        below, reason = data["below"], data["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if type(below) is not int or type(reason) is not str or below < 1:
        return None
    return WantedDeletion(below, reason[:40])
