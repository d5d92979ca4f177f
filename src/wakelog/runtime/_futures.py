"""Completing asyncio's futures, also from other threads, without the slow import of asyncio."""

from __future__ import annotations

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
