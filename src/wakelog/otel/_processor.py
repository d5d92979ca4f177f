"""``DurableLogRecordProcessor``: the drop-in for ``BatchLogRecordProcessor``."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.resources import Resource as SDKResource

from wakelog import _arguments as a
from wakelog.delivery import is_suppressed, suppressing
from wakelog.errors import EventTooLargeError, JournalError, SinkError
from wakelog.events import semconv as s
from wakelog.journal import Durability, Receipt, Space
from wakelog.otel._content import ContentPolicy
from wakelog.otel._durable import DurablePipeline, positive_setting
from wakelog.otel._records import EventLogRecord, compiled_record, content_of
from wakelog.record import SEAL_BYTES
from wakelog.runtime import notice_fork, noticed
from wakelog.telemetry.instruments import collects

if TYPE_CHECKING:
    from wakelog.buffer import Buffer, Queue
    from wakelog.evidence import Sealing
    from wakelog.otel._buffer import Encoded, JournalBuffer
    from wakelog.otel._export_pipeline import Signal
    from wakelog.otel._metrics import ProcessorMetrics
    from wakelog.otel._redactor import Redactor
    from wakelog.redaction import RedactionConfig

MAX_RECORD_BYTES: Final = "WAKELOG_MAX_RECORD_BYTES"
_DEFAULT_SPACE = Space()
# A cache: access to an enumeration's member takes four times as long as to a module's name.
_FSYNC = Durability.FSYNC
# A named tuple's own constructor is a function in Python.
_receipt: Callable[[tuple[str, str, int, Durability]], Receipt] = partial(tuple.__new__, Receipt)


class DurableLogRecordProcessor(DurablePipeline["ProcessorMetrics"], LogRecordProcessor):
    """Writes each log record to a local journal before it returns, and delivers from there.

    It takes the arguments of ``opentelemetry.sdk._logs.export.BatchLogRecordProcessor`` in the same
    places, and obeys the ``OTEL_BLRP_*`` variables, so that replacing the class is the whole
    change. Exported records are those of that processor, with ``log.record.uid``,
    ``wakelog.writer.id`` and ``wakelog.seq`` added.

    For records of other loggers it never raises: a record that the journal did not accept is
    counted by reason in ``refused`` and logged once a minute. For records of Wakelog's own loggers
    it raises.

    Args:
        exporter: The exporter to the next hop; None keeps all records local.
        schedule_delay_millis: Milliseconds between two exports while few records are emitted.
        max_export_batch_size: The maximum number of records in one export.
        export_timeout_millis: Milliseconds, passed on to the batch processor.
        max_queue_size: The maximum number of records that delivery holds in memory. The journal is
            the queue, so no record is dropped beyond it.
        meter_provider: Where Wakelog's metrics are reported, see ``docs/metrics.md``; by default
            the global MeterProvider, if it has been set by then.
        directory: The journal's directory; else ``WAKELOG_DIR``, else
            ``$XDG_STATE_HOME/wakelog/<service.name>`` (``~/.local/state`` without the variable),
            with the service of the first record if it is not known before.
        durability: Which failures a record survives once ``on_emit`` has returned.
        span_events: Whether events also become span events, see ``EventToSpanEventBridge``.
        segment_bytes: The size in bytes at which a segment is ended and the next one begins.
        segment_age: Maximum age of a segment in seconds, checked at the next write.
        rotate_at_midnight: Whether the first record of a new day in the local time zone begins a
            segment.
        space: The quota of the directory, and how long records are kept.
        max_line_bytes: Maximum length of a line. Content that would exceed it is stored whole in a
            file beside the segment.
        max_event_bytes: The size of an event above which only a stub is recorded, and
            ``EventTooLargeError`` is raised or counted; else ``WAKELOG_MAX_EVENT_BYTES``, else 64
            MiB.
        buffer: Hold records in memory and write them in a separate thread. A record is then
            accepted once it is in the buffer, and lost if the process is killed before it is
            written. A record of Wakelog's own loggers with a ``durability`` of its own is accepted
            once it is in the journal.
        replay_rate: Maximum number of records per second from outages and ended processes; else
            ``WAKELOG_REPLAY_RATE``, else no limit.
        max_record_bytes: The size above which the exported copy has previews of a record's largest
            values, and ``wakelog.truncated_bytes``; else ``WAKELOG_MAX_RECORD_BYTES``, else no
            limit.
        pipeline: The name of the pipeline, the same after a restart; else ``WAKELOG_PIPELINE``,
            else the exporter's class, its endpoint and a digest of its headers. Only a processor of
            the same service and pipeline delivers another process's records. If several processors
            of one process have the same name, the second one has ``#2`` appended.
        resource: The resource of the records. With it, records of ended processes of the same
            service are delivered from the start, and not only from the first record on. By default
            the service is the one that the ``OTEL_*`` variables name, if they name one.
        redact: Whether secrets and personal data in records of other loggers are redacted before
            they are written: True, or what to look for, or a ``Redactor`` with rules for
            attributes; else as ``WAKELOG_REDACT_FOREIGN`` and ``WAKELOG_DROP_ATTRIBUTES`` say, else
            not.
        sealing: Signs the journal, so that a third party can verify it, see ``docs/evidence.md``.

    Raises:
        ConfigurationError: If an argument or variable is invalid, also one that the batch processor
            would refuse; the message names it.
        JournalError: If the directory cannot be used.
    """

    # Long: each argument has a line, is checked and passed on.
    def __init__(
        self,
        exporter: LogRecordExporter | None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        max_queue_size: int | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        directory: str | os.PathLike[str] | None = None,
        durability: Durability | str = Durability.OS_BUFFERED,
        span_events: bool = False,
        segment_bytes: int = 16 * 1024 * 1024,
        segment_age: float | None = None,
        rotate_at_midnight: bool = False,
        space: Space = _DEFAULT_SPACE,
        max_line_bytes: int = 1024 * 1024,
        max_event_bytes: int | None = None,
        buffer: Buffer | None = None,
        replay_rate: float | None = None,
        max_record_bytes: int | None = None,
        pipeline: str | None = None,
        resource: SDKResource | None = None,
        redact: bool | RedactionConfig | Redactor | None = None,
        sealing: Sealing | None = None,
    ) -> None:
        a.check(
            exporter=(exporter, a.With("export", "a LogRecordExporter"), None),
            span_events=(span_events, bool),
            buffer=(buffer, *a.BUFFER),
            max_record_bytes=(max_record_bytes, *a.COUNT),
        )
        longest = positive_setting(max_record_bytes, MAX_RECORD_BYTES, "max_record_bytes")
        policy = ContentPolicy.from_environment()
        self._buffer: JournalBuffer | None = None
        self.buffer: Queue[Encoded] | None = None
        """The queue in memory, if there is a buffer: its ``size``, ``capacity``, ``dropped``,
        ``refused``, ``waits``, ``wait_seconds`` and ``on_wait``."""
        super().__init__(
            exporter,
            partial(_exported, policy, longest),
            _metrics_on,
            schedule_delay_millis=schedule_delay_millis,
            max_export_batch_size=max_export_batch_size,
            export_timeout_millis=export_timeout_millis,
            max_queue_size=max_queue_size,
            meter_provider=meter_provider,
            directory=directory,
            durability=durability,
            segment_bytes=segment_bytes,
            segment_age=segment_age,
            rotate_at_midnight=rotate_at_midnight,
            space=space,
            max_line_bytes=max_line_bytes,
            max_event_bytes=max_event_bytes,
            replay_rate=replay_rate,
            pipeline=pipeline,
            resource=resource,
            redact=redact,
            sealing=sealing,
        )
        self._bridge, self._compiled = None, None
        if span_events:
            from wakelog.otel._bridge import ContentAwareBridge  # not loaded without it
            from wakelog.otel._event_storage import compiled

            self._bridge, self._compiled = ContentAwareBridge(policy, self._redactor), compiled
        self._shows_content = policy.spans
        self._longest = max(0, min(self._max_line_bytes - SEAL_BYTES, self._max_event_bytes))
        self._apart = s.CONTENT if self._erasable else frozenset[str]()
        # Writes ordinary records without a buffer.
        self._record = compiled_record if buffer is None else None
        if buffer is not None:
            from wakelog.otel._buffer import JournalBuffer

            self._buffer = JournalBuffer(buffer, self._journal_of, self._accepted, self._refuse)
            self.buffer = self._buffer.queue
            if self._metrics is not None and self._source is not None:
                self._metrics.watch(self._source, self.buffer)

    # Long: every record takes this path, and each call costs time.
    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Record one log record.

        Raises:
            SinkError: If the journal did not accept a record of Wakelog's own loggers.
        """
        if suppressing and threading.get_ident() in suppressing and is_suppressed():
            return
        record = log_record.log_record
        event = record if type(record) is EventLogRecord else None
        if self._bridge is not None and record.span_id:
            compiled, added = self._compiled, False
            if compiled is not None and event is not None:
                added = compiled.add(log_record, self._shows_content)
            if not added:
                self._bridge.on_emit(log_record)
        journal, written, waits = self._journal, None, True
        try:
            if self._record is not None and journal is not None and noticed[0]:
                level = journal.durability
                try:
                    written = self._record(
                        journal,
                        log_record,
                        self._resource,
                        self._longest,
                        self._apart,
                        self._redactor is None,
                    )
                except JournalError as error:
                    if not journal.makes_room(error):
                        raise
            if written is not None:
                record_id, writer, seq = written
            else:
                record_id, content = content_of(
                    log_record,
                    self._max_line_bytes,
                    self._max_event_bytes,
                    self._redactor,
                    self._erasable,
                )
                known, resource = self._resource
                if known is not log_record.resource:
                    resource = self._cached_resource(log_record.resource)
                buffer = self._buffer
                if buffer is not None and buffer.put(
                    buffer.item(record_id, content, resource, event)
                ):
                    return
                journal = journal or self._journal_of(resource)
                level = journal.durability
                if event is not None:
                    waits = not event.deferred
                    if event.durability is not None:
                        level = level.at_least(event.durability)
                writer, seq = journal.put(record_id, content, resource, level, waits)
        except Exception as error:
            if isinstance(error, EventTooLargeError):
                self._record_stub(log_record, error)
            if event is None:
                self._refuse(error)
                return
            if self._source is not None:
                self._source.refuse(error)
            if isinstance(error, SinkError):
                raise
            message = f"the event could not be written: {type(error).__name__}: {error}"
            raise SinkError(message) from error
        if event is not None:
            receipt = _receipt((record_id, writer.id, seq, level))
            if level is _FSYNC and not waits and journal is not None:
                event.settling = partial(journal.settle, receipt)
            event.receipt, event.answered = receipt, True
        delivery = self._delivery  # another thread may be shutting down
        if delivery is not None:
            delivery.accepted(seq)

    def _record_stub(self, log_record: ReadWriteLogRecord, error: EventTooLargeError) -> None:
        """Record a stub of a record that is too large, and store the receipt in the error."""
        if error.stub is None:
            return
        resource = self._cached_resource(log_record.resource)
        durability = getattr(log_record.log_record, "durability", None)
        try:
            journal = self._journal or self._journal_of(resource)
            error.receipt = journal.append(error.stub_id, error.stub, resource, durability)
        except SinkError as refusal:
            error.add_note(f"No stub was recorded: {refusal}")
            return
        self._accepted(error.receipt.seq)

    @property
    def _waiting(self) -> int:
        return self.buffer.size if self.buffer is not None else 0

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until the next hop has accepted everything that was recorded so far.

        Args:
            timeout_millis: The longest wait.

        Returns:
            Whether everything was accepted. Without an exporter: whether nothing was recorded.
        """
        notice_fork()
        timeout = a.wait_of(timeout_millis / 1000, "timeout_millis")
        deadline = time.monotonic() + timeout
        buffer = self._buffer
        if buffer is not None and not buffer.queue.settle(timeout):
            return False
        return self._flush(deadline - time.monotonic())

    def close(self, timeout: float) -> bool:
        """Do what ``shutdown`` does, and return the result.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether the next hop has accepted everything that this process has recorded.
        """
        notice_fork()
        deadline = time.monotonic() + timeout
        buffer, self._buffer = self._buffer, None
        written = buffer is None or buffer.queue.close(timeout)
        return super().close(max(0.0, deadline - time.monotonic())) and written


def _exported(policy: ContentPolicy, longest: float | None) -> Signal:
    """Return how log records are exported."""
    # Loaded only if there is an exporter.
    from wakelog.otel._export_pipeline import log_records
    from wakelog.otel._rebuilder import Rebuilder

    return log_records(Rebuilder(policy, max_record_bytes=longest))


def _metrics_on(provider: MeterProvider | None) -> ProcessorMetrics | None:
    """Return the metrics of log records on a MeterProvider, None if nothing collects them."""
    if not collects(provider):
        return None
    from wakelog.otel._metrics import metrics_on  # imported when needed

    return metrics_on(provider)
