"""Converting lines to rows of the index, and pairing calls with their answers.

While a row is built, 0 means unknown, and ``_UNSAID`` does so where 0 is a value, because Python's
SQLite module binds integers and texts many times faster than ``None``. The statements convert both
to NULL.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any, Final

from wakelog.events import REPEATS, event_type_of, plain_fields, renewed
from wakelog.events import semconv as s
from wakelog.events.semconv import (
    AGENT_NAME,
    CONVERSATION_ID,
    ERROR_TYPE,
    EXCEPTION_TYPE,
    PARENT_ID,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    RUN_ID,
    SCHEMA_URL,
    SCOPE_NAME,
    STATUS,
    TOOL_CALL_ID,
    TOOL_NAME,
)
from wakelog.index._event import COLUMNS, FIGURES, OFFSET_BITS
from wakelog.record import Record, Scope, parse_rfc3339

OPENS: Final = {"run_start": "run", "model_call": "model", "tool_call": "tool"}
CLOSES: Final = {"run_end": "run", "model_response": "model", "tool_result": "tool"}
MINUTE: Final = 60_000_000_000
BUCKETS_A_DOUBLING: Final = 8

_COUNTED: Final = frozenset({"run_start", "run_end", "model_call", "tool_call"})
_OF_RUNS: Final = frozenset({"run_start", "run_end"})
_ERROR_SEVERITY: Final = 17
_NOTHING: Final[dict[str, Any]] = {}
_LONGEST_NAME: Final = 1000
# Names beyond this number are queried again, and open calls beyond it are not found.
_MOST_NAMES: Final = 200_000
_MOST_OPEN: Final = 50_000
_MOST_LOOKED_AT: Final = 2000
_UNSAID: Final = -(1 << 63)
_LARGEST: Final = (1 << 63) - 1
_FIGURES: Final = (
    s.USAGE_INPUT_TOKENS,
    s.USAGE_OUTPUT_TOKENS,
    s.USAGE_CACHE_READ,
    s.USAGE_CACHE_WRITE,
    s.USAGE_REASONING,
    s.COST_USD,
)
_HAVE_NONE: Final = frozenset(_FIGURES).isdisjoint
_NO_FIGURES: Final = (_UNSAID,) * len(FIGURES)
_LENGTH_OF_TIME: Final = len("2026-11-21T02:37:11.123456789Z")
# A cache of parsed seconds, which neighbouring lines share.
_seconds: dict[str, int] = {}
_MOST_SECONDS: Final = 10_000

# Indexes of columns in a row.
_POSITION, _TIME, _RUN, _AGENT, _TOOL, _MODEL, _DURATION, _PAIR, _OPEN, _ID = (
    COLUMNS.index(name)
    for name in (
        "position",
        "time",
        "run",
        "agent",
        "tool",
        "model",
        "duration",
        "pair",
        "open",
        "id",
    )
)


def _unless(*words: str) -> str:
    return ", ".join(f"NULLIF(?, {word})" if word else "?" for word in words)


_NUMBER, _TEXT, _SAID, _IS = "0", "''", str(_UNSAID), ""
_UNSAID_FIGURES: Final = (_SAID,) * len(FIGURES)
_KINDS_OF_COLUMNS: Final = {
    **dict.fromkeys(COLUMNS, _NUMBER),
    **dict.fromkeys(("position", "length", "failed"), _IS),
    **dict.fromkeys(("time", "duration", *FIGURES), _SAID),
    **dict.fromkeys(("trace", "span", "id", "parent"), _TEXT),
}
_INSERT: Final = (
    f"INSERT OR REPLACE INTO events VALUES ({_unless(*(_KINDS_OF_COLUMNS[n] for n in COLUMNS))})"
)
_SLICE: Final = (
    "INSERT INTO slices VALUES ("
    f"{_unless(_IS, *[_NUMBER] * 4, *[_IS] * 4, _SAID, _SAID, *_UNSAID_FIGURES)})"
)
_TALLY: Final = (
    f"INSERT INTO tallies VALUES ({_unless(_IS, *[_NUMBER] * 5, _IS, _IS, *_UNSAID_FIGURES)})"
)
_MINUTES: Final = "INSERT INTO minutes VALUES (?, ?, ?, ?)"
_LATENCY: Final = f"INSERT INTO latencies VALUES ({_unless(_IS, _IS, *[_NUMBER] * 2, *[_IS] * 3)})"
_PAIRED: Final = (
    f"UPDATE events SET pair = ?, duration = {_unless(_SAID)}, open = NULL WHERE position = ?"
)


class _NumbersOfNames(dict[Any, int]):
    """The number of each text in the table ``names``: a cache that queries missing texts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._connection = connection
        self.clear()

    def clear(self) -> None:
        super().clear()
        self[None] = self[""] = 0

    def __missing__(self, text: object) -> int:
        if type(text) is not str:
            return 0  # a value of another type is not a name
        kept = text[:_LONGEST_NAME]
        execute = self._connection.execute
        execute("INSERT OR IGNORE INTO names (text) VALUES (?)", (kept,))
        (number,) = execute("SELECT id FROM names WHERE text = ?", (kept,)).fetchone()
        self[text] = number
        return int(number)


