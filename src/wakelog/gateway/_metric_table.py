"""Every metric of the gateway. ``docs/metrics.md`` is made from it, among others."""

from __future__ import annotations

from typing import Final

from wakelog.events import semconv as s
from wakelog.telemetry import ADOPTED, KIND, ORIGIN, OTHER, OWN, REASON, Attributes, Metric

LOCAL, TRANSPORT = "local", "transport"
LOCAL_ERRORS: Final = ("closed", "journal", "too_large", "buffer_full")
"""Why an event was not logged; ``other`` for anything else."""
TRANSPORT_ERRORS: Final = ("timeout", "connection")
"""Why an attempt failed; ``other`` for anything else."""
DROPPED: Final = ("drop_oldest", "drop_newest", "closed")

_ERRORS = (*LOCAL_ERRORS, *TRANSPORT_ERRORS, OTHER)
_FAILED: Attributes = {s.ERROR_TYPE: (*TRANSPORT_ERRORS, "rejected", OTHER)}
_OVERHEAD = (
    *(1e-5, 1.5e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3),
    *(2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 1.0),
)
_SEND = (
    *(1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

TABLE: Final = (
    Metric(
        "wakelog.gateway.events.logged",
        "counter",
        "{event}",
        "Events that were written to their session's file.",
        "Take its rate for how much is logged. It stops when the program does, or when local "
        "logging fails: see `wakelog.gateway.errors`.",
    ),
    Metric(
        "wakelog.gateway.events.accepted",
        "counter",
        "{event}",
        "Events to be forwarded that this process answers for: those that were logged while there was a "
        "transport, and those that runs of a gateway which are gone have left in the files.",
        "It is the sum of the next six. Origin `adopted` grows after a crash, and after an exit during "
        "an outage.",
        {ORIGIN: (OWN, ADOPTED)},
    ),
    Metric(
        "wakelog.gateway.events.forwarded",
        "counter",
        "{event}",
        "Of these, events that the transport has taken.",
        "It runs behind while the transport fails, and catches up afterwards.",
    ),
    Metric(
        "wakelog.gateway.events.pending",
        "up_down_counter",
        "{event}",
        "Of these, events that still have to be forwarded. They are in the files, or in the queue in "
        "memory where no file can be read back.",
        "It grows while the transport is down or too slow: see `wakelog.gateway.circuit.state`.",
    ),
    Metric(
        "wakelog.gateway.events.rejected",
        "counter",
        "{event}",
        "Of these, events of which the transport says that it will never take them. They are dead letters of "
        "their sessions.",
        "`wakelog dead-letters list DIR` names them with the reasons.",
    ),
    Metric(
        "wakelog.gateway.events.dead_lettered",
        "counter",
        "{event}",
        "Of these, events that the transport has refused again and again while it took others. They are "
        "dead letters of their sessions, which go on.",
        "`wakelog dead-letters list DIR` names them with the reasons. After a fix, "
        "`await logger.replay_dead_letters()` sends them again, which does not lower this figure.",
    ),
    Metric(
        "wakelog.gateway.events.corrupt",
        "counter",
        "{event}",
        "Of these, events that could not be read back: lines were damaged, or files deleted before "
        "they were forwarded.",
        "`wakelog verify DIR` names damaged lines. Delete session files only when nothing is pending.",
    ),
    Metric(
        "wakelog.gateway.events.dropped",
        "counter",
        "{event}",
        "Of these, events that the queue in memory has dropped: by its policy, or because the gateway was "
        "closed.",
        "Raise `queue_size`, choose `block`, or let the gateway write files, which are its queue then.",
        {REASON: DROPPED},
    ),
    Metric(
        "wakelog.gateway.errors",
        "counter",
        "{error}",
        "Kind `local`: awaits of the gateway that raised, nearly always because the event was not logged. "
        "Kind `transport`: attempts to send that failed and will be made again.",
        "`journal`: the file system refused, for want of space or permission. `too_large`: raise "
        "`max_event_bytes` or log less. `closed`: an event came after `close()`. Of kind `transport`, "
        "nothing is lost.",
        {KIND: (LOCAL, TRANSPORT), s.ERROR_TYPE: _ERRORS},
    ),
    Metric(
        "wakelog.gateway.overhead.duration",
        "histogram",
        "s",
        "How long `await logger(event)` took in all: making the event plain, redaction, the local write, "
        "with `fsync` the sync, and handing it over to be forwarded. One in 16 is measured.",
        "Tens of microseconds are usual. More means a slow disk, or large events. Transports have no "
        "part in it, save with the policy `block`.",
        buckets=_OVERHEAD,
    ),
    Metric(
        "wakelog.gateway.send.duration",
        "histogram",
        "s",
        "The time of an attempt to send an event; with `error.type`, of one that failed.",
        "It is how fast the other side answers. A session's events are sent one after the other, so it "
        "bounds how fast a session is forwarded.",
        _FAILED,
        buckets=_SEND,
    ),
    Metric(
        "wakelog.gateway.pending.age",
        "gauge",
        "s",
        "How long the oldest pending event of a gateway that is open has waited, about; 0 when nothing is "
        "pending.",
        "While the circuit is closed, one session alone is stuck, or the transport is too slow.",
    ),
    Metric(
        "wakelog.gateway.pending.elsewhere",
        "gauge",
        "{event}",
        "Events that dead processes have left in the base directory for another pipeline, which no process "
        "serves now. They are not among the accepted ones.",
        "Start a program that forwards there, or give this one the `pipeline=` that its log names.",
    ),
    Metric(
        "wakelog.gateway.queue.size",
        "up_down_counter",
        "{event}",
        "How many events wait in memory; only for gateways without files that can be read back.",
        "At the capacity, the policy decides.",
    ),
    Metric(
        "wakelog.gateway.queue.capacity",
        "up_down_counter",
        "{event}",
        "How many events may wait in memory; only for gateways without files that can be read back.",
        "It is the sum of what was set.",
    ),
    Metric(
        "wakelog.gateway.circuit.state",
        "gauge",
        "{state}",
        "0 while events are sent, 1 when one is sent to see, 2 while the transport is left alone; the "
        "highest of all gateways.",
        "The program's log says once an outage why. Nothing is lost meanwhile.",
    ),
    Metric(
        "wakelog.gateway.transport.healthy",
        "gauge",
        "{state}",
        "1 when the last attempt to send, or the last health check, went well, else 0; the lowest of all "
        "gateways that forward.",
        "0 for long is an outage. 0 now and then are attempts that fail and are made again.",
    ),
    Metric(
        "wakelog.gateway.files.open",
        "up_down_counter",
        "{file}",
        "How many session files are open.",
        "It does not exceed `max_open_files` for each gateway.",
    ),
)
