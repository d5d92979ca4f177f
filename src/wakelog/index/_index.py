"""The index of a journal: which events exist, where their lines are, and sums over them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from wakelog.errors import JournalError
from wakelog.index._database import Database
from wakelog.index._event import OFFSET_BITS, Event, EventLine, ReadEvent, segment_of
from wakelog.index._inner import begun, runs_inside, sessions_inside, time_of_newest
from wakelog.index._lines import LineReader, ReadLine
from wakelog.index._place import place_of
from wakelog.index._refresh import Progress
from wakelog.index._schema import RUN_END, RUN_START, TextsOfNames, number_of
from wakelog.index._search import positions_with
from wakelog.index._selection import Selection, batched, conditions
from wakelog.index._sources import Held, held_at
from wakelog.index._stats import Stats, stats
from wakelog.index._summaries import Summary, newest_run, summaries

if TYPE_CHECKING:
    from wakelog.index.sql import Answer, Copy

_ALL: Final = Selection()


class Index:
    """An index of a path, brought up to date when it is opened.

    Readers create and update it. It is derived from the journal, so deleting it only costs the time
    to rebuild it. It holds positions and metadata, but nothing that people, models or tools said.
    The index of a single file of lines is in a temporary file, which is deleted when it is closed.

    Args:
        path: A journal directory, one writer's folder, or a file or directory of lines.
        progress: Called with the progress in bytes while new lines are indexed.

    Raises:
        JournalError: If there is nothing to read at the path, or reading or writing fails.
        JournalFormatError: If a newer Wakelog wrote a segment.
    """

    def __init__(self, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
        self._path = Path(path)
        self.held: Held = held_at(self._path)
        self._lines: LineReader | None = None
        self._database = Database(place_of(self.held.root) if self.held.is_journal else None)
        try:
            self._database.make_current(self.held, progress)
        except BaseException:
            self.connection.close()
            raise
        self._names = TextsOfNames(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise self.failed(error) from error

    def failed(self, error: sqlite3.DatabaseError) -> JournalError:
        """Close the index after an error in reading it, and return the error to raise instead."""
        self._database.give_up(error)
        hint = "It has only metadata, and the next reader rebuilds it if it is damaged"
        return JournalError("read the index of", self._path, error, hint)

    def close(self) -> None:
        """Close the files."""
        if self._lines is not None:
            self._lines.close()
        self.connection.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """The database connection, for other modules of this package and for SQL queries."""
        return self._database.connection

    @property
    def folder(self) -> Path | None:
        """The folder of the index; None if it is in a temporary file."""
        return self._database.folder

    def refresh(self, progress: Progress | None = None) -> None:
        """Bring the index up to date with the journal.

        Raises:
            JournalError: If reading or writing fails.
        """
        self.held = held_at(self._path)
        before = self.connection
        self._database.make_current(self.held, progress)
        # Another reader may have reused a number for another name.
        self._names = TextsOfNames(self.connection)
        if self.connection is not before and self._lines is not None:
            self._lines.close()
            self._lines = None

    def since(self, marks: dict[int, int] | None) -> tuple[list[Event], dict[int, int]]:
        """Return events indexed since an earlier call, by time, and the marks for the next call.

        Args:
            marks: The earlier call's result; None for the first call, which returns no events.
        """
        now: dict[int, int] = dict(
            self.connection.execute("SELECT id, offset FROM segments").fetchall()
        )
        found: list[Event] = []
        for segment, end in now.items() if marks is not None else ():
            seen = (marks or {}).get(segment, 0)
            if end > seen:
                base = segment << OFFSET_BITS
                where, values = self._conditions()
                place = f"position >= ? AND position < ? AND {where}"
                found += self._select(place, [base + seen, base + end, *values], "position")
        return sorted(found, key=lambda one: (one.time or 0, one.position)), now

    def conversation(
        self, *, session: str | None = None, run: str | None = None, newest: int
    ) -> Iterator[Event]:
        """Return the events of a session or run and of the runs inside it, by time.

        Args:
            session: The session's full id.
            run: The run's full id, instead of a session.
            newest: Return at most this many, the newest ones.
        """
        column, text = ("session", session) if run is None else ("run", run)
        number = number_of(self.connection, text)
        if number is None:
            return iter(())
        where = f"{column} = {number}"
        fresh = runs = self._runs_in(where)
        while fresh := runs_inside(self.connection, fresh) - runs:
            runs = runs | fresh
        mine, values = self._conditions()
        inside = f"({where} OR run IN ({', '.join(map(str, runs))})) AND {mine}"
        (count,) = self.connection.execute(
            f"SELECT COUNT(*) FROM events WHERE {inside}", values
        ).fetchone()
        if count <= newest:
            return self._select(inside, values, "time, position")
        last = self._select(inside, values, f"time DESC, position DESC LIMIT {newest}")
        return reversed(list(last))

    def begun(self, unit: str, identity: str) -> tuple[EventLine | None, set[int]]:
        """Return the first run start of a session or run, and its segments with open steps.

        Args:
            unit: ``session`` or ``run``.
            identity: The full id.
        """
        return begun(self.connection, unit, identity)

    def with_open_calls(self) -> set[int]:
        """Return the numbers of the segments with calls that have begun and not ended."""
        rows = self.connection.execute("SELECT position FROM events WHERE open = 1").fetchall()
        return {segment_of(position) for (position,) in rows}

    def events(
        self,
        selection: Selection = _ALL,
        *,
        newest: int | None = None,
        as_written: bool = False,
    ) -> Iterator[Event]:
        """Return the events of a selection, by time.

        Args:
            selection: The events to select.
            newest: Return at most this many, the newest ones.
            as_written: Whether to order the events by their lines, writer by writer, instead of by
                time.
        """
        selection = self._mine(selection)
        if selection.text is not None:
            found = self.at(self._positions(selection))
            if as_written:
                yield from found
                return
            events = sorted(found, key=lambda one: (one.time or 0, one.position))
            yield from events if newest is None else events[-newest:]
            return
        if newest is not None and selection == _ALL:
            selection = replace(selection, since=time_of_newest(self.connection, newest))
        where, values = conditions(self.connection, selection)
        order = "time, position" if newest is None else "time DESC, position DESC LIMIT ?"
        if as_written:
            order = "position"
        if newest is not None:
            values = [*values, newest]
        rows = self._select(where, values, order)
        yield from rows if newest is None else reversed(list(rows))

    def whole(self, selection: Selection) -> list[EventLine]:
        """Return the lines of the events of sessions and runs and of the runs inside them, by time.

        Args:
            selection: Only its ids and its writer are used.
        """
        selection = self._mine(selection)
        ids = Selection(session=selection.session, run=selection.run, writer=selection.writer)
        where, values = conditions(self.connection, ids)
        found = list(self._lines_of(where, values))
        fresh = known = self._runs_in(where, values)
        while fresh := runs_inside(self.connection, fresh) - known:
            known = known | fresh
            found += self._lines_of(f"run IN ({', '.join(map(str, fresh))})", [])
        return found

    def sessions_inside(self) -> set[str]:
        """Return the sessions whose runs were all called in other sessions."""
        return {self._names[number] or "" for number in sessions_inside(self.connection)}

    def _lines_of(self, where: str, values: Sequence[Any]) -> Iterator[EventLine]:
        rows = self.connection.execute(
            f"SELECT position, length FROM events WHERE {where} ORDER BY time, position", values
        )
        return map(EventLine._make, rows)

    def around(self, events: Iterable[Event]) -> list[Event]:
        """Return events, the other half of each call, and the starts and ends of their runs."""
        found = {event.position: event for event in events}
        pairs = {event.pair for event in found.values() if event.pair is not None} - found.keys()
        found |= {event.position: event for event in self.at(pairs)}
        names = {event.run for event in found.values() if event.run is not None}
        for runs in batched(filter(None, (number_of(self.connection, name) for name in names))):
            rows = self._select(
                f"run IN ({runs}) AND type IN ({RUN_START}, {RUN_END})", [], "run, type"
            )
            found |= {event.position: event for event in rows}
        return sorted(found.values(), key=lambda event: (event.time or 0, event.position))

    def at(self, positions: Iterable[int]) -> Iterator[Event]:
        """Return the events at these positions, ordered by position."""
        for some in batched(sorted(set(positions))):
            yield from self._select(f"position IN ({some})", [], "position")

    def outside_runs(self, newest: int) -> list[EventLine]:
        """Return the lines of the newest events without a run, by time."""
        mine, values = self._conditions()
        rows = self.connection.execute(
            f"SELECT position, length FROM events WHERE run IS NULL AND {mine} "
            "ORDER BY time DESC LIMIT ?",
            (*values, newest),
        ).fetchall()
        return [EventLine._make(row) for row in reversed(rows)]

    def of_session(self, session: str | None) -> Iterator[EventLine]:
        """Return the lines of a session's events, by time; for None, of runs without a session."""
        if session is None:
            return self._mine_of("session IS NULL AND run IS NOT NULL", [])
        return self._mine_of("session = ?", [number_of(self.connection, session)])

    def of_nothing(self) -> Iterator[EventLine]:
        """Return the lines of events without a run and a session, by time."""
        return self._mine_of("run IS NULL AND session IS NULL", [])

    def _mine_of(self, where: str, values: list[Any]) -> Iterator[EventLine]:
        mine, more = self._conditions()
        return self._lines_of(f"{where} AND {mine}", [*values, *more])

    @property
    def is_empty(self) -> bool:
        """Whether there are no events."""
        where, values = self._conditions()
        (count,) = self.connection.execute(
            f"SELECT COUNT(*) FROM (SELECT 1 FROM events WHERE {where} LIMIT 1)", values
        ).fetchone()
        return not count

    def count_runs(self) -> int:
        """Return the number of runs."""
        (count,) = self.connection.execute("SELECT COUNT(DISTINCT run) FROM slices").fetchone()
        return int(count)

    def read(self, events: Iterable[Event]) -> Iterator[ReadEvent]:
        """Read events from their lines, in the given order.

        Lines that have been deleted or damaged since they were indexed are skipped.
        """
        for event in events:
            entry = self._reader.read(event.position, event.length)
            if entry is not None:
                yield ReadEvent(*entry, event)

    def records(self, lines: Iterable[EventLine | Event]) -> Iterator[ReadLine]:
        """Read records from their lines like ``read``, but without the index's data on them."""
        read = self._reader.read
        for line in lines:
            entry = read(line[0], line[1])
            if entry is not None:
                yield entry

    @property
    def _reader(self) -> LineReader:
        if self._lines is None:
            self._lines = LineReader(self.connection, self.held)
        return self._lines

    @property
    def unread(self) -> int:
        """How many lines could not be read so far, because they are deleted or damaged."""
        return 0 if self._lines is None else self._lines.unread

    def sessions(
        self,
        selection: Selection = _ALL,
        *,
        sort: str = "time",
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[list[Summary], int]:
        """Return sessions with their totals, and the number of all; see ``runs``."""
        return self._summaries("session", selection, sort, limit, offset)

    def runs(
        self,
        selection: Selection = _ALL,
        *,
        sort: str = "time",
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[list[Summary], int]:
        """Return runs with their totals, and the number of all.

        Args:
            selection: Select runs with such events that were active in its time range.
            sort: The figure by which to sort, greatest first: one of ``SORTS``.
            limit: Return at most this many.
            offset: How many to skip.
        """
        return self._summaries("run", selection, sort, limit, offset)

    def _summaries(
        self, unit: str, selection: Selection, sort: str, limit: int | None, offset: int
    ) -> tuple[list[Summary], int]:
        selection = self._mine(selection)
        among: set[int] | None = None
        if selection.text is not None:
            column = 9 if unit == "session" else 10
            among = {
                row[column]
                for some in batched(self._positions(selection))
                for row in self.connection.execute(
                    f"SELECT * FROM events WHERE position IN ({some})"
                )
                if row[column] is not None
            }
        return summaries(
            self.connection,
            selection,
            unit=unit,
            sort=sort,
            limit=limit,
            offset=offset,
            among=among,
        )

    def newest_run(self) -> tuple[str, int] | None:
        """Return the id and start of the run with the newest event; None if there are no runs."""
        return newest_run(self.connection, self.held.only)

    def stats(self, selection: Selection = _ALL) -> Stats:
        """Return sums over the events of a selection."""
        selection = self._mine(selection)
        if selection.text is None:
            return stats(self.connection, selection)
        return stats(self.connection, selection, self._positions(selection))

    def _positions(self, selection: Selection) -> Iterator[int]:
        """Yield the positions of the events of a selection with a text."""
        where, values = conditions(self.connection, selection)
        return positions_with(self.connection, self.held, selection.text or "", where, values)

    def ask(self, sql: str) -> Answer:
        """Run one SQLite statement over the view ``events``, as the last call to the index.

        Raises:
            ConfigurationError: If the statement is invalid or is not read-only.
        """
        from wakelog.index.sql import ask_index

        return ask_index(self.connection, sql)

    def copy(self, folder: Path) -> Copy:
        """Return the copy in Parquet files, for queries with DuckDB. It needs the extra ``query``.

        Args:
            folder: The folder for the copy: that of the index, or a temporary one.

        Raises:
            ConfigurationError: If DuckDB is not installed.
        """
        from wakelog.index.sql import Copy

        return Copy(self.connection, folder)

    def folder_of(self, segment: int) -> Path | None:
        """Return the folder of a segment's writer; None for a single file."""
        found = self.connection.execute(
            "SELECT path FROM segments WHERE id = ?", (segment,)
        ).fetchone()
        if found is None or not self.held.is_journal:
            return None
        return (self.held.root / str(found[0])).parent

    def _runs_in(self, where: str, values: Sequence[Any] = ()) -> set[int]:
        rows = self.connection.execute(f"SELECT DISTINCT run FROM events WHERE {where}", values)
        return {run for (run,) in rows if run is not None}

    def _conditions(self) -> tuple[str, list[Any]]:
        """Return the condition on ``events`` for everything at the path, and its values."""
        return conditions(self.connection, self._mine(_ALL))

    def _mine(self, selection: Selection) -> Selection:
        if self.held.only is None or selection.writer is not None:
            return selection
        return replace(selection, writer=self.held.only)

    def _select(self, where: str, values: Sequence[Any], order: str) -> Iterator[Event]:
        rows = self.connection.execute(
            f"SELECT * FROM events WHERE {where} ORDER BY {order}",
            values,
        )
        name = self._names.__getitem__
        for row in rows:
            position, length, when, kind, tool, model, error, severity, failed = row[:9]
            yield Event._make(
                (
                    position,
                    length,
                    when,
                    name(kind) or "log",
                    name(tool),
                    name(model),
                    name(error),
                    severity,
                    bool(failed),
                    name(row[9]),
                    name(row[10]),
                    name(row[11]),
                    name(row[12]),
                    *row[13:21],
                    bool(row[21]),
                    *row[22:],
                )
            )
