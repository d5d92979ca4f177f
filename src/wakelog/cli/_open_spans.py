"""Spans that have not ended, and those of which nobody knows how they ended, as commands show them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wakelog.journal import are_ended, is_owned, open_spans, signal_of
from wakelog.record import SPANS, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_WRITER_SHOWN = 13


@dataclass(frozen=True, slots=True)
class OpenSpan:
    """A span without an end.

    Attributes:
        writer: The id of the writer that recorded its start.
        live: Whether that process still lives, None where that cannot be told.
        name: The span's name.
        trace_id: Its trace id.
        span_id: Its span id.
        started: When it began, in nanoseconds since 1970.
        scope: Which instrumentation recorded it; empty where it does not say.
    """

    writer: str
    live: bool | None
    name: str
    trace_id: str
    span_id: str
    started: int
    scope: str = ""

    @property
    def age(self) -> float:
        """The seconds since it began."""
        return max(0.0, (time.time_ns() - self.started) / 1e9)

    def to_dict(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        return {
            "writer": self.writer,
            "live": self.live,
            "name": self.name,
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "started": rfc3339(self.started),
            "age_seconds": round(self.age, 3),
        }


def open_spans_of(among: Iterable[Path | None]) -> list[OpenSpan]:
    """Return the spans without an end that are in writers' folders, oldest first.

    Raises:
        JournalError: When the file system refuses.
    """
    found = [
        OpenSpan(
            folder.name,
            is_owned(folder),
            str((start.record.span or {}).get("name", "")),
            start.record.trace_id or "",
            start.record.span_id or "",
            start.record.timestamp or 0,
            "" if start.record.scope is None else start.record.scope.name,
        )
        for folder in among
        if folder is not None and signal_of(folder) == SPANS and not are_ended(folder)
        for start in open_spans(folder, thorough=False).starts.values()
    ]
    return sorted(found, key=lambda span: span.started)


def said_of(spans: Iterable[OpenSpan]) -> list[str]:
    """Say of each process how many of its spans are open, and since when."""
    by_writer: dict[str, list[OpenSpan]] = {}
    for span in spans:
        by_writer.setdefault(span.writer, []).append(span)
    lines = []
    for writer, some in by_writer.items():
        oldest = some[0]
        if oldest.live is False:
            what = "did not end before their process did; delivery exports them, outcome unknown"
        else:
            what = "are open"
        lines.append(
            f"{len(some):,} spans of {writer[:_WRITER_SHOWN]} {what}. The oldest, {oldest.name!r}, "
            f"began {oldest.age:,.0f} s ago"
        )
    return lines
