"""Event loops and futures of asyncio, without the slow import of asyncio."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


def complete(
    future: asyncio.Future[Any], result: object = None, error: BaseException | None = None
) -> None:
    """Complete a future in its own event loop, unless its task was cancelled."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def complete_soon(future: asyncio.Future[None]) -> bool:
    """Complete a future from any thread; return False if its event loop is closed."""
    try:
        future.get_loop().call_soon_threadsafe(complete, future)
    except RuntimeError:
        return False
    return True


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of asyncio that runs in this thread.

    Raises:
        RuntimeError: If there is none.
    """
    # An import statement would take as long as the rest of a caller.
    loop: asyncio.AbstractEventLoop = sys.modules["asyncio"].get_running_loop()
    return loop


def in_asyncio() -> bool:
    """Return whether an event loop of asyncio, and not one of trio, runs in this thread."""
    asyncio = sys.modules.get("asyncio")  # a slow import, which whoever runs such a loop has done
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
