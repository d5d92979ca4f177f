"""Calls of foreign code whose exceptions are returned."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")

_NOT_FOR_US = (GeneratorExit, SystemExit, KeyboardInterrupt)


def contained(call: Callable[[], _T]) -> _T | BaseException:
    """Return the result of a call, or the exception that it raises.

    In a thread of Wakelog, exceptions such as ``CancelledError`` and ``SystemExit`` come from
    foreign code and are not meant for the thread, which they would end. In the main thread a signal
    handler may raise them to end the program, so only an ``Exception`` is returned there.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        return error
    except BaseException as error:
        if threading.current_thread() is threading.main_thread() or not (
            isinstance(error, _NOT_FOR_US) or is_cancellation(error)
        ):
            raise
        return error


def is_cancellation(error: BaseException) -> bool:
    """Return whether an exception is asyncio's ``CancelledError``."""
    # Without asyncio imported there is no such exception, and importing it is slow.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and issubclass(type(error), asyncio.CancelledError)
