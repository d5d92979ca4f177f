"""Following a journal while programs record into it, with one thread for all viewers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wakelog.errors import WakelogError
from wakelog.index import Event, Index
from wakelog.page._rows import living_segments

_LOOK_SECONDS: Final = 0.04
_SHARE: Final = 3  # the pause between two updates, in multiples of an update's duration
_LIVING_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 1.0
_MOST_WAITING: Final = 2000


@dataclass(slots=True)
class Growth:
    """News since the last update.

    Attributes:
        events: New events, by time.
        living: The segments with open steps whose processes are alive.
        problem: Why updating fails at present; empty if it does not.
    """

    events: list[Event] = field(default_factory=list)
    living: list[int] = field(default_factory=list)
    problem: str = ""


class Watching:
    """A viewer's queue of news.

    Attributes:
        lost: Whether news was dropped because the queue was full.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._come = asyncio.Event()
        self._waiting: deque[Growth] = deque()
        self.lost = False
        self.fresh = True

    async def next(self, seconds: float) -> Growth | None:
        """Return the next news; None after the time-out."""
        if not self._waiting:
            self._come.clear()
            try:
                await asyncio.wait_for(self._come.wait(), seconds)
            except TimeoutError:
                return None
        return self._waiting.popleft() if self._waiting else None

    def put(self, news: Growth) -> None:
        """Add news, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, news)
        except RuntimeError:
            self.lost = True  # its event loop has ended

    def _put(self, news: Growth) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self.lost = True
        else:
            self._waiting.append(news)
        self._come.set()


class Follower:
    """Reads what is new in a journal while there are viewers.

    Args:
        path: A journal, a writer's folder, or a file or directory of lines.

    Attributes:
        ending: Whether viewers have to end. A signal handler sets it, so it is read without a lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Guards the viewers and the thread; nothing is read under it.
        self._lock = threading.Lock()
        self._watching: list[Watching] = []
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self.ending = False

    async def join(self) -> Watching:
        """Add a viewer, which receives everything that is recorded from now on."""
        one = Watching()
        with self._lock:
            self._watching.append(one)
            if self._thread is None:
                self._ready.clear()
                self._thread = threading.Thread(
                    target=self._run, name="wakelog-page-follow", daemon=True
                )
                self._thread.start()
        while not self._ready.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.005)
        return one

    def leave(self, one: Watching) -> None:
        """Remove a viewer."""
        with self._lock:
            self._watching.remove(one)

    def close(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stopped.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except WakelogError as error:
                self._ready.set()
                self._tell(Growth(problem=str(error)))
                self._stopped.wait(_RETRY_SECONDS)
            else:
                return

    def _follow(self) -> None:
        """Update repeatedly until there are no viewers."""
        with Index(self._path) as index:
            _, marks = index.since(None)
            self._ready.set()
            living: list[int] = []
            living_at = 0.0
            while not self._stopped.is_set():
                begin = time.monotonic()
                index.refresh()
                events, marks = index.since(marks)
                with self._lock:
                    if not self._watching:
                        self._thread = None  # under the lock: a new viewer starts another
                        return
                    fresh = any(one.fresh for one in self._watching)
                if events or fresh or begin - living_at >= _LIVING_SECONDS:
                    living_at = begin
                    before = living
                    living = living_segments(index, sorted(index.with_open_calls()))
                    if events or fresh or living != before:
                        self._tell(Growth(events, living))
                took = time.monotonic() - begin
                self._stopped.wait(max(_LOOK_SECONDS, took * _SHARE))

    def _tell(self, news: Growth) -> None:
        with self._lock:
            for one in self._watching:
                one.fresh = False
                one.put(news)
