"""Waiting for what another thread, task or process does, for as long as it takes a slow machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

SECONDS = 60.0


def until(holds: Callable[[], object], what: str = "it", seconds: float = SECONDS) -> None:
    """Wait for something, and fail by its name when it does not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.01)


async def until_in_loop(holds: Callable[[], object], what: str = "it") -> None:
    """Wait for something without blocking the event loop."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {SECONDS:g} s"
        await asyncio.sleep(0.01)
