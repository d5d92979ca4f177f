"""A journal and its delivery: the common part of the processors of log records and of spans."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource as SDKResource

from wakelog import _arguments as a
from wakelog._native import VARIABLE as NATIVE
from wakelog.delivery import suppress_recording
from wakelog.errors import ConfigurationError
from wakelog.journal import (
    UNNAMED_SERVICE,
    AwaitingSigner,
    Durability,
    Entry,
    Journal,
    Service,
    Space,
    default_root,
    make_parent_of,
)
from wakelog.otel._fields import resource_of
from wakelog.otel._pipeline import LOCAL, NAMES, destination_of, named_pipeline
from wakelog.otel._result import UNWRITTEN, DeliveryResult, result_of
from wakelog.otel._settings import (
    DIRECTORY_VARIABLE,
    FOREIGN_VARIABLES,
    ExitTimeouts,
    batching,
    durability_of,
    flag,
    say_misspelt,
)
from wakelog.record import LOGS, SPANS, Resource
from wakelog.runtime import Burst, ForkOrder, let_through, notice_fork, reset_in_child
from wakelog.storage import LONGEST_LINE

if TYPE_CHECKING:
    from wakelog.delivery import Delivery, Destination, Sources
    from wakelog.evidence import Sealer, Sealing
    from wakelog.otel._export_pipeline import Signal
    from wakelog.otel._metrics import SignalMetrics
    from wakelog.otel._redactor import Redactor
    from wakelog.redaction import RedactionConfig

REPLAY_RATE: Final = "WAKELOG_REPLAY_RATE"
Metrics = TypeVar("Metrics", bound="SignalMetrics")
_log = logging.getLogger("wakelog")


class DurablePipeline(Generic[Metrics]):
    """Opens a journal when its service is known, delivers its records, and closes both.

    ``_opening`` guards which journal is open; nothing is recorded under it.

    Args:
        exporter: The exporter to the next hop; None keeps all records local.
        exported: How recorded entries are converted for the exporter.
        metrics_on: Returns the metrics to report on a MeterProvider, None for no metrics.
        sources: Creates the sources from which delivery takes records.
        on_segment: Called in the thread whose write began a segment.
        schedule_delay_millis: This and the arguments below are those of
            ``DurableLogRecordProcessor``.
        max_export_batch_size: In records.
        export_timeout_millis: In milliseconds.
        max_queue_size: In records.
        meter_provider: Where metrics are reported.
        directory: The journal's directory.
        durability: Which failures a record survives once the call has returned.
        segment_bytes: In bytes.
        segment_age: In seconds.
        rotate_at_midnight: In the local time zone.
        space: The quota and its policy.
        max_line_bytes: In bytes.
        max_event_bytes: In bytes.
        replay_rate: In records per second.
        pipeline: The name of the pipeline.
        resource: The resource of the records, if it is known beforehand.
        redact: Rules for redacting the records of other libraries.
        sealing: How the journal is signed.

    Raises:
        ConfigurationError: If an argument or variable is invalid; the message names it.
        JournalError: If the directory cannot be used.
    """

    signal = LOGS
    """The kind of records: log records or spans."""
    _what = "log records"

    # Long: each argument has a line, and the parts of the pipeline are created in a fixed order.
    def __init__(
        self,
        exporter: Any,
        exported: Callable[[], Signal],
        metrics_on: Callable[[MeterProvider | None], Metrics | None],
        sources: Callable[[Journal, Service | None], Sources] | None = None,
        on_segment: Callable[[], None] | None = None,
        *,
        schedule_delay_millis: float | None,
        max_export_batch_size: int | None,
        export_timeout_millis: float | None,
        max_queue_size: int | None,
        meter_provider: MeterProvider | None,
        directory: str | os.PathLike[str] | None,
        durability: Durability | str,
        segment_bytes: int,
        segment_age: float | None,
        rotate_at_midnight: bool,
        space: Space,
        max_line_bytes: int,
        max_event_bytes: int | None,
        replay_rate: float | None,
        pipeline: str | None,
        resource: SDKResource | None,
        redact: bool | RedactionConfig | Redactor | None,
        sealing: Sealing | None,
    ) -> None:
        flag(None, NATIVE, default=True)  # at import, an invalid value counts as true
        a.check(
            schedule_delay_millis=(schedule_delay_millis, *a.NUMBER),
            max_export_batch_size=(max_export_batch_size, *a.COUNT),
            export_timeout_millis=(export_timeout_millis, *a.NUMBER),
            max_queue_size=(max_queue_size, *a.COUNT),
            meter_provider=(meter_provider, a.With("get_meter", "a MeterProvider"), None),
            directory=(directory, *a.PATH, None),
            durability=(durability, str),
            segment_bytes=(segment_bytes, int),
            segment_age=(segment_age, *a.NUMBER),
            rotate_at_midnight=(rotate_at_midnight, bool),
            space=(space, Space),
            max_line_bytes=(max_line_bytes, int),
            max_event_bytes=(max_event_bytes, *a.COUNT),
            replay_rate=(replay_rate, *a.NUMBER),
            pipeline=(pipeline, *a.TEXT),
            resource=(resource, SDKResource, None),
            sealing=(sealing, *a.SEALING),
        )
        say_misspelt()
        _check_sizes(
            segment_bytes=segment_bytes, segment_age=segment_age, max_line_bytes=max_line_bytes
        )
        rate = positive_setting(replay_rate, REPLAY_RATE, "replay_rate")
        batches = None
        if exporter is not None:
            batches = batching(
                schedule_delay_millis,
                max_export_batch_size,
                export_timeout_millis,
                max_queue_size,
                spans=self.signal == SPANS,
            )
        self._redactor = _redactor_of(redact)
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = a.max_event_bytes_of(max_event_bytes)
        self._erasable = sealing is not None and sealing.erasable
        self._metrics = metrics = metrics_on(meter_provider)
        self._source = metrics.source() if metrics is not None else None
        self.refused: Counter[str] = Counter()
        """Numbers of records of other libraries that were not accepted, by reason."""
        # A cache of the last resource, which is the same object for every record of a provider.
        self._resource: tuple[SDKResource | None, Resource] = (None, Resource({}))
        self._burst = Burst()
        service = _known_service(resource)
        destination = destination_of(exporter)
        given = named_pipeline(pipeline)
        name = given or destination or LOCAL
        # If the program names no service, the service has no name, as in the SDK. Under a pipeline
        # name that may also be in use for another destination, only a record tells the service.
        self._presumed = Service() if given is None else None
        self._sealer = _sealer_of(sealing, export=exporter is not None and self.signal == LOGS)
        # A process that seals without a key lets another process sign, and leaves deletions to it.
        awaits = sealing is not None and self._sealer is None
        self._make_journal = partial(
            Journal,
            durability=durability_of(durability),
            segment_bytes=segment_bytes,
            segment_age=segment_age,
            rotate_at_midnight=rotate_at_midnight,
            space=space,
            local=exporter is None,
            observer=metrics.observer if metrics is not None else None,
            destination=destination,
            signal=self.signal,
            on_segment=on_segment,
            listener=AwaitingSigner(always=True) if awaits else self._sealer,
        )
        counters = self._source.counters if self._source is not None else None
        self._destination: Destination[Entry] | None = None
        if batches is not None:
            # Loaded only if there is an exporter, and now: an import during delivery may coincide
            # with a fork.
            from wakelog.delivery import Delivery
            from wakelog.otel._export_pipeline import ExportPipeline
            from wakelog.otel._exporters import endpoint_of
            from wakelog.otel._leftovers import OwnJournal

            self._destination = ExportPipeline(exporter, exported(), batches, counters=counters)
            self._make_sources = sources or OwnJournal
            self._make_delivery = partial(
                Delivery,
                destination=self._destination,
                endpoint=endpoint_of(exporter),
                schedule_delay=batches.delay / 1000,
                replay_rate=rate,
                answer_timeout=ExitTimeouts.from_environment().answer,
                observer=counters,
            )
        self._delivery: Delivery | None = None
        self._journal: Journal | None = None
        self._result: DeliveryResult | None = None
        self._opening = threading.RLock()
        reset_in_child(self._after_fork, ForkOrder.LOCKS)
        root = directory or os.environ.get(DIRECTORY_VARIABLE) or None
        self.pipeline = NAMES.take(name, service, self, self.signal)
        """The name of the pipeline for which records are recorded."""
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
        """The journal; that of the unnamed service until a record names the service."""
        return self._journal or self._open(None, Service())

    @property
    def delivers(self) -> bool:
        """Whether there is a next hop to deliver to."""
        return self._destination is not None

    def _journal_of(self, resource: Resource) -> Journal:
        return self._journal or self._open(None, Service.of(resource))

    def _open(self, root: str | os.PathLike[str] | None, service: Service | None) -> Journal:
        """Open the journal, and start delivering its records."""
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
        """Return the result for everything that was recorded here.

        Args:
            complete: The return value of the latest ``force_flush`` or ``close``.
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
        """Wait until the next hop has accepted everything in the journal."""
        journal, delivery = self._journal, self._delivery
        if delivery is None:
            return journal is None or not any(writer.seq for writer in journal.open_writers)
        return delivery.flush(max(0.0, timeout))

    def shutdown(self, timeout_millis: int = 5000) -> None:
        """Deliver what the next hop accepts, and stop. Pending records stay in the journal.

        For at most a second, records of processes that have ended are delivered too. Records that
        are emitted later are still written to the journal, and delivered by the next process that
        uses the directory.

        Args:
            timeout_millis: The longest wait. If the next hop is failing, there is no wait.
        """
        self.close(a.wait_of(timeout_millis / 1000, "timeout_millis"))

    def close(self, timeout: float) -> bool:
        """Do what ``shutdown`` does, and return the result.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether the next hop has accepted everything that this process has recorded.
        """
        notice_fork()
        deadline = time.monotonic() + timeout
        destination, self._destination = self._destination, None
        delivery, self._delivery = self._delivery, None
        if self._sealer is not None:
            self._sealer.finish()
        with suppress_recording():  # exporters log when they are shut down
            if delivery is not None:
                delivery.shutdown(max(0.0, deadline - time.monotonic()))
            elif destination is not None:
                destination.shutdown()
        NAMES.release(self)
        journal = self._journal
        if journal is None:
            self._result = DeliveryResult(complete=True)
            return True
        # Threads that still emit meanwhile have written records that nobody has delivered.
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
            self._source.refuse(error)
        if self._burst.is_due():
            with suppress_recording():
                _log.error(
                    "%d %s were not recorded so far, the last one because: %s",
                    self.refused.total(),
                    self._what,
                    error,
                )


