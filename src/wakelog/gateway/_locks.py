"""The runs of loggers that are alive on a base directory, and their owners.

A run's file holds a kernel lock while the run is alive, and names the service and pipeline of its
events. If the file is missing, the owner is unknown, and any run may forward these events.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wakelog.gateway._files import make_private
from wakelog.gateway._owner import RunOwner, digest, owner_in
from wakelog.runtime import SYSTEM, FileLock, is_locked, list_regular, read_small

PRIVATE = ".wakelog"
"""The directory, below the base directory, where running loggers hold their locks."""

_LONGEST_OWNER = 64 * 1024


class Locks:
    """The locks of one run, and its view of other runs.

    Args:
        base: The base directory.
        run: This run.
        owner: The service and pipeline of this run's events.
    """

    def __init__(self, base: Path, run: str, owner: RunOwner) -> None:
        self._folder = base / PRIVATE
        self._run = run
        self.owner = owner
        self._mine: FileLock | None = None
        self._recovery: FileLock | None = None

    def begin(self) -> None:
        """Take this run's lock and write its owner.

        Raises:
            OSError: If the base directory cannot be written.
        """
        if self._mine is None:
            make_private(self._folder.parent)
            make_private(self._folder)
            self._mine = FileLock.take(self.path_of(self._run), create=True, fs=SYSTEM)
            self._say()

    def belong_to(self, owner: RunOwner) -> None:
        """Assign the pending events to another pipeline.

        Raises:
            OSError: If the base directory cannot be written.
        """
        if owner == self.owner:
            return
        self.owner = owner
        recovery, self._recovery = self._recovery, None
        if recovery is not None:
            recovery.release()
        self._say()

    def _say(self) -> None:
        if self._mine is not None:
            told = self.owner.to_json()
            os.ftruncate(self._mine.descriptor, 0)
            os.pwrite(self._mine.descriptor, told, 0)

    def take_recovery(self) -> bool:
        """Try to become the one process that forwards what dead runs of this owner left."""
        if self._recovery is None and self._mine is not None:
            path = self._folder / _recovery_of(self.owner)
            self._recovery = FileLock.take(path, create=True, fs=SYSTEM)
        return self.recovers

    @property
    def recovers(self) -> bool:
        """Whether this process forwards what dead runs of this owner left."""
        return self._recovery is not None

    def is_served(self, owner: RunOwner) -> bool:
        """Tell whether a process forwards what dead runs of an owner left."""
        # If the lock's state is unknown, it may be held.
        return is_locked(self._folder / _recovery_of(owner)) is not False

    def is_alive(self, run: str) -> bool:
        """Tell whether another run is alive in some process."""
        return is_locked(self.path_of(run)) is not False

    def owner_of(self, run: str) -> RunOwner | None:
        """Return the owner of a run; None if unknown."""
        try:
            return owner_in(read_small(self.path_of(run), _LONGEST_OWNER))
        except OSError:
            return None

    def is_ours(self, run: str) -> bool:
        """Tell whether this run may forward what another one left."""
        return self.owner_of(run) in (None, self.owner)

    def dead_runs(self) -> Iterator[str]:
        """Yield the runs that ended with pending events."""
        try:
            names = list_regular(self._folder)
        except OSError:
            return
        for name in names:
            run, dot, ending = name.partition(".")
            if dot and ending == "lock" and run != self._run and not self.is_alive(run):
                yield run

    def path_of(self, run: str) -> Path:
        """Return the path of a run's lock file."""
        return self._folder / f"{run}.lock"

    def forget(self, run: str) -> None:
        """Delete the lock file of a dead run without pending events."""
        with suppress(FileNotFoundError):
            SYSTEM.unlink(self.path_of(run))

    def end(self, *, forwarded: bool) -> None:
        """Release this run's locks.

        Args:
            forwarded: Whether nothing is pending, so that the lock file can be deleted.
        """
        if self._mine is not None and forwarded:
            self.forget(self._run)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors. In a forked child this does not release the parent's locks."""
        for lock in (self._mine, self._recovery):
            if lock is not None:
                lock.release()
        self._mine = self._recovery = None


def _recovery_of(owner: RunOwner) -> str:
    return f"recovery.{digest(*owner)}"
