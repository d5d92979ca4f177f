"""Which runs of the logger are alive on a base directory, and whose they are.

A run's file holds a kernel lock while the run is alive, and says which service and pipeline its events
belong to. Of a run whose file is gone, nobody knows that: whoever comes takes it for its own.
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
    """The locks of one run, and what it can tell of others.

    Args:
        base: The base directory.
        run: This run.
        owner: Whose events this run logs.
    """

    def __init__(self, base: Path, run: str, owner: RunOwner) -> None:
        self._folder = base / PRIVATE
        self._run = run
        self.owner = owner
        self._mine: FileLock | None = None
        self._recovery: FileLock | None = None

    def begin(self) -> None:
        """Say that this run is alive, and whose it is.

        Raises:
            OSError: When the base directory cannot be written.
        """
        if self._mine is None:
            make_private(self._folder.parent)
            make_private(self._folder)
            self._mine = FileLock.take(self.path_of(self._run), create=True, fs=SYSTEM)
            self._say()

    def belong_to(self, owner: RunOwner) -> None:
        """Say that what waits belongs to another pipeline from now on.

        Raises:
            OSError: When the base directory cannot be written.
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
        """Become the one process that forwards what dead runs of this owner left; whether it is."""
        if self._recovery is None and self._mine is not None:
            path = self._folder / _recovery_of(self.owner)
            self._recovery = FileLock.take(path, create=True, fs=SYSTEM)
        return self.recovers

    @property
    def recovers(self) -> bool:
        """Whether this is the process that forwards what dead runs of this owner have left."""
        return self._recovery is not None

    def is_served(self, owner: RunOwner) -> bool:
        """Tell whether some process forwards what dead runs of an owner have left."""
        # Where that cannot be told, it may be so.
        return is_locked(self._folder / _recovery_of(owner)) is not False

    def is_alive(self, run: str) -> bool:
        """Tell whether a run, not this one, is going on in some process."""
        return is_locked(self.path_of(run)) is not False

    def owner_of(self, run: str) -> RunOwner | None:
        """Return whose a run is, None where nobody says."""
        try:
            return owner_in(read_small(self.path_of(run), _LONGEST_OWNER))
        except OSError:
            return None

    def is_ours(self, run: str) -> bool:
        """Tell whether this run may forward what another one has left."""
        return self.owner_of(run) in (None, self.owner)

    def dead_runs(self) -> Iterator[str]:
        """List the runs that ended without having forwarded everything."""
        try:
            names = list_regular(self._folder)
        except OSError:
            return
        for name in names:
            run, dot, ending = name.partition(".")
            if dot and ending == "lock" and run != self._run and not self.is_alive(run):
                yield run

    def path_of(self, run: str) -> Path:
        """Return where the file of a run is."""
        return self._folder / f"{run}.lock"

    def forget(self, run: str) -> None:
        """Remove the file of a dead run of which everything has been forwarded."""
        with suppress(FileNotFoundError):
            SYSTEM.unlink(self.path_of(run))

    def end(self, *, forwarded: bool) -> None:
        """Say that this run has ended.

        Args:
            forwarded: Whether nothing is left for others to forward.
        """
        if self._mine is not None and forwarded:
            self.forget(self._run)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptors, which in a forked child leaves the parent's locks alone."""
        for lock in (self._mine, self._recovery):
            if lock is not None:
                lock.release()
        self._mine = self._recovery = None


def _recovery_of(owner: RunOwner) -> str:
    return f"recovery.{digest(*owner)}"
