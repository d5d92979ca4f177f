"""The index's tables, and their version.

A position is one integer: the segment's number in the index times 2⁴⁰, plus the offset of the
line's first byte. It is the primary key of events, so the rows of a segment are stored together in
the order of its lines. Recurring texts are stored as numbers of the table ``names``.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from wakelog.index._event import COLUMNS, FIGURES

VERSION: Final = 1
"""The version of these tables. An index of another version is rebuilt."""
APPLICATION: Final = 0x57414B45
_MOST_NAMES: Final = 50_000
RUN_START: Final = 1
"""The number of the name ``run_start``, which the definition of an index uses."""
RUN_END: Final = 2
"""The number of the name ``run_end``."""

ROLLUPS: Final = ("slices", "tallies", "minutes", "latencies")
"""The tables of sums. Each of their rows belongs to a segment."""
NAMED: Final = ("type", "session", "run", "agent", "tool", "model", "outcome", "error")
"""The columns with numbers of ``names``."""

_TABLES: Final = f"""
CREATE TABLE writers (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  service TEXT, namespace TEXT, pipeline TEXT, signal TEXT
);
CREATE TABLE segments (
  id INTEGER PRIMARY KEY AUTOINCREMENT, writer INTEGER NOT NULL, number INTEGER NOT NULL,
  path TEXT NOT NULL UNIQUE, inode INTEGER NOT NULL, offset INTEGER NOT NULL DEFAULT 0,
  looked INTEGER NOT NULL DEFAULT -1, crc INTEGER, seq INTEGER NOT NULL DEFAULT 0,
  damaged INTEGER NOT NULL DEFAULT 0, first INTEGER, last INTEGER
);
CREATE TABLE names (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
INSERT INTO names VALUES ({RUN_START}, 'run_start'), ({RUN_END}, 'run_end');
CREATE TABLE events (
  position INTEGER PRIMARY KEY, {", ".join(COLUMNS[1:])}
);
CREATE TABLE slices (
  segment INTEGER NOT NULL, session INTEGER, run INTEGER, agent INTEGER, outcome INTEGER,
  events INTEGER, failed INTEGER, tools INTEGER, models INTEGER, first INTEGER, last INTEGER,
  {", ".join(FIGURES)}
);
CREATE TABLE tallies (
  segment INTEGER NOT NULL, type INTEGER, tool INTEGER, model INTEGER, error INTEGER, agent INTEGER,
  failed INTEGER, events INTEGER, {", ".join(FIGURES)}
);
CREATE TABLE minutes (segment INTEGER NOT NULL, minute INTEGER, events INTEGER, failed INTEGER);
CREATE TABLE latencies (
  segment INTEGER NOT NULL, kind TEXT, name INTEGER, agent INTEGER, bucket INTEGER, calls INTEGER,
  longest INTEGER
);
CREATE TABLE parts (
  first INTEGER PRIMARY KEY, last INTEGER NOT NULL, rows INTEGER NOT NULL, file TEXT NOT NULL
);
"""
# Created after the first rows, because sorting once is cheaper than inserting in many places.
_INDEXES: Final = f"""
CREATE INDEX IF NOT EXISTS events_session ON events (session) WHERE session IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_run ON events (run, type) WHERE run IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_inner ON events (parent) WHERE type = {RUN_START};
CREATE INDEX IF NOT EXISTS events_outside ON events (time) WHERE run IS NULL;
CREATE INDEX IF NOT EXISTS events_failed ON events (time) WHERE failed = 1;
CREATE INDEX IF NOT EXISTS events_open ON events (open) WHERE open = 1;
CREATE INDEX IF NOT EXISTS slices_segment ON slices (segment);
CREATE INDEX IF NOT EXISTS tallies_segment ON tallies (segment);
CREATE INDEX IF NOT EXISTS minutes_segment ON minutes (segment);
CREATE INDEX IF NOT EXISTS latencies_segment ON latencies (segment);
CREATE INDEX IF NOT EXISTS slices_session ON slices (session);
CREATE INDEX IF NOT EXISTS slices_run ON slices (run);
"""


def is_current(connection: sqlite3.Connection) -> bool:
    """Tell whether a database has the present version of these tables.

    Raises:
        sqlite3.DatabaseError: If it is not a database, or is damaged.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return (application, version) == (APPLICATION, VERSION)


def create(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty database."""
    connection.executescript(
        f"BEGIN; {_TABLES} PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT"
    )


def create_indexes(connection: sqlite3.Connection) -> None:
    """Create the tables' missing indexes."""
    for statement in _INDEXES.strip().split("\n"):
        connection.execute(statement)


def number_of(connection: sqlite3.Connection, name: str | None) -> int | None:
    """Return the number of a name, with a query of its own; None if no event has it.

    With a subquery, SQLite would read every row to compare it with a column that has no type.
    """
    found = connection.execute("SELECT id FROM names WHERE text = ?", (name,)).fetchone()
    return int(found[0]) if found else None


class TextsOfNames(dict[int | None, str | None]):
    """The texts of the table ``names`` by number: a cache."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__({None: None})
        self._connection = connection

    def __missing__(self, number: int | None) -> str | None:
        if len(self) > _MOST_NAMES:
            self.clear()
            self[None] = None
        found = self._connection.execute(
            "SELECT text FROM names WHERE id = ?", (number,)
        ).fetchone()
        self[number] = found[0] if found else None
        return self[number]
