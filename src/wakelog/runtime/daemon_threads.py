"""An executor whose threads are not joined at exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread of its own, as an event loop's default executor.

    The standard library joins the threads of its pools at exit, even of closed pools. A child that
    was forked in C would wait for threads that only its parent has.

    Args:
        name: The name of the threads.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Start a call.

        Raises:
            RuntimeError: When no thread can be started because the interpreter is exiting.
        """
        future: Future[_T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - it is passed to the future
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return future

    def shutdown(self, *_: Any, **__: Any) -> None:
        """Do nothing; the threads end by themselves."""
