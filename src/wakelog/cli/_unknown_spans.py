"""Spans of others that are open, or ended with outcome unknown, as ``wakelog show`` lists them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from wakelog._printable import printable
from wakelog.cli._open_spans import OpenSpan, open_spans_of
from wakelog.cli._place import journal_at
from wakelog.cli._words import duration_text, time_text
from wakelog.errors import JournalError
from wakelog.events import semconv as s
from wakelog.journal import ends_with, folders, signal_of
from wakelog.record import SPANS, Record, parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from pathlib import Path

_MOST_SHOWN: Final = 20
# What is read at most of the ends of spans: it is no index.
_MOST_BYTES: Final = 256 * 1024 * 1024
_SAYS_UNKNOWN: Final = f'"{s.SPAN_OUTCOME}":"unknown"'.encode()
_STATES: Final = {
    True: "open",
    None: "open, perhaps",
    False: "without an end; its process is gone, and delivery will export it",
}


@dataclass(frozen=True, slots=True)
class UnknownSpan:
    """A span whose end nobody has seen.

    Attributes:
        name: The span's name.
        trace_id: Its trace id.
        span_id: Its span id.
        scope: Which instrumentation recorded it; empty where it does not say.
        started: When it began, in nanoseconds since 1970.
        ended: When it was last known to be alive; None while it has no end.
        state: What is known of it.
        reason: Why its outcome is unknown; empty while it has no end.
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
        """Return it as ``--json`` prints it."""
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
        """The span on a line."""
        lasted = "" if self.ended is None else f" after {duration_text(self.ended - self.started)}"
        by = f"  by {self.scope}" if self.scope else ""
        text = f"{time_text(self.started)}  {self.name}  {self.state}{lasted}{by}  trace {self.trace_id}"
        return printable(text)


def unknown_spans(path: Path) -> list[UnknownSpan]:
    """Find the spans of others that are open, or have ended with outcome unknown, newest first.

    Wakelog's own are left out: they are steps of the tree.

    Args:
        path: A journal, or a writer's folder; anything else holds none.

    Raises:
        JournalError: When the file system refuses.
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
    """Yield the lines that list spans, none for none."""
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
