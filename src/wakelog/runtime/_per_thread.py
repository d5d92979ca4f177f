"""A value for each thread, or for each greenlet where gevent or eventlet has made threads of those."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from wakelog.runtime._fork import ForkOrder, notice_fork, reset_in_child

T = TypeVar("T")


class PerThread(Generic[T]):
    """A value that only the thread sees which has set it.

    ``threading.local`` means what a thread was when it was made: where gevent patches the process
    later, all greenlets of a thread share the value. Here it is looked up at each use who runs.

    Args:
        default: The value in a thread that has set none.
    """

    def __init__(self, default: T) -> None:
        self._default = default
        self._values: dict[int, T] = {}
        reset_in_child(self._keep_own, ForkOrder.LOCKS)

    def get(self) -> T:
        """Return the value of this thread."""
        value = self._values.get(threading.get_ident(), self._default)
        if value is not self._default:
            notice_fork()  # it may be that of a thread of the parent with the same number
            value = self._values.get(threading.get_ident(), self._default)
        return value

    @contextmanager
    def set(self, value: T) -> Iterator[None]:
        """Set the value of this thread inside the block; what it was before holds again after it."""
        notice_fork()
        me = threading.get_ident()
        was_set, before = me in self._values, self.get()
        self._values[me] = value
        try:
            yield
        finally:
            if was_set:
                self._values[me] = before
            else:
                self._values.pop(me, None)

    def _keep_own(self) -> None:
        """Forget other threads in a forked child, whose new threads may get their numbers."""
        me = threading.get_ident()
        self._values = {one: value for one, value in self._values.items() if one == me}
