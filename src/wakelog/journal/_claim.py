"""The claim to deliver a writer's records: never two at the same time, in whatever processes."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from wakelog.errors import JournalError

CLAIM = "delivery"


class Claim:
    """The right to deliver the records of one writer, and to write its ledger.

    It is a kernel lock of its own, beside the one that says who writes: a program with an exporter
    takes it for its own writer, ``wakelog ship`` for one whose program has none, and whoever
    adopts the folder of a writer that is gone takes it too.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Claim a writer's folder.

        Args:
            path: The folder.

        Returns:
            The claim, or None while somebody else has it, and when the folder is gone.

        Raises:
            JournalError: When the file system refuses.
        """
        try:
            lock = os.open(path / CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        except OSError as error:
            hint = "Delivering writes beside the records: run it as the user who recorded them"
            raise JournalError("open", path / CLAIM, error.strerror or error, hint) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                return None
            raise JournalError("lock", path / CLAIM, error.strerror or error) from error
        return cls(path, lock)

    def release(self) -> None:
        """Give the claim up. Doing so twice is harmless, and so it is in a forked child."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
