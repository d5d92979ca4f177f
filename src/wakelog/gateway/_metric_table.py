"""The table of the gateway's metrics, from which ``docs/metrics.md`` is made, too."""

from __future__ import annotations

from typing import Final

from wakelog.events import semconv as s
from wakelog.telemetry import ADOPTED, KIND, ORIGIN, OTHER, OWN, REASON, Attributes, Metric

LOCAL, TRANSPORT = "local", "transport"
LOCAL_ERRORS: Final = ("closed", "journal", "too_large", "buffer_full")
"""Reasons why an event was not logged; ``other`` for all others."""
TRANSPORT_ERRORS: Final = ("timeout", "connection")
"""Reasons why an attempt failed; ``other`` for all others."""
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
        "Its rate is the rate of logging. It stops when the program stops, or when local logging "
        "fails: see `wakelog.gateway.errors`.",
    ),
    Metric(
        "wakelog.gateway.events.accepted",
        "counter",
        "{event}",
        "Events to be forwarded for which this process is responsible: those that were logged "
        "while there was a transport, and those that dead processes left in the files.",
        "It is the sum of the next six metrics. Origin `adopted` grows after a crash, and after "
        "an exit during an outage.",
        {ORIGIN: (OWN, ADOPTED)},
    ),
    Metric(
        "wakelog.gateway.events.forwarded",
        "counter",
        "{event}",
        "Accepted events that the transport has taken.",
        "It falls behind while the transport fails, and catches up afterwards.",
    ),
    Metric(
        "wakelog.gateway.events.pending",
        "up_down_counter",
        "{event}",
        "Accepted events that are still to be forwarded. They are in the files, or in the queue "
        "in memory if no file can be read back.",
        "It grows while the transport is down or too slow: see `wakelog.gateway.circuit.state`.",
    ),
    Metric(
        "wakelog.gateway.events.rejected",
        "counter",
        "{event}",
        "Accepted events that the transport has declared unacceptable. They are dead letters of "
        "their sessions.",
        "`wakelog dead-letters list DIR` lists them with the reasons.",
    ),
    Metric(
        "wakelog.gateway.events.dead_lettered",
        "counter",
        "{event}",
        "Accepted events that the transport repeatedly refused while it accepted others. They are "
        "dead letters of their sessions, which continue.",
        "`wakelog dead-letters list DIR` lists them with the reasons. After a fix, `await "
        "logger.replay_dead_letters()` sends them again, which does not lower this counter.",
    ),
    Metric(
        "wakelog.gateway.events.corrupt",
        "counter",
        "{event}",
        "Accepted events that could not be read back, because lines were damaged or files were "
        "deleted before the events were forwarded.",
        "`wakelog verify DIR` names damaged lines. Delete session files only if nothing is "
        "pending.",
    ),
    Metric(
        "wakelog.gateway.events.dropped",
        "counter",
        "{event}",
        "Accepted events that the queue in memory dropped, by its policy or because the gateway "
        "was closed.",
        "Raise `queue_size`, choose `block`, or let the gateway write files, which then are its "
        "queue.",
        {REASON: DROPPED},
    ),
    Metric(
        "wakelog.gateway.errors",
        "counter",
        "{error}",
        "Kind `local`: awaits of the gateway that raised, nearly always because the event was not "
        "logged. Kind `transport`: failed attempts to send, which are retried.",
        "`journal`: the file system refused the write, for lack of space or permission. "
        "`too_large`: raise `max_event_bytes` or log less. `closed`: an event came after "
        "`close()`. Errors of kind `transport` lose nothing.",
        {KIND: (LOCAL, TRANSPORT), s.ERROR_TYPE: _ERRORS},
    ),
    Metric(
        "wakelog.gateway.overhead.duration",
        "histogram",
        "s",
        "The total duration of `await logger(event)`: conversion, redaction, the local write, the "
        "sync with `fsync`, and queueing for forwarding. One in 16 is measured.",
        "Tens of microseconds are usual. Longer durations mean a slow disk, or large events. "
        "Transports do not affect it, except with the policy `block`.",
        buckets=_OVERHEAD,
    ),
    Metric(
        "wakelog.gateway.send.duration",
        "histogram",
        "s",
        "The duration of an attempt to send an event; with `error.type`, of a failed one.",
        "It is the response time of the destination. A session's events are sent one after the "
        "other, so it limits how fast a session is forwarded.",
        _FAILED,
        buckets=_SEND,
    ),
    Metric(
        "wakelog.gateway.pending.age",
        "gauge",
        "s",
        "The approximate waiting time of the oldest pending event of an open gateway; 0 if "
        "nothing is pending.",
        "If it grows while the circuit is closed, a single session is stuck, or the transport is "
        "too slow.",
    ),
    Metric(
        "wakelog.gateway.pending.elsewhere",
        "gauge",
        "{event}",
        "Events that dead processes left in the base directory for another pipeline, which no "
        "process serves now. They do not count as accepted.",
        "Start a program with that pipeline, or set `pipeline=` in this one to the name in its "
        "log.",
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
        "How many events may wait in memory; only for gateways without files that can be read "
        "back.",
        "It is the sum of the configured values.",
    ),
    Metric(
        "wakelog.gateway.circuit.state",
        "gauge",
        "{state}",
        "0 while events are sent, 1 when a probe is due, 2 while the transport is not called; the "
        "highest value of all gateways.",
        "The program's log reports the reason once per outage. Nothing is lost meanwhile.",
    ),
    Metric(
        "wakelog.gateway.transport.healthy",
        "gauge",
        "{state}",
        "1 if the last attempt to send, or the last health check, succeeded, else 0; the lowest "
        "value of all gateways that forward.",
        "A long time at 0 is an outage. An occasional 0 is a failed attempt that is retried.",
    ),
    Metric(
        "wakelog.gateway.files.open",
        "up_down_counter",
        "{file}",
        "How many session files are open.",
        "It does not exceed `max_open_files` for each gateway.",
    ),
)
