"""Delivering from outside the program that records: whole journals, and dead letters again."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource

from wakelog.errors import CorruptLineError
from wakelog.journal import (
    DeadLetter,
    Folder,
    Journal,
    folders,
    is_owned,
    note_replayed,
)
from wakelog.otel._content import ContentPolicy
from wakelog.otel._delivery import Delivery
from wakelog.otel._exporters import endpoint_of
from wakelog.otel._judging import judge_for
from wakelog.otel._metrics import metrics_on
from wakelog.otel._processor import MAX_RECORD_BYTES, REPLAY_RATE, positive_setting
from wakelog.otel._quiet import quietly
from wakelog.otel._records import Rebuilder
from wakelog.otel._road import Road
from wakelog.otel._verdict import Outcome

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import LogRecordExporter

_LOOK_SECONDS = 1.0
_SCHEDULE_SECONDS = 0.2
_MAX_BATCH, _MAX_QUEUE = 512, 2048


class _EveryWriter:
    """All writers of a journal: those that record now, and those that are gone."""

    def __init__(self, journal: Journal, only: str | None) -> None:
        self._journal = journal
        self._only = only
        self._live: list[Path] = []
        self._look_at = 0.0

    def live(self) -> list[Path]:
        """Return the folders that are being written now."""
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            root = self._journal.root
            self._live = [path for path in folders(root) if self._is_asked(path) and is_owned(path)]
        return self._live

    def gone(self) -> Iterator[Folder]:
        """Adopt the folders of writers that are gone."""
        for folder in self._journal.orphans():
            if self._is_asked(folder.path):
                yield folder
            else:
                folder.release()

    def _is_asked(self, path: Path) -> bool:
        return self._only in (None, path.name)


class Shipment:
    """Delivers a journal from outside, in a thread, until it is stopped.

    A writer whose own program delivers is left to it. The records are marked and ordered as the
    program would have.

    Args:
        root: The journal's directory.
        exporter: The exporter to the next hop.
        writer: Only this writer.
        replay_rate: The most records a second of a backlog; else ``WAKELOG_REPLAY_RATE``, else no limit.
        meter_provider: Where metrics go; else the global one, if it has been set by then.

    Raises:
        JournalError: When the directory cannot be used.
        ConfigurationError: For a setting in the environment that cannot be used.
    """

    def __init__(
        self,
        root: Path,
        exporter: LogRecordExporter,
        *,
        writer: str | None = None,
        replay_rate: float | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        journal = Journal(root)
        metrics = metrics_on(meter_provider)
        source = metrics.source() if metrics is not None else None
        tally = source.tally if source is not None else None
        road = Road(
            exporter,
            _rebuilder(),
            schedule_delay=_SCHEDULE_SECONDS,
            max_batch=_MAX_BATCH,
            max_queue=_MAX_QUEUE,
            export_timeout=30.0,
            tally=tally,
        )
        self._delivery = Delivery(
            journal,
            road,
            endpoint=endpoint_of(exporter),
            schedule_delay=_SCHEDULE_SECONDS,
            replay_rate=positive_setting(replay_rate, REPLAY_RATE),
            sources=_EveryWriter(journal, writer),
            tally=tally,
        )
        if source is not None:
            source.delivery = weakref.ref(self._delivery)

    @property
    def delivered(self) -> int:
        """How many records the next hop has accepted."""
        return self._delivery.settled - self._delivery.dead_lettered

    @property
    def dead_lettered(self) -> int:
        """How many records were set aside."""
        return self._delivery.dead_lettered

    @property
    def idle(self) -> bool:
        """Whether there is nothing more to deliver for now."""
        return self._delivery.idle

    @property
    def problem(self) -> str:
        """Why the next hop does not accept anything now; empty while it does."""
        return self._delivery.reason

    def stop(self) -> None:
        """Stop after the attempt that is under way, and let go of every writer."""
        self._delivery.shutdown(0.0)


def _rebuilder() -> Rebuilder:
    longest = positive_setting(None, MAX_RECORD_BYTES)
    return Rebuilder(ContentPolicy.from_environment(), max_record_bytes=longest)


def replay(
    letters: Iterator[tuple[Path, DeadLetter]], exporter: LogRecordExporter
) -> Iterator[tuple[DeadLetter, str | None]]:
    """Deliver dead letters once more, one by one.

    One that is accepted is noted, durably, and counts as delivered from then on. It ends early when
    the next hop cannot be reached.

    Args:
        letters: The dead letters, each with its writer's folder.
        exporter: The exporter to the next hop.

    Yields:
        Each letter that was tried, with the reason why it was not accepted, None where it was.

    Raises:
        JournalError: When the file system refuses.
        ConfigurationError: For a setting in the environment that cannot be used.
    """
    judge = judge_for(exporter)
    rebuilder = _rebuilder()
    for folder, letter in letters:
        try:
            record = rebuilder.rebuild(letter.entry(), replayed=True)
        except CorruptLineError as error:
            yield letter, str(error)
            continue
        readable = ReadableLogRecord(
            record.log_record,
            record.resource or Resource({}),
            record.instrumentation_scope,
            record.limits,
        )
        with quietly():
            verdict = judge([readable])
        if verdict.outcome is Outcome.DELIVERED and not verdict.rejected:
            note_replayed(folder, letter.id)
            yield letter, None
            continue
        yield letter, verdict.reason or verdict.outcome.name.lower()
        if verdict.outcome is Outcome.PENDING:
            return
