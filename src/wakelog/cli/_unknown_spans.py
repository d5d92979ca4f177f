"""Spans of other instrumentations that are open or of unknown outcome, for ``wakelog show``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from wakelog._printable import printable
from wakelog.cli._open_spans import OpenSpan, open_spans_of
from wakelog.cli._place import journal_at
from wakelog.cli._words import duration_text, time_text
from wakelog.errors import JournalError
from wakelog.events import semconv as s
from wakelog.journal import ends_with, folders, signal_of
from wakelog.record import SPANS, Record, parse_rfc3339, rfc3339

_MOST_SHOWN: Final = 20
# The limit for reading the ends of spans, for which there is no index.
_MOST_BYTES: Final = 256 * 1024 * 1024
_SAYS_UNKNOWN: Final = f'"{s.SPAN_OUTCOME}":"unknown"'.encode()
_STATES: Final = {
    True: "open",
    None: "open, perhaps",
    False: "without an end; its process is gone, and delivery will export it",
}


@dataclass(frozen=True, slots=True)
class UnknownSpan:
    """A span whose end was not recorded.

    Attributes:
        name: The span's name.
        trace_id: The trace id.
        span_id: The span id.
        scope: The name of the instrumentation scope; empty if it has none.
        started: When the span began, in nanoseconds since 1970.
        ended: When the span was last known to be running; None while it has no end.
        state: What is known about the span.
        reason: Why the outcome is unknown; empty while the span has no end.
    """

    name: str
    trace_id: str
    span_id: str
    scope: str
    started: int
    ended: int | None
    state: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the span in the form that ``--json`` prints."""
        return {
            "name": self.name,
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "scope": self.scope or None,
            "started": rfc3339(self.started),
            "ended": None if self.ended is None else rfc3339(self.ended),
            "state": self.state,
            "reason": self.reason or None,
        }

    @property
    def line(self) -> str:
        """The span as a line of text."""
        lasted = "" if self.ended is None else f" after {duration_text(self.ended - self.started)}"
        by = f"  by {self.scope}" if self.scope else ""
        text = f"{time_text(self.started)}  {self.name}  {self.state}{lasted}{by}  trace {self.trace_id}"
        return printable(text)


def unknown_spans(path: Path) -> list[UnknownSpan]:
    """Return other instrumentations' spans that are open or of unknown outcome, newest first.

    Wakelog's own spans are left out, because they are steps of the tree.

    Args:
        path: A journal, or a writer's folder; any other path has no spans.

    Raises:
        JournalError: If reading fails.
    """
    among: list[Path] = []
    with suppress(JournalError):  # a file of lines
        root, writer = journal_at(path)
        among = [folder for folder in folders(root) if writer is None or folder.name == writer]
    among = [folder for folder in among if signal_of(folder) == SPANS]
    found = [_of_open(one) for one in open_spans_of(among) if one.scope != s.SCOPE_NAME]
    left = _MOST_BYTES
    for folder in reversed(among):
        records, left = ends_with(folder, _SAYS_UNKNOWN, left)
        found += [_of_ended(one) for one in records if _scope(one) != s.SCOPE_NAME]
    return sorted(found, key=lambda span: -span.started)


def said_of_unknown(spans: list[UnknownSpan]) -> Iterator[str]:
    """Yield lines that list the spans, or nothing if there are none."""
    if not spans:
        return
    yield f"Spans of others that are open or of unknown outcome: {len(spans):,}"
    yield from (f"  {span.line}" for span in islice(spans, _MOST_SHOWN))
    if len(spans) > _MOST_SHOWN:
        yield f"  and {len(spans) - _MOST_SHOWN:,} older ones; --json has them all"


def _scope(record: Record) -> str:
    return "" if record.scope is None else record.scope.name


def _of_open(span: OpenSpan) -> UnknownSpan:
    return UnknownSpan(
        span.name,
        span.trace_id,
        span.span_id,
        span.scope,
        span.started,
        None,
        _STATES[span.live],
        "",
    )


def _of_ended(record: Record) -> UnknownSpan:
    about = record.span or {}
    ended = record.timestamp or 0
    started = about.get("start")
    reason = str(record.attributes.get(s.SPAN_OUTCOME_REASON, ""))
    return UnknownSpan(
        str(about.get("name", "")),
        record.trace_id or "",
        record.span_id or "",
        _scope(record),
        ended if started is None else parse_rfc3339(started),
        ended,
        f"outcome unknown ({reason.replace('_', ' ')})",
        reason,
    )
