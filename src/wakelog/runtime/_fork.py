"""What a forked child resets, in one order, whether or not Python's at-fork hooks run.

A server that forks in C (uWSGI, an embedding program, a C library) runs no hook of Python's. So
everything that has state asks ``notice_fork`` where it is used: the first use in a child resets all of
it. Python's own hook asks the same question earlier.
"""

from __future__ import annotations

import enum
import mmap
import os
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Protocol

# Linux 4.14 and later: the child finds the page zeroed (madvise(2)). Python has no name for it.
_MADV_WIPEONFORK = 18


class ForkOrder(enum.IntEnum):
    """In which order a child resets what it has inherited; within one, as it was registered."""

    IDENTITY = enum.auto()
    LOCKS = enum.auto()
    METRICS = enum.auto()
    STORAGE = enum.auto()
    BUFFERS = enum.auto()
    THREADS = enum.auto()


class _Mark(Protocol):
    """Tells, as its first item, whether this process is the one that made the mark."""

    def __getitem__(self, index: int, /) -> int: ...


class _ProcessId:
    """The mark where the kernel cannot wipe a page: compares process ids, five times as slow."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def __getitem__(self, index: int) -> int:
        return os.getpid() == self._process


def _make_mark() -> _Mark:
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (AttributeError, OSError, ValueError):
        return _ProcessId()
    page[0] = 1
    return page


_Reset = Callable[[], object]
_registered: list[tuple[ForkOrder, Callable[[], _Reset | None]]] = []
_mark = _make_mark()
# One lock for each process, made by the first thread of it that needs one: an inherited one may be
# held by a thread that the child does not have.
_resetting: dict[int, threading.RLock] = {}
_thread_that_resets = 0


def reset_in_child(reset: _Reset, order: ForkOrder) -> None:
    """Register what has to be called in a forked child before anything else is used there.

    Args:
        reset: Makes locks, threads and descriptors of the parent's unused. Of a bound method only a
            weak reference is kept. It must not raise, and not wait for anybody.
        order: When, compared with what others have registered.
    """
    notice_fork()
    if isinstance(reset, MethodType):
        reference: Callable[[], _Reset | None] = weakref.WeakMethod(reset)
    else:
        reference = _always(reset)
    _registered.append((order, reference))
    if len(_registered) % 256 == 0:  # so that many short-lived objects leave little behind
        _registered[:] = [pair for pair in _registered if pair[1]() is not None]


def notice_fork() -> None:
    """Reset what was registered, if this process is a forked child that has not done so yet.

    Costs a read of one byte. To be called wherever inherited state is about to be used.
    """
    if not _mark[0]:
        _reset()


def _always(reset: _Reset) -> Callable[[], _Reset]:
    return lambda: reset


def _reset() -> None:
    global _mark, _thread_that_resets  # noqa: PLW0603 - once a process
    with _resetting.setdefault(os.getpid(), threading.RLock()):
        if _mark[0] or _thread_that_resets == threading.get_ident():
            return
        _thread_that_resets = threading.get_ident()
        try:
            for _, reference in sorted(_registered, key=lambda pair: pair[0]):
                if (reset := reference()) is not None:
                    reset()
        finally:
            _mark, _thread_that_resets = _make_mark(), 0


os.register_at_fork(after_in_child=notice_fork)
