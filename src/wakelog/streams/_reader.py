"""A reader of one session: existing chunks, then new ones, at any speed in bounded memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from wakelog.runtime import complete
from wakelog.streams._lane import WriterLines
from wakelog.streams._lanes import Lanes, in_order, newest_of
from wakelog.streams._lines import Chunk
from wakelog.streams._places import BEGINNING, Place, Position, write_position

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams

BATCH = 16
"""How many chunks a reader reads at a time, and after how many it lets other tasks run."""


class LaneReader:
    """One reader's chunks of one writer that it has not returned yet: at most a batch."""

    __slots__ = ("_scan_to", "finished", "lane", "mark", "pending", "reached")

    def __init__(self, lane: WriterLines, place: Place) -> None:
        self.lane = lane
        self.mark = self.reached = place
        self.pending: deque[Chunk] = deque()
        self.finished = False
        self._scan_to = BEGINNING

    @property
    def place(self) -> Place:
        """The place after the last returned chunk."""
        return self.mark if self.pending else self.reached

    def fill(self, lanes: Lanes, session_id: str) -> bool | None:
        """Read the next chunks, or find that there are none, unless files have to be searched.

        Returns:
            Whether everything that exists at present has been read; None if ``scan`` has to be
            called before this is called again.
        """
        lane = self.lane
        while not self.pending and not self.finished:
            with lanes.lock:
                # Before reading, so that a complete lane is read to its end.
                complete = lane.complete
                found = lane.after(session_id, self.reached, BATCH)
            if found.chunks:
                self._add(found.chunks)
                if len(found.chunks) < BATCH:
                    return True
            elif found.begins:
                self._add(lane.load(found.begins))
                self._pass(found.begins[-1] + 1)
            elif found.scan_to:
                self._scan_to = found.scan_to
                return None
            else:
                self._pass(found.reached)
                self.finished = complete
                return True
        return False

    async def scan(self, lanes: Lanes, session_id: str) -> None:
        """Search files, from the reached place on, as ``fill`` found to be necessary."""
        chunks, reached = await lanes.scans.find(
            self.lane, session_id, self.reached.key, self._scan_to
        )
        self._add(chunks)
        self._pass(reached)

    def _pass(self, key: int) -> None:
        # Characters that were read before they were in the journal are after this place, too.
        if key > self.reached.key:
            self.reached = self.reached._replace(key=key)

    def _add(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            place = chunk.place
            seen = self.reached.chars
            if not place.chars:
                if place.seq <= self.reached.seq:
                    continue  # written a second time, because a sync failed
                if seen and chunk.kind == "chunk":
                    # The joined text contains what was read before it was in the journal.
                    skipped = min(seen, len(chunk.text))
                    if skipped == len(chunk.text):
                        self.reached = place._replace(chars=seen - skipped)
                        continue
                    chunk = chunk._replace(text=chunk.text[skipped:])  # noqa: PLW2901
            else:
                place = place._replace(seq=self.reached.seq)
            self.reached = place
            self.pending.append(chunk)


class Reader:
    """Reads one session, with ``async for chunk in reader``. ``SessionStreams.read`` creates it.

    A slow reader needs no more memory, because it reads older chunks from the journal. Only one
    task at a time may read from it.

    Attributes:
        ended: Why it has ended: ``end`` (with ``until_end``, the end of a stream), ``idle``,
            ``timeout`` or ``closed``; None if it has not.
    """

    def __init__(
        self,
        streams: SessionStreams,
        session_id: str,
        after: Position | None,
        *,
        until_end: bool,
        idle_timeout: float | None,
        timeout: float | None,
    ) -> None:
        self.session_id = session_id
        self.ended: str | None = None
        self._streams = streams  # keeps the streams and their watcher alive
        self._lanes = streams.lanes
        self._watch = self._lanes.watch(session_id)
        self._until_end = until_end
        self._idle = idle_timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._sources: dict[str, LaneReader] = {}
        self._known: dict[str, WriterLines] = {}
        self._lanes_seen = -1
        # Whether every source has a pending chunk, or none at present.
        self._settled = False
        # The version of the watch at which everything was pending or returned.
        self._all_of = -1
        # The start of the first writer that was not read, because pending chunks are older than it.
        self._horizon: int | None = None
        self._hasty = 0
        # The writer of the last returned chunk, and the place before it.
        self._before_last: tuple[str, Place] | None = None
        self._add_lanes(after)

    @property
    def position(self) -> str:
        """The position after the last returned chunk, for ``read(after=…)``."""
        return write_position(self._position())

    @property
    def position_before_last(self) -> str:
        """The position before the last returned chunk."""
        now = self._position()
        before = {} if self._before_last is None else dict([self._before_last])
        return write_position(now._replace(marks={**now.marks, **before}))

    def _position(self) -> Position:
        marks = {}
        with self._lanes.lock:
            # Includes the reader's own lanes after the streams have been closed.
            lanes = self._known | self._lanes.by_writer
        newest = newest_of(lanes)
        for writer, lane in lanes.items():
            source = self._sources.get(writer)
            if source is not None:
                marks[writer] = source.place
            elif writer not in self._known:
                marks[writer] = Place()
            elif not newest.is_past(writer, lane.generation):
                marks[writer] = Place(lane.end)
        return newest._replace(marks=marks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        chunk = await self.next(self._idle)
        if chunk is None:
            if self.ended is None:
                self.ended = "idle"
            raise StopAsyncIteration
        return chunk

    async def next(self, timeout: float | None = None) -> Chunk | None:  # noqa: ASYNC109 - None, no error
        """Wait for the next chunk.

        Args:
            timeout: The longest wait, in seconds; default: no limit.

        Returns:
            The chunk; None after the time-out, or if the reader has ended.

        Raises:
            JournalError: If the journal cannot be read.
        """
        until = None if timeout is None else time.monotonic() + timeout
        is_limited = until is not None or self._deadline is not None
        watch, now = self._watch, 0.0
        while self.ended is None:
            if watch.closed:
                self.ended = "closed"
                break
            if is_limited:
                now = time.monotonic()
                if self._deadline is not None and now >= self._deadline:
                    self.ended = "timeout"
                    break
            version = watch.version
            if self._hasty >= BATCH:
                # Without this, a reader that never has to wait would never let other tasks run.
                self._hasty = 0
                await asyncio.sleep(0)
            if not self._settled and self._all_of != version:
                await self._refill(version)
            # No await from here on, so that a cancellation does not lose a chunk.
            if (chunk := self._take()) is not None:
                if self._until_end and chunk.kind == "end":
                    self.ended = "end"
                self._hasty += 1
                return chunk
            self._settled = False
            if until is not None and now >= until:
                break
            waits = [limit - now for limit in (until, self._deadline) if limit is not None]
            await self._wait(version, min(waits) if waits else None)
        return None

    def close(self) -> None:
        """End the reader; a waiting call returns that there are no more chunks."""
        with self._lanes.lock:
            if self.ended is None:
                self.ended = "closed"
            self._watch.wake()

    async def _wait(self, version: int, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        watch = self._watch
        with self._lanes.lock:
            if watch.version != version:
                return
            watch.waiting.add(future)
        self._hasty = 0
        timer = None if seconds is None else loop.call_later(seconds, complete, future)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            if future in watch.waiting:  # it was not woken
                with self._lanes.lock:
                    watch.waiting.discard(future)

    def _add_lanes(self, after: Position | None) -> None:
        """Add the present lanes, without a position at their present ends."""
        with self._lanes.lock:
            self._lanes_seen = self._lanes.version
            for writer, lane in in_order(self._lanes.by_writer):
                if writer in self._known:
                    continue
                self._known[writer] = lane
                recent = lane.recent(self.session_id) if not lane.complete else None
                if after is None:
                    if not lane.complete:
                        last = recent.loose[-1:] if recent is not None else []
                        place = last[0].place if last else Place(lane.end)
                        self._sources[writer] = LaneReader(lane, place)
                elif writer in after.marks or not after.is_past(writer, lane.generation):
                    self._sources[writer] = LaneReader(lane, after.marks.get(writer, Place()))
        lanes = {writer: source.lane for writer, source in self._sources.items()}
        self._sources = {writer: self._sources[writer] for writer, _ in in_order(lanes)}

    async def _refill(self, version: int) -> None:
        """Make sure that the earliest chunk of all writers is pending."""
        if self._lanes_seen != self._lanes.version:
            self._add_lanes(Position({}))
        earliest: int | None = None
        is_all = True
        self._horizon = None
        for source in list(self._sources.values()):
            if not source.pending:
                if earliest is not None and source.lane.created > earliest:
                    is_all = False
                    self._horizon = source.lane.created
                    break
                while (at_end := source.fill(self._lanes, self.session_id)) is None:
                    await source.scan(self._lanes, self.session_id)
                is_all &= at_end
                if source.finished and not source.pending:
                    del self._sources[source.lane.writer]
            else:
                is_all = False
            if source.pending:
                time_ = source.pending[0].timestamp
                earliest = time_ if earliest is None else min(earliest, time_)
        self._settled = True
        self._all_of = version if is_all else -1

    def _take(self) -> Chunk | None:
        best: LaneReader | None = None
        for source in self._sources.values():
            if source.pending and (
                best is None or source.pending[0].timestamp < best.pending[0].timestamp
            ):
                best = source
        if best is None:
            return None
        chunk = best.pending.popleft()
        self._before_last = (best.lane.writer, best.mark)
        best.mark = chunk.place
        self._settled = bool(best.pending) and (
            self._horizon is None or best.pending[0].timestamp < self._horizon
        )
        return chunk
