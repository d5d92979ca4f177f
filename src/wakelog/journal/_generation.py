"""Generations: the order in which the folders of a journal's directory were begun, without a clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakelog.errors import JournalError
from wakelog.journal._folder import lock_root
from wakelog.journal._owner import generation_of
from wakelog.record import uuid7
from wakelog.runtime import ForkOrder, list_directory, notice_fork, reset_in_child

COUNTER = "generation"
"""The file in a journal's directory that says the greatest generation that was given out."""

_LOCK_SECONDS = 0.25
# How long folders may be looked at: the newest come first, and the counter knows them all.
_LOOK_SECONDS = 0.1


@contextmanager
def next_generation(root: Path) -> Iterator[int]:
    """Give out a generation: 1 more than the greatest that the directory has ever seen.

    The folder that gets it is to be made inside the block, which holds a lock in the directory: then
    whoever sees one generation sees the folders of all smaller ones. Where that lock cannot be had in
    time, two writers may get the same generation; their ids decide then.

    Args:
        root: The journal's directory.

    Yields:
        The generation.

    Raises:
        JournalError: When the file system refuses.
    """
    lock = lock_root(root, _LOCK_SECONDS, COUNTER)
    try:
        try:
            counted = 0 if lock is None else _counted(lock.descriptor)
            generation = 1 + max(counted, _greatest(root))
            # What somebody has linked to another name is none of ours to write.
            if lock is not None and os.fstat(lock.descriptor).st_nlink == 1:
                os.pwrite(lock.descriptor, b"%020d\n" % generation, 0)
        except OSError as error:
            raise JournalError("count up", root / COUNTER, error.strerror or error) from error
        yield generation
    finally:
        if lock is not None:
            lock.release()


def _counted(descriptor: int) -> int:
    """Read the counter; one that is damaged counts for nothing, as the folders say it too."""
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
    """Return this process's UUID, which its folders have in common; a forked child has its own."""
    notice_fork()
    return _process


def _begin() -> None:
    global _process  # noqa: PLW0603 - once a process
    _process = uuid7()


_process: str
_begin()
reset_in_child(_begin, ForkOrder.IDENTITY)
