"""The table of the metrics of session streams, from which `docs/metrics.md` is made, too."""

from __future__ import annotations

from typing import Final

from wakelog.telemetry import OTHER, Metric

REASON = "reason"
REASONS = ("quota", "journal")
"""Reasons why a line was refused; ``other`` for all others."""

WRITTEN = "wakelog.streams.lines.written"
REFUSED = "wakelog.streams.lines.refused"
OPEN = "wakelog.streams.open"
READ = "wakelog.streams.sessions.read"
DURATION = "wakelog.streams.write.duration"
USAGE = "wakelog.streams.disk.usage"
LIMIT = "wakelog.streams.disk.limit"

TABLE: Final = (
    Metric(
        WRITTEN,
        "counter",
        "{line}",
        "Lines that this process has written for sessions: chunks, and the beginnings and ends of "
        "streams.",
        "With `join=True`, a whole message is one line, or a few.",
    ),
    Metric(
        REFUSED,
        "counter",
        "{line}",
        "Lines that could not be written. The call that wrote to the stream raised an exception.",
        "`quota`: the kept chunks fill the quota. `journal`: the file system refused the write, "
        "for lack of space or permission.",
        {REASON: (*REASONS, OTHER)},
    ),
    Metric(
        OPEN,
        "up_down_counter",
        "{stream}",
        "Streams that have begun in this process and not ended.",
        "If it only grows, streams are not ended; use `with`.",
    ),
    Metric(
        READ,
        "up_down_counter",
        "{session}",
        "Sessions with readers in this process; several readers of one session count once.",
        "It is the number of watched sessions. Readers that are not closed keep it high.",
    ),
    Metric(
        DURATION,
        "histogram",
        "s",
        "The duration of a `write` to the journal of the streams. One in 16 is measured.",
        "Microseconds are usual. Longer durations mean that the disk is slow, or that memory is "
        "short.",
        buckets=(
            *(5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3),
            *(2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 1.0),
        ),
    ),
    Metric(
        USAGE,
        "up_down_counter",
        "By",
        "The size of the directories of streams, as last measured, plus what this process has "
        "written since.",
        "Near the limit, the oldest finished segments are deleted first.",
    ),
    Metric(
        LIMIT,
        "up_down_counter",
        "By",
        "The quota of these directories.",
        "It changes with the number of directories, or with the size of the disk.",
    ),
)