# An unanswered call: its kind, its row, the call id, and the number of the row's transaction.
_Call = tuple[str, list[Any], object, int]


class Rows:
    """Collects the records of a transaction, and writes their rows.

    Args:
        connection: The index, locked by a transaction until ``write`` has returned.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._names = _NumbersOfNames(connection)
        self._rows: list[list[Any]] = []
        self._slices: dict[tuple[int, int, int], list[Any]] = {}
        self._tallies: dict[tuple[int, ...], list[Any]] = {}
        self._minutes: dict[tuple[int, int], list[int]] = {}
        self._latencies: dict[tuple[Any, ...], list[int]] = {}
        self._updates: list[tuple[int, int, int]] = []
        # The unanswered calls, by the ids of their records.
        self._calls: dict[object, _Call] = {}
        self._batch = 0
        self.forget()

    def __len__(self) -> int:
        """Return the number of rows to be written."""
        return len(self._rows)

    def forget(self) -> None:
        """Reset the caches, because another process has changed the database."""
        self._names.clear()
        self._calls.clear()
        rows = self._connection.execute(
            "SELECT e.*, n.text FROM events e JOIN names n ON n.id = e.type WHERE e.open = 1 "
            "ORDER BY e.position DESC LIMIT ?",
            (_MOST_OPEN,),
        ).fetchall()
        for *row, kind in reversed(rows):
            for place in (_RUN, _TOOL, _MODEL):
                row[place] = row[place] or 0
            if row[_TIME] is None:
                row[_TIME] = _UNSAID
            self._calls[row[_ID]] = (OPENS.get(kind, "run"), row, None, self._batch - 1)

    def add(self, data: dict[str, Any], position: int, length: int) -> int | None:
        """Add a record.

        Args:
            data: The line as plain data; times may be nanoseconds.
            position: The position of the line.
            length: Its length in bytes without the newline, negative if its checksum is not seeded
                by the line before it.

        Returns:
            Its time in nanoseconds; None if it has none.
        """
        try:
            time = self._take(data, position, length)
        except (TypeError, AttributeError):
            # A value has an unexpected type: it cannot be hashed, or is not a mapping.
            time = self._take(_sound(data), position, length)
        return None if time == _UNSAID else time

    # Long: every event is indexed here, and each call costs time.
    def _take(self, data: dict[str, Any], position: int, length: int) -> int:
        attributes = data.get("attributes") or _NOTHING
        name = data.get("event_name")
        if name is None:
            name, attributes = _described(data, attributes)
        kind = event_type_of(name) if name else "log"
        scope = data.get("scope")
        again = False
        if scope is not None and scope.get("name") == SCOPE_NAME:
            if scope.get("schema_url") != SCHEMA_URL:
                attributes = _renewed(name, attributes)
            again = kind in REPEATS
        get, names = attributes.get, self._names
        written = data.get("timestamp")
        if type(written) is not str:
            time = _time_of(data)
        elif (
            (second := _seconds.get(written[:19])) is not None
            and len(written) == _LENGTH_OF_TIME
            and (digits := written[20:29]).isdigit()
            and written[29] == "Z"
        ):
            time = second + int(digits)
        else:
            time = nanoseconds(written)
        severity = data.get("severity_number")
        if type(severity) is not int:
            severity = 0
        outcome = get(STATUS)
        error = None if again else get(ERROR_TYPE) or get(EXCEPTION_TYPE)
        failed = (
            0
            if again
            else int(outcome == "error" or error is not None or severity >= _ERROR_SEVERITY)
        )
        run, session, agent = (
            names[get(RUN_ID)],
            names[get(CONVERSATION_ID)],
            names[get(AGENT_NAME)],
        )
        type_, error_ = names[kind], names[error]
        tool, model = names[get(TOOL_NAME)], names[get(REQUEST_MODEL) or get(RESPONSE_MODEL)]
        record, parent = data.get("id"), get(PARENT_ID)
        figures = (
            _NO_FIGURES
            if again or _HAVE_NONE(attributes)
            else tuple(map(_figure, map(get, _FIGURES)))
        )
        row = [
            position,
            length,
            time,
            type_,
            tool,
            model,
            error_,
            severity,
            failed,
            session,
            run,
            agent,
            names[outcome],
            *figures,
            _UNSAID,
            0,
            0,
            _text_of(data.get("trace_id")),
            _text_of(data.get("span_id")),
            record if type(record) is str else "",
            parent if type(parent) is str else "",
        ]
        self._rows.append(row)
        if kind in OPENS:
            row[_OPEN] = 1
            self._calls[record] = (OPENS[kind], row, get(TOOL_CALL_ID), self._batch)
        elif kind in CLOSES:
            self._close(row, CLOSES[kind], parent, get(TOOL_CALL_ID))
        segment = position >> OFFSET_BITS
        if kind in _OF_RUNS:
            figures = _NO_FIGURES  # the totals of a run are counted by its calls
        # One slice for each run in each segment.
        known = self._slices.get((segment, session, run))
        if known is None:
            # agent, outcome, events, failed, tools, models, first, last, figures
            known = [agent, 0, 0, 0, 0, 0, time, time, _NO_FIGURES]
            self._slices[segment, session, run] = known
        known[2] += 1
        if kind in _COUNTED:
            if kind == "tool_call":
                known[4] += 1
            elif kind == "model_call":
                known[5] += 1
            elif kind == "run_start":
                known[0] = agent
            else:
                known[1] = names[outcome]
        # One tally for each kind of event in each segment.
        key = (segment, type_, tool, model, error_, agent, failed)
        tally = self._tallies.get(key)
        if tally is None:
            self._tallies[key] = tally = [0, _NO_FIGURES]
        tally[0] += 1
        if figures is not _NO_FIGURES:
            known[8] = _sum(known[8], figures)
            tally[1] = _sum(tally[1], figures)
        if failed:
            known[3] += 1
        if time != _UNSAID:
            if time > known[7]:
                if known[6] == _UNSAID:
                    known[6] = time
                known[7] = time
            elif time < known[6]:
                known[6] = time
            minute = self._minutes.get((segment, time // MINUTE))
            if minute is None:
                self._minutes[segment, time // MINUTE] = [1, failed]
            else:
                minute[0] += 1
                minute[1] += failed
        return time

    def _close(self, row: list[Any], kind: str, parent: object, call_id: object) -> None:
        call = self._calls.get(parent)
        if call is None or call[0] != kind:
            found = self._unnamed(row, kind, call_id)
            if found is None:
                return
            parent, call = found
        del self._calls[parent]
        _, opening, _, batch = call
        began, time, segment = opening[_TIME], row[_TIME], row[_POSITION] >> OFFSET_BITS
        duration = _UNSAID
        if _UNSAID not in (time, began):
            duration = time - began if time > began else 0
            if kind != "run":
                name = row[_TOOL if kind == "tool" else _MODEL]
                key = (segment, kind, name, row[_AGENT], bucket_of(duration))
                counted = self._latencies.get(key)
                if counted is None:
                    self._latencies[key] = [1, duration]
                else:
                    counted[0] += 1
                    counted[1] = max(counted[1], duration)
        row[_PAIR], row[_DURATION] = opening[_POSITION], duration
        if batch == self._batch:
            opening[_PAIR], opening[_DURATION], opening[_OPEN] = row[_POSITION], duration, 0
        else:
            self._updates.append((row[_POSITION], duration, opening[_POSITION]))

    def _unnamed(self, row: list[Any], kind: str, call_id: object) -> tuple[object, _Call] | None:
        """Find the call that a record without a parent ends: the first in its run that matches."""
        run, place = row[_RUN], _TOOL if kind == "tool" else _MODEL
        for number, (record, call) in enumerate(self._calls.items()):
            if number >= _MOST_LOOKED_AT:
                break
            opens, opening, opening_id, _ = call
            if opens != kind or opening[_RUN] != run:
                continue
            named = call_id is not None and opening_id is not None
            if kind == "run" or (call_id == opening_id if named else row[place] == opening[place]):
                return record, call
        return None

    def write(self) -> None:
        """Write the collected rows.

        Raises:
            sqlite3.Error: If writing fails.
        """
        many = self._connection.executemany
        many(_INSERT, self._rows)
        many(_PAIRED, self._updates)
        many(_SLICE, ((*key, *one[:-1], *one[-1]) for key, one in self._slices.items()))
        many(_TALLY, ((*key, one[0], *one[1]) for key, one in self._tallies.items()))
        many(_MINUTES, ((*key, *one) for key, one in self._minutes.items()))
        many(_LATENCY, ((*key, *one) for key, one in self._latencies.items()))
        for batch in (
            self._rows, self._updates, self._slices, self._tallies, self._minutes, self._latencies
        ):  # fmt: skip
            batch.clear()
        self._batch += 1
        if len(self._names) > _MOST_NAMES:
            self._names.clear()


def bucket_of(duration: int) -> int:
    """Return the number of a duration's bucket; there are eight buckets for each doubling."""
    return int(math.log2(duration or 1) * BUCKETS_A_DOUBLING)


