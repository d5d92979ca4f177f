"""A value for each thread, or for each greenlet under gevent or eventlet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from wakelog.runtime._fork import ForkOrder, notice_fork, reset_in_child

T = TypeVar("T")


class PerThread(Generic[T]):
    """A value that is visible only in the thread that has set it.

    With ``threading.local``, all greenlets of a thread share a value if gevent patches the process
    later. This class looks up the current thread or greenlet at each use.

    Args:
        default: The value in threads that have not set one.
    """

    def __init__(self, default: T) -> None:
        self._default = default
        self.values: dict[int, T] = {}
        """The values by thread, to look up without a call whether a thread may have one."""
        reset_in_child(self._keep_own, ForkOrder.LOCKS)

    def get(self) -> T:
        """Return the value of this thread."""
        value = self.values.get(threading.get_ident(), self._default)
        if value is not self._default:
            notice_fork()  # it may belong to a thread of the parent with the same id
            value = self.values.get(threading.get_ident(), self._default)
        return value

    @contextmanager
    def set(self, value: T) -> Iterator[None]:
        """Set the value of this thread inside the block, and restore the former value after it."""
        notice_fork()
        me = threading.get_ident()
        was_set, before = me in self.values, self.get()
        self.values[me] = value
        try:
            yield
        finally:
            if was_set:
                self.values[me] = before
            else:
                self.values.pop(me, None)

    def _keep_own(self) -> None:
        """Forget other threads' values in a forked child, whose threads may reuse their ids."""
        me = threading.get_ident()
        for other in self.values.keys() - {me}:
            del self.values[other]
