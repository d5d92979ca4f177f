"""Querying the index with SQL, by one view, ``events``, which has texts in place of their numbers.

In SQLite the view is over the index itself. In DuckDB it is over a copy of the index in Parquet
files, which is kept beside the index and updated like it.
"""

from __future__ import annotations

import csv
import errno
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wakelog.errors import ConfigurationError, JournalError
from wakelog.index._event import OFFSET_BITS, OFFSETS
from wakelog.index._rows import CLOSES
from wakelog.index._schema import NAMED
from wakelog.runtime import SYSTEM, FileLock, open_file

if TYPE_CHECKING:
    import duckdb

    from wakelog.index._refresh import Progress

_NAME: Final = "(SELECT text FROM names WHERE id = e.{0})"
_ANSWERS: Final = ", ".join(f"'{name}'" for name in CLOSES)
# Only the answer's duration is exported, because it does not change later.
_DURATION: Final = (
    f"CASE WHEN e.type IN (SELECT id FROM names WHERE text IN ({_ANSWERS})) THEN e.duration END"
)
_TEXT, _WHOLE, _REAL = "VARCHAR", "BIGINT", "DOUBLE"

# The columns: their names, their types, and their expressions over the index.
_COLUMNS: Final = (
    ("time", "TIMESTAMP_NS", "e.time"),
    ("type", _TEXT, "e.type"),
    ("session", _TEXT, "e.session"),
    ("run", _TEXT, "e.run"),
    ("agent", _TEXT, "e.agent"),
    ("tool", _TEXT, "e.tool"),
    ("model", _TEXT, "e.model"),
    ("outcome", _TEXT, "e.outcome"),
    ("error", _TEXT, "e.error"),
    ("failed", "BOOLEAN", "e.failed"),
    ("severity", "INTEGER", "e.severity"),
    ("duration_ms", _REAL, f"{_DURATION} / 1e6"),
    ("input_tokens", _WHOLE, "e.input_tokens"),
    ("output_tokens", _WHOLE, "e.output_tokens"),
    ("cache_read_input_tokens", _WHOLE, "e.cache_read_input_tokens"),
    ("cache_write_input_tokens", _WHOLE, "e.cache_write_input_tokens"),
    ("reasoning_output_tokens", _WHOLE, "e.reasoning_output_tokens"),
    ("cost_usd", _REAL, "e.cost_usd"),
    ("trace_id", _TEXT, "e.trace"),
    ("span_id", _TEXT, "e.span"),
    ("id", _TEXT, "e.id"),
    ("parent_id", _TEXT, "e.parent"),
    ("service", _TEXT, "w.service"),
    ("writer", _TEXT, "w.name"),
    ("segment", _WHOLE, "s.number"),
    ("line_offset", _WHOLE, f"e.position & {OFFSETS}"),
    ("line_length", _WHOLE, "ABS(e.length)"),
)
COLUMNS: Final = tuple(name for name, _, _ in _COLUMNS)
"""The columns of ``events``."""

_JOINED: Final = (
    f"FROM main.events e JOIN segments s ON s.id = e.position >> {OFFSET_BITS} "
    "JOIN writers w ON w.id = s.writer"
)
_FOLDER: Final = "parquet"
_LOCK: Final = "lock"
_WAIT_SECONDS: Final = 60.0
_ROWS_A_PART: Final = 1_000_000
# A smaller part is merged with later rows.
_SMALL: Final = 250_000
_NO_DUCKDB: Final = (
    "this needs DuckDB: pip install 'wakelog[query]', or ask the index itself with --over index, in "
    "SQLite's SQL"
)
_READING: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)


class Answer:
    """The rows and the column names of a query's result."""

    def __init__(self, columns: list[str], rows: Iterable[Sequence[Any]]) -> None:
        self.columns = columns
        self.rows = rows


