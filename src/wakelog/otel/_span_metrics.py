"""Metrics of spans: the same books as for events, on the program's MeterProvider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from opentelemetry.metrics import MeterProvider

from wakelog.otel._metric_table import EVICTED, REFUSED
from wakelog.otel._metrics import SignalMetrics
from wakelog.otel._process_books import WriterBooks
from wakelog.telemetry import ADOPTED, ORIGIN, OTHER, OWN, REASON, Metric
from wakelog.telemetry.instruments import Instruments, PerProvider

TABLE: Final = (
    Metric(
        "wakelog.spans.accepted",
        "counter",
        "{span}",
        "Ended spans for which this process is responsible: its own, and those that were pending "
        "when it adopted the writers of dead processes.",
        "The books of spans are those of events: accepted = delivered + pending + dead_lettered + "
        "evicted + corrupt.",
        {ORIGIN: (OWN, ADOPTED)},
    ),
    Metric(
        "wakelog.spans.delivered",
        "counter",
        "{span}",
        "Accepted spans that the next hop has acknowledged.",
        "It falls behind while the next hop fails, and catches up afterwards.",
    ),
    Metric(
        "wakelog.spans.pending",
        "up_down_counter",
        "{span}",
        "Accepted spans that are still to be delivered. They are in the journal.",
        "It grows while the next hop is down or too slow.",
    ),
    Metric(
        "wakelog.spans.dead_lettered",
        "counter",
        "{span}",
        "Accepted spans that became dead letters, because the next hop permanently refuses them "
        "while it accepts others.",
        "`wakelog dead-letters list DIR` lists them with the reasons.",
    ),
    Metric(
        "wakelog.spans.evicted",
        "counter",
        "{span}",
        "Accepted spans that were deleted before delivery.",
        "Make delivery faster, or raise `quota_bytes`.",
        {REASON: EVICTED},
    ),
    Metric(
        "wakelog.spans.corrupt",
        "counter",
        "{span}",
        "Accepted spans that can no longer be read.",
        "`wakelog verify DIR` names the first damaged line. Check the disk.",
    ),
    Metric(
        "wakelog.spans.refused",
        "counter",
        "{span}",
        "Starts and ends of spans that were never accepted. The program's log reports the error.",
        "See `wakelog.events.refused`.",
        {REASON: (*REFUSED, OTHER)},
    ),
    Metric(
        "wakelog.spans.open",
        "up_down_counter",
        "{span}",
        "Spans of this process that have started and not ended.",
        "If it only grows, streams are not closed; `wakelog status` shows since when the oldest "
        "span is open.",
    ),
    Metric(
        "wakelog.spans.unknown_outcome",
        "counter",
        "{span}",
        "Spans that this process ended with an unknown outcome: those of dead processes, and "
        "those beyond `idle_limit`.",
        "Each is a step that was running when its process was killed, or a stream that was not "
        "closed.",
    ),
)


class SpanMetrics(SignalMetrics):
    """The instruments of spans. Durations of writes and syncs are measured for log records only."""

    def __init__(self, provider: MeterProvider) -> None:
        self._open: list[Callable[[], int]] = []
        self.unknown_outcomes = 0
        super().__init__(provider, TABLE, "wakelog.spans")

    def count_open(self, how_many: Callable[[], int]) -> None:
        """Include a processor's open spans from now on."""
        self._open.append(how_many)

    def _observe(
        self,
        instruments: Instruments,  # noqa: ARG002 - nothing is measured
        say: Callable[..., None],
        open_books: list[WriterBooks],  # noqa: ARG002 - only log records have such metrics
    ) -> None:
        say("wakelog.spans.open", sum(how_many() for how_many in self._open))
        say("wakelog.spans.unknown_outcome", self.unknown_outcomes)
        for source in self._sources:
            # Spans have no metrics for these samples, which would only pile up here.
            counters = source.counters
            for left in (counters.latencies, counters.pauses, counters.operations):
                left.clear()

    def _after_fork(self) -> None:
        super()._after_fork()
        self.unknown_outcomes = 0


span_metrics_on: Final = PerProvider(SpanMetrics).on
