"""Generations: numbers that order the folders of a journal by their start, without a clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakelog.journal._folder import lock_root
from wakelog.journal._owner import generation_of
from wakelog.record import uuid7
from wakelog.runtime import ForkOrder, JournalErrors, list_directory, notice_fork, reset_in_child

COUNTER = "generation"
"""The file in a journal's directory that stores the greatest generation so far."""

_LOCK_SECONDS = 0.25
# Time limit for reading folders, in seconds: the newest come first, and the counter is usually
# exact.
_LOOK_SECONDS = 0.1


@contextmanager
def next_generation(root: Path) -> Iterator[int]:
    """Yield a generation: 1 more than the greatest so far in the directory.

    The caller creates the folder inside the block, which holds a lock in the directory. A process
    that sees a folder of one generation therefore sees those of all smaller ones. If the lock is
    not free in time, two writers may get the same generation; then their ids decide the order.

    Args:
        root: The journal's directory.

    Yields:
        The generation.

    Raises:
        JournalError: When a file operation fails.
    """
    lock = lock_root(root, _LOCK_SECONDS, COUNTER)
    try:
        with JournalErrors("count up", root / COUNTER):
            counted = 0 if lock is None else _counted(lock.descriptor)
            generation = 1 + max(counted, _greatest(root))
            # A second hard link means that the file may belong to another program.
            if lock is not None and os.fstat(lock.descriptor).st_nlink == 1:
                os.pwrite(lock.descriptor, b"%020d\n" % generation, 0)
        yield generation
    finally:
        if lock is not None:
            lock.release()


def _counted(descriptor: int) -> int:
    """Read the counter; a damaged one is 0, because the folders have the generations too."""
    text = os.pread(descriptor, 21, 0)
    return int(text) if text[:20].isdigit() and text.endswith(b"\n") else 0


def _greatest(root: Path) -> int:
    deadline = time.monotonic() + _LOOK_SECONDS
    greatest = 0
    names = sorted((name for name in list_directory(root) if name[:1] != "."), reverse=True)
    for name in names:
        greatest = max(greatest, generation_of(root / name))
        if time.monotonic() > deadline:
            break
    return greatest


def process_id() -> str:
    """Return this process's UUID, which all its folders store; a forked child has its own."""
    notice_fork()
    return _process


def _begin() -> None:
    global _process  # noqa: PLW0603 - once a process
    _process = uuid7()


_process: str
_begin()
reset_in_child(_begin, ForkOrder.IDENTITY)
