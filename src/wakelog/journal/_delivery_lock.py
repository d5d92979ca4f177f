"""The lock under which a writer's records are delivered, by one process at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from wakelog.runtime import FileLock, UnlessMissing

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
