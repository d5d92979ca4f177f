"""Resetting state in a forked child, in a fixed order, even if Python's at-fork hooks do not run.

A server that forks in C (uWSGI, an embedding program, a C library) does not run Python's hooks.
Every object with such state therefore calls ``notice_fork`` when it is used: the first call in a
child resets all registered state. Python's own hook makes the same call earlier.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Callable
from types import MethodType
from typing import Protocol

# Linux 4.14 and later: the child finds the page zeroed (madvise(2)). Python has no name for it.
_MADV_WIPEONFORK = 18


class ForkOrder:
    """The order in which a child resets state; equal values in the order of registration."""

    IDENTITY, LOCKS, METRICS, STORAGE, BUFFERS, THREADS = range(6)


class _Mark(Protocol):
    """Its first item is 1 in the process that has set it, and 0 in a forked child of it."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


class _ProcessId:
    """The mark if the kernel cannot wipe a page: compares process ids, five times slower."""

    def __init__(self) -> None:
        self._process = 0

    def __getitem__(self, index: int) -> int:
        return os.getpid() == self._process

    def __setitem__(self, index: int, value: int) -> None:
        self._process = os.getpid()


def _make_mark() -> _Mark:
    mark: _Mark = _ProcessId()
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
        mark = page
    except (AttributeError, OSError, ValueError):
        pass
    mark[0] = 1
    return mark


_Reset = Callable[[], object]
_registered: list[tuple[int, Callable[[], _Reset | None]]] = []
noticed = _make_mark()
"""``noticed[0]`` is 0 in a forked child until ``notice_fork`` was called in it.

Functions that run for every record check it themselves, which saves a call.
"""
# One lock for each process, created by its first thread that needs it. A thread that the child does
# not have may hold an inherited lock.
_resetting: dict[int, threading.RLock] = {}
_thread_that_resets = 0


def reset_in_child(reset: _Reset, order: int) -> None:
    """Register a function that a forked child calls before it uses inherited state.

    Args:
        reset: Replaces the parent's locks, threads and descriptors. It must not raise or wait. A
            bound method is kept by a weak reference only.
        order: Its place in the order of resets.
    """
    notice_fork()
    if isinstance(reset, MethodType):
        reference: Callable[[], _Reset | None] = weakref.WeakMethod(reset)
    else:
        reference = _always(reset)
    _registered.append((order, reference))
    if len(_registered) % 256 == 0:  # removes the references of collected objects
        _registered[:] = [pair for pair in _registered if pair[1]() is not None]


def notice_fork() -> None:
    """Reset registered state if this process is a forked child that has not done so yet.

    Called wherever inherited state is about to be used. Usually costs a read of one byte.
    """
    if not noticed[0]:
        _reset()


def _always(reset: _Reset) -> Callable[[], _Reset]:
    return lambda: reset


def _reset() -> None:
    global _thread_that_resets  # noqa: PLW0603 - once a process
    with _resetting.setdefault(os.getpid(), threading.RLock()):
        if noticed[0] or _thread_that_resets == threading.get_ident():
            return
        _thread_that_resets = threading.get_ident()
        try:
            for _, reference in sorted(_registered, key=lambda pair: pair[0]):
                if (reset := reference()) is not None:
                    reset()
        finally:
            noticed[0], _thread_that_resets = 1, 0


os.register_at_fork(after_in_child=notice_fork)
