"""A background thread, and the alarm that wakes it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Background:
    """A daemon thread that is started when it is first needed, and again after it has ended.

    A signal handler may call ``start`` while it interrupts another call, and may end that call by
    an exception. In all cases there is at most one thread.

    ``_lock`` guards ``_thread``. The new thread takes it first, and so waits until ``start`` has
    finished.

    Args:
        run: The function to run. If it raises, the next ``start`` runs it again.
        name: The thread's name.
        alarm: The alarm for which the function waits, if any.
    """

    def __init__(self, run: Callable[[], None], name: str, alarm: Alarm | None = None) -> None:
        self._run, self._name, self._alarm = run, name, alarm
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None

    def start(self) -> bool:
        """Start the thread unless it runs.

        Returns:
            False if no thread can be started because the interpreter is exiting.
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
        """Wait for the thread's end, unless it does not run or is the calling thread."""
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
    """Wakes a thread. Unlike ``threading.Event`` it is reentrant, as signal handlers require."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def renew(self) -> None:
        """Prepare for a thread that is about to start.

        gevent and eventlet may replace threads and queues at any time. One of their greenlets that
        waited in an earlier queue would block the whole process.
        """
        if type(self._rings) is not queue.SimpleQueue:
            rings, self._rings = self._rings, queue.SimpleQueue()
            if not rings.empty():
                self._rings.put(None)

    def ring(self) -> None:
        """End the current wait, or the next one."""
        if self._rings.empty():
            self._rings.put(None)

    def wait(self, timeout: float) -> None:
        """Wait until the alarm rings.

        Args:
            timeout: Maximum wait in seconds.
        """
        try:
            self._rings.get(timeout=timeout)
            while True:
                self._rings.get_nowait()
        except queue.Empty:
            pass