def ask_index(connection: sqlite3.Connection, sql: str) -> Answer:
    """Run one read-only SQLite statement.

    Args:
        connection: The index, which must not be used for anything else afterwards.
        sql: The statement.

    Raises:
        ConfigurationError: If the statement is invalid or is not read-only.
    """
    columns = ", ".join(f"{_in_sqlite(name, source)} AS {name}" for name, _, source in _COLUMNS)
    connection.execute(f"CREATE TEMP VIEW IF NOT EXISTS events AS SELECT {columns} {_JOINED}")
    connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY
    )
    try:
        cursor = connection.execute(sql)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise ConfigurationError(f"the query cannot be answered: {error}") from error
    return Answer([column[0] for column in cursor.description or ()], cursor)


def _in_sqlite(name: str, source: str) -> str:
    if name == "time":
        second = "strftime('%Y-%m-%dT%H:%M:%S', e.time / 1000000000, 'unixepoch')"
        return f"{second} || printf('.%09dZ', e.time % 1000000000)"
    return _NAME.format(name) if name in NAMED else source


class Copy:
    """The copy of an index in Parquet files.

    Args:
        connection: The index.
        folder: The folder of the index.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder / _FOLDER
        self._duck = _duckdb().connect()

    def close(self) -> None:
        """Close the database in memory."""
        self._duck.close()

    def refresh(self, progress: Progress | None = None) -> None:
        """Bring the copy up to date with the index.

        Raises:
            JournalError: If it cannot be written.
        """
        try:
            with suppress(FileExistsError):
                SYSTEM.mkdir(self._folder, 0o700)
            lock = FileLock.take(self._folder / _LOCK, create=True, timeout=_WAIT_SECONDS)
            if lock is None:
                raise OSError(errno.EAGAIN, "another process has been writing it for long")  # noqa: TRY301 - one way out
            try:
                self._add_missing(progress)
                self._delete_strays()
            finally:
                lock.release()
        except OSError as error:
            raise JournalError("write", self._folder, error.strerror or error) from error

    def _add_missing(self, progress: Progress | None) -> None:
        missing = self._missing()
        total, done = sum(rows for _, _, rows in missing), 0
        written: list[tuple[str, list[tuple[int, int, int]]]] = []
        while missing:
            some = [missing.pop(0)]
            while missing and sum(rows for _, _, rows in some) < _ROWS_A_PART:
                some.append(missing.pop(0))
            written.append((self._write(some), some))
            done += sum(rows for _, _, rows in some)
            if progress is not None:
                progress(done, total)
        self._enter(written)

    def ask(self, sql: str) -> Answer:
        """Run a DuckDB statement over the copy.

        Raises:
            ConfigurationError: If the statement is invalid or accesses other files.
        """
        import duckdb

        execute = self._duck.execute
        files = [name for (name,) in self._connection.execute("SELECT DISTINCT file FROM parts")]
        paths = [str(self._folder / name) for name in files]
        if paths:
            listed = ", ".join(_quoted(path) for path in paths)
            execute(f"CREATE VIEW events AS SELECT * FROM read_parquet([{listed}])")
            execute(f"SET allowed_paths = [{listed}]")
        else:
            declared = ", ".join(f"{name} {kind}" for name, kind, _ in _COLUMNS)
            execute(f"CREATE TABLE events ({declared})")
        execute("SET enable_external_access = false")
        execute("SET lock_configuration = true")
        try:
            answer = execute(sql)
            columns = [column[0] for column in answer.description or ()]
        except duckdb.Error as error:
            raise ConfigurationError(f"the query cannot be answered: {error}") from error
        return Answer(columns, _fetched(answer))

    def _missing(self) -> list[tuple[int, int, int]]:
        """Return the position ranges that are in no part, each with its number of rows.

        Ranges of small parts are included, to be merged, so that the number of parts does not grow.
        """
        execute = self._connection.execute
        covered = {
            first >> OFFSET_BITS: last
            for first, last in execute(
                "SELECT first, last FROM parts WHERE file NOT IN (SELECT file FROM parts GROUP BY file "
                "HAVING SUM(rows) < ?) ORDER BY first",
                (_SMALL,),
            )
        }
        whole = {
            first >> OFFSET_BITS: last
            for first, last in execute("SELECT first, last FROM parts ORDER BY first")
        }
        found, fresh = [], False
        for (segment,) in execute("SELECT id FROM segments ORDER BY id").fetchall():
            after = covered.get(segment, (segment << OFFSET_BITS) - 1)
            first, last, rows = execute(
                "SELECT MIN(position), MAX(position), COUNT(*) FROM main.events "
                "WHERE position > ? AND position < ?",
                (after, (segment + 1) << OFFSET_BITS),
            ).fetchone()
            if rows:
                found.append((first, last, rows))
                fresh = fresh or last > whole.get(segment, -1)
        return found if fresh else []

    def _write(self, ranges: list[tuple[int, int, int]]) -> str:
        """Write a part with the events in these position ranges, and return its name."""
        name = f"{ranges[0][0]:016x}-{secrets.token_hex(4)}.parquet"
        rows = self._folder / f".{name}.csv"
        names = self._folder / f".{name}.names.csv"
        try:
            where = " OR ".join(f"e.position BETWEEN {a} AND {b}" for a, b, _ in ranges)
            columns = ", ".join(source for _, _, source in _COLUMNS)
            _write_csv(rows, self._connection.execute(f"SELECT {columns} {_JOINED} WHERE {where}"))
            _write_csv(names, self._connection.execute("SELECT id, text FROM names"))
            self._convert(rows, names, self._folder / name)
        finally:
            for path in (rows, names):
                with suppress(FileNotFoundError):
                    SYSTEM.unlink(path)
        return name

    def _convert(self, rows: Path, names: Path, target: Path) -> None:
        raw = ", ".join(f"'{name}': '{_in_csv(name, kind)}'" for name, kind, _ in _COLUMNS)
        chosen = ", ".join(f"{_in_duckdb(name)} AS {name}" for name in COLUMNS)
        joins = " ".join(f"LEFT JOIN n n_{name} ON n_{name}.id = r.{name}" for name in NAMED)
        options = "header = false, delim = ',', quote = '\"', escape = '\"', auto_detect = false"
        columns = "{'id': 'BIGINT', 'text': 'VARCHAR'}"
        self._duck.execute(
            f"COPY (WITH n AS (SELECT * FROM read_csv({_quoted(str(names))}, {options}, "
            f"columns = {columns}, max_line_size = 100000)), r AS (SELECT * FROM "
            f"read_csv({_quoted(str(rows))}, {options}, columns = {{{raw}}}, max_line_size = 1000000)) "
            f"SELECT {chosen} FROM r {joins}) TO {_quoted(str(target))} (FORMAT parquet)"
        )
        target.chmod(0o600)

    def _enter(self, written: list[tuple[str, list[tuple[int, int, int]]]]) -> None:
        """Add parts to the index in one transaction, in place of those that they replace."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for name, ranges in written:
                for first, last, rows in ranges:
                    execute("DELETE FROM parts WHERE first >= ? AND last <= ?", (first, last))
                    execute("INSERT INTO parts VALUES (?, ?, ?, ?)", (first, last, rows, name))
            execute("COMMIT")
        except BaseException:
            execute("ROLLBACK")
            raise

    def _delete_strays(self) -> None:
        """Delete files that are not in the index: replaced parts, and those of a crash."""
        named = {name for (name,) in self._connection.execute("SELECT file FROM parts")} | {_LOCK}
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                # Another process may still be reading a part that was just replaced.
                if path.name not in named and time.time() - path.stat().st_mtime > _WAIT_SECONDS:
                    SYSTEM.unlink(path)


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    descriptor = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _in_csv(name: str, kind: str) -> str:
    return "BIGINT" if name in NAMED or name in ("time", "failed") else kind


def _in_duckdb(name: str) -> str:
    if name in NAMED:
        return f"n_{name}.text"
    if name == "time":
        return "make_timestamp_ns(r.time)"
    if name == "failed":
        return "r.failed = 1"
    return f"r.{name}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _fetched(answer: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    while rows := answer.fetchmany(1000):
        yield from rows


def _duckdb() -> Any:
    try:
        import duckdb
    except ModuleNotFoundError as error:
        if error.name != "duckdb":
            raise
        raise ConfigurationError(_NO_DUCKDB) from None
    return duckdb
