"""``DurableLogRecordProcessor``: the drop-in for ``BatchLogRecordProcessor``."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections import Counter
from functools import partial
from pathlib import Path

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_BLRP_EXPORT_TIMEOUT,
    OTEL_BLRP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BLRP_MAX_QUEUE_SIZE,
    OTEL_BLRP_SCHEDULE_DELAY,
)
from opentelemetry.sdk.resources import Resource as SDKResource

from wakelog.errors import ConfigurationError, SinkError
from wakelog.events import semconv as s
from wakelog.journal import Durability, Journal, Space, default_root
from wakelog.otel._buffer import Encoded, JournalBuffer
from wakelog.otel._content import ContentAwareBridge, ContentPolicy
from wakelog.otel._delivery import Delivery
from wakelog.otel._exporters import endpoint_of
from wakelog.otel._metrics import metrics_on
from wakelog.otel._quiet import is_quiet, quietly
from wakelog.otel._records import EventLogRecord, Rebuilder, content_of, resource_of
from wakelog.otel._road import Road
from wakelog.record import Resource
from wakelog.sinks import Buffer
from wakelog.sinks._queue import Queue

_log = logging.getLogger("wakelog")

DIRECTORY_VARIABLE = "WAKELOG_DIR"
REPLAY_RATE, MAX_RECORD_BYTES = "WAKELOG_REPLAY_RATE", "WAKELOG_MAX_RECORD_BYTES"
_REPORT_SECONDS = 60.0
_DEFAULT_SPACE = Space()


class DurableLogRecordProcessor(LogRecordProcessor):
    """Writes each log record to a local journal before it returns, and delivers from there.

    It takes the arguments of ``opentelemetry.sdk._logs.export.BatchLogRecordProcessor`` in the same
    places, and what the ``OTEL_BLRP_*`` variables say, so that replacing the class is the whole
    change. Records leave as that processor would have sent them, with ``log.record.uid``,
    ``wakelog.writer.id`` and ``wakelog.seq`` added.

    Inside somebody else's pipeline it never raises: what the journal did not take is counted by
    reason in ``refused`` and reported once a minute. Records of Wakelog's own loggers do raise.

    Args:
        exporter: Where to deliver; None keeps everything local.
        schedule_delay_millis: Milliseconds between two exports while little is emitted.
        max_export_batch_size: The most records in one export.
        export_timeout_millis: Milliseconds, handed on to the batch processor.
        max_queue_size: The most records that delivery holds in memory at once. The journal is the
            queue, so nothing is dropped beyond it.
        meter_provider: Where Wakelog's metrics go, see ``docs/metrics.md``; else the global one, if it
            has been set by then.
        directory: The journal's directory; else ``WAKELOG_DIR``, else
            ``$XDG_STATE_HOME/wakelog/<service.name>`` (``~/.local/state`` without the variable).
        durability: What has been done to a record when ``on_emit`` returns.
        span_events: Whether events also become span events, see ``EventToSpanEventBridge``.
        segment_bytes: The size at which a journal file is ended and the next begun.
        segment_age: The seconds after which it is, by the next record.
        rotate_at_midnight: Whether it is, by the first record of a new day in the local time zone.
        space: How much of the disk the directory may take, and for how long.
        max_line_bytes: The longest line; larger content is cut, with
            ``wakelog.truncated_bytes`` set.
        buffer: Take records in memory and write them in a thread of their own. This is a trade:
            accepted means in the buffer then, and what is there when the process is killed is lost.
            A record of Wakelog's own loggers with a ``durability`` of its own is accepted when the
            journal has it.
        replay_rate: The most records a second of what an outage or a process that is gone has left
            behind; else ``WAKELOG_REPLAY_RATE``, else no limit.
        max_record_bytes: The size beyond which the texts of a record are cut in the exported copy,
            with ``wakelog.truncated_bytes`` set; else ``WAKELOG_MAX_RECORD_BYTES``, else they are
            left as they are.

    Raises:
        ValueError: For an argument that the batch processor would refuse too.
        JournalError: When the directory cannot be used.
        ConfigurationError: For a content policy in the environment that does not exist, and for a
            rate or size that is not above 0.
    """

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
        buffer: Buffer | None = None,
        replay_rate: float | None = None,
        max_record_bytes: int | None = None,
    ) -> None:
        if buffer is not None and not isinstance(buffer, Buffer):
            message = (
                f"buffer is of type {type(buffer).__name__}; give a wakelog.Buffer(capacity=...)"
            )
            raise ConfigurationError(message)
        metrics = metrics_on(meter_provider)
        self._source = metrics.source() if metrics is not None else None
        self.journal = Journal(
            directory or _default_directory(),
            durability=Durability(durability),
            segment_bytes=segment_bytes,
            segment_age=segment_age,
            rotate_at_midnight=rotate_at_midnight,
            space=space,
            observer=metrics.observer if metrics is not None else None,
        )
        self.refused: Counter[str] = Counter()
        """How many records of others were not accepted, by reason."""
        policy = ContentPolicy.from_environment()
        self._bridge = ContentAwareBridge(policy) if span_events else None
        self._max_line_bytes = max_line_bytes
        # A cache of the last resource, which is the same object for every record of a provider.
        self._resource: tuple[SDKResource | None, Resource] = (None, Resource({}))
        self._report_after = 0.0
        self._buffer: JournalBuffer | None = None
        self.buffer: Queue[Encoded] | None = None
        """What waits in memory, when there is a buffer: its ``size``, ``capacity``, ``dropped``,
        ``refused``, ``waits``, ``wait_seconds`` and ``on_wait``."""
        if buffer is not None:
            self._buffer = JournalBuffer(buffer, self.journal, self._accepted, self._refuse)
            self.buffer = self._buffer.queue
        if metrics is not None and self._source is not None:
            metrics.follow(self._source, self.journal, self.buffer)
        tally = self._source.tally if self._source is not None else None
        self._delivery: Delivery | None = None
        if exporter is not None:
            delay = _setting(schedule_delay_millis, OTEL_BLRP_SCHEDULE_DELAY, 1000)
            timeout = _setting(export_timeout_millis, OTEL_BLRP_EXPORT_TIMEOUT, 30000)
            road = Road(
                exporter,
                Rebuilder(
                    policy, max_record_bytes=positive_setting(max_record_bytes, MAX_RECORD_BYTES)
                ),
                schedule_delay=delay / 1000,
                max_batch=int(
                    _setting(max_export_batch_size, OTEL_BLRP_MAX_EXPORT_BATCH_SIZE, 512)
                ),
                max_queue=int(_setting(max_queue_size, OTEL_BLRP_MAX_QUEUE_SIZE, 2048)),
                export_timeout=timeout / 1000,
                tally=tally,
            )
            self._delivery = Delivery(
                self.journal,
                road,
                endpoint=endpoint_of(exporter),
                schedule_delay=delay / 1000,
                replay_rate=positive_setting(replay_rate, REPLAY_RATE),
                tally=tally,
            )
            if self._source is not None:
                self._source.delivery = weakref.ref(self._delivery)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Record one log record.

        Raises:
            SinkError: When the journal did not accept a record of Wakelog's own loggers.
        """
        if is_quiet():
            return
        if self._bridge is not None:
            self._bridge.on_emit(log_record)
        record = log_record.log_record
        event = record if type(record) is EventLogRecord else None
        try:
            record_id, content = content_of(log_record, self._max_line_bytes)
            resource = self._plain_resource(log_record.resource)
            buffer = self._buffer
            if buffer is not None and buffer.put(Encoded(record_id, content, resource, event)):
                return
            if event is None:
                receipt = self.journal.append(record_id, content, resource)
            elif event.deferred:
                receipt = self.journal.write(record_id, content, resource, event.durability)
                if receipt.durability is Durability.FSYNC:
                    event.settling = partial(self.journal.settle, receipt)
            else:
                receipt = self.journal.append(record_id, content, resource, event.durability)
        except Exception as error:
            if event is None:
                self._refuse(error)
                return
            if self._source is not None:
                self._source.refused[type(error).__name__] += 1
            if isinstance(error, SinkError):
                raise
            message = f"the event could not be written: {type(error).__name__}: {error}"
            raise SinkError(message) from error
        if event is not None:
            event.receipt, event.answered = receipt, True
        self._accepted(receipt.seq)

    def _accepted(self, seq: int) -> None:
        delivery = self._delivery  # another thread may be shutting down
        if delivery is not None:
            delivery.accepted(seq)

    @property
    def delivers(self) -> bool:
        """Whether there is somewhere to deliver to."""
        return self._delivery is not None

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until the next hop has accepted everything that was recorded so far.

        Args:
            timeout_millis: The longest wait.

        Returns:
            Whether that is so. Without an exporter: whether nothing was recorded.
        """
        timeout = timeout_millis / 1000
        deadline = time.monotonic() + timeout
        buffer, delivery = self._buffer, self._delivery
        if buffer is not None and not buffer.queue.settle(timeout):
            return False
        if delivery is None:
            writer = self.journal.writer
            return writer is None or writer.seq == 0
        return delivery.flush(max(0.0, deadline - time.monotonic()))

    def shutdown(self, timeout_millis: int = 5000) -> None:
        """Deliver what the next hop takes, and stop. What is still pending stays in the journal.

        Records that come later are still written to the journal, and delivered by the next process
        that uses the directory.

        Args:
            timeout_millis: The longest wait. There is none while the next hop is failing.
        """
        self.close(timeout_millis / 1000)

    def close(self, timeout: float) -> bool:
        """Do what ``shutdown`` does, and say what came of it.

        Args:
            timeout: The longest wait, in seconds.

        Returns:
            Whether the next hop has accepted everything that this process has recorded.
        """
        deadline = time.monotonic() + timeout
        buffer, self._buffer = self._buffer, None
        written = buffer is None or buffer.queue.close(timeout)
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            with quietly():  # exporters say something when they are shut down
                delivery.shutdown(max(0.0, deadline - time.monotonic()))
        writer = self.journal.writer
        self.journal.close()
        # Threads that go on emitting meanwhile have written what nobody has delivered.
        if writer is None or writer.seq == 0:
            return written
        path = writer.folder.path
        return written and delivery is not None and delivery.has_delivered(path, writer.seq)

    def _plain_resource(self, resource: SDKResource | None) -> Resource:
        known, plain = self._resource
        if known is not resource or resource is None:
            plain = resource_of(resource)
            self._resource = (resource, plain)
        return plain

    def _refuse(self, error: Exception) -> None:
        reason = type(error).__name__
        self.refused[reason] += 1
        if self._source is not None:
            self._source.refused[reason] += 1
        now = time.monotonic()
        if now >= self._report_after:
            self._report_after = now + _REPORT_SECONDS
            with quietly():
                _log.error(
                    "%d log records were not recorded so far, the last one because: %s",
                    self.refused.total(),
                    error,
                )


def _default_directory() -> Path:
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named)
    return default_root(str(SDKResource.create().attributes.get(s.SERVICE_NAME, "")))


def positive_setting(argument: float | None, variable: str) -> float | None:
    """Return an argument, else what its variable says, else None.

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
        message = f"{variable}={text!r} cannot be used: give a number above 0"
        raise ConfigurationError(message)
    return value


def _setting(argument: float | None, variable: str, default: float) -> float:
    """Return an argument, else what its variable says, else the default, as the SDK does."""
    if argument is not None:
        return argument
    text = os.environ.get(variable, "").strip()
    try:
        return int(text) if text else default
    except ValueError:
        _log.warning("%s=%r is no whole number; using %s", variable, text, default)
        return default
