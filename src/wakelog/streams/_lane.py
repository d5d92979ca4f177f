"""This process's view of a writer's lines: the positions and text of recent ones by session."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from wakelog.errors import JournalError
from wakelog.journal import owner_of
from wakelog.runtime import UnlessMissing, open_file, open_to_read
from wakelog.storage import segment_name, whole_lines
from wakelog.streams._lines import (
    Chunk,
    chunk_of,
    end_of,
    read_line,
    segment_paths,
    sessions_in,
)
from wakelog.streams._places import BEGINNING, Place, created, key_of, split_key

RING_CHUNKS = 64
RING_CHARS = 32 * 1024
INDEXED = 4096
_BLOCK = 1024 * 1024


class Recent:
    """The recent chunks of one session in one lane.

    Attributes:
        covered: The key of the place from which ``begins`` has every chunk.
        begins: The keys of the lines, in order; at most ``INDEXED``, without older ones.
        ring: The last chunks themselves, if this process wrote them.
        loose: Chunks that are not in the journal yet, because the chunks of a stream are joined.
    """

    __slots__ = ("begins", "chars", "covered", "loose", "ring")

    def __init__(self, covered: int) -> None:
        self.covered = covered
        self.begins = array("Q")
        self.ring: list[Chunk] = []
        self.loose: list[Chunk] = []
        self.chars = 0

    def note(self, begin: int, chunk: Chunk | None = None) -> None:
        """Note a line that has been written."""
        self.begins.append(begin)
        if len(self.begins) >= 2 * INDEXED:
            del self.begins[:INDEXED]
            self.covered = self.begins[0]
        if chunk is None:
            return
        self.ring.append(chunk)
        self.chars += len(chunk.text)
        # Delete many at a time, because deleting from the beginning of a list is slow.
        if len(self.ring) >= 2 * RING_CHUNKS or self.chars > 2 * RING_CHARS:
            keep = min(RING_CHUNKS, len(self.ring) // 2)
            del self.ring[:-keep]
            self.chars = sum(len(kept.text) for kept in self.ring)


class NextChunks(NamedTuple):
    """The next chunks of a lane for a reader, or where to read them.

    Attributes:
        chunks: The next chunks, from memory; fewer than the limit if there are no more.
        begins: The keys of the next lines, to be read with ``load``.
        scan_to: The key of the place up to which the lines have to be scanned.
        reached: The key of the place up to which there are no more chunks, if there are none.
    """

    chunks: list[Chunk]
    begins: array[int]
    scan_to: int
    reached: int


class News(NamedTuple):
    """Lines of another process: their sessions and keys, and the key of the place after them."""

    lines: list[tuple[str, int]]
    end: int


_NONE: array[int] = array("Q")


class WriterLines:
    """One writer's lines. Callers hold the lock of the streams, except for ``load`` and ``news``.

    Args:
        folder: The writer's folder.
        own: Whether this process writes it.
    """

    def __init__(self, folder: Path, *, own: bool) -> None:
        self.folder = folder
        self.writer = folder.name
        # In nanoseconds, less a second: the first line's event is older than its writer.
        self.created = (created(self.writer) - 1000) * 1_000_000
        owner = owner_of(folder)
        self.generation = 0 if owner is None else owner.generation
        self.own = own
        self.complete = False
        self.sessions: dict[str, Recent] = {}
        self.end = BEGINNING if own else end_of(folder)
        # For this process's own lane: the place before which a session that is not in ``sessions``
        # may have chunks. For other lanes, only watched sessions are in ``sessions``.
        self.floor = BEGINNING
        self._fd = -1
        self.segment = 0

    def recent(self, session_id: str) -> Recent:
        """Return the index of a session, which begins now at the latest."""
        found = self.sessions.get(session_id)
        if found is None:
            found = self.sessions[session_id] = Recent(self._covered())
        return found

    def forget(self, session_id: str) -> None:
        """Free the memory of an idle session, whose chunks can be found on disk."""
        if self.sessions.pop(session_id, None) is not None:
            self.floor = self.end

    def after(self, session_id: str, place: Place, limit: int) -> NextChunks:
        """Return what comes after a place."""
        recent = self.sessions.get(session_id)
        covered = self._covered() if recent is None else recent.covered
        if place.key < covered:
            return NextChunks([], _NONE, covered, BEGINNING)
        if recent is None:
            return NextChunks([], _NONE, BEGINNING, self.end)
        begins = recent.begins
        at = bisect_left(begins, place.key)
        if at == len(begins):
            seen = (place.key, place.chars)
            loose = [c for c in recent.loose if (c.place.key, c.place.chars) > seen]
            return NextChunks(loose, _NONE, BEGINNING, BEGINNING if recent.loose else self.end)
        from_ring = at - (len(begins) - len(recent.ring))
        if from_ring >= 0:
            chunks = recent.ring[from_ring : from_ring + limit]
            if len(chunks) < limit:
                chunks += recent.loose
            return NextChunks(chunks, _NONE, BEGINNING, BEGINNING)
        return NextChunks([], begins[at : at + min(limit, -from_ring)], BEGINNING, BEGINNING)

    def load(self, begins: array[int]) -> list[Chunk]:
        """Read lines by their keys. Deleted and damaged lines are left out."""
        chunks: list[Chunk] = []
        fd, opened = -1, 0
        try:
            for begin in begins:
                segment, offset = split_key(begin)
                if segment != opened:
                    if fd >= 0:
                        os.close(fd)
                    fd, opened = self._open(segment), segment
                line = read_line(fd, segment, offset) if fd >= 0 else None
                if line is not None and (chunk := chunk_of(line, self.writer)) is not None:
                    chunks.append(chunk)
        finally:
            if fd >= 0:
                os.close(fd)
        return chunks

    def wrote(self) -> tuple[int, int]:
        """Find the line that has just been appended.

        Returns:
            The keys of its beginning and its end.
        """
        # Cheaper than fstat; this descriptor is read by position only.
        size = os.lseek(self._fd, 0, os.SEEK_END) if self._fd >= 0 else 0
        begin, end = self.end, key_of(self.segment, size)
        if self._fd < 0 or end == begin:  # the line is in a new segment
            self.close()
            found = segment_paths(self.folder)
            if not found:
                raise JournalError("find the segments of", self.folder, "it has been deleted")
            self.segment = found[-1][0]
            self._fd = self._open(self.segment)
            size = os.fstat(self._fd).st_size
            tail = os.pread(self._fd, _BLOCK, max(0, size - _BLOCK))
            begin = key_of(self.segment, size - len(tail) + tail.rfind(b"\n", 0, -1) + 1)
            end = key_of(self.segment, size)
        self.end = end
        return begin, end

    def failed(self) -> None:
        """Note that an append failed, which may have left a part of a line."""
        if self._fd >= 0:
            self.end = key_of(self.segment, os.fstat(self._fd).st_size)

    def news(self) -> Iterator[News]:
        """Read what another process has written since the last call, without the lock.

        Yields:
            Parts of it, for ``take``.

        Raises:
            JournalError: If reading fails.
        """
        first, start = split_key(self.end)
        for segment, path in segment_paths(self.folder):
            if segment >= first:
                yield from _news_in(path, segment, start if segment == first else 0)

    def take(self, news: News, watched: Iterable[str]) -> set[str]:
        """Add a part of what another process has written to the index.

        Args:
            news: The part.
            watched: The sessions with readers; others are removed.

        Returns:
            The watched sessions that have new lines.
        """
        for session_id in self.sessions.keys() - watched:
            del self.sessions[session_id]
        fresh = set()
        for session_id, begin in news.lines:
            if (recent := self.sessions.get(session_id)) is not None:
                recent.note(begin)
                fresh.add(session_id)
        self.end = news.end
        return fresh

    def catch_up(self) -> None:
        """Skip what another process has written."""
        self.sessions.clear()
        self.end = end_of(self.folder)

    def close(self) -> None:
        """Close the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _covered(self) -> int:
        """Return the place from which a session that is not in ``sessions`` has no chunks."""
        return self.floor if self.own else self.end

    def _open(self, segment: int) -> int:
        path = self.folder / segment_name(segment)
        with UnlessMissing("read", path):
            return open_file(path, os.O_RDONLY)
        return -1


def _news_in(path: Path, segment: int, offset: int) -> Iterator[News]:
    with UnlessMissing("read", path, or_foreign=True):
        if path.stat().st_size <= offset:
            return
        with open_to_read(path, buffering=0) as file:
            for start, block in whole_lines(file.fileno(), offset):
                lines = [
                    (session_id, key_of(segment, start + begin))
                    for session_id, begin in sessions_in(block)
                ]
                yield News(lines, key_of(segment, start + len(block)))
