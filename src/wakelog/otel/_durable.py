"""A journal and its delivery: what the processors of log records and of spans have in common."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.sdk.resources import Resource as SDKResource

from wakelog.buffer import Queue
from wakelog.delivery import Delivery, Destination, Sources, suppress_recording
from wakelog.errors import ConfigurationError
from wakelog.journal import (
    UNNAMED_SERVICE,
    AwaitingSigner,
    Durability,
    Entry,
    Journal,
    Observer,
    Service,
    Space,
    default_root,
    make_parent_of,
)
from wakelog.otel._exporters import endpoint_of
from wakelog.otel._leftovers import OwnJournal
from wakelog.otel._metric_table import REFUSED
from wakelog.otel._metrics import ObservedProcessor
from wakelog.otel._pipeline import LOCAL, NAMES, destination_of, named_pipeline
from wakelog.otel._records import resource_of
from wakelog.otel._result import UNWRITTEN, DeliveryResult, result_of
from wakelog.otel._settings import DIRECTORY_VARIABLE, Batching, durability_of
from wakelog.record import LOGS, Resource
from wakelog.runtime import Burst, ForkOrder, let_through, notice_fork, reset_in_child
from wakelog.storage import LONGEST_LINE
from wakelog.telemetry import reason_of

if TYPE_CHECKING:
    from wakelog.evidence import Sealer, Sealing
    from wakelog.otel._delivery_counters import DeliveryCounters

_log = logging.getLogger("wakelog")


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How a processor keeps its journal; see ``DurableLogRecordProcessor``."""

    directory: str | os.PathLike[str] | None
    durability: Durability | str
    segment_bytes: int
    segment_age: float | None
    rotate_at_midnight: bool
    space: Space
    max_line_bytes: int
    sealing: Sealing | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be used.

        Raises:
            ConfigurationError: When one is 0 or less, or lines could be longer than readers take; it
                says which.
        """
        for name in ("segment_bytes", "segment_age", "max_line_bytes"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                message = f"{name}={number!r} cannot be used: give a number above 0"
                raise ConfigurationError(message)
        if self.max_line_bytes > LONGEST_LINE:
            message = (
                f"max_line_bytes={self.max_line_bytes!r} cannot be used: readers take lines of at most "
                f"{LONGEST_LINE} bytes. Longer content is kept whole beside its line, see max_event_bytes"
            )
            raise ConfigurationError(message)


class Measuring(Protocol):
    """What reports the figures of processors: of log records, or of spans."""

    observer: Observer | None

    def source(self) -> ObservedProcessor:
        """Return where another processor may leave what it has to say."""
        ...

    def follow(
        self,
        source: ObservedProcessor,
        journal: Journal | None = None,
        queue: Queue[Any] | None = None,
    ) -> None:
        """Learn what a source speaks of, as far as it is there."""
        ...


class DurablePipeline:
    """Opens a journal when its service is known, delivers what is in it, and ends both.

    ``_opening`` guards which journal is open; nothing is recorded under it.

    Args:
        exporter: Where to deliver; None keeps everything local.
        settings: How the journal is kept.
        batches: How the SDK's batch processor works; None without an exporter.
        make_destination: Makes the destination; given the exporter, the batches and where attempts
            are counted.
        replay_rate: The most records a second of what was left behind; None for no limit.
        metrics: What its figures are reported by, if they are.
        pipeline: The name that the records wait under, as the program gives it.
        resource: The resource of the records to come, where that is known.
        signal: What the records are.
        what: What they are called in the log.
        sources: Makes the sources that delivery takes records from.
        on_segment: Called in the thread whose write began a segment.
    """

    # Long: each part of the pipeline is made once, in an order that matters.
    def __init__(
        self,
        exporter: Any,
        settings: JournalSettings,
        batches: Batching | None,
        make_destination: Callable[[Any, Batching, DeliveryCounters | None], Destination[Entry]],
        *,
        replay_rate: float | None,
        metrics: Measuring | None,
        pipeline: str | None,
        resource: SDKResource | None,
        signal: str = LOGS,
        what: str = "log records",
        sources: Callable[[Journal, Service | None], Sources] = OwnJournal,
        on_segment: Callable[[], None] | None = None,
    ) -> None:
        self._metrics = metrics
        self._source: ObservedProcessor | None = metrics.source() if metrics is not None else None
        self.refused: Counter[str] = Counter()
        """How many records of others were not accepted, by reason."""
        self._what = what
        # A cache of the last resource, which is the same object for every record of a provider.
        self._resource: tuple[SDKResource | None, Resource] = (None, Resource({}))
        self._burst = Burst()
        service = _known_service(resource)
        destination = destination_of(exporter)
        given = named_pipeline(pipeline)
        name = given or destination or LOCAL
        # Who has named nothing is a service without a name, as the SDK has it. Under a name that
        # others may have given to another destination, only a record tells.
        self._presumed = Service() if given is None else None
        self._make_sources = sources
        self._sealer = _sealer_of(settings.sealing, export=exporter is not None and signal == LOGS)
        # Who seals without a key has another process seal, and leaves deletions to it.
        awaits = settings.sealing is not None and self._sealer is None
        self._make_journal = partial(
            Journal,
            durability=durability_of(settings.durability),
            segment_bytes=settings.segment_bytes,
            segment_age=settings.segment_age,
            rotate_at_midnight=settings.rotate_at_midnight,
            space=settings.space,
            local=exporter is None,
            observer=metrics.observer if metrics is not None else None,
            destination=destination,
            signal=signal,
            on_segment=on_segment,
            listener=AwaitingSigner(always=True) if awaits else self._sealer,
        )
        counters = self._source.counters if self._source is not None else None
        self._destination: Destination[Entry] | None = None
        if exporter is not None and batches is not None:
            self._destination = make_destination(exporter, batches, counters)
            self._make_delivery = partial(
                Delivery,
                destination=self._destination,
                endpoint=endpoint_of(exporter),
                schedule_delay=batches.delay / 1000,
                replay_rate=replay_rate,
                observer=counters,
            )
        self._delivery: Delivery | None = None
        self._journal: Journal | None = None
        self._result: DeliveryResult | None = None
        self._opening = threading.RLock()
        reset_in_child(self._after_fork, ForkOrder.LOCKS)
        root = settings.directory or os.environ.get(DIRECTORY_VARIABLE) or None
        self.pipeline = NAMES.take(name, service, self, signal)
        """The name of the pipeline that its records are recorded for."""
        try:
            if root is not None or service is not None:
                self._open(root, service)
            else:
                make_parent_of(default_root(UNNAMED_SERVICE))
        except BaseException:
            NAMES.release(self)
            raise

    @property
    def journal(self) -> Journal:
        """The journal. Where only the first record will say which it is, that of no named service."""
        return self._journal or self._open(None, Service())

    @property
    def delivers(self) -> bool:
        """Whether there is somewhere to deliver to."""
        return self._destination is not None

    def _journal_of(self, resource: Resource) -> Journal:
        return self._journal or self._open(None, Service.of(resource))

    def _open(self, root: str | os.PathLike[str] | None, service: Service | None) -> Journal:
        """Open the journal, and begin to deliver what is in it."""
        with self._opening:
            if self._journal is not None:
                return self._journal
            journal = self._make_journal(
                root or default_root((service or Service()).name),
                pipeline=self.pipeline,
                service=service,
            )
            if self._metrics is not None and self._source is not None:
                self._metrics.follow(self._source, journal)
            if self._destination is not None:
                sources = self._make_sources(journal, self._presumed)
                self._delivery = self._make_delivery(journal, sources=sources)
                if self._source is not None:
                    self._source.delivery = weakref.ref(self._delivery)
            if self._sealer is not None:
                self._sealer.watch(journal)
            self._journal = journal
            return journal

    def _after_fork(self) -> None:
        self._result = None
        self._opening = threading.RLock()

    def result(self, *, complete: bool) -> DeliveryResult:
        """Return what has become of what was recorded here.

        Args:
            complete: What ``force_flush`` or ``close`` has just answered.
        """
        waiting = self._waiting
        if self._result is not None:
            late = DeliveryResult(complete, pending=waiting, reason=UNWRITTEN if waiting else "")
            return self._result + late
        writers = self._journal.open_writers if self._journal is not None else []
        return result_of(writers, self._delivery, complete=complete, waiting=waiting)

    @property
    def _waiting(self) -> int:
        """How many records are in memory."""
        return 0

    def _accepted(self, seq: int) -> None:
        delivery = self._delivery  # another thread may be shutting down
        if delivery is not None:
            delivery.accepted(seq)

    def _flush(self, timeout: float) -> bool:
        """Wait until the next hop has accepted everything that is in the journal."""
        journal, delivery = self._journal, self._delivery
        if delivery is None:
            return journal is None or not any(writer.seq for writer in journal.open_writers)
        return delivery.flush(max(0.0, timeout))

    def _close(self, timeout: float) -> bool:
        """Deliver what the next hop takes, and stop; say whether it has everything."""
        notice_fork()
        deadline = time.monotonic() + timeout
        destination, self._destination = self._destination, None
        delivery, self._delivery = self._delivery, None
        if self._sealer is not None:
            self._sealer.finish()
        with suppress_recording():  # exporters say something when they are shut down
            if delivery is not None:
                delivery.shutdown(max(0.0, deadline - time.monotonic()))
            elif destination is not None:
                destination.shutdown()
        NAMES.release(self)
        journal = self._journal
        if journal is None:
            self._result = DeliveryResult(complete=True)
            return True
        # Threads that go on emitting meanwhile have written what nobody has delivered.
        writers = journal.open_writers
        journal.close()
        delivered = all(
            writer.seq == 0
            or (delivery is not None and delivery.has_delivered(writer.folder.path, writer.seq))
            for writer in writers
        )
        self._result = result_of(writers, delivery, complete=delivered)
        return delivered

    def _cached_resource(self, resource: SDKResource | None) -> Resource:
        known, plain = self._resource
        if known is not resource or resource is None:
            plain = resource_of(resource)
            self._resource = (resource, plain)
        return plain

    def _refuse(self, error: Exception) -> None:
        let_through(error)
        self.refused[type(error).__name__] += 1
        if self._source is not None:
            self._source.refused[reason_of(error, REFUSED)] += 1
        if self._burst.is_due():
            with suppress_recording():
                _log.error(
                    "%d %s were not recorded so far, the last one because: %s",
                    self.refused.total(),
                    self._what,
                    error,
                )


def _sealer_of(sealing: Sealing | None, *, export: bool) -> Sealer | None:
    """Return what seals the journal, None where this process signs nothing."""
    signer = sealing.signer() if sealing is not None else None
    if sealing is None or signer is None:
        return None
    from wakelog.evidence import Sealer  # not before it is needed: few journals are sealed

    return Sealer(sealing, signer, export=export and sealing.export)


def _known_service(resource: SDKResource | None) -> Service | None:
    """Return the service that is known before the first record, None when that has to say it."""
    service = Service.of(resource_of(resource or SDKResource.create()))
    return service if resource is not None or service.name != UNNAMED_SERVICE else None


def positive_setting(
    argument: float | None, variable: str, name: str | None = None
) -> float | None:
    """Return an argument, else what its variable says, else None.

    Args:
        argument: The argument.
        variable: Its variable.
        name: The argument's name.

    Raises:
        ConfigurationError: When that is not a number above 0.
    """
    text: object = os.environ.get(variable) or None if argument is None else argument
    if text is None:
        return None
    try:
        value = float(str(text))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        said = variable if argument is None or name is None else name
        message = f"{said}={text!r} cannot be used: give a number above 0"
        raise ConfigurationError(message)
    return value
