"""A reader of one session: what was, then what comes, at its own pace and in bounded memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from wakelog.streams._lane import WriterLines
from wakelog.streams._lanes import Lanes, in_order, newest_of
from wakelog.streams._lines import Chunk
from wakelog.streams._places import Place, Position, write_position
from wakelog.streams._watch import set_done

if TYPE_CHECKING:
    from wakelog.streams._streams import SessionStreams

BATCH = 16
"""How many chunks a reader takes at once, and how often it lets others run."""


class LaneReader:
    """What one reader has read and not handed on yet of one writer: at most a batch."""

    __slots__ = ("finished", "lane", "mark", "pending", "reached")

    def __init__(self, lane: WriterLines, place: Place) -> None:
        self.lane = lane
        self.mark = self.reached = place
        self.pending: deque[Chunk] = deque()
        self.finished = False

    @property
    def place(self) -> Place:
        """The place after what has been handed on."""
        return self.mark if self.pending else self.reached

    async def fill(self, lanes: Lanes, session_id: str) -> bool:
        """Read on, as long as there is something to look at and nothing was found.

        Returns:
            Whether that is all there is for now.
        """
        lane = self.lane
        while not self.pending and not self.finished:
            with lanes.lock:
                # Whether it is complete is asked first: what came before that is then seen.
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
                chunks, reached = await lanes.scans.find(
                    lane, session_id, self.reached.key, found.scan_to
                )
                self._add(chunks)
                self._pass(reached)
            else:
                self._pass(found.reached)
                self.finished = complete
                return True
        return False

    def _pass(self, key: int) -> None:
        # What was seen of a text before it was journaled still stands somewhere after the key.
        if key > self.reached.key:
            self.reached = self.reached._replace(key=key)

    def _add(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            place = chunk.place
            seen = self.reached.chars
            if not place.chars:
                if place.seq <= self.reached.seq:
                    continue  # it was written a second time, because the sync of its file failed
                if seen and chunk.kind == "chunk":
                    # What was seen while it came is journaled now, joined.
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
    """Reads one session, as ``async for chunk in reader``. ``SessionStreams.read`` makes it.

    However slow it is, it holds a few chunks only: what it has not come to yet is read from the
    journal. One task at a time may read from it.

    Attributes:
        ended: Why it has ended: ``end`` (the end of a stream, where that was asked for),
            ``idle``, ``timeout`` or ``closed``; None as long as it has not.
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
        self._streams = streams  # so that it lives, and whoever looks around for it
        self._lanes = streams.lanes
        self._watch = self._lanes.watch(session_id)
        self._until_end = until_end
        self._idle = idle_timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._sources: dict[str, LaneReader] = {}
        self._known: dict[str, WriterLines] = {}
        self._lanes_seen = -1
        # Whether every source has something pending or has nothing more for now.
        self._settled = False
        # The version of the watch at which there was nothing more than what is pending.
        self._all_of = -1
        # When the first writer began that was not looked at, as what is pending is older.
        self._horizon: int | None = None
        self._hasty = 0
        self._before_last: dict[str, Place] = {}
        self._add_lanes(after)

    @property
    def position(self) -> str:
        """The position after the last chunk that was handed on, for ``read(after=…)``."""
        return write_position(self._position())

    @property
    def position_before_last(self) -> str:
        """The position from which the last chunk that was handed on comes again."""
        now = self._position()
        return write_position(now._replace(marks={**now.marks, **self._before_last}))

    def _position(self) -> Position:
        marks = {}
        with self._lanes.lock:
            # Those that it has taken up are named even after the streams have been closed.
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
        chunk = await self._next(self._idle)
        if chunk is None:
            if self.ended is None:
                self.ended = "idle"
            raise StopAsyncIteration
        return chunk

    async def next(self, timeout: float | None = None) -> Chunk | None:  # noqa: ASYNC109 - None, no error
        """Wait for the next chunk.

        Args:
            timeout: The longest wait, in seconds; without end by default.

        Returns:
            The chunk, or None when none came in time or the reader has ended.

        Raises:
            JournalError: When the journal cannot be read.
        """
        return await self._next(timeout)

    def close(self) -> None:
        """End the reader; whoever waits for its next chunk is told that there is none."""
        with self._lanes.lock:
            if self.ended is None:
                self.ended = "closed"
            self._watch.wake()

    async def _next(self, idle: float | None) -> Chunk | None:
        until = None if idle is None else time.monotonic() + idle
        while self.ended is None:
            if self._watch.closed:
                self.ended = "closed"
                break
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline:
                self.ended = "timeout"
                break
            version = self._watch.version
            if self._hasty >= BATCH:
                # One who never has to wait would otherwise never let others run.
                self._hasty = 0
                await asyncio.sleep(0)
            if not self._settled and self._all_of != version:
                await self._refill(version)
            # From here on nothing is awaited, so that no chunk is lost to a cancellation.
            if (chunk := self._take()) is not None:
                if self._until_end and chunk.kind == "end":
                    self.ended = "end"
                self._hasty += 1
                return chunk
            self._settled = False
            if until is not None and now >= until:
                break
            waits = [limit - now for limit in (until, self._deadline) if limit is not None]
            await self._wait(version, min(waits, default=None))
        return None

    async def _wait(self, version: int, seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        watch = self._watch
        with self._lanes.lock:
            if watch.version != version:
                return
            watch.waiting.add(future)
        self._hasty = 0
        timer = None if seconds is None else loop.call_later(seconds, set_done, future)
        try:
            await future
        finally:
            if timer is not None:
                timer.cancel()
            with self._lanes.lock:
                watch.waiting.discard(future)

    def _add_lanes(self, after: Position | None) -> None:
        """Take up the lanes that are known by now; without a position, at what they hold by now."""
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
        """See to it that what is earliest is pending, whichever writer it is from."""
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
                is_all &= await source.fill(self._lanes, self.session_id)
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
        self._before_last = {best.lane.writer: best.mark}
        best.mark = chunk.place
        self._settled = bool(best.pending) and (
            self._horizon is None or best.pending[0].timestamp < self._horizon
        )
        return chunk
