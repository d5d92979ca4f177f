"""Ending a command that goes on until somebody asks it to stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wakelog._printable import printable
from wakelog.cli._place import has_journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POLL_SECONDS = 0.05


class Stop:
    """Whether a signal has come. No `threading.Event`: setting one takes a lock.

    The signal may have come while this very thread was holding it.
    """

    def __init__(self) -> None:
        self.asked = False

    def ask(self, *_: object) -> None:
        """Take note of a signal."""
        self.asked = True


@contextmanager
def until_asked(*signals: signal.Signals) -> Iterator[Stop]:
    """Take note of signals inside the block, so that what is under way is finished first.

    Args:
        signals: Which; what they did before, they do again after the block.

    Yields:
        What tells whether one has come.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may say what a signal does
        return
    before = [signal.signal(number, stop.ask) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def wait_for_journal(path: Path) -> bool:
    """Wait for a journal that no program has begun yet; False when asked to stop meanwhile.

    A sidecar starts before the program that it is there for, whose set-up makes the directory.
    """
    if path.exists():
        return True
    sys.stderr.write(
        f"wakelog: waiting for a program to begin a journal at {printable(str(path))}\n"
    )
    with until_asked(signal.SIGTERM, signal.SIGINT) as stop:
        while not (path.is_dir() and has_journal(path)):
            if stop.asked:
                return False
            time.sleep(_POLL_SECONDS)
    return True
