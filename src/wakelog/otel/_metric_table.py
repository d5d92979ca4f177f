"""Every metric of the processors; ``docs/metrics.md`` is generated from this and other tables."""

from __future__ import annotations

from typing import Final

from wakelog.events import semconv as s
from wakelog.telemetry import ADOPTED, KIND, ORIGIN, OTHER, OWN, POLICY, REASON, Attributes, Metric

REFUSED = ("quota", "buffer_full", "too_large", "journal")
"""The reasons why an event was refused; ``other`` stands for any other reason."""
EVICTED = ("quota", "disk_full", "retention", "deleted")
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
        "Records for which this process is responsible: those that its own journal accepted, "
        "those that were pending when it adopted another writer, and those recorded since by a "
        "running process for which it delivers.",
        "The rate of origin `own` is the rate of recording. It stops when the program stops, or "
        "when records are refused. With a buffer, a record counts once it is in the journal.",
        {ORIGIN: (OWN, ADOPTED)},
    ),
    Metric(
        "wakelog.events.delivered",
        "counter",
        "{event}",
        "Accepted records that the next hop has acknowledged.",
        "It falls behind while the next hop fails, and catches up afterwards. If it does not grow "
        "while the circuit is closed, look at the program's log.",
    ),
    Metric(
        "wakelog.events.pending",
        "up_down_counter",
        "{event}",
        "Accepted records that are still to be delivered. They are in the journal.",
        "It grows while the next hop is down or too slow: see `wakelog.delivery.circuit.state`. "
        "Without an exporter it grows until `wakelog ship` delivers the records.",
    ),
    Metric(
        "wakelog.events.dead_lettered",
        "counter",
        "{event}",
        "Accepted records that became dead letters, because the next hop permanently refuses them "
        "while it accepts others.",
        "`wakelog dead-letters list DIR` lists them with the reasons; after a fix, `wakelog "
        "dead-letters replay DIR` delivers them again. That does not lower this counter.",
    ),
    Metric(
        "wakelog.events.evicted",
        "counter",
        "{event}",
        "Accepted records that were deleted before delivery, because the quota was reached or the "
        "disk was full and the policy is `evict_oldest`, because the journal has no delivery "
        "(`retention`), or because another program deleted a writer's folder (`deleted`).",
        "Make delivery faster, or raise `quota_bytes`. The tombstone in the journal says which "
        "records were deleted. `deleted`: find the program that deletes them.",
        {REASON: EVICTED},
    ),
    Metric(
        "wakelog.events.corrupt",
        "counter",
        "{event}",
        "Accepted records that can no longer be read, because lines were damaged or single "
        "files were deleted by another program.",
        "`wakelog verify DIR` names the first damaged line. Check the disk.",
    ),
    Metric(
        "wakelog.events.refused",
        "counter",
        "{event}",
        "Records that were never accepted. Wakelog's own loggers raise or count the error; for "
        "records of other loggers the program's log reports it.",
        "`quota`: deliver, or raise the quota. `journal`: the file system refused the write, for "
        "lack of space or permission. `buffer_full`: raise the capacity or choose `BLOCK`. "
        "`too_large`: raise `max_event_bytes` or record less.",
        {REASON: (*REFUSED, OTHER)},
    ),
    Metric(
        "wakelog.buffer.wait.duration",
        "histogram",
        "s",
        "How long a call waited for space in the buffer, under `OverflowPolicy.BLOCK`.",
        "Waiting slows the program down: raise the capacity, or lower the durability.",
        buckets=_MILLISECONDS,
    ),
    Metric(
        "wakelog.buffer.dropped",
        "counter",
        "{event}",
        "Records that the buffer's policy dropped before they reached the journal.",
        "They are lost. Raise the capacity or choose `BLOCK`.",
        {POLICY: ("drop_newest", "drop_oldest")},
    ),
    Metric(
        "wakelog.journal.write.duration",
        "histogram",
        "s",
        "The duration of a `write` to the journal. One in 16 is measured.",
        "Microseconds are usual. Longer durations mean that the kernel blocks writers, because "
        "the disk is slow or memory is short.",
        buckets=_MICROSECONDS,
    ),
    Metric(
        "wakelog.journal.fsync.duration",
        "histogram",
        "s",
        "The duration of an `fdatasync`, for `PERIODIC` and `FSYNC`.",
        "It is the cost of `FSYNC` for a call. Check the load of the disk.",
        buckets=_MILLISECONDS,
    ),
    Metric(
        "wakelog.journal.commit.events",
        "histogram",
        "{event}",
        "How many records one `fdatasync` made durable.",
        "Threads that wait at the same time share one sync, so the number grows with these "
        "threads.",
        buckets=_COUNTS,
    ),
    Metric(
        "wakelog.journal.disk.usage",
        "up_down_counter",
        "By",
        "The size of the journal's directory, as last measured, plus what this process has "
        "written since.",
        "Near the limit, delivered segments are deleted first; then the quota's policy decides.",
    ),
    Metric(
        "wakelog.journal.disk.limit",
        "up_down_counter",
        "By",
        "The quota of the journal's directory.",
        "It changes only with `quota_bytes`, or with the size of the disk.",
    ),
    Metric(
        "wakelog.journal.recovered",
        "counter",
        "{item}",
        "What was recovered from dead processes: writers with records to deliver, torn lines, and "
        "damaged lines.",
        "A `writer` after each crash, or after an exit with pending records, is normal. A "
        "`torn_line` was never accepted. A `damaged_line` was accepted: see "
        "`wakelog.events.corrupt`.",
        {KIND: RECOVERED},
    ),
    Metric(
        "wakelog.delivery.latency",
        "histogram",
        "s",
        "The time from a record's timestamp until the next hop has acknowledged it. Up to 16 "
        "records of each export round are measured, and no replayed ones.",
        "About `schedule_delay_millis` is usual. Longer times mean that the next hop is slow.",
        buckets=_SECONDS,
    ),
    Metric(
        "wakelog.delivery.pending.age",
        "gauge",
        "s",
        "The age of the oldest pending record; 0 if nothing is pending. Not reported for a "
        "journal without delivery.",
        "See `wakelog.events.pending`.",
    ),
    Metric(
        "wakelog.delivery.pending.bytes",
        "up_down_counter",
        "By",
        "The approximate size of the pending part of the journal.",
        "See `wakelog.events.pending`.",
    ),
    Metric(
        "wakelog.delivery.replayed",
        "counter",
        "{event}",
        "Delivered records that an outage or a dead process had left pending.",
        "It grows after an outage. `replay_rate` limits it.",
    ),
    Metric(
        "wakelog.delivery.circuit.state",
        "gauge",
        "{state}",
        "0 while the next hop accepts records, 1 when a probe is due after a failure, 2 while "
        "delivery waits.",
        "The program's log reports the reason and the endpoint once per outage. Nothing is lost "
        "meanwhile.",
    ),
    Metric(
        "wakelog.delivery.retry.delay",
        "histogram",
        "s",
        "The wait after a failed attempt.",
        "It grows up to 30 s, or to the time that the next hop asks for.",
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
        "It is the configured value.",
        _COMPONENT,
    ),
    Metric(
        s.OTEL_PROCESSOR_PROCESSED,
        "counter",
        "{log_record}",
        "Records that the processor has finished: written to the journal, or not written if "
        "`error.type` is set.",
        "Those with `error.type` are the sum of `wakelog.events.refused` and "
        "`wakelog.buffer.dropped`.",
        {**_COMPONENT, s.ERROR_TYPE: ("queue_full", "quota", "too_large", "journal", OTHER)},
    ),
    Metric(
        s.OTEL_EXPORTER_INFLIGHT,
        "up_down_counter",
        "{log_record}",
        "Records in the current request.",
        "If it does not change, the next hop does not respond.",
        _EXPORTER,
    ),
    Metric(
        s.OTEL_EXPORTER_EXPORTED,
        "counter",
        "{log_record}",
        "Records in requests that have been answered; a record that is sent again counts again.",
        "`pending` records are sent again. `refused`, `too_large` and `rejected` records are "
        "tried individually, and may become dead letters.",
        {**_EXPORTER, s.ERROR_TYPE: UNSUCCESSFUL},
    ),
    Metric(
        s.OTEL_EXPORTER_DURATION,
        "histogram",
        "s",
        "The duration of a request.",
        "It is the response time of the next hop plus the encoding time.",
        {**_EXPORTER, s.ERROR_TYPE: UNSUCCESSFUL},
        buckets=_SECONDS,
    ),
)
