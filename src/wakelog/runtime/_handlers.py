"""Exceptions that signal handlers raise, such as a time-out."""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType
from typing import TypeGuard


def raised_by_handler(error: BaseException) -> bool:
    """Return whether a signal handler has raised an exception.

    Such an exception is meant for the program that has installed the handler, and does not concern
    the interrupted operation. For example, an alarm may raise ``TimeoutError``, as network code
    does too.

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
    """Return whether an exception is the error of a failed system call.

    Such an error has an ``errno``. A ``TimeoutError`` of a signal handler has none, and may be
    raised after a call that has succeeded.

    Args:
        error: An exception of code that uses files.
    """
    return isinstance(error, OSError) and error.errno is not None and not raised_by_handler(error)


def let_through(error: BaseException) -> None:
    """Raise an exception again if a signal handler has raised it or one of its causes.

    Called where exceptions are otherwise counted as failures and ignored, which would suppress the
    program's time-out.

    Args:
        error: An exception that was just caught.
    """
    cause: BaseException | None = error
    while cause is not None:
        if raised_by_handler(cause):
            raise cause from cause.__cause__
        cause = cause.__cause__


def _code_of(handler: object) -> CodeType | None:
    """Return the code object of a handler that is written in Python, or None."""
    while isinstance(handler, partial):
        handler = handler.func
    if not callable(handler):  # SIG_DFL, SIG_IGN or None
        return None
    if not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    code = getattr(handler, "__code__", None)
    return code if isinstance(code, CodeType) else None