def _check_sizes(*, max_line_bytes: int, **sizes: float | None) -> None:
    """Refuse numbers that are not above 0, and a line limit above the longest readable line."""
    for name, number in (*sizes.items(), ("max_line_bytes", max_line_bytes)):
        if number is not None and not number > 0:
            message = f"{name}={number!r} cannot be used: give a number above 0"
            raise ConfigurationError(message)
    if max_line_bytes > LONGEST_LINE:
        message = (
            f"max_line_bytes={max_line_bytes!r} cannot be used: readers take lines of at most "
            f"{LONGEST_LINE} bytes. Longer content is kept whole beside its line, see max_event_bytes"
        )
        raise ConfigurationError(message)


def _redactor_of(given: bool | RedactionConfig | Redactor | None) -> Redactor | None:  # noqa: FBT001 - it is the value
    """Return the redactor for records of other loggers, None if they are not redacted."""
    if given is None and not any(map(os.environ.get, FOREIGN_VARIABLES)):
        return None
    from wakelog.otel._redactor import redactor_of  # imported when needed: few programs have one

    return redactor_of(given)


def _sealer_of(sealing: Sealing | None, *, export: bool) -> Sealer | None:
    """Return the sealer of the journal, None if this process signs nothing."""
    signer = sealing.signer() if sealing is not None else None
    if sealing is None or signer is None:
        return None
    from wakelog.evidence import Sealer  # imported late: few journals are sealed

    return Sealer(sealing, signer, export=export and sealing.export)


def _known_service(resource: SDKResource | None) -> Service | None:
    """Return the service if it is known before the first record, else None."""
    service = Service.of(resource_of(resource or SDKResource.create()))
    return service if resource is not None or service.name != UNNAMED_SERVICE else None


def positive_setting(
    argument: float | None, variable: str, name: str | None = None
) -> float | None:
    """Return an argument, else the value of its variable, else None.

    Args:
        argument: The argument.
        variable: The name of its environment variable.
        name: The argument's name.

    Raises:
        ConfigurationError: If the value is not a number above 0.
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
