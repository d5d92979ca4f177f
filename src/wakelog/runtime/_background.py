"""A thread in the background, and what wakes it, at any moment."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Background:
    """A daemon thread that runs something when it is first asked to, and again once that has ended.

    Whoever asks may be a signal's handler that has interrupted somebody who is starting it, and a
    handler may end starting it by an exception: there is one thread, or none.

    ``_lock`` guards which thread it is. The new thread takes it first, so it waits for the answer
    of whoever has started it.

    Args:
        run: What it runs. Should it raise, it is run again when it is next asked to.
        name: The thread's name.
        alarm: What it waits for, if it is an alarm.
    """

    def __init__(self, run: Callable[[], None], name: str, alarm: Alarm | None = None) -> None:
        self._run, self._name, self._alarm = run, name, alarm
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
            if self._alarm is not None:
                self._alarm.renew()
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
            try:
                self._run()
            finally:
                self._thread = None


class Alarm:
    """Wakes a thread. Unlike ``threading.Event`` it may be rung while the same thread rings it."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def renew(self) -> None:
        """Become what the thread that is about to start can wait for.

        gevent and eventlet replace threads and queues, at any time. One of their threads that waited in
        a queue from before would stop the whole process.
        """
        if type(self._rings) is not queue.SimpleQueue:
            rings, self._rings = self._rings, queue.SimpleQueue()
            if not rings.empty():
                self._rings.put(None)

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
        except queue.Empty:
            pass
