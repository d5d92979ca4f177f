"""Ending a command that goes on until somebody asks it to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
