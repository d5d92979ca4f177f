"""The lock under which a writer's records are delivered, by one process at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from wakelog.journal import _retired_totals as retired
from wakelog.journal._folder import folders
from wakelog.journal._ledger import NAME as LEDGER
from wakelog.runtime import FileLock, UnlessMissing, regular_file

DELIVERY_LOCK = "delivery"


class DeliveryLock:
    """The right to deliver the records of one writer, and to write its ledger.

    It is a kernel lock beside the one of the writer. A program with an exporter takes it for its
    own writer, ``wakelog ship`` for a writer whose program has no exporter, and so does any process
    that adopts the folder of an ended writer.
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Take the delivery lock of a writer's folder.

        Args:
            path: The folder.

        Returns:
            The lock, or None if another process has it or the folder has been deleted.

        Raises:
            JournalError: When a file operation fails.
        """
        hint = "Delivering writes beside the records: run it as the user who recorded them"
        with UnlessMissing("lock", path / DELIVERY_LOCK, hint):
            lock = FileLock.take(path / DELIVERY_LOCK, create=True)
            return None if lock is None else cls(path, lock)
        return None

    def release(self) -> None:
        """Release the lock. Calling this twice, or in a forked child, is harmless."""
        self._lock.release()


def is_kept_here(root: Path) -> bool:
    """Return whether no process delivers, or has ever delivered, from a directory.

    A process that delivers takes a writer's delivery lock first, and then writes its ledger.

    Args:
        root: The journal's directory.

    Returns:
        Whether no folder has a delivery lock or a ledger, and no deleted folder had delivered
        records.

    Raises:
        JournalError: When the directory cannot be listed.
    """
    return not retired.load(root).counts.delivered and not any(
        regular_file(folder / DELIVERY_LOCK) or regular_file(folder / LEDGER)
        for folder in folders(root)
    )
