"""Selections of events: the filters of all commands, as conditions on the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from wakelog.index._event import OFFSET_BITS

_AT_ONCE: Final = 5000
# A call and its answer are two records, and a filter for the call selects both.
_KINDS: Final = {
    "run": ("run_start", "run_end"),
    "model": ("model_call", "model_response"),
    "model_call": ("model_call", "model_response"),
    "tool": ("tool_call", "tool_result"),
    "tool_call": ("tool_call", "tool_result"),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of events: those that match every given filter.

    Attributes:
        session: Conversations whose ids begin with this text.
        run: Runs whose ids begin with this text.
        since: Events from this time on, in nanoseconds since 1970.
        until: Events before this time.
        errors: Events that failed.
        agent: Events of this agent.
        type: Events of this type; the type of a call selects its answers, too.
        tool: Events of this tool.
        text: Events that contain this text, with ASCII letters in any case.
        writer: Events of this writer.
    """

    session: str | None = None
    run: str | None = None
    since: int | None = None
    until: int | None = None
    errors: bool = False
    agent: str | None = None
    type: str | None = None
    tool: str | None = None
    text: str | None = None
    writer: str | None = None

    @property
    def picks_events(self) -> bool:
        """Whether it selects single events and not whole sessions and runs."""
        asked = (self.since, self.until, self.agent, self.type, self.tool, self.text)
        return self.errors or any(value is not None for value in asked)


def kinds_of(kind: str) -> tuple[str, ...]:
    """Return the event types that a filter's type selects."""
    return _KINDS.get(kind, (kind,))


def conditions(connection: sqlite3.Connection, selection: Selection) -> tuple[str, list[Any]]:
    """Return the selection, without its text, as an SQL condition on ``events``.

    Args:
        connection: The index.
        selection: The selection.

    Returns:
        The condition, and the values for its parameters.
    """
    parts: list[str] = []
    values: list[Any] = []

    def add(part: str, *more: object) -> None:
        parts.append(part)
        values.extend(more)

    for column, prefix in (("session", selection.session), ("run", selection.run)):
        if prefix is not None:
            ids = ids_of(connection, prefix)
            add(f"{column} IN ({', '.join(map(str, ids))})")
    exact = (
        ("agent", selection.agent and (selection.agent,)),
        ("type", selection.type and kinds_of(selection.type)),
        ("tool", selection.tool and (selection.tool,)),
    )
    for column, texts in exact:
        if texts:
            marks = ", ".join("?" * len(texts))
            add(f"+{column} IN (SELECT id FROM names WHERE text IN ({marks}))", *texts)
    if selection.since is not None:
        add("time >= ?", selection.since)
    if selection.until is not None:
        add("time < ?", selection.until)
    if selection.errors:
        add("failed = 1")
    ranges = _ranges(connection, selection)
    if ranges is not None:
        add("(" + (" OR ".join("position BETWEEN ? AND ?" for _ in ranges) or "0") + ")")
        for first, last in ranges:
            values += (first, last)
    return " AND ".join(parts) or "1", values


def batched(numbers: Iterable[int]) -> Iterator[str]:
    """Yield numbers as lists for SQL, each of the length that a statement can have."""
    waiting = iter(numbers)
    while some := list(islice(waiting, _AT_ONCE)):
        yield ", ".join(map(str, some))


def ids_of(connection: sqlite3.Connection, prefix: str) -> list[int]:
    """Return the numbers of the names with a prefix."""
    rows = connection.execute(
        "SELECT id FROM names WHERE text >= ? AND text < ?", (prefix, f"{prefix}\U0010ffff")
    )
    return [number for (number,) in rows]


def _ranges(connection: sqlite3.Connection, selection: Selection) -> list[tuple[int, int]] | None:
    """Return the position ranges of segments that may contain such events; None for all.

    Ids are found with the tables' indexes; the time ranges of segments narrow the rest.
    """
    by_time = selection.since is not None or selection.until is not None
    if selection.writer is None and (
        not by_time or selection.errors or selection.session or selection.run
    ):
        return None
    parts: list[str] = ["1"]
    values: list[Any] = []
    if selection.writer is not None:
        parts.append("writer = (SELECT id FROM writers WHERE name = ?)")
        values.append(selection.writer)
    if selection.since is not None:
        parts.append("last >= ?")
        values.append(selection.since)
    if selection.until is not None:
        parts.append("first < ?")
        values.append(selection.until)
    found = connection.execute(
        f"SELECT id FROM segments WHERE {' AND '.join(parts)} ORDER BY id",
        values,
    ).fetchall()
    ranges: list[tuple[int, int]] = []
    for (segment,) in found:
        first, last = segment << OFFSET_BITS, ((segment + 1) << OFFSET_BITS) - 1
        if ranges and ranges[-1][1] == first - 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    return ranges
