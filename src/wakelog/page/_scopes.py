"""What a viewer follows: a session, a run, a search, or only that something has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, Final

from wakelog.events import described
from wakelog.index import Event, Index, Match, Selection
from wakelog.page._following import Follower, Growth
from wakelog.page._library import Library
from wakelog.page._questions import conversation_in_parts, matches, with_pairs
from wakelog.page._rows import COLUMNS, row_of

KEEP_ALIVE_SECONDS: Final = 15.0
_CHANGED_SECONDS: Final = 0.25
_ENDING_SECONDS: Final = 0.25
_RUN: Final = COLUMNS.index("run")
_ID: Final = COLUMNS.index("id")


class ConversationScope:
    """A session or a run, with the runs inside it.

    Args:
        session: The session's id.
        run: The run's id, instead of a session.
    """

    def __init__(self, session: str | None, run: str | None) -> None:
        self._session, self._run = session, run
        self._runs: set[str] = set() if run is None else {run}
        self._ids: set[str] = set()

    def parts(self, index: Index) -> Iterator[dict[str, Any]]:
        """Yield the existing rows."""
        for table in conversation_in_parts(index, self._session, self._run):
            yield table
            for row in table["rows"]:
                if row[_RUN] is not None:
                    self._runs.add(row[_RUN])
                if row[_ID] is not None:
                    self._ids.add(row[_ID])

    def among(self, index: Index, events: list[Event]) -> list[Event]:  # noqa: ARG002 - as in SearchScope
        """Return the new events that belong to the session or run."""
        found = []
        for event in events:
            inside = event.run in self._runs or (
                self._session is not None and event.session == self._session
            )
            if inside or (event.type == "run_start" and event.parent in self._ids):
                found.append(event)
                if event.run is not None:
                    self._runs.add(event.run)
                if event.id is not None:
                    self._ids.add(event.id)
        return found


class SearchScope:
    """The events of a search.

    Args:
        selection: The selection.
        limit: The maximum number of existing events.
    """

    def __init__(self, selection: Selection, limit: int) -> None:
        self._selection, self._limit = selection, limit
        self._match = Match(selection)

    def parts(self, index: Index) -> list[dict[str, Any]]:
        """Return the newest existing rows."""
        return [matches(index, self._selection, self._limit)]

    def among(self, index: Index, events: list[Event]) -> list[Event]:
        """Return the new events that match the search."""
        read = index.read(events)
        found = [one.event for one in read if self._match(described(one.record), one.writer)]
        return with_pairs(index, found)


Watched = ConversationScope | SearchScope
"""A set of events to follow."""


async def follow(
    library: Library, follower: Follower, scope: Watched | None
) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
    """Yield existing rows and then new ones, each with the name of its kind.

    Args:
        library: Runs queries on the index.
        follower: Reads what is new.
        scope: What to follow; None yields ``changed`` when anything has been recorded.

    Yields:
        ``first`` with rows, ``rows`` with more of them, ``changed``, ``problem``; ``idle`` after a
        long time without news; finally ``lost`` if news was dropped and the viewer has to begin
        again.
    """
    watching = await follower.join()
    try:
        if scope is None:
            yield "first", {}
        else:
            kind = "first"
            async for part in _parts(library, scope):
                yield kind, part
                kind = "rows"
        told, quiet = 0.0, time.monotonic()
        while not watching.lost:
            news = await watching.next(_ENDING_SECONDS)
            if follower.ending:
                return
            if news is None:
                if time.monotonic() - quiet >= KEEP_ALIVE_SECONDS:
                    quiet = time.monotonic()
                    yield "idle", {}
            elif news.problem:
                yield "problem", {"text": news.problem}
            elif scope is None:
                if time.monotonic() - told >= _CHANGED_SECONDS:
                    told = time.monotonic()
                    yield "changed", {}
            else:
                yield "rows", await _rows(library, scope, news)
        yield "lost", {}
    finally:
        follower.leave(watching)


async def _parts(library: Library, scope: Watched) -> AsyncIterator[dict[str, Any]]:
    """Yield the parts of the existing rows, each as soon as a thread has read it."""
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def read_all(index: Index) -> None:
        for part in scope.parts(index):
            loop.call_soon_threadsafe(read.put_nowait, part)

    reading = asyncio.ensure_future(library.ask(read_all))
    reading.add_done_callback(lambda _: read.put_nowait(None))
    while (part := await read.get()) is not None:
        yield part
    await reading


async def _rows(library: Library, scope: Watched, news: Growth) -> dict[str, Any]:
    found: list[Event] = []
    if news.events:
        found = await library.ask(lambda index: scope.among(index, news.events))
    return {"rows": [row_of(event) for event in found], "living": news.living}
