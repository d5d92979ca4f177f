"""The page's queries to the index, with results as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from wakelog.events import described, event_type_of
from wakelog.index import Event, EventLine, Index, Selection
from wakelog.page._rows import COLUMNS, living_segments, row_of
from wakelog.record import rfc3339
from wakelog.viewer import blocks_of, exception_of, level_of, message_of, name_of, summary_of

MOST_EVENTS: Final = 50_000
"""The maximum number of events shown of one session, which are the newest."""
MOST_LISTED: Final = 500
_LONGEST: Final = 3000
_FIRST: Final = 400
_RUNNING, _UNKNOWN = "running", "unknown"


def summaries(
    index: Index, selection: Selection, *, runs: bool, sort: str, offset: int, limit: int
) -> dict[str, Any]:
    """Return sessions or runs with their totals, and the number of all."""
    listed = index.runs if runs else index.sessions
    limit = min(limit, MOST_LISTED)
    found, count = listed(selection, sort=sort, limit=limit, offset=offset)
    unit = "run" if runs else "session"
    begun = [index.begun(unit, one.id) if one.id is not None else (None, set()) for one in found]
    alive = set(living_segments(index, {segment for _, some in begun for segment in some}))
    rows = []
    for one, (first, unended) in zip(found, begun, strict=True):
        outcome = one.outcome
        if unended and outcome is None:
            outcome = _RUNNING if unended & alive else _UNKNOWN
        asked = "" if first is None else _asked(index, first)
        rows.append({**one.to_dict(), "outcome": outcome, "asked": asked})
    return {"rows": rows, "count": count}


def _asked(index: Index, first: EventLine) -> str:
    """Return the input of a run as one line."""
    for found in index.records([first]):
        return summary_of("run_start", described(found.record).attributes)
    return ""


def conversation(index: Index, session: str | None, run: str | None) -> dict[str, Any]:
    """Return the rows of a session or run and of the runs inside it."""
    events = list(index.conversation(session=session, run=run, newest=MOST_EVENTS + 1))
    return {**_table(index, events[-MOST_EVENTS:]), "cut": len(events) > MOST_EVENTS}


def conversation_in_parts(
    index: Index, session: str | None, run: str | None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a session or run in two parts: first one or two screens, then the rest."""
    events = index.conversation(session=session, run=run, newest=MOST_EVENTS)
    first = list(islice(events, _FIRST))
    more = len(first) == _FIRST
    yield {**_table(index, first), "cut": False, "more": more}
    if more:
        rest = list(events)
        cut = len(first) + len(rest) >= MOST_EVENTS
        living = _living(index, [*first, *rest])
        yield {**_table(index, rest), "living": living, "cut": cut, "more": False}


def matches(index: Index, selection: Selection, limit: int) -> dict[str, Any]:
    """Return the rows of the newest events of a selection, oldest first."""
    limit = min(limit, MOST_LISTED)
    events = list(index.events(selection, newest=limit + 1))
    return {**_table(index, with_pairs(index, events[-limit:])), "cut": len(events) > limit}


def with_pairs(index: Index, events: list[Event]) -> list[Event]:
    """Return events with the other half of each call, so that an answer is shown with its call."""
    known = {event.position for event in events}
    pairs = {event.pair for event in events if event.pair is not None} - known
    return [*index.at(pairs), *events]


def _table(index: Index, events: list[Event]) -> dict[str, Any]:
    return {
        "columns": COLUMNS,
        "rows": [row_of(event) for event in events],
        "living": _living(index, events),
    }


def _living(index: Index, events: list[Event]) -> list[int]:
    return living_segments(index, {event.segment for event in events if event.open})


def contents(index: Index, positions: Iterable[int], *, whole: bool = False) -> dict[str, Any]:
    """Return the content of events by key, without deleted and damaged lines."""
    return dict(contents_of(index, index.at(positions), whole=whole))


def contents_of(
    index: Index, events: Iterable[Event], *, whole: bool = True
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the key and the content of each event; long texts are cut unless it is whole."""
    for found in index.read(events):
        record, event = described(found.record), found.event
        attributes = record.attributes
        kind = event_type_of(record.event_name) if isinstance(record.event_name, str) else "log"
        time = record.timestamp if record.timestamp is not None else record.observed_timestamp
        yield (
            f"{event.segment}-{event.offset}",
            {
                "summary": summary_of(kind, attributes, record.body),
                "name": name_of(kind, attributes),
                "level": level_of(record),
                "message": _sent(message_of(attributes, record.body)),
                "exception": exception_of(attributes),
                "time": None if time is None else rfc3339(time),
                "trace": record.trace_id if isinstance(record.trace_id, str) else None,
                "span": record.span_id if isinstance(record.span_id, str) else None,
                "blocks": blocks_of(attributes, record.body, None if whole else _LONGEST),
            },
        )


def _sent(text: str | None) -> str | None:
    return None if text is None else text[:_LONGEST].encode("utf-8", "replace").decode()
