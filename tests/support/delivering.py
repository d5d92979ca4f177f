"""Delivery without its thread, on a clock that the test turns, to a next hop that the test scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from wakelog.delivery import Delivery, ExportOutcome, Outcome
from wakelog.events import semconv as s
from wakelog.journal import Journal, Service
from wakelog.otel._content import ContentPolicy
from wakelog.otel._export_pipeline import ExportPipeline, log_records
from wakelog.otel._leftovers import OwnJournal
from wakelog.otel._rebuilder import Rebuilder
from wakelog.otel._settings import Batching
from wakelog.record import Resource, encode, uuid7

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from opentelemetry.sdk._logs import ReadableLogRecord

    Script = Callable[[list[Any]], ExportOutcome]

TAKEN = ExportOutcome(Outcome.DELIVERED)
DOWN = ExportOutcome(Outcome.RETRYABLE, "connection refused")
RESOURCE = Resource({"service.name": "tests"})


def refuses(*bodies: Any, outcome: Outcome = Outcome.REJECTED, reason: str = "400: no") -> Script:
    """A next hop that takes no batch with one of these bodies in it."""
    return lambda batch: ExportOutcome(outcome, reason) if set(bodies) & set(batch) else TAKEN


def rejects(*bodies: Any) -> Script:
    """A next hop that takes every batch and throws the records with these bodies away."""

    def script(batch: list[Any]) -> ExportOutcome:
        return ExportOutcome(
            Outcome.DELIVERED, "no such field", rejected=len(set(bodies) & set(batch))
        )

    return script


class Hop(LogRecordExporter):
    """Judges by a script, which is given the bodies of a batch, a stand-in's being its name."""

    def __init__(self, script: Script = lambda _: TAKEN) -> None:
        self.script = script
        self.records: list[ReadableLogRecord] = []
        self.batches: list[list[Any]] = []

    def __call__(self, batch: Sequence[ReadableLogRecord]) -> ExportOutcome:
        bodies = [body_of(record) for record in batch]
        self.batches.append(bodies)
        outcome = self.script(bodies)
        if outcome.kind is Outcome.DELIVERED and not outcome.rejected:
            self.records += batch
        return outcome

    @property
    def bodies(self) -> list[Any]:
        """What was taken, without stand-ins, in the order of arrival, second copies included."""
        return [r.log_record.body for r in self.records if not r.log_record.event_name]

    @property
    def stand_ins(self) -> list[dict[str, Any]]:
        """The attributes of the stand-ins that were taken."""
        return [
            dict(r.log_record.attributes or {})
            for r in self.records
            if r.log_record.event_name == s.DEAD_LETTER_EVENT
        ]

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        raise AssertionError("the judge is asked, not the exporter")

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def body_of(record: ReadableLogRecord) -> Any:
    return record.log_record.event_name or record.log_record.body


class Clock:
    """Monotonic seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A journal, a next hop and the delivery between them, in one thread."""

    def __init__(self, root: Path, hop: Hop, **options: Any) -> None:
        self.clock = Clock()
        self.hop = hop
        self.journal = Journal(
            root,
            segment_bytes=options.pop("segment_bytes", 1 << 20),
            service=Service.of(RESOURCE),
        )
        self.destination = ExportPipeline(
            hop,
            log_records(Rebuilder(ContentPolicy())),
            Batching(
                3_600_000, options.pop("max_batch", 512), 30_000, options.pop("max_queue", 2048)
            ),
            attempt=hop,
        )
        self.delivery = Delivery(
            self.journal,
            self.destination,
            endpoint="the hop",
            sources=OwnJournal(self.journal),
            schedule_delay=1,
            clock=self.clock,
            threaded=False,
            **options,
        )

    def record(self, *bodies: Any) -> None:
        for body in bodies:
            self.journal.append(uuid7(), encode({"body": body}, 1 << 20), RESOURCE)

    def step(self, times: int = 1) -> None:
        """Takes turns, and turns the clock on by what each asks for."""
        for _ in range(times):
            self.clock.now += self.delivery.step() + 0.001  # a turn takes time

    def drain(self, turns: int = 10_000) -> None:
        """Takes turns until nothing is left to deliver."""
        for _ in range(turns):
            self.clock.now += self.delivery.step() + 0.001  # a turn takes time
            if self.delivery.idle:
                return
        raise AssertionError(
            f"not idle after {turns} turns; the last batches: {self.hop.batches[-3:]}"
        )

    def close(self) -> None:
        self.delivery.shutdown(0)
        self.delivery.close()
        self.journal.close()
