"""Spans that have not ended, or whose outcome is unknown, as commands show them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wakelog.cli._words import counted
from wakelog.journal import are_ended, may_end_spans, open_spans, signal_of
from wakelog.record import SPANS, rfc3339

_WRITER_SHOWN = 13


@dataclass(frozen=True, slots=True)
class OpenSpan:
    """A span without an end.

    Attributes:
        writer: The id of the writer that recorded its start.
        live: Whether the writer's process is alive; None if that cannot be determined.
        name: The span's name.
        trace_id: The trace id.
        span_id: The span id.
        started: When the span began, in nanoseconds since 1970.
        scope: The name of the instrumentation scope; empty if it has none.
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
        """The seconds since the span began."""
        return max(0.0, (time.time_ns() - self.started) / 1e9)

    def to_dict(self) -> dict[str, Any]:
        """Return the span in the form that ``--json`` prints."""
        return {
            "writer": self.writer,
            "live": self.live,
            "name": self.name,
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "started": rfc3339(self.started),
            "age_seconds": round(self.age, 3),
        }


def open_spans_of(among: Iterable[Path]) -> list[OpenSpan]:
    """Return the spans without an end in writers' folders, oldest first.

    Raises:
        JournalError: If reading fails.
    """
    found = [
        OpenSpan(
            folder.name,
            may_end_spans(folder),
            str((start.record.span or {}).get("name", "")),
            start.record.trace_id or "",
            start.record.span_id or "",
            start.record.timestamp or 0,
            "" if start.record.scope is None else start.record.scope.name,
        )
        for folder in among
        if signal_of(folder) == SPANS and not are_ended(folder)
        for start in open_spans(folder, thorough=False).starts.values()
    ]
    return sorted(found, key=lambda span: span.started)


def said_of(spans: Iterable[OpenSpan]) -> list[str]:
    """Return a sentence for each writer: how many spans are open, and for how long."""
    by_writer: dict[str, list[OpenSpan]] = {}
    for span in spans:
        by_writer.setdefault(span.writer, []).append(span)
    lines = []
    for writer, some in by_writer.items():
        oldest = some[0]
        if oldest.live is False:
            its, it = ("its", "it") if len(some) == 1 else ("their", "them")
            what = f"did not end before {its} process did; delivery exports {it}, outcome unknown"
        else:
            what = "is open" if len(some) == 1 else "are open"
        lines.append(
            f"{counted(len(some), 'span')} of {writer[:_WRITER_SHOWN]} {what}. The oldest, {oldest.name!r}, "
            f"began {oldest.age:,.0f} s ago"
        )
    return lines
