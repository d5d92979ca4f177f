"""A thread in the background, and what wakes it, at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue


class Background:
    """A daemon thread that runs something when it is first asked to, and again once that has ended.

    Whoever asks may be a signal's handler that has interrupted somebody who is starting it, and a
    handler may end starting it by an exception: there is one thread, or none.

    ``_lock`` guards which thread it is. The new thread takes it first, so it waits for the verdict
    of whoever has started it.

    Args:
        run: What it runs. It must not raise.
        name: The thread's name.
    """

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._run, self._name = run, name
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def start(self) -> bool:
        """See to it that the thread runs.

        Returns:
            False where no thread can be started any more: the interpreter is exiting.
        """
        if self._thread is not None:
            return True
        with self._lock:
            if self._thread is not None:
                return True
            thread = threading.Thread(target=self._begin, name=self._name, daemon=True)
            self._thread = thread
            try:
                thread.start()
            except BaseException as error:
                if not thread.is_alive():
                    self._thread = None
                if isinstance(error, RuntimeError):
                    return False
                raise
        return True

    def join(self) -> None:
        """Wait for the thread's end, unless there is none, or it is the thread that asks."""
        thread = self._thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join()

    def _begin(self) -> None:
        with self._lock:
            chosen = self._thread is threading.current_thread()
        if chosen:
            self._run()
            self._thread = None


class Alarm:
    """Wakes a thread. Unlike ``threading.Event`` it may be rung while the same thread rings it."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """End the wait that is under way, or the next one."""
        if self._rings.empty():
            self._rings.put(None)

    def wait(self, timeout: float) -> None:
        """Wait until it rings.

        Args:
            timeout: The longest wait, in seconds.
        """
        try:
            self._rings.get(timeout=timeout)
            while True:
                self._rings.get_nowait()
        except Empty:
            pass
