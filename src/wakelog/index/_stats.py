"""Sums over the events of a selection: by type, tool, model, agent and error, and over time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from wakelog.index._event import FIGURES, OFFSET_BITS
from wakelog.index._rows import BUCKETS_A_DOUBLING, CLOSES, MINUTE, bucket_of
from wakelog.index._schema import TextsOfNames
from wakelog.index._selection import Selection, batched, conditions
from wakelog.index._summaries import Tokens
from wakelog.record import rfc3339

_BUCKETS: Final = 60
_MILLISECOND: Final = 1e6


@dataclass(slots=True)
class Latency:
    """The durations of calls in milliseconds, with percentiles accurate to 5 %."""

    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float


@dataclass(slots=True)
class Group:
    """The events with one name in common.

    Attributes:
        name: The name.
        events: The number of events; for tools and models, of calls.
        errors: The number of failed events; for tools and models, of failed calls.
        tokens: The tokens that the models used.
        latency: The durations of the calls; None if no call has ended.
    """

    name: str | None
    events: int = 0
    errors: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    latency: Latency | None = None

    def to_dict(self, *, calls: bool = False) -> dict[str, Any]:
        """Return the group in the form that ``wakelog stats --json`` prints."""
        found: dict[str, Any] = {
            "name": self.name,
            "calls" if calls else "events": self.events,
            "errors": self.errors,
            **asdict(self.tokens),
        }
        if calls:
            found["latency"] = None if self.latency is None else asdict(self.latency)
        return found


@dataclass(slots=True)
class Stats:
    """Sums over the events of a selection.

    Attributes:
        total: The sum of all events.
        runs: The number of runs.
        sessions: The number of sessions.
        first: The time of the first event, in nanoseconds since 1970.
        last: The time of the last event.
        types: Groups by event type, the most frequent first.
        tools: Groups by tool.
        models: Groups by model.
        agents: Groups by agent.
        errors: Groups by error name.
        timeline: The numbers of events and of failed ones in equal parts of the time.
    """

    total: Group
    runs: int
    sessions: int
    first: int | None
    last: int | None
    types: list[Group]
    tools: list[Group]
    models: list[Group]
    agents: list[Group]
    errors: list[Group]
    timeline: list[tuple[int, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return the sums in the form that ``wakelog stats --json`` prints."""
        return {
            "events": self.total.events,
            "errors": self.total.errors,
            "runs": self.runs,
            "sessions": self.sessions,
            "first": None if self.first is None else rfc3339(self.first),
            "last": None if self.last is None else rfc3339(self.last),
            **asdict(self.total.tokens),
            "types": [{"name": g.name, "events": g.events, "errors": g.errors} for g in self.types],
            "tools": [group.to_dict(calls=True) for group in self.tools],
            "models": [group.to_dict(calls=True) for group in self.models],
            "agents": [group.to_dict() for group in self.agents],
            "error_names": [{"name": g.name, "events": g.events} for g in self.errors],
            "timeline": [{"events": events, "errors": errors} for events, errors in self.timeline],
        }


def stats(
    connection: sqlite3.Connection, selection: Selection, positions: Iterable[int] | None = None
) -> Stats:
    """Return sums over the events of a selection.

    For segments that are selected completely, the stored sums are used; the events of other
    segments are read one by one.

    Args:
        connection: The index.
        selection: The selection.
        positions: The events' positions, if the selection has a text.
    """
    counted = _Counted(connection)
    if positions is not None:
        for some in batched(positions):
            counted.add_events(f"position IN ({some})", [])
        return counted.stats()
    whole, rest = _parted(connection, selection)
    if whole:
        counted.add_segments(whole)
    if rest is not None:
        where, values = conditions(connection, selection)
        counted.add_events(f"{where} AND {rest}", values)
    return counted.stats()


