"""Metrics of recording and delivery, on the program's MeterProvider."""

from __future__ import annotations

import abc
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import MeterProvider

from wakelog.events import semconv as s
from wakelog.journal import Journal, Observer
from wakelog.otel import _metric_table as t
from wakelog.otel._delivery_counters import DeliveryCounters
from wakelog.otel._process_books import ProcessBooks, WriterBooks
from wakelog.runtime import ForkOrder, reset_in_child
from wakelog.telemetry import ADOPTED, ORIGIN, OTHER, OWN, Metric, reason_of, samples
from wakelog.telemetry.instruments import Instruments, Observations, PerProvider

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from wakelog.buffer import Queue
    from wakelog.delivery import Delivery

# The members of `OverflowPolicy` that drop; the class is loaded with the first buffer.
_DROPPING = ("drop_newest", "drop_oldest")


class ObservedProcessor:
    """The figures of one processor.

    Args:
        number: The number of the processor in this process.
        books: The process's books.
    """

    def __init__(self, number: int, books: ProcessBooks) -> None:
        self.number = number
        self.counters = DeliveryCounters(books)
        self.refused: Counter[str] = Counter()
        """Records that were not accepted, by reason."""
        self.journal: Journal | None = None
        """The journal that it writes; None if it only delivers the records of others."""
        self.queue: Queue[Any] | None = None
        self.delivery: weakref.ref[Delivery] | None = None

    def refuse(self, error: BaseException) -> None:
        """Count a record that was not accepted."""
        self.refused[reason_of(error, t.REFUSED)] += 1

    def reset(self) -> None:
        """Set everything to zero, in a forked child."""
        self.counters.reset()
        self.refused.clear()

    def component(self, kind: str) -> dict[str, AttributeValue]:
        """Return the attributes that name the processor or its exporter."""
        return {s.OTEL_COMPONENT_TYPE: kind, s.OTEL_COMPONENT_NAME: f"{kind}/{self.number}"}


class SignalMetrics(abc.ABC):
    """The instruments of a signal on one MeterProvider, shared by every processor that uses it.

    Args:
        provider: The MeterProvider.
        table: The signal's metrics.
        prefix: The prefix of the names of the books' metrics.
    """

    observer: Observer | None = None
    """Measures the operations of journals, if the signal has metrics for them."""

    def __init__(self, provider: MeterProvider, table: Sequence[Metric], prefix: str) -> None:
        self._prefix = prefix
        self._books = ProcessBooks()
        self._sources: list[ObservedProcessor] = []
        self._instruments = Instruments(provider, table, self._collect)
        reset_in_child(self._after_fork, ForkOrder.METRICS)

    def source(self) -> ObservedProcessor:
        """Return a new source of figures, for another processor."""
        source = ObservedProcessor(len(self._sources), self._books)
        self._sources.append(source)
        return source

    def follow(self, source: ObservedProcessor, journal: Journal) -> None:
        """Set the journal into which a source records."""
        source.journal = journal
        self._books.follow(journal)

    def _collect(self, instruments: Instruments) -> Observations:
        """Observe everything once for each collection."""
        found = Observations()
        say, prefix = found.say, self._prefix
        own, adopted, open_books = self._books.balance()
        say(f"{prefix}.accepted", own.accepted, **{ORIGIN: OWN})
        say(f"{prefix}.accepted", adopted.accepted, **{ORIGIN: ADOPTED})
        for name in ("delivered", "pending", "dead_lettered", "corrupt"):
            say(f"{prefix}.{name}", getattr(own, name) + getattr(adopted, name))
        evicted = own.evicted + adopted.evicted
        rest = sum(n for name, n in evicted.items() if name not in t.EVICTED)
        for reason in t.EVICTED:
            count = evicted[reason] + (rest if reason == "quota" else 0)
            say(f"{prefix}.evicted", count, reason=reason)
        refused = sum((source.refused.copy() for source in list(self._sources)), Counter[str]())
        for reason in (*t.REFUSED, OTHER):
            say(f"{prefix}.refused", refused[reason], reason=reason)
        self._observe(instruments, say, open_books)
        return found

    @abc.abstractmethod
    def _observe(
        self, instruments: Instruments, say: Callable[..., None], open_books: list[WriterBooks]
    ) -> None:
        """Observe what only this signal has."""

    def _after_fork(self) -> None:
        self._books.reset()
        for source in self._sources:
            source.reset()


