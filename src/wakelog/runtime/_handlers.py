"""Exceptions that a signal's handler raises, such as one that ends what takes too long."""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType
from typing import TypeGuard


def raised_by_handler(error: BaseException) -> bool:
    """Return whether a signal's handler has raised an exception, in the middle of something else.

    It is meant for the program that has installed the handler, and says nothing about what was being
    done: an alarm may raise ``TimeoutError``, which a network raises as well.

    Args:
        error: An exception that was just caught.
    """
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    handlers.discard(None)
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def is_refusal(error: BaseException) -> TypeGuard[OSError]:
    """Return whether an exception says that the operating system has refused something.

    The system states a number. A handler's ``TimeoutError`` has none, and comes after a call that may well
    have succeeded.

    Args:
        error: An exception that was caught where files are used.
    """
    return isinstance(error, OSError) and error.errno is not None and not raised_by_handler(error)


def let_through(error: BaseException) -> None:
    """Raise what a signal's handler has raised, where an exception is that or comes from it.

    For whoever would count an exception as a failure of his own and go on: the program's time-out would
    be gone.

    Args:
        error: An exception that was just caught.
    """
    cause: BaseException | None = error
    while cause is not None:
        if raised_by_handler(cause):
            raise cause from cause.__cause__
        cause = cause.__cause__


def _code_of(handler: object) -> CodeType | None:
    """Return the code of a handler that is written in Python, None for any other."""
    while isinstance(handler, partial):
        handler = handler.func
    if not callable(handler):  # nobody's: what happens by default, or nothing
        return None
    if not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    code = getattr(handler, "__code__", None)
    return code if isinstance(code, CodeType) else None
