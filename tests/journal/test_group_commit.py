"""Group commit: the order in which threads that wait for a sync are woken, and interruptions of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.waiting import SECONDS as WAIT
from tests.support.waiting import until
from wakelog.storage import _group


class NotedLock:
    """A waiter's lock that notes when its thread is woken."""

    def __init__(self, note: Callable[[], None]) -> None:
        self._lock, self._note = threading.Lock(), note
        self._lock.acquire()

    def acquire(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        self._note()
        self._lock.release()


def test_the_next_thread_that_syncs_is_woken_after_half_of_those_that_were_synced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    woken: list[int] = []

    class Waiter(_group._Waiter):
        __slots__ = ()

        def __init__(self, seq: int, thread: int) -> None:
            super().__init__(seq, thread)
            self.answered = NotedLock(lambda: woken.append(seq))  # type: ignore[assignment]

    monkeypatch.setattr(_group, "_Waiter", Waiter)
    monkeypatch.setattr(_group, "_LOOK_SECONDS", 10 * WAIT)  # looking around must not help
    reaches, began, ends = iter([5, 9]), threading.Event(), threading.Event()

    def sync() -> int:
        began.set()
        assert ends.wait(WAIT)
        return next(reaches)

    group = _group.GroupCommit(sync, lambda: None, lambda: 9)
    threads = [threading.Thread(target=group.wait, args=(seq,)) for seq in range(1, 10)]
    for number, thread in enumerate(threads):
        thread.start()
        assert began.wait(WAIT)
        until(lambda number=number: len(group._waiters) == number)  # type: ignore[misc]
    ends.set()
    for thread in threads:
        thread.join(WAIT)

    assert woken[:3] == [2, 3, 6]  # the first syncs for four others, the sixth for the last three
    assert sorted(woken) == list(range(2, 10))


def test_a_thread_that_was_interrupted_before_it_could_sync_does_so_in_its_next_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_group, "_LOOK_SECONDS", 10 * WAIT)  # looking around must not help
    syncs: list[None] = []

    def sync() -> int:
        syncs.append(None)
        return 1

    group = _group.GroupCommit(sync, lambda: None, lambda: 1)
    group._leader = threading.get_ident()

    thread = threading.Thread(target=group.wait, args=(1,), daemon=True)
    thread.start()
    thread.join(WAIT)
    assert not thread.is_alive()  # another thread does not wait for it
    group._leader = threading.get_ident()
    group._synced = 0
    group.wait(1)

    assert len(syncs) == 2


class InterruptedLock:
    """A waiter's lock whose wait is interrupted: at a moment of the test's, or as it is woken."""

    def __init__(self) -> None:
        self.interrupt = threading.Event()

    def acquire(self, **_: Any) -> bool:
        assert self.interrupt.wait(WAIT)
        raise KeyboardInterrupt

    def release(self) -> None:
        self.interrupt.set()


@pytest.mark.parametrize("as_it_is_woken", [False, True])
def test_a_thread_that_is_interrupted_does_not_hold_up_those_behind_it(
    as_it_is_woken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = InterruptedLock()

    class Waiter(_group._Waiter):
        __slots__ = ()

        def __init__(self, seq: int, thread: int) -> None:
            super().__init__(seq, thread)
            if seq == 3:
                self.answered = lock  # type: ignore[assignment]

    monkeypatch.setattr(_group, "_Waiter", Waiter)
    monkeypatch.setattr(_group, "_LOOK_SECONDS", 10 * WAIT)  # looking around must not help
    written, syncs, ends = [0], [0], [threading.Event(), threading.Event()]

    def sync() -> int:
        reached = written[0]
        syncs[0] += 1
        assert ends[syncs[0] - 1].wait(WAIT)
        return reached

    group = _group.GroupCommit(sync, lambda: None, lambda: written[0])
    interrupted: list[int] = []

    def wait(seq: int) -> None:
        try:
            group.wait(seq)
        except KeyboardInterrupt:
            interrupted.append(seq)

    threads = [threading.Thread(target=wait, args=(seq,), daemon=True) for seq in range(1, 7)]
    for seq, thread in enumerate(threads, 1):
        written[0] = seq
        thread.start()
        until(lambda seq=seq: syncs[0] == 1 and len(group._waiters) == seq - 1)  # type: ignore[misc]
    ends[0].set()  # the first line is synced, and the second thread leads
    until(lambda: syncs[0] == 2)
    if not as_it_is_woken:
        lock.interrupt.set()
        threads[2].join(WAIT)
    ends[1].set()

    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()
    assert interrupted == [3]
    assert group.synced == 6