def _parted(connection: sqlite3.Connection, selection: Selection) -> tuple[list[int], str | None]:
    """Return the segments that are selected completely, and a condition for the others."""
    picks = replace(selection, since=None, until=None, writer=None)
    if picks != Selection():
        return [], "1"
    values: list[Any] = []
    only = "1"
    if selection.writer is not None:
        only = "writer = (SELECT id FROM writers WHERE name = ?)"
        values.append(selection.writer)
    since, until = selection.since, selection.until
    whole, others = [], []
    for segment, first, last in connection.execute(
        f"SELECT id, first, last FROM segments WHERE {only} ORDER BY id",
        values,
    ):
        if since is None and until is None:
            whole.append(segment)
        elif (
            first is None
            or (since is not None and last < since)
            or (until is not None and first >= until)
        ):
            continue
        elif (since is None or first >= since) and (until is None or last < until):
            whole.append(segment)  # including its events without a time
        else:
            others.append(segment)
    ranges = (
        f"position BETWEEN {n << OFFSET_BITS} AND {((n + 1) << OFFSET_BITS) - 1}" for n in others
    )
    return whole, f"({' OR '.join(ranges)})" if others else None


class _Counted:
    """The sums so far."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        names = TextsOfNames(connection)
        self._names = names
        self._total = Group(None)
        self._types, self._tools, self._models = _Groups(names), _Groups(names), _Groups(names)
        self._agents, self._errors = _Groups(names), _Groups(names)
        self._buckets: dict[tuple[str, int | None], dict[int, int]] = {}
        self._longest: dict[tuple[str, int | None], int] = {}
        self._minutes: dict[int, list[int]] = {}
        self._times: list[tuple[int, int]] = []
        self._runs: set[int] = set()
        self._sessions: set[int] = set()
        self._first: int | None = None
        self._last: int | None = None

    def add_segments(self, segments: list[int]) -> None:
        """Add the sums of segments."""
        some = f"segment IN ({', '.join(map(str, segments))})"
        execute = self._connection.execute
        sums = ", ".join(f"SUM({name})" for name in FIGURES)
        for kind, tool, model, error, agent, failed, events, *figures in execute(
            "SELECT type, tool, model, error, agent, failed, SUM(events), "
            f"{sums} FROM tallies WHERE {some} GROUP BY type, tool, model, error, agent, failed"
        ):
            self._count(kind, tool, model, error, agent, events, events * failed, figures)
        for kind, name, bucket, calls, longest in execute(
            "SELECT kind, name, bucket, SUM(calls), MAX(longest) FROM latencies "
            f"WHERE {some} GROUP BY kind, name, bucket"
        ):
            self._took((kind, name), bucket, calls, longest)
        for minute, events, failed in execute(
            f"SELECT minute, SUM(events), SUM(failed) FROM minutes WHERE {some} GROUP BY minute"
        ):
            known = self._minutes.setdefault(minute, [0, 0])
            known[0] += events
            known[1] += failed
        self._runs.update(n for (n,) in execute(f"SELECT DISTINCT run FROM slices WHERE {some}"))
        self._sessions.update(
            n for (n,) in execute(f"SELECT DISTINCT session FROM slices WHERE {some}")
        )
        first, last = execute(
            f"SELECT MIN(first), MAX(last) FROM segments WHERE id IN ({', '.join(map(str, segments))})"
        ).fetchone()
        self._between(first, last)

    def add_events(self, where: str, values: list[Any]) -> None:
        """Add the events that meet a condition."""
        for (
            kind, tool, model, error, agent, failed, time, duration, run, session, *figures
        ) in self._connection.execute(
            "SELECT type, tool, model, error, agent, failed, time, duration, run, session, "
            f"{', '.join(FIGURES)} FROM events WHERE {where}",
            values,
        ):  # fmt: skip
            self._count(kind, tool, model, error, agent, 1, failed, figures)
            self._runs.add(run)
            self._sessions.add(session)
            if time is not None:
                self._times.append((time, failed))
            if duration is not None:
                closes = CLOSES.get(self._names[kind] or "")
                if closes in ("tool", "model"):
                    key = (closes, tool if closes == "tool" else model)
                    self._took(key, bucket_of(duration), 1, duration)
        if self._times:
            self._between(min(self._times)[0], max(self._times)[0])

    def _count(
        self,
        kind: int,
        tool: int | None,
        model: int | None,
        error: int | None,
        agent: int | None,
        events: int,
        failed: int,
        figures: list[Any],
    ) -> None:
        word = self._names[kind] or "log"
        of_run = word in ("run_start", "run_end")
        used = [None] * len(figures) if of_run else figures
        _add(self._total, events, failed, used)
        _add(self._types[kind], events, failed, used)
        if agent is not None:
            _add(self._agents[agent], events, failed, used)
        if error is not None:
            _add(self._errors[error], events, failed, used)
        # A call counts once, at its beginning; its end states failure and usage.
        begun = 0 if word in CLOSES else events
        if tool is not None and word in ("tool_call", "tool_result"):
            _add(self._tools[tool], begun, failed, used)
        elif model is not None and not of_run:
            _add(self._models[model], begun, failed, used)

    def _took(self, key: tuple[str, int | None], bucket: int, calls: int, longest: int) -> None:
        counts = self._buckets.setdefault(key, {})
        counts[bucket] = counts.get(bucket, 0) + calls
        self._longest[key] = max(self._longest.get(key, 0), longest)

    def _between(self, first: int | None, last: int | None) -> None:
        if first is not None and last is not None:
            self._first = first if self._first is None else min(first, self._first)
            self._last = last if self._last is None else max(last, self._last)

    def stats(self) -> Stats:
        """Return the sums."""
        for (kind, number), counts in self._buckets.items():
            if number is not None:
                groups = self._tools if kind == "tool" else self._models
                groups[number].latency = _latency(counts, self._longest[kind, number])
        return Stats(
            self._total,
            len(self._runs - {None}),
            len(self._sessions - {None}),
            self._first,
            self._last,
            self._types.listed(),
            self._tools.listed(),
            self._models.listed(),
            self._agents.listed(),
            self._errors.listed(),
            self._timeline(),
        )

    def _timeline(self) -> list[tuple[int, int]]:
        first, last = self._first, self._last
        if first is None or last is None:
            return []
        width = (last - first) // _BUCKETS + 1
        if self._minutes:  # the stored sums are per minute
            width = -(-width // MINUTE) * MINUTE
            first -= first % MINUTE
        counts = [[0, 0] for _ in range((last - first) // width + 1)]
        for minute, (events, failed) in self._minutes.items():
            place = max(0, minute * MINUTE - first) // width
            counts[place][0] += events
            counts[place][1] += failed
        for time, failed in self._times:
            place = (time - first) // width
            counts[place][0] += 1
            counts[place][1] += failed
        return [(events, failed) for events, failed in counts]


def _latency(counts: dict[int, int], longest: int) -> Latency:
    """Return percentiles from the counts of buckets, each represented by its middle."""
    calls = sum(counts.values())

    def at(share: float) -> float:
        left = calls * share
        for bucket in sorted(counts):
            left -= counts[bucket]
            if left < 0:
                break
        middle = 2 ** ((bucket + 0.5) / BUCKETS_A_DOUBLING)
        return round(min(middle, longest) / _MILLISECOND, 3)

    return Latency(calls, at(0.5), at(0.95), round(longest / _MILLISECOND, 3))


class _Groups(dict[int | None, Group]):
    """Groups by the number of their name."""

    def __init__(self, names: TextsOfNames) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, number: int | None) -> Group:
        self[number] = group = Group(self._names[number])
        return group

    def listed(self) -> list[Group]:
        """Return the groups, the most frequent first."""
        return sorted(self.values(), key=lambda group: (-group.events, group.name or ""))


def _add(group: Group, events: int, failed: int, figures: Iterable[Any]) -> None:
    group.events += events
    group.errors += failed
    for name, value in zip(FIGURES, figures, strict=False):
        if value is not None:
            setattr(group.tokens, name, (getattr(group.tokens, name) or 0) + value)
