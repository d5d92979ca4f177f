"""Ending a command that runs until a signal stops it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakelog._printable import printable
from wakelog.cli._place import has_journal

_POLL_SECONDS = 0.05


class Stop:
    """Whether a signal has arrived.

    This is not a `threading.Event`, because setting one takes a lock, which the interrupted thread
    may hold.
    """

    def __init__(self) -> None:
        self.asked = False

    def ask(self, *_: object) -> None:
        """Note that a signal has arrived."""
        self.asked = True


@contextmanager
def until_asked(*signals: signal.Signals) -> Iterator[Stop]:
    """Only note signals inside the block, so that the command can finish its present work.

    Args:
        signals: The signals; their previous handlers are restored after the block.

    Yields:
        An object that tells whether one has arrived.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set signal handlers
        return
    before = [signal.signal(number, stop.ask) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def wait_for_journal(path: Path) -> bool:
    """Wait until a program has begun a journal, and return False if a signal arrives before.

    A sidecar may start before its program, which creates the directory.
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
