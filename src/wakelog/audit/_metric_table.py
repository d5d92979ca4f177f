"""Every metric of the audit channel: `docs/metrics.md` is made from this table too."""

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
"""Where records go, by the class of the session log or the logger; ``other`` for one of the user's."""
LOGGER = BACKENDS["AgentLogger"]
REASONS = ("too_large", "journal", "quota", "buffer_full", "database", "busy")
"""Why a record was lost; ``other`` for anything else."""

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
        "Audit records that their session log, or the logger, has accepted from a sink.",
        "Its rate is how much agents report. When it stops while they work, look at "
        "`wakelog.audit.events.failed` and at the queue.",
        _ON,
    ),
    Metric(
        FAILED,
        "counter",
        "{event}",
        "Audit records that were not accepted. They are lost: a sink raises nothing and tries nothing again.",
        "The program's log says why, once a minute. `journal`: the file system refused, for want of "
        "space or permission. `database`: SQLite or PostgreSQL did. `too_large`: record less in one event. "
        "`busy`: another process was stopped inside its own append.",
        {**_ON, REASON: (*REASONS, OTHER)},
    ),
    Metric(
        QUEUE_SIZE,
        "up_down_counter",
        "{event}",
        "Audit records that wait in memory for their session log.",
        "It grows while the database is down or too slow; what waits is lost by a `kill -9`. Over a "
        "`JournalSessionLog` records wait only while another process is stopped inside its own append.",
        _QUEUED,
    ),
    Metric(
        QUEUE_CAPACITY,
        "up_down_counter",
        "{event}",
        "How many may wait: `max_pending` of every session log with a sink.",
        "It moves with the number of session logs that are in use.",
        _QUEUED,
    ),
    Metric(
        QUEUE_DROPPED,
        "counter",
        "{event}",
        "Audit records that found the queue full. They are lost.",
        "Make the database faster, or raise `max_pending`.",
        _QUEUED,
    ),
    Metric(
        DURATION,
        "histogram",
        "s",
        "The time of an append. Of those in the calling thread, one in 16 is measured; of those by the "
        "queue, which take many records at once, each.",
        "It is what a record costs the agent where nothing is queued, else how fast the database is.",
        _QUEUED,
        buckets=_BUCKETS,
    ),
)
