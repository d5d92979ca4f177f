"""Exceptions: those of foreign code, of signal handlers, and of failed system calls."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import TypeGuard, TypeVar

from wakelog.errors import JournalError
from wakelog.runtime._opening import ForeignFileError

_T = TypeVar("_T")

_NOT_FOR_US = (GeneratorExit, SystemExit, KeyboardInterrupt)
# How the names of Wakelog's threads begin, and of those of its batch processors. There, everything
# comes from the call, such as the panic of a library in Rust; except for the exception by which
# gevent and eventlet end a thread.
_OURS = ("wakelog-", "OtelBatch")
_ENDS_A_GREENLET = "GreenletExit"


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


def contained(call: Callable[[], _T]) -> _T | BaseException:
    """Return the result of a call, or the exception that it raises.

    In a thread of Wakelog, exceptions such as ``CancelledError`` and ``SystemExit`` come from
    foreign code and are not meant for the thread, which they would end. In the main thread a signal
    handler may raise them to end the program, so only an ``Exception`` is returned there. In another
    thread of the program, a ``gevent.Timeout`` may be meant for the code around this call.
    """
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        return error
    except BaseException as error:
        thread = threading.current_thread()
        if thread is threading.main_thread() or not (
            (thread.name.startswith(_OURS) and type(error).__name__ != _ENDS_A_GREENLET)
            or isinstance(error, _NOT_FOR_US)
            or is_cancellation(error)
        ):
            raise
        return error


def is_cancellation(error: BaseException) -> bool:
    """Return whether an exception is asyncio's ``CancelledError``."""
    # Without asyncio imported there is no such exception, and importing it is slow.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and issubclass(type(error), asyncio.CancelledError)


class JournalErrors:
    """Raises a ``JournalError`` for an ``OSError`` inside the block.

    An ``OSError`` of a signal handler, such as a time-out, is the program's, and passes through.

    Args:
        operation: The operation, as a verb phrase ("write to", "open").
        path: The file or directory.
        hint: What the user can do about it.
    """

    __slots__ = ("_hint", "_operation", "_path")

    def __init__(self, operation: str, path: str | os.PathLike[str], hint: str = "") -> None:
        self._operation, self._path, self._hint = operation, path, hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not raised_by_handler(error):
            raise JournalError(self._operation, self._path, error, self._hint) from error


class UnlessMissing:
    """Does the same, but ends the block without an error if the file is missing.

    Args:
        operation: The operation, as a verb phrase.
        path: The file or directory, which another process may delete at any time.
        hint: What the user can do about it.
        or_foreign: Whether a link or a special file counts as missing, too.
    """

    __slots__ = ("_errors", "_ignored")

    def __init__(
        self,
        operation: str,
        path: str | os.PathLike[str],
        hint: str = "",
        *,
        or_foreign: bool = False,
    ) -> None:
        self._errors = JournalErrors(operation, path, hint)
        self._ignored = (FileNotFoundError, ForeignFileError) if or_foreign else FileNotFoundError

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, self._ignored) and not raised_by_handler(error):
            return True
        self._errors.__exit__(kind, error, trace)
        return False
