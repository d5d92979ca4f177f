"""Calls in threads that nobody waits for at exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DaemonThreads(ThreadPoolExecutor):
    """Makes each call in a daemon thread of its own, for an event loop's default executor.

    The threads of the standard library's pool are joined at exit, when that pool is closed, too. A child
    that was forked in C would wait for threads that only its parent has.

    Args:
        name: What the threads are called.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Begin a call.

        Raises:
            RuntimeError: When the interpreter is exiting and starts no thread any more.
        """
        future: Future[_T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is handed to whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return future

    def shutdown(self, *_: Any, **__: Any) -> None:
        """Leave the threads."""
