"""Every metric of the processors. `docs/metrics.md` is made from it, among others."""

from __future__ import annotations

from typing import Final

from wakelog.events import semconv as s
from wakelog.telemetry import ADOPTED, KIND, ORIGIN, OTHER, OWN, POLICY, REASON, Attributes, Metric

REFUSED = ("quota", "buffer_full", "too_large", "journal")
"""Why an event was refused; ``other`` for anything else."""
EVICTED = ("quota", "disk_full", "retention")
RECOVERED = ("writer", "torn_line", "damaged_line")
UNSUCCESSFUL = ("pending", "refused", "too_large", "rejected")

_ACCEPTED = "wakelog.events.accepted"
_MICROSECONDS = (
    *(5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3),
    *(2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 1.0),
)
_MILLISECONDS = (
    *(1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2),
    *(2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
_SECONDS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5),
    *(2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0),
)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

_COMPONENT: Attributes = {
    s.OTEL_COMPONENT_TYPE: ("wakelog_log_processor",),
    s.OTEL_COMPONENT_NAME: "the type, and the number of the processor in its process",
}
_EXPORTER: Attributes = {
    s.OTEL_COMPONENT_TYPE: ("wakelog_log_exporter",),
    s.OTEL_COMPONENT_NAME: "the type, and the number of the processor in its process",
}

