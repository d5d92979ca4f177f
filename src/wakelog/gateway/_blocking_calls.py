"""Calling functions of other people: with a time-out, and in a thread if they may block."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from wakelog.runtime import complete

_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class BlockingCalls:
    """A daemon thread that makes one call after the other, and does not delay the exit."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the thread and return its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                # gevent and eventlet can replace threads and queues at any time. A green thread
                # that waits in a queue made before that would stop the whole process.
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
                continue  # the caller has given up, and the event will be sent again
            result: Any = None
            error: BaseException | None = None
            try:
                result = function(*arguments)
            except Exception as caught:  # noqa: BLE001 - it is passed to the caller
                error = caught
            with suppress(RuntimeError):  # the loop is closed, and so nobody waits
                loop.call_soon_threadsafe(complete, future, result, error)


async def call(
    function: Callable[..., Any], *arguments: Any, seconds: float, blocking: BlockingCalls
) -> Any:
    """Call a function or a coroutine function, and wait for its result for a limited time.

    A function that is not a coroutine function is called in a thread. After the time-out the call
    is cancelled, without waiting for its end, because it may ignore the cancellation.

    Args:
        function: The function.
        arguments: Its arguments.
        seconds: The longest wait.
        blocking: The thread for functions that are not coroutine functions.

    Raises:
        TimeoutError: If it took longer.
        Exception: Whatever the function raised.
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
    """Tell whether calling a function returns a coroutine."""
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
