"""Totals of sessions and runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from wakelog.index._event import FIGURES
from wakelog.index._schema import RUN_START, TextsOfNames
from wakelog.index._selection import Selection, conditions, ids_of
from wakelog.record import rfc3339

SORTS: Final = ("time", "duration", "events", "errors", "tokens", "cost")
"""The figures by which sessions and runs can be sorted, greatest first."""

_MOST_AGENTS: Final = 20
_SUMS: Final = ", ".join(
    f"SUM({name})" for name in ("events", "failed", "tools", "models", *FIGURES)
)
_ORDERS: Final = {
    "time": "MAX(last)",
    "duration": "MAX(last) - MIN(first)",
    "events": "SUM(events)",
    "errors": "SUM(failed)",
    "tokens": "TOTAL(input_tokens) + TOTAL(output_tokens)",
    "cost": "TOTAL(cost_usd)",
}


@dataclass(slots=True)
class Tokens:
    """Tokens and cost; None if no record states them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    cost_usd: float | None = None

    @property
    def total(self) -> int | None:
        """Input and output tokens, which include the other kinds."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(slots=True)
class Summary:
    """A session or a run with its totals.

    Attributes:
        id: The id; None for the runs without a session.
        session: The session of a run.
        runs: The number of a session's runs; None for a run.
        agents: The names of the agents.
        outcome: The recorded outcome of a run; None before its end, and for a session.
        open: Whether a run has begun and not ended.
        events: The number of events.
        errors: The number of failed events.
        tool_calls: The number of tool calls.
        model_calls: The number of model calls.
        start: The time of the first event, in nanoseconds since 1970.
        end: The time of the last event.
        tokens: The tokens that the models used.
        segment: The index's number of the segment with the last events.
    """

    id: str | None
    session: str | None = None
    runs: int | None = None
    agents: list[str] = field(default_factory=list)
    outcome: str | None = None
    open: bool = False
    events: int = 0
    errors: int = 0
    tool_calls: int = 0
    model_calls: int = 0
    start: int | None = None
    end: int | None = None
    tokens: Tokens = field(default_factory=Tokens)
    segment: int = 0

    @property
    def duration(self) -> int | None:
        """Nanoseconds from the first to the last event."""
        return None if self.start is None or self.end is None else self.end - self.start

    def to_dict(self) -> dict[str, Any]:
        """Return the summary in the form that ``wakelog sessions --json`` prints."""
        return {
            "id": self.id,
            **({"session": self.session, "outcome": self.outcome} if self.runs is None else {}),
            **({"runs": self.runs} if self.runs is not None else {}),
            "agents": self.agents,
            "events": self.events,
            "errors": self.errors,
            "tool_calls": self.tool_calls,
            "model_calls": self.model_calls,
            "start": None if self.start is None else rfc3339(self.start),
            "duration_ms": None if self.duration is None else round(self.duration / 1e6, 3),
            **asdict(self.tokens),
        }


def summaries(
    connection: sqlite3.Connection,
    selection: Selection,
    *,
    unit: str,
    sort: str = "time",
    limit: int | None = None,
    offset: int = 0,
    among: Collection[int] | None = None,
) -> tuple[list[Summary], int]:
    """Return sessions or runs.

    Args:
        connection: The index.
        selection: Select those with such events that were active in its time range.
        unit: ``run`` or ``session``.
        sort: One of ``SORTS``.
        limit: Return at most this many.
        offset: How many to skip.
        among: The numbers of their names, if the selection has a text.

    Returns:
        The sessions or runs, greatest first, and the number of all.
    """
    runs = unit == "run"
    where, having, values = _meant(connection, selection, unit)
    if among is not None:
        where = f"{where} AND {unit} IN ({', '.join(map(str, among))})"
    outside = f"{unit} IS NOT NULL" if runs else "(session IS NOT NULL OR run IS NOT NULL)"
    grouped = f"FROM slices WHERE {outside} AND {where} GROUP BY {unit} HAVING {having}"
    (count,) = connection.execute(
        f"SELECT COUNT(*) FROM (SELECT 1 {grouped})",
        values,
    ).fetchone()
    rows = connection.execute(
        f"SELECT {unit}, MAX(session), COUNT(DISTINCT run), MIN(first), MAX(last), MAX(segment), {_SUMS} "
        f"{grouped} ORDER BY {_ORDERS[sort]} DESC, {unit} LIMIT ? OFFSET ?",
        [*values, -1 if limit is None else limit, offset],
    ).fetchall()
    names = TextsOfNames(connection)
    return [_summary(connection, names, row, runs=runs) for row in rows], count


def newest_run(connection: sqlite3.Connection, writer: str | None = None) -> tuple[str, int] | None:
    """Return the id and the start of the run with the newest event; None if there are no runs.

    Args:
        connection: The index.
        writer: Only of this writer.
    """
    only = (
        ""
        if writer is None
        else "AND segment IN (SELECT s.id FROM segments s JOIN writers w ON w.id = s.writer "
        "WHERE w.name = ?) "
    )
    found = connection.execute(
        "SELECT n.text, (SELECT MIN(first) FROM slices o WHERE o.run = s.run) FROM slices s "
        f"JOIN names n ON n.id = s.run WHERE s.run IS NOT NULL {only}ORDER BY s.last DESC LIMIT 1",
        () if writer is None else (writer,),
    ).fetchone()
    return None if found is None else (found[0], found[1] or 0)


def _meant(
    connection: sqlite3.Connection, selection: Selection, unit: str
) -> tuple[str, str, list[Any]]:
    """Return the conditions on slices and on sessions or runs, and their values."""
    where, having = ["1"], ["1"]
    values: list[Any] = []
    late: list[Any] = []
    for column, prefix in (("session", selection.session), ("run", selection.run)):
        if prefix is not None:
            where.append(f"{column} IN ({', '.join(map(str, ids_of(connection, prefix)))})")
    if selection.writer is not None:
        where.append(
            "segment IN (SELECT s.id FROM segments s JOIN writers w ON w.id = s.writer WHERE w.name = ?)"
        )
        values.append(selection.writer)
    if selection.agent is not None and selection.type is None and selection.tool is None:
        having.append("MAX(agent IS (SELECT id FROM names WHERE text = ?)) = 1")
        late.append(selection.agent)
    elif selection.type is not None or selection.tool is not None:
        condition, more = conditions(connection, selection)
        where.append(f"{unit} IN (SELECT {unit} FROM events WHERE {condition})")
        values += more
    if selection.errors:
        having.append("SUM(failed) > 0")
    if selection.since is not None:
        having.append("MAX(last) >= ?")
        late.append(selection.since)
    if selection.until is not None:
        having.append("MIN(first) < ?")
        late.append(selection.until)
    return " AND ".join(where), " AND ".join(having), [*values, *late]


def _summary(
    connection: sqlite3.Connection, names: TextsOfNames, row: tuple[Any, ...], *, runs: bool
) -> Summary:
    number, session, count, first, last, segment, events, failed, tools, models, *figures = row
    summary = Summary(
        id=names[number],
        events=events,
        errors=failed,
        tool_calls=tools,
        model_calls=models,
        start=first,
        end=last,
        tokens=Tokens(*figures),
        segment=segment,
    )
    unit = "run" if runs else "session"
    agents = connection.execute(
        f"SELECT DISTINCT n.text FROM slices s JOIN names n ON n.id = s.agent WHERE s.{unit} IS ? "
        "AND (s.session IS NOT NULL OR s.run IS NOT NULL) ORDER BY n.text LIMIT ?",
        (number, _MOST_AGENTS),
    )
    summary.agents = [agent for (agent,) in agents]
    if not runs:
        summary.runs = count
        return summary
    summary.session = names[session]
    outcome = connection.execute(
        "SELECT n.text FROM slices s JOIN names n ON n.id = s.outcome WHERE s.run = ? "
        "ORDER BY s.last DESC LIMIT 1",
        (number,),
    ).fetchone()
    summary.outcome = outcome[0] if outcome else None
    begun = f"SELECT 1 FROM events WHERE run = ? AND type = {RUN_START} AND open = 1 LIMIT 1"
    summary.open = connection.execute(begun, (number,)).fetchone() is not None
    return summary