class ProcessorMetrics(SignalMetrics):
    """The instruments of log records, journals and delivery."""

    def __init__(self, provider: MeterProvider) -> None:
        self._writes, self._syncs, self._commits, self._waits = (samples() for _ in range(4))
        self.observer = Observer(self._writes.append, self._syncs.append, self._commits.append)
        super().__init__(provider, t.TABLE, "wakelog.events")

    def watch(self, source: ObservedProcessor, queue: Queue[Any]) -> None:
        """Set the queue in which a processor's records wait."""
        source.queue = queue
        queue.on_wait = self._waits.append

    def _observe(
        self, instruments: Instruments, say: Callable[..., None], open_books: list[WriterBooks]
    ) -> None:
        self._record_samples(instruments)
        self._observe_pending(say, open_books)
        sources = list(self._sources)
        self._observe_journals(sources, say)
        self._observe_deliveries(sources, say)
        for source in sources:
            self._observe_components(source, say)

    def _observe_pending(self, say: Callable[..., None], open_books: list[WriterBooks]) -> None:
        now = time.time_ns()
        delivering = [source for source in self._sources if source.delivery is not None]
        if delivering:
            roots = {source.journal.root for source in self._sources if source.journal is not None}
            local = roots - {one.journal.root for one in delivering if one.journal is not None}
            waiting = [books for books in open_books if books.path.parent not in local]
            oldest = [at for books in waiting if (at := books.oldest_pending()) is not None]
            say("wakelog.delivery.pending.age", max(0, now - min(oldest, default=now)) / 1e9)
        say("wakelog.delivery.pending.bytes", sum(one.pending_bytes() for one in open_books))

    @staticmethod
    def _observe_journals(sources: list[ObservedProcessor], say: Callable[..., None]) -> None:
        journals = [source.journal for source in sources if source.journal is not None]
        if roots := {journal.root: journal for journal in journals}:
            say("wakelog.journal.disk.usage", sum(one.disk_usage for one in roots.values()))
            say("wakelog.journal.disk.limit", sum(one.disk_limit for one in roots.values()))
        recovered = sum((source.counters.found.copy() for source in sources), Counter[str]())
        for kind in t.RECOVERED:
            say("wakelog.journal.recovered", recovered[kind], kind=kind)
        dropped: Counter[str] = Counter()
        for source in sources:
            if source.queue is not None:
                dropped[source.queue.settings.overflow] += source.queue.dropped
        for policy in _DROPPING:
            say("wakelog.buffer.dropped", dropped[policy], policy=policy)

    @staticmethod
    def _observe_deliveries(sources: list[ObservedProcessor], say: Callable[..., None]) -> None:
        say("wakelog.delivery.replayed", sum(source.counters.replayed for source in sources))
        refs = (source.delivery for source in sources)
        deliveries = [found for ref in refs if ref is not None and (found := ref()) is not None]
        say("wakelog.delivery.circuit.state", max((d.circuit_state for d in deliveries), default=0))

    @staticmethod
    def _observe_components(source: ObservedProcessor, say: Callable[..., None]) -> None:
        journal, queue = source.journal, source.queue
        processor = source.component("wakelog_log_processor")
        if queue is not None:
            say(s.OTEL_PROCESSOR_QUEUE_SIZE, queue.size, **processor)
            say(s.OTEL_PROCESSOR_QUEUE_CAPACITY, queue.capacity, **processor)
        if journal is not None:
            written = sum(writer.seq for writer in journal.writers)
            say(s.OTEL_PROCESSOR_PROCESSED, written, **processor)
            for reason in (*t.REFUSED, OTHER):
                count, wrong = source.refused[reason], reason
                if reason == "buffer_full":
                    count, wrong = count + (queue.dropped if queue is not None else 0), "queue_full"
                say(s.OTEL_PROCESSOR_PROCESSED, count, **processor, **{s.ERROR_TYPE: wrong})
        if source.delivery is not None:
            exporter = source.component("wakelog_log_exporter")
            say(s.OTEL_EXPORTER_INFLIGHT, source.counters.inflight, **exporter)
            for reason, count in ({"": 0} | source.counters.exported).items():
                failed = {s.ERROR_TYPE: reason} if reason else {}
                say(s.OTEL_EXPORTER_EXPORTED, count, **exporter, **failed)

    def _record_samples(self, instruments: Instruments) -> None:
        """Record the samples since the last collection."""
        for name, left in (
            ("wakelog.journal.write.duration", self._writes),
            ("wakelog.journal.fsync.duration", self._syncs),
            ("wakelog.journal.commit.events", self._commits),
            ("wakelog.buffer.wait.duration", self._waits),
        ):
            instruments.drain(name, left)
        for source in list(self._sources):
            counters = source.counters
            instruments.drain("wakelog.delivery.latency", counters.latencies)
            instruments.drain("wakelog.delivery.retry.delay", counters.pauses)
            exporter = source.component("wakelog_log_exporter")
            instruments.drain_outcomes(s.OTEL_EXPORTER_DURATION, counters.operations, **exporter)

    def _after_fork(self) -> None:
        super()._after_fork()
        for left in (self._writes, self._syncs, self._commits, self._waits):
            left.clear()


metrics_on: Final = PerProvider(ProcessorMetrics).on
