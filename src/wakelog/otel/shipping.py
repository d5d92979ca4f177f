"""Delivery from outside the recording program: of whole journals, and of dead letters again."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from wakelog.delivery import Delivery, Outcome, suppress_recording
from wakelog.errors import CorruptLineError
from wakelog.journal import (
    DeadLetter,
    Folder,
    Journal,
    SegmentListener,
    Service,
    folders,
    is_owned,
    note_replayed,
    owner_of,
    signal_of,
)
from wakelog.otel._content import ContentPolicy
from wakelog.otel._durable import REPLAY_RATE, positive_setting
from wakelog.otel._export_attempt import attempt_through
from wakelog.otel._export_pipeline import ExportPipeline, log_records
from wakelog.otel._exporters import endpoint_of
from wakelog.otel._metrics import metrics_on
from wakelog.otel._processor import MAX_RECORD_BYTES
from wakelog.otel._rebuilder import Rebuilder
from wakelog.otel._redactor import redactor_of
from wakelog.otel._response_capture import ExportAttempt
from wakelog.otel._settings import Batching, for_spans
from wakelog.otel._span_records import SpanRebuilder, spans
from wakelog.otel._unfinished import MissingEnds, is_unfinished
from wakelog.record import LOGS, SPANS

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.trace.export import SpanExporter

_LOOK_SECONDS = 1.0
_SCHEDULE_SECONDS = 0.2
# Twice the SDK's defaults: a journal's backlog fills larger requests, which cost less for each record.
_BATCHES = Batching(_SCHEDULE_SECONDS * 1000, batch=1024, timeout=30_000, queue=4096)


class _Writers:
    """The requested writers of a journal: those that are recording, and those that have ended."""

    def __init__(self, journal: Journal, wanted: Callable[[Path], bool]) -> None:
        self._journal = journal
        self._wanted = wanted
        self._live: list[Path] = []
        self._check_at = 0.0

    def live(self) -> list[Path]:
        """Return the folders of the writers that are recording."""
        if (now := time.monotonic()) >= self._check_at:
            self._check_at = now + _LOOK_SECONDS
            root = self._journal.root
            self._live = [
                path for path in folders(root) if self._wanted(path) and is_owned(path) is not False
            ]
        return self._live

    def gone(self) -> Iterator[Folder]:
        """Adopt the folders of writers that have ended."""
        return self._journal.orphans(self._wanted)

    def close(self) -> None:
        """Do nothing: nothing is recorded here."""


class _SpanWriters(_Writers):
    """The requested writers of spans; spans of ended processes get their missing ends."""

    def __init__(self, journal: Journal, wanted: Callable[[Path], bool]) -> None:
        super().__init__(journal, wanted)
        # One journal for each service and pipeline, for the missing ends.
        self._journals: list[Journal] = []
        self._endings: dict[tuple[Service, str], MissingEnds] = {}
        self._make_ending = partial(
            MissingEnds,
            outcome=for_spans()["unknown_outcome"],
            policy=ContentPolicy.from_environment(),
            redactor=redactor_of(None),
            max_line_bytes=1024 * 1024,
        )

    def live(self) -> list[Path]:
        """Return the folders of the writers that are recording, including those of missing ends."""
        ends = [one.folder.path for journal in self._journals for one in journal.open_writers]
        return list(dict.fromkeys([*super().live(), *ends]))

    def gone(self) -> Iterator[Folder]:
        """Adopt the folders of writers that have ended."""
        for folder in self._journal.orphans(self._wanted, is_unfinished):
            owner = owner_of(folder.path)
            if owner is None:
                yield folder
                continue
            ending = self._endings.get(owner.whose)
            if ending is None:
                journal = Journal(
                    self._journal.root,
                    pipeline=owner.pipeline,
                    signal=SPANS,
                    service=owner.service,
                )
                self._journals.append(journal)
                ending = self._endings[owner.whose] = self._make_ending(journal)
            yield from ending.after(iter((folder,)))

    def close(self) -> None:
        """Close the journals of the missing ends."""
        for journal in self._journals:
            journal.close()


class Shipment:
    """Delivers a journal from outside, in a thread, until it is stopped.

    Writers whose own program delivers are left to it. Records are marked and ordered as in delivery
    by the program.

    Args:
        root: The journal's directory.
        exporter: The exporter to the next hop.
        wanted: Returns whether to deliver the records in a writer's folder; all by default.
        replay_rate: Maximum number of backlog records per second; else ``WAKELOG_REPLAY_RATE``,
            else no limit.
        meter_provider: Where metrics are reported; by default the global MeterProvider, if it has
            been set by then.
        signal: The signal to deliver: log records or spans, by an exporter of that signal.
        listener: Called before segments are deleted.

    Raises:
        JournalError: If the directory cannot be used.
        ConfigurationError: If a setting in the environment is invalid.
    """

    def __init__(
        self,
        root: Path,
        exporter: LogRecordExporter | SpanExporter,
        *,
        wanted: Callable[[Path], bool] = lambda _: True,
        replay_rate: float | None = None,
        meter_provider: MeterProvider | None = None,
        signal: str = LOGS,
        listener: SegmentListener | None = None,
    ) -> None:
        journal = Journal(root, listener=listener)

        def is_wanted(folder: Path) -> bool:
            return signal_of(folder) == signal and wanted(folder)

        of_spans = signal == SPANS
        self._writers = (_SpanWriters if of_spans else _Writers)(journal, is_wanted)
        metrics = metrics_on(meter_provider)
        source = metrics.source() if metrics is not None else None
        counters = source.counters if source is not None else None
        destination = ExportPipeline(
            exporter,
            spans(SpanRebuilder()) if of_spans else log_records(_rebuilder()),
            _BATCHES,
            counters=counters,
        )
        self._delivery = Delivery(
            journal,
            destination,
            endpoint=endpoint_of(exporter),
            schedule_delay=_SCHEDULE_SECONDS,
            replay_rate=positive_setting(replay_rate, REPLAY_RATE),
            sources=self._writers,
            observer=counters,
        )
        if source is not None:
            source.delivery = weakref.ref(self._delivery)

    @property
    def delivered(self) -> int:
        """The number of records that the next hop has accepted."""
        return self._delivery.acknowledged - self._delivery.dead_lettered

    @property
    def dead_lettered(self) -> int:
        """The number of records that became dead letters."""
        return self._delivery.dead_lettered

    @property
    def idle(self) -> bool:
        """Whether nothing is left to deliver for now."""
        return self._delivery.idle

    @property
    def problem(self) -> str:
        """Why the next hop does not accept records now; empty while it does."""
        return self._delivery.reason

    def stop(self) -> None:
        """Stop after the current attempt, and release every writer."""
        self._delivery.shutdown(0.0)
        self._writers.close()


def _rebuilder() -> Rebuilder:
    longest = positive_setting(None, MAX_RECORD_BYTES)
    return Rebuilder(ContentPolicy.from_environment(), max_record_bytes=longest)


def replay(
    letters: Iterable[tuple[Path, DeadLetter]],
    exporter_of: Callable[[str], LogRecordExporter | SpanExporter],
) -> Iterator[tuple[DeadLetter, str | None]]:
    """Deliver dead letters again, one by one.

    An accepted one is durably noted, and counts as delivered from then on. Iteration ends early if
    the next hop cannot be reached.

    Args:
        letters: The dead letters, each with its writer's folder.
        exporter_of: Makes the exporter to the next hop for a signal, which is shut down at the end.

    Yields:
        Each letter that was tried, with the reason why it was not accepted, None if it was
        accepted.

    Raises:
        JournalError: If the file system refuses a write.
        ConfigurationError: If a setting in the environment is invalid.
    """
    attempts: dict[str, ExportAttempt] = {}
    rebuilder, span_rebuilder = _rebuilder(), SpanRebuilder()
    with ExitStack() as ending:
        for folder, letter in letters:
            signal = signal_of(folder)
            try:
                made = (
                    span_rebuilder.rebuild(letter.entry())
                    if signal == SPANS
                    else _readable(rebuilder, letter)
                )
            except (CorruptLineError, ValueError) as error:
                yield letter, str(error)
                continue
            attempt = attempts.get(signal)
            if attempt is None:
                exporter = exporter_of(signal)
                ending.callback(exporter.shutdown)
                attempt = attempts[signal] = attempt_through(exporter)
            with suppress_recording():
                outcome = attempt([made])
            if outcome.is_taken:
                note_replayed(folder, letter.id)
                yield letter, None
                continue
            yield letter, outcome.reason or outcome.kind.value or "rejected"
            if outcome.kind is Outcome.RETRYABLE:
                return


def _readable(rebuilder: Rebuilder, letter: DeadLetter) -> ReadableLogRecord:
    record = rebuilder.rebuild(letter.entry(), replayed=True)
    return ReadableLogRecord(
        record.log_record,
        record.resource or Resource({}),
        record.instrumentation_scope,
        record.limits,
    )
