"""A call into code of others, whose exception is an answer."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

_NOT_FOR_US = (GeneratorExit, SystemExit, KeyboardInterrupt)


def contained(call: Callable[[], _T]) -> _T | BaseException:
    """Return what a call returns, or what it raises.

    Nobody cancels or ends a thread of ours by an exception: code of others has let out what was meant for
    something of its own. To nobody could it be passed on, and the thread would be over. In the main
    thread a signal's handler may mean to end the program, so only an ``Exception`` is returned there.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - code of others may raise anything, and the caller judges it
        return error
    except BaseException as error:
        if threading.current_thread() is threading.main_thread() or not (
            isinstance(error, _NOT_FOR_US) or is_cancellation(error)
        ):
            raise
        return error


def is_cancellation(error: BaseException) -> bool:
    """Return whether an exception is asyncio's, by which a task is cancelled."""
    # Where nobody has imported asyncio, nobody raises it; the import takes long.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and issubclass(type(error), asyncio.CancelledError)