def _sum(totals: tuple[Any, ...], figures: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        total if more == _UNSAID else more if total == _UNSAID else total + more
        for total, more in zip(totals, figures, strict=True)
    )


def _text_of(value: object) -> str:
    return value if type(value) is str else ""


def _described(
    data: dict[str, Any], attributes: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """Return the name and the attributes of a record whose body is a user's plain event."""
    body = data["body"] if "body" in data else data.get("event")
    if type(body) is not dict:
        return None, attributes
    name, said = plain_fields(body)
    return name, {**said, **attributes}


def _renewed(name: str | None, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an earlier Wakelog's line with their present names."""
    old = Record(id="", seq=0, event_name=name, attributes=attributes, scope=Scope(SCOPE_NAME))
    return renewed(old).attributes


def _time_of(data: dict[str, Any]) -> int:
    """Return the time of a record whose timestamp is not text."""
    time = data.get("timestamp")
    if time is None:
        time = data.get("observed_timestamp")
    if type(time) is str:
        return nanoseconds(time)
    return time if type(time) is int and -_LARGEST <= time <= _LARGEST else _UNSAID


def nanoseconds(time: str) -> int:
    """Return the time on a line; ``_UNSAID`` if it is invalid or out of range."""
    try:
        found = parse_rfc3339(time)
    except ValueError:
        return _UNSAID
    if len(time) == _LENGTH_OF_TIME and time[20:29].isdigit() and time[29] == "Z":
        if len(_seconds) >= _MOST_SECONDS:
            _seconds.clear()
        _seconds[time[:19]] = found - int(time[20:29])
    return found if -_LARGEST <= found <= _LARGEST else _UNSAID


def _figure(value: object) -> int | float:
    if type(value) is int:
        return value if -_LARGEST <= value <= _LARGEST else _UNSAID
    if type(value) is float:
        return value if math.isfinite(value) else _UNSAID
    if type(value) is str:  # an amount of money may be a decimal as text
        try:
            number = float(value)
        except ValueError:
            return _UNSAID
        return number if math.isfinite(number) else _UNSAID
    return _UNSAID


def _sound(data: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a record that can be indexed, without values of unexpected types."""
    given = data.get("attributes")
    plain = given.items() if isinstance(given, dict) else ()
    name = data.get("event_name")
    return {
        "attributes": {k: v for k, v in plain if isinstance(v, str | int | float)},
        "event_name": name if isinstance(name, str) else None,
        **{k: data.get(k) for k in ("id", "timestamp", "severity_number", "trace_id", "span_id")},
    }
