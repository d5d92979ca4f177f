"""Opening the index for a command, with a progress line on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wakelog.cli._place import check_found_nothing
from wakelog.cli._words import counted
from wakelog.index import Index

_FIRST_SECONDS: Final = 0.7  # shorter work shows no progress
_EVERY_SECONDS: Final = 0.2


@contextmanager
def opened(path: Path) -> Iterator[Index]:
    """Open an up-to-date index of a path. Standard error shows the progress of long work.

    Args:
        path: A journal, a writer's folder, or a file or directory of lines.

    Raises:
        JournalError: If the path holds something else, or reading or writing fails.
    """
    progress = Progress("indexing")
    with Index(path, progress) as index:
        progress.end()
        if index.is_empty:
            check_found_nothing(path)
        yield index
        if index.unread:
            sys.stderr.write(
                f"wakelog: {counted(index.unread, 'line')} could not be read: deleted or damaged\n"
            )


class Progress:
    """Shows the progress of long work on standard error, if that is a terminal.

    Args:
        what: A word for the work.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = self._said = time.monotonic()
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """Show the progress, in any unit."""
        now = time.monotonic()
        if now - self._begun < _FIRST_SECONDS or now - self._said < _EVERY_SECONDS:
            return
        if not sys.stderr.isatty():
            return
        self._said, self._shown = now, True
        share = done / total if total else 1.0
        left = (now - self._begun) * (1 - share) / share if share else 0.0
        sys.stderr.write(f"\r\x1b[K{self._what}: {share:4.0%}, {left:,.0f} s left")
        sys.stderr.flush()

    def end(self) -> None:
        """Clear the progress line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
