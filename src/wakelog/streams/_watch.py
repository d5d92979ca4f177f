"""Waking the readers of a session, in any event loop or thread."""

from __future__ import annotations

import asyncio

from wakelog.runtime import complete_soon


class Watch:
    """The waiting readers of one session, and a version that changes whenever they are woken.

    It exists as long as one of its readers does. The lock of the streams guards it.
    """

    __slots__ = ("__weakref__", "closed", "version", "waiting")

    def __init__(self) -> None:
        self.closed = False
        self.version = 0
        self.waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Wake all waiting readers, in any event loop or thread."""
        self.version += 1
        if not self.waiting:
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        for future in self.waiting:
            if future.get_loop() is here:
                if not future.done():
                    future.set_result(None)
            else:
                complete_soon(future)
        self.waiting.clear()
