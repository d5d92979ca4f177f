"""Updating an index: adding new lines, and removing deleted files.

It uses transactions of limited size, each of which begins with the present state of the index. Two
concurrent readers therefore share the work, and a reader that is killed leaves what it has done.
"""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wakelog.errors import JournalError
from wakelog.index._event import OFFSET_BITS
from wakelog.index._rows import Rows
from wakelog.index._scan import Scan, ScanPlace
from wakelog.index._schema import ROLLUPS, create_indexes
from wakelog.index._sources import Held, SourceFile, sources_of
from wakelog.journal import owner_of
from wakelog.journal import read as read_journal
from wakelog.runtime import open_file
from wakelog.storage import line_before

Progress = Callable[[int, int], None]
"""Called at intervals with the number of indexed bytes and the total."""

_ROWS_AT_ONCE = 40_000


@dataclass(slots=True)
class _Indexed:
    """A row of the table ``segments``."""

    id: int
    inode: int
    offset: int
    looked: int
    crc: int | None
    seq: int
    damaged: int


@contextmanager
def without_collections() -> Iterator[None]:
    """Disable the garbage collector, which would repeatedly examine thousands of new objects."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Refresh:
    """Brings an index up to date.

    Args:
        connection: The index.
        held: What the index is of.
        progress: Called with the progress.
    """

    def __init__(
        self, connection: sqlite3.Connection, held: Held, progress: Progress | None = None
    ) -> None:
        self._connection = connection
        self._held = held
        self._progress = progress
        self._rows: Rows | None = None
        self._version: object = None

    def run(self) -> None:
        """Remove deleted files, and add new lines.

        Raises:
            JournalError: If the journal cannot be read.
            sqlite3.Error: If the index cannot be read or written.
        """
        sources = sources_of(self._held)
        known = self._known()
        paths = {self._name(source): source for source in sources}
        gone = [
            (segment.id, path)
            for path, segment in known.items()
            if (source := paths.get(path)) is None
            or source.inode != segment.inode
            or source.size < segment.offset
        ]
        todo = {
            path: source
            for path, source in paths.items()
            if (segment := known.get(path)) is None or segment.looked != source.size
        }
        if gone:
            self._take_out(gone)
            anew = {path for _, path in gone}
            known = {path: segment for path, segment in known.items() if path not in anew}
            todo |= {path: source for path, source in paths.items() if path in anew}
        if todo:
            with without_collections():
                self._add([s for path, s in paths.items() if path in todo], known)

    def _name(self, source: SourceFile) -> str:
        path, folder = source.path, source.folder
        name = path.name if folder is None else f"{folder.name}/{path.name}"
        if folder is None and path.parent != self._held.root:
            name = f"{path.parent.name}/{name}"  # a file of a gateway's session
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def _known(self) -> dict[str, _Indexed]:
        rows = self._connection.execute(
            "SELECT path, id, inode, offset, looked, crc, seq, damaged FROM segments"
        )
        return {path: _Indexed(*rest) for path, *rest in rows}

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._rows = None  # its caches contain what was rolled back
            raise
        self._connection.execute("COMMIT")

    def _take_out(self, gone: list[tuple[int, str]]) -> None:
        with self._transaction():
            self._rows = None
            execute = self._connection.execute
            for segment, path in gone:
                if not execute(
                    "DELETE FROM segments WHERE id = ? AND path = ?", (segment, path)
                ).rowcount:
                    continue  # another reader has removed it
                first, past = segment << OFFSET_BITS, (segment + 1) << OFFSET_BITS
                execute("DELETE FROM events WHERE position >= ? AND position < ?", (first, past))
                for table in ROLLUPS:
                    execute(f"DELETE FROM {table} WHERE segment = ?", (segment,))
                execute(
                    "DELETE FROM parts WHERE file IN "
                    "(SELECT file FROM parts WHERE first < ? AND last >= ?)",
                    (past, first),
                )
            execute("DELETE FROM writers WHERE id NOT IN (SELECT writer FROM segments)")
            # Delete names that only deleted events used.
            execute(
                "DELETE FROM names WHERE id > 2 AND id NOT IN (SELECT session FROM slices WHERE session NOT NULL "
                "UNION SELECT run FROM slices WHERE run NOT NULL UNION SELECT agent FROM events WHERE "
                "agent NOT NULL UNION SELECT type FROM events UNION SELECT tool FROM events WHERE tool "
                "NOT NULL UNION SELECT model FROM events WHERE model NOT NULL UNION SELECT outcome FROM "
                "events WHERE outcome NOT NULL UNION SELECT error FROM events WHERE error NOT NULL)"
            )

    def _add(self, todo: list[SourceFile], known: dict[str, _Indexed]) -> None:
        total = sum(
            source.size - (found.offset if (found := known.get(self._name(source))) else 0)
            for source in todo
        )
        done, first = 0, True
        waiting = list(reversed(todo))
        while waiting:
            with self._transaction():
                rows = self._begin()
                while waiting and len(rows) < _ROWS_AT_ONCE:
                    read, ended = self._advance(waiting[-1], rows)
                    done += read
                    if ended:
                        waiting.pop()
                rows.write()
                if first and not waiting:
                    create_indexes(self._connection)
            first = False
            if self._progress is not None:
                self._progress(min(done, total), total)
        create_indexes(self._connection)

    def _begin(self) -> Rows:
        """Return the object for new rows; reset its caches if another process changed the index."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if self._rows is None:
            self._rows = Rows(self._connection)
        elif version != self._version:
            self._rows.forget()
        self._version = version
        return self._rows

    def _advance(self, source: SourceFile, rows: Rows) -> tuple[int, bool]:
        """Read on in a segment; return the number of bytes, and whether its end was reached."""
        segment, writer = self._segment(source)
        before = segment.offset
        times: list[int] = []
        try:
            if source.folder is None:
                self._take_file(source, segment.id, rows, times)
                place, ended = ScanPlace(source.size), True
            else:
                seq = segment.seq or self._seq_before(writer, source.number)
                place = ScanPlace(segment.offset, segment.crc, seq, segment.damaged)
                scan = Scan(source.folder, source.number, source.path, place, source.size)
                base = segment.id << OFFSET_BITS
                for data, offset, length in scan.read():
                    if "signal" in data:
                        continue  # a span is not an event
                    time = rows.add(data, base + offset, length)
                    if time is not None:
                        times.append(time)
                ended = scan.ended
        except OSError as error:
            if source.folder is not None and isinstance(error, FileNotFoundError):
                return 0, True  # it has just been deleted; the next update removes it
            raise JournalError("read", source.path, error.strerror or error) from error
        first, last = (min(times), max(times)) if times else (None, None)
        self._note(segment.id, place, source.size if ended else -1, first, last)
        return place.offset - before, ended

    def _note(
        self, segment: int, place: ScanPlace, looked: int, first: int | None, last: int | None
    ) -> None:
        self._connection.execute(
            "UPDATE segments SET offset = ?, looked = ?, crc = ?, seq = ?, damaged = ? WHERE id = ?",
            (place.offset, looked, place.crc, place.seq, place.damaged, segment),
        )
        if first is not None:
            self._connection.execute(
                "UPDATE segments SET first = MIN(IFNULL(first, ?), ?), last = MAX(IFNULL(last, ?), ?) "
                "WHERE id = ?",
                (first, first, last, last, segment),
            )

    def _segment(self, source: SourceFile) -> tuple[_Indexed, int]:
        """Return the index's row for a file, which is added for a new file."""
        execute = self._connection.execute
        name = self._name(source)
        found = execute(
            "SELECT writer, id, inode, offset, looked, crc, seq, damaged FROM segments WHERE path = ?",
            (name,),
        ).fetchone()
        if found is not None:
            writer, *rest = found
            return _Indexed(*rest), writer
        writer = self._writer(source)
        number = execute(
            "INSERT INTO segments (writer, number, path, inode) VALUES (?, ?, ?, ?)",
            (writer, source.number, name, source.inode),
        ).lastrowid
        assert number is not None  # noqa: S101 - a row was inserted
        return _Indexed(number, source.inode, 0, -1, None, 0, 0), writer

    def _writer(self, source: SourceFile) -> int:
        execute = self._connection.execute
        name = source.path.name if source.folder is None else source.folder.name
        found = execute("SELECT id FROM writers WHERE name = ?", (name,)).fetchone()
        if found is None:
            owner = owner_of(source.folder) if source.folder is not None else None
            whose: tuple[Any, ...] = (None, None, None, None)
            if owner is not None:
                service = owner.service
                whose = (service.name, service.namespace, owner.pipeline, owner.signal)
            execute("INSERT INTO writers VALUES (NULL, ?, ?, ?, ?, ?)", (name, *whose))
            found = execute("SELECT last_insert_rowid()").fetchone()
        return int(found[0])

    def _seq_before(self, writer: int, number: int) -> int:
        (seq,) = self._connection.execute(
            "SELECT MAX(seq) FROM segments WHERE writer = ? AND number < ?", (writer, number)
        ).fetchone()
        return seq or 0

    @staticmethod
    def _take_file(source: SourceFile, segment: int, rows: Rows, times: list[int]) -> None:
        """Index the lines of a single file, which several writers may share."""
        base = segment << OFFSET_BITS
        fd = open_file(source.path, os.O_RDONLY)
        try:
            before = 0
            for entry in read_journal(source.path):
                record, end = entry.record, entry.mark.offset
                if record.signal:
                    continue
                begin, _ = line_before(fd, end)
                begin = max(begin, before)
                before = end
                data = {
                    "id": record.id,
                    "timestamp": record.timestamp,
                    "observed_timestamp": record.observed_timestamp,
                    "event_name": record.event_name,
                    "severity_number": record.severity_number,
                    "body": record.body,
                    "attributes": record.attributes,
                    "trace_id": record.trace_id,
                    "span_id": record.span_id,
                }
                time = rows.add(data, base + begin, begin - end + 1)
                if time is not None:
                    times.append(time)
        finally:
            os.close(fd)