TABLE: Final = (
    Metric(
        _ACCEPTED,
        "counter",
        "{event}",
        "Records that this process answers for: those that its own journal has accepted, and of other "
        "processes those that were pending when it took their writer over, and, where it delivers for "
        "one that runs, those since then.",
        "Take the rate of origin `own` for how much is emitted. It stops when the program does, or "
        "when records are refused. With a buffer, a record counts once it is in the journal.",
        {ORIGIN: (OWN, ADOPTED)},
    ),
    Metric(
        "wakelog.events.delivered",
        "counter",
        "{event}",
        "Of these, records that the next hop has accepted.",
        "It runs behind while the next hop fails, and catches up afterwards. If it stands still "
        "while the circuit is closed, look at the program's log.",
    ),
    Metric(
        "wakelog.events.pending",
        "up_down_counter",
        "{event}",
        "Of these, records that still have to be delivered. They are in the journal.",
        "It grows while the next hop is down or too slow. See `wakelog.delivery.circuit.state`; "
        "without an exporter it grows on purpose, until `wakelog ship`.",
    ),
    Metric(
        "wakelog.events.dead_lettered",
        "counter",
        "{event}",
        "Of these, records that the next hop refuses for good while it takes others, set aside with "
        "the reason.",
        "`wakelog dead-letters list DIR` names them; after a fix, `wakelog dead-letters replay DIR` "
        "delivers them again. That does not lower this figure.",
    ),
    Metric(
        "wakelog.events.evicted",
        "counter",
        "{event}",
        "Of these, records deleted before they were delivered, because the quota was reached or the "
        "disk was full and the policy is `evict_oldest`.",
        "Get the next hop to take them sooner, or raise `quota_bytes`. The tombstone in the "
        "journal says which are gone.",
        {REASON: EVICTED},
    ),
    Metric(
        "wakelog.events.corrupt",
        "counter",
        "{event}",
        "Of these, records that could not be read any more: lines were damaged, or files deleted by "
        "somebody else.",
        "`wakelog verify DIR` names the first damaged line. Look at the disk.",
    ),
    Metric(
        "wakelog.events.refused",
        "counter",
        "{event}",
        "Records that were never accepted. Wakelog's own loggers have raised; for records of others "
        "the program's log says so.",
        "`quota`: deliver, or raise the quota. `journal`: the file system refused, for want of space "
        "or permission. `buffer_full`: raise the capacity or choose `BLOCK`. `too_large`: raise "
        "`max_event_bytes` or record less.",
        {REASON: (*REFUSED, OTHER)},
    ),
    Metric(
        "wakelog.buffer.wait.duration",
        "histogram",
        "s",
        "How long a call waited for room in the buffer, under `OverflowPolicy.BLOCK`.",
        "The program is slowed down: raise the capacity, or lower the durability.",
        buckets=_MILLISECONDS,
    ),
    Metric(
        "wakelog.buffer.dropped",
        "counter",
        "{event}",
        "Records that the buffer's policy has dropped before they reached the journal.",
        "They are lost. Raise the capacity or choose `BLOCK`.",
        {POLICY: ("drop_newest", "drop_oldest")},
    ),
    Metric(
        "wakelog.journal.write.duration",
        "histogram",
        "s",
        "The time of a `write` into the journal. One in 16 is measured.",
        "Microseconds are usual. More means that the kernel holds writers up: the disk is slow, or "
        "memory is short.",
        buckets=_MICROSECONDS,
    ),
    Metric(
        "wakelog.journal.fsync.duration",
        "histogram",
        "s",
        "The time of an `fdatasync`, for `PERIODIC` and `FSYNC`.",
        "It is what `FSYNC` costs a call. Look at the disk's load.",
        buckets=_MILLISECONDS,
    ),
    Metric(
        "wakelog.journal.commit.events",
        "histogram",
        "{event}",
        "How many records one `fdatasync` has made durable.",
        "Threads that wait at the same time share one, so it grows with them.",
        buckets=_COUNTS,
    ),
    Metric(
        "wakelog.journal.disk.usage",
        "up_down_counter",
        "By",
        "The size of the journal's directory, as far as it is known without looking.",
        "Near the limit, delivered files are deleted first; then the quota's policy decides.",
    ),
    Metric(
        "wakelog.journal.disk.limit",
        "up_down_counter",
        "By",
        "The quota of the journal's directory.",
        "It moves only with `quota_bytes`, or with the size of the disk.",
    ),
    Metric(
        "wakelog.journal.recovered",
        "counter",
        "{item}",
        "What was found of processes that are gone: writers with something to deliver, lines that a "
        "crash has cut off, and lines that are damaged.",
        "A `writer` after each crash or exit with events pending is normal. A `torn_line` was never "
        "accepted. A `damaged_line` was: see `wakelog.events.corrupt`.",
        {KIND: RECOVERED},
    ),
    Metric(
        "wakelog.delivery.latency",
        "histogram",
        "s",
        "From a record's timestamp until the next hop has accepted it. Up to 16 records of each round "
        "are measured, and none that is replayed.",
        "About `schedule_delay_millis` is usual. More means that the next hop is slow.",
        buckets=_SECONDS,
    ),
    Metric(
        "wakelog.delivery.pending.age",
        "gauge",
        "s",
        "The age of the oldest pending record; 0 when nothing is pending. Not reported where nothing is "
        "to be delivered.",
        "See `wakelog.events.pending`.",
    ),
    Metric(
        "wakelog.delivery.pending.bytes",
        "up_down_counter",
        "By",
        "How much of the journal is pending, about.",
        "See `wakelog.events.pending`.",
    ),
    Metric(
        "wakelog.delivery.replayed",
        "counter",
        "{event}",
        "Delivered records that an outage, or a process that is gone, had left behind.",
        "It grows after an outage. `replay_rate` limits it.",
    ),
    Metric(
        "wakelog.delivery.circuit.state",
        "gauge",
        "{state}",
        "0 while the next hop takes what it gets, 1 when an attempt is due after a failure, 2 while "
        "it is left alone.",
        "The program's log says once an outage why and where. Nothing is lost meanwhile.",
    ),
    Metric(
        "wakelog.delivery.retry.delay",
        "histogram",
        "s",
        "The pause after a failed attempt.",
        "It grows up to 30 s, or to what the next hop asks for.",
        buckets=_SECONDS,
    ),
    Metric(
        s.OTEL_PROCESSOR_QUEUE_SIZE,
        "up_down_counter",
        "{log_record}",
        "How many records wait in the buffer; only with `buffer=`.",
        "At the capacity, the buffer's policy decides.",
        _COMPONENT,
    ),
    Metric(
        s.OTEL_PROCESSOR_QUEUE_CAPACITY,
        "up_down_counter",
        "{log_record}",
        "How many records may wait in the buffer; only with `buffer=`.",
        "It is what was set.",
        _COMPONENT,
    ),
    Metric(
        s.OTEL_PROCESSOR_PROCESSED,
        "counter",
        "{log_record}",
        "Records that the processor has finished with: written to the journal, or, with "
        "`error.type`, not.",
        "See `wakelog.events.refused` and `wakelog.buffer.dropped`, which add up to the second.",
        {**_COMPONENT, s.ERROR_TYPE: ("queue_full", "quota", "too_large", "journal", OTHER)},
    ),
    Metric(
        s.OTEL_EXPORTER_INFLIGHT,
        "up_down_counter",
        "{log_record}",
        "Records in the request that is under way.",
        "If it stays where it is, the next hop does not answer.",
        _EXPORTER,
    ),
    Metric(
        s.OTEL_EXPORTER_EXPORTED,
        "counter",
        "{log_record}",
        "Records in requests that have been answered; one that is sent again counts again.",
        "`pending` is tried again. `refused`, `too_large` and `rejected` are tried one by one, and "
        "then become dead letters.",
        {**_EXPORTER, s.ERROR_TYPE: UNSUCCESSFUL},
    ),
    Metric(
        s.OTEL_EXPORTER_DURATION,
        "histogram",
        "s",
        "The time of a request.",
        "It is how fast the next hop answers, with the time that encoding takes.",
        {**_EXPORTER, s.ERROR_TYPE: UNSUCCESSFUL},
        buckets=_SECONDS,
    ),
)
