"""The table of the audit channel's metrics, from which `docs/metrics.md` is made, too."""

from __future__ import annotations

from typing import Final

from wakelog.telemetry import OTHER, Attributes, Metric

BACKEND, REASON = "backend", "reason"
BACKENDS = {
    "JournalSessionLog": "journal",
    "SQLiteSessionLog": "sqlite",
    "PostgresSessionLog": "postgres",
    "InMemorySessionLog": "memory",
    "AgentLogger": "logger",
}
"""Backends by class of the session log or logger; ``other`` for the user's own classes."""
LOGGER = BACKENDS["AgentLogger"]
REASONS = ("too_large", "journal", "quota", "buffer_full", "database", "busy")
"""Reasons why a record was lost; ``other`` for all others."""

APPENDED = "wakelog.audit.events.appended"
FAILED = "wakelog.audit.events.failed"
QUEUE_SIZE = "wakelog.audit.queue.size"
QUEUE_CAPACITY = "wakelog.audit.queue.capacity"
QUEUE_DROPPED = "wakelog.audit.queue.dropped"
DURATION = "wakelog.audit.append.duration"

_LOGS = tuple(name for name in (*BACKENDS.values(), OTHER) if name != LOGGER)
_ON: Attributes = {BACKEND: (*BACKENDS.values(), OTHER)}
_QUEUED: Attributes = {BACKEND: _LOGS}
_BUCKETS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)

TABLE: Final = (
    Metric(
        APPENDED,
        "counter",
        "{event}",
        "Audit records that their session log, or the logger, accepted from a sink.",
        "Its rate is the rate of audit records. If it stops while agents work, look at "
        "`wakelog.audit.events.failed` and at the queue.",
        _ON,
    ),
    Metric(
        FAILED,
        "counter",
        "{event}",
        "Audit records that were not accepted. They are lost, because a sink neither raises nor "
        "retries.",
        "The program's log has the reason, once a minute. `journal`: the file system refused the "
        "write, for lack of space or permission. `database`: SQLite or PostgreSQL refused it. "
        "`too_large`: record less in one event. `busy`: another process was stopped inside its "
        "own append.",
        {**_ON, REASON: (*REASONS, OTHER)},
    ),
    Metric(
        QUEUE_SIZE,
        "up_down_counter",
        "{event}",
        "Audit records that wait in memory for their session log.",
        "It grows while the database is down or too slow; a `kill -9` loses the waiting records. "
        "With a `JournalSessionLog`, records wait only while another process is stopped inside "
        "its own append.",
        _QUEUED,
    ),
    Metric(
        QUEUE_CAPACITY,
        "up_down_counter",
        "{event}",
        "How many audit records may wait: `max_pending`, summed over the session logs with a sink.",
        "It changes with the number of session logs in use.",
        _QUEUED,
    ),
    Metric(
        QUEUE_DROPPED,
        "counter",
        "{event}",
        "Audit records that arrived when the queue was full. They are lost.",
        "Make the database faster, or raise `max_pending`.",
        _QUEUED,
    ),
    Metric(
        DURATION,
        "histogram",
        "s",
        "The duration of an append. One in 16 is measured in the calling thread; appends of the "
        "queue, which take many records at once, are all measured.",
        "Without a queue it is the cost of a record for the agent; with a queue it is the "
        "response time of the database.",
        _QUEUED,
        buckets=_BUCKETS,
    ),
)
