"""Calling what others wrote: within a time, and never in the event loop's thread when it blocks."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable
from typing import Any

_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class BlockingCalls:
    """A thread that makes one call after the other, and that nobody has to wait for at exit."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the thread and return what it returns."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                # gevent and eventlet replace threads and queues, at any time. One of their threads that
                # waited in a queue from before would stop the whole process.
                if type(self._calls) is not queue.SimpleQueue:
                    self._calls = queue.SimpleQueue()
                name = "wakelog-gateway-send"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
        self._calls.put((loop, future, function, arguments))
        return await future

    def _run(self) -> None:
        while True:
            loop, future, function, arguments = self._calls.get()
            if future.done():
                continue  # nobody waits any longer, and it will be tried again
            result: Any = None
            error: BaseException | None = None
            try:
                result = function(*arguments)
            except Exception as caught:  # noqa: BLE001 - it is handed to whoever waits
                error = caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, future, result, error)


async def call(
    function: Callable[..., Any], *arguments: Any, seconds: float, blocking: BlockingCalls
) -> Any:
    """Call a function or a coroutine function, and wait for its result, but not longer than said.

    What is no coroutine function is called in a thread. A call that does not end in time is
    cancelled and not waited for: it may refuse to be cancelled.

    Args:
        function: What to call.
        arguments: With what.
        seconds: The longest wait.
        blocking: The thread for what is no coroutine function.

    Raises:
        TimeoutError: When it took longer.
        Exception: What the function raised.
    """
    task = asyncio.ensure_future(_call(function, arguments, blocking))
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        _leave(task)
        raise
    if not done:
        _leave(task)
        raise TimeoutError
    if task.cancelled():
        raise ConnectionAbortedError("the call was cancelled from within")
    return task.result()


def is_asynchronous(function: Callable[..., Any]) -> bool:
    """Tell whether calling a function makes a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


async def _call(
    function: Callable[..., Any], arguments: tuple[Any, ...], blocking: BlockingCalls
) -> Any:
    if is_asynchronous(function):
        return await function(*arguments)
    result = await blocking.call(function, *arguments)
    return await result if inspect.isawaitable(result) else result


def _leave(task: asyncio.Task[Any]) -> None:
    task.cancel()
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
