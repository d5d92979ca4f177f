"""Runs and sessions inside others, their starts, and their open steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from wakelog.index._event import EventLine, segment_of
from wakelog.index._rows import MINUTE
from wakelog.index._schema import RUN_END, RUN_START, number_of


def runs_inside(connection: sqlite3.Connection, runs: Iterable[int]) -> set[int]:
    """Return the numbers of the runs that were called in these runs."""
    found: set[int] = set()
    for run in runs:
        rows = connection.execute(
            "SELECT DISTINCT sub.run FROM events e CROSS JOIN events sub ON sub.parent = e.id "
            f"AND sub.type = {RUN_START} WHERE e.run = ? AND e.id IS NOT NULL",
            (run,),
        )
        found.update(number for (number,) in rows if number is not None)
    return found


def time_of_newest(connection: sqlite3.Connection, count: int) -> int | None:
    """Return a time since which there are at least this many events; None if there are fewer.

    The time is not much earlier than necessary, so that few events have to be read to find the
    newest.
    """
    found = 0
    for minute, events in connection.execute(
        "SELECT minute, SUM(events) FROM minutes GROUP BY minute ORDER BY minute DESC"
    ):
        found += events
        if found >= count:
            return int(minute) * MINUTE
    return None


def sessions_inside(connection: sqlite3.Connection) -> set[int]:
    """Return the numbers of the sessions whose runs were all called in other sessions."""
    called = connection.execute(
        "SELECT sub.session, COUNT(DISTINCT sub.position), MAX(sub.session IS NOT e.session) "
        f"FROM events e CROSS JOIN events sub ON sub.parent = e.id AND sub.type = {RUN_START} "
        "WHERE e.id IS NOT NULL AND sub.session IS NOT NULL GROUP BY sub.session"
    ).fetchall()
    found: set[int] = set()
    for number, count, elsewhere in called:
        (runs,) = connection.execute(
            f"SELECT COUNT(*) FROM events WHERE session = ? AND type = {RUN_START}", (number,)
        ).fetchone()
        if elsewhere and count == runs:
            found.add(number)
    return found


def begun(
    connection: sqlite3.Connection, unit: str, identity: str
) -> tuple[EventLine | None, set[int]]:
    """Return the first run start of a session or run, and the segments in which it has open steps.

    Args:
        connection: The index.
        unit: ``session`` or ``run``.
        identity: The full id.
    """
    execute = connection.execute
    number = number_of(connection, identity)
    if number is None:
        return None, set()
    which = f"{unit} = {number}"  # not a subquery, with which SQLite would scan all rows
    first = execute(
        f"SELECT position, length FROM events WHERE {which} AND type = {RUN_START} "
        "ORDER BY position LIMIT 1"
    ).fetchone()
    # A run that another process has resumed and ended is not open.
    found = execute(
        f"SELECT position FROM events WHERE open = 1 AND {which} AND NOT (type = {RUN_START} AND "
        "EXISTS (SELECT 1 FROM events later WHERE later.run = events.run AND "
        f"later.type = {RUN_END} AND later.time >= events.time))"
    )
    return first and EventLine._make(first), {segment_of(one) for (one,) in found}
