"""Finding a session's chunks on disk, with few scans at a time and without files that have none."""

from __future__ import annotations

import asyncio
import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wakelog.runtime import UnlessMissing, open_to_read
from wakelog.storage import whole_lines
from wakelog.streams._lane import WriterLines
from wakelog.streams._lines import Chunk, chunk_of, needle, scan, segment_paths, session_hashes_in
from wakelog.streams._places import key_of, split_key

INDEXED_SESSIONS = 1_000_000
"""The maximum number of index entries, 8 bytes each: one for each session in each segment."""
_SCANNED_CHUNKS = 256
# The most bytes that one call reads, so that a closed reader stops, and other readers can proceed.
_SCANNED_BYTES = 16 * 1024 * 1024


class Scans:
    """Finds a session's lines among those of all sessions.

    Each segment is read once to index its sessions. The index is kept in memory as a cache, and
    extended when the segment has grown. A segment without the session is not scanned. ``_lock``
    guards the cache; only one thread at a time indexes a segment.

    Attributes:
        entries: The number of entries in the cache.
        bytes_read: How many bytes have been read for indexing and scanning.

    Args:
        limit: The maximum number of scans at a time; others wait.
        room: The maximum number of entries in the cache.
    """

    def __init__(self, limit: int, room: int = INDEXED_SESSIONS) -> None:
        self.limit = limit
        self.bytes_read = 0
        self._room = room
        self.reset()

    def reset(self) -> None:
        """Reset, at the start and in a forked child, where no thread of the parent runs."""
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, int], tuple[int, array[int]]] = OrderedDict()
        self.entries = 0
        self._threads: ThreadPoolExecutor | None = None

    async def find(
        self, lane: WriterLines, session_id: str, begin: int, end: int
    ) -> tuple[list[Chunk], int]:
        """Find chunks of a session between two places, in a thread.

        Returns:
            The first of them, and the key of the place that was reached.

        Raises:
            JournalError: If reading fails.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.limit, thread_name_prefix="wakelog-scans")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._find, lane, session_id, begin, end)

    def close(self) -> None:
        """Let the threads end after their present work."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _find(
        self, lane: WriterLines, session_id: str, begin: int, end: int
    ) -> tuple[list[Chunk], int]:
        wanted = needle(session_id)
        [session] = session_hashes_in(wanted)
        (first, start), (last, stop) = split_key(begin), split_key(end)
        for segment, path in segment_paths(lane.folder):
            if not first <= segment <= last:
                continue
            limit = stop if segment == last else None
            if not self._may_hold(lane.writer, segment, path, limit, session):
                continue
            low = key_of(segment, start if segment == first else 0)
            chunks, reached = self._scan(lane, wanted, low, min(end, key_of(segment + 1, 0)))
            # At the end of a segment, the next call continues at the next segment.
            if chunks or reached < end:
                return chunks, reached
        return [], end

    def _scan(
        self, lane: WriterLines, wanted: bytes, begin: int, end: int
    ) -> tuple[list[Chunk], int]:
        chunks: list[Chunk] = []
        for found in scan(lane.folder, begin, end, wanted):
            if isinstance(found, int):
                if found - begin >= _SCANNED_BYTES:
                    self.bytes_read += found - begin
                    return chunks, found
                continue
            if (chunk := chunk_of(found, lane.writer)) is not None:
                chunks.append(chunk)
                if len(chunks) >= _SCANNED_CHUNKS:
                    self.bytes_read += found.end - begin
                    return chunks, found.end
        return chunks, end

    def _may_hold(
        self, writer: str, segment: int, path: Path, limit: int | None, session: int
    ) -> bool:
        """Tell whether a segment may hold lines of a session before an offset."""
        name = writer, segment
        with self._lock:
            reached, known = self._known.pop(name, (0, array("q")))
            self.entries -= len(known)
            if limit is None or reached < limit:
                reached, known = self._read_on(path, reached, known)
            if len(known) <= self._room:
                self._known[name] = reached, known
                self.entries += len(known)
            while self.entries > self._room:
                _, (_, oldest) = self._known.popitem(last=False)
                self.entries -= len(oldest)
        at = bisect_left(known, session)
        return at < len(known) and known[at] == session

    def _read_on(self, path: Path, offset: int, known: array[int]) -> tuple[int, array[int]]:
        """Index a segment's sessions from an offset on; return the new offset and the sessions."""
        fresh: set[int] = set()
        with UnlessMissing("read", path), open_to_read(path, buffering=0) as file:
            for start, block in whole_lines(file.fileno(), offset):
                fresh.update(session_hashes_in(block))
                offset = start + len(block)
                self.bytes_read += len(block)
        if not fresh:
            return offset, known
        return offset, array("q", sorted(fresh.union(known)))
