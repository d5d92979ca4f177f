"""The lock under which a writer's records are delivered, by one process at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from wakelog.errors import JournalError
from wakelog.runtime import FileLock

DELIVERY_LOCK = "delivery"


class DeliveryLock:
    """The right to deliver the records of one writer, and to write its ledger.

    It is a kernel lock of its own, beside the one that says who writes: a program with an exporter
    takes it for its own writer, ``wakelog ship`` for one whose program has none, and whoever
    adopts the folder of a writer that is gone takes it too.
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
            The lock, or None while another process has it, and when the folder is gone.

        Raises:
            JournalError: When the file system refuses.
        """
        try:
            lock = FileLock.take(path / DELIVERY_LOCK, create=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = "Delivering writes beside the records: run it as the user who recorded them"
            raise JournalError(
                "lock", path / DELIVERY_LOCK, error.strerror or error, hint
            ) from error
        return None if lock is None else cls(path, lock)

    def release(self) -> None:
        """Release the lock. Doing so twice is harmless, and so it is in a forked child."""
        self._lock.release()
