"""``DurableSpanProcessor``: the drop-in for ``BatchSpanProcessor``."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource as SDKResource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter

from wakelog import _arguments as a
from wakelog.delivery import is_suppressed, suppressing
from wakelog.errors import ConfigurationError, EventTooLargeError
from wakelog.journal import Durability, Journal, Service, Space
from wakelog.otel._content import ContentPolicy
from wakelog.otel._durable import DurablePipeline
from wakelog.otel._idle_spans import IdleSpans
from wakelog.otel._open_spans import SpanTracker
from wakelog.otel._others import asked
from wakelog.otel._settings import (
    UnknownOutcome,
    unknown_outcome_of,
)
from wakelog.otel._span_lines import Encoded, SpanLines, line_id
from wakelog.otel._span_records import SpanRebuilder, spans
from wakelog.otel._unfinished import IDLE, MissingEnds, SpanSources, say_unknown
from wakelog.record import SPANS
from wakelog.runtime import notice_fork, noticed
from wakelog.telemetry.instruments import collects

if TYPE_CHECKING:
    from wakelog.evidence import Sealing
    from wakelog.otel._redactor import Redactor
    from wakelog.otel._span_metrics import SpanMetrics
    from wakelog.redaction import RedactionConfig

_DEFAULT_SPACE = Space()


class DurableSpanProcessor(DurablePipeline["SpanMetrics"], SpanProcessor):
    """Writes each span to a local journal when it starts and when it ends, and delivers from there.

    It takes the arguments of ``opentelemetry.sdk.trace.export.BatchSpanProcessor`` in the same
    places, and obeys the ``OTEL_BSP_*`` variables, so that replacing the class is the whole change.
    Exported spans are those of that processor, with nothing added. Like it, it records only sampled
    spans.

    A span whose process has ended is exported once by the next process of the same service and
    pipeline: under its own ids, with its start's attributes and the events that Wakelog recorded in
    it, ended at the process's last sign of life, and with ``wakelog.span.outcome`` set to
    ``unknown``.

    It never raises: a span that the journal did not accept is counted by reason in ``refused`` and
    logged once a minute.

    Args:
        span_exporter: The exporter to the next hop; None keeps all spans local.
        max_queue_size: The maximum number of spans that delivery holds in memory. The journal is
            the queue, so no span is dropped beyond it.
        schedule_delay_millis: Milliseconds between two exports while few spans end.
        max_export_batch_size: The maximum number of spans in one export.
        export_timeout_millis: Milliseconds, passed on to the batch processor.
        meter_provider: Where Wakelog's metrics are reported; by default the global MeterProvider,
            if it has been set by then.
        directory: The journal's directory; else ``WAKELOG_DIR``, else
            ``$XDG_STATE_HOME/wakelog/<service.name>``. Log records may share it.
        durability: Which failures a span survives once ``on_start`` and ``on_end`` have returned.
        segment_bytes: The size in bytes at which a segment is ended and the next one begins.
        segment_age: Maximum age of a segment in seconds, checked at the next write.
        rotate_at_midnight: Whether the first span of a new day in the local time zone begins a
            segment.
        space: The quota of the directory, and how long records are kept.
        max_line_bytes: Maximum length of a line. Content that would exceed it is stored whole in a
            file beside the segment.
        max_event_bytes: The size of a span above which only a stub is recorded; else
            ``WAKELOG_MAX_EVENT_BYTES``, else 64 MiB.
        replay_rate: Maximum number of spans per second from outages and ended processes; else
            ``WAKELOG_REPLAY_RATE``, else no limit.
        pipeline: As for ``DurableLogRecordProcessor``.
        resource: As for ``DurableLogRecordProcessor``.
        starts: Whether spans are recorded when they start. Without it, open spans of a process that
            ends are lost, as with the SDK's processor, and a span costs half as much.
        unknown_outcome: How to export a span whose process has ended: ``error`` exports it with
            error status, ``unset`` without a status, and ``drop`` does not export it.
        redact: As for ``DurableLogRecordProcessor``.
        idle_limit: Seconds without activity after which an open span is exported with outcome
            unknown, reason ``idle``, although its process runs; by default it stays open. If the
            span ends later, that end is exported, too.
        sealing: As for ``DurableLogRecordProcessor``; its seals are exported to anchors only.

    Raises:
        ConfigurationError: If an argument or variable is invalid; the message names it.
        JournalError: If the directory cannot be used.
    """

    signal = SPANS
    _what = "spans"

    # Long: each argument has a line, is checked and passed on.
    def __init__(
        self,
        span_exporter: SpanExporter | None,
        max_queue_size: int | None = None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        directory: str | os.PathLike[str] | None = None,
        durability: Durability | str = Durability.OS_BUFFERED,
        segment_bytes: int = 16 * 1024 * 1024,
        segment_age: float | None = None,
        rotate_at_midnight: bool = False,
        space: Space = _DEFAULT_SPACE,
        max_line_bytes: int = 1024 * 1024,
        max_event_bytes: int | None = None,
        replay_rate: float | None = None,
        pipeline: str | None = None,
        resource: SDKResource | None = None,
        starts: bool = True,
        unknown_outcome: UnknownOutcome = "error",
        redact: bool | RedactionConfig | Redactor | None = None,
        idle_limit: float | None = None,
        sealing: Sealing | None = None,
    ) -> None:
        a.check(
            span_exporter=(span_exporter, a.With("export", "a SpanExporter"), None),
            starts=(starts, bool),
            unknown_outcome=(unknown_outcome, str),
            idle_limit=(idle_limit, *a.NUMBER),
        )
        self._starts = starts
        self._outcome = unknown_outcome_of(unknown_outcome, "unknown_outcome")
        self._policy = ContentPolicy.from_environment()
        self._journal = None
        self.open_spans = SpanTracker(
            lambda: self._journal, self._refuse, self._idle_spans(idle_limit)
        )
        """The spans that have started and not ended; ``len`` returns their number."""
        super().__init__(
            span_exporter,
            partial(spans, SpanRebuilder()),
            _metrics_on,
            self._span_sources,
            self.open_spans.repeat,
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
        self._lines = SpanLines(
            self._redactor,
            erasable=self._erasable,
            max_line_bytes=self._max_line_bytes,
            max_event_bytes=self._max_event_bytes,
        )
        if self._metrics is not None:
            self._metrics.count_open(partial(len, self.open_spans))

    def _idle_spans(self, limit: float | None) -> IdleSpans | None:
        if limit is None:
            return None
        if not (limit > 0 and self._starts and self._outcome != "drop"):
            message = (
                f"idle_limit={limit!r} cannot be used: give a number above 0, with starts=True, "
                "and another unknown_outcome than 'drop'"
            )
            raise ConfigurationError(message)
        return IdleSpans(limit, self._end_idle)

    def _span_sources(self, journal: Journal, presumed: Service | None) -> SpanSources:
        ending = partial(
            MissingEnds,
            outcome=self._outcome,
            policy=self._policy,
            redactor=self._redactor,
            max_line_bytes=self._max_line_bytes,
            erasable=self._erasable,
            ended=self._count_unknown,
        )
        return SpanSources(journal, presumed, ending=ending)

    def _count_unknown(self, count: int) -> None:
        if self._metrics is not None:
            self._metrics.unknown_outcomes += count

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the interface's
        """Record the start of a span."""
        if not self._starts or (suppressing and is_suppressed()):
            return
        if not noticed[0]:
            notice_fork()
        try:
            lines = self._lines
            found = lines.ordinary(span, False, lines.longest) or lines.encode(span, ended=False)
            if found is None:
                return
            span_id, record_id, content, given = found
            known, resource = self._resource
            if known is not given:
                resource = self._cached_resource(given)
            self.open_spans.add(span_id, (record_id, content, resource), span)
            journal = self._journal or self._journal_of(resource)
            journal.put(record_id, content, resource, journal.durability, counted=False)
        except Exception as error:  # noqa: BLE001 - counted and logged: a pipeline must not raise
            self._refuse(error)

    def on_end(self, span: ReadableSpan) -> None:
        """Record the end of a span."""
        if suppressing and is_suppressed():
            return
        if not noticed[0]:
            notice_fork()
        try:
            lines = self._lines
            found = lines.ordinary(span, True, lines.longest) or self._end_line(span)
            if found is None:
                return
            span_id, record_id, content, given = found
            start = self.open_spans.remove(span_id)
            resource = self._cached_resource(given) if start is None else start[2]
            journal = self._journal or self._journal_of(resource)
            _, seq = journal.put(record_id, content, resource, journal.durability)
            if start is None and self.open_spans.inherited:
                self.open_spans.end_inherited(span_id)
        except Exception as error:  # noqa: BLE001 - counted and logged: a pipeline must not raise
            if (context := asked(span.get_span_context, None)) is not None:
                self.open_spans.remove(context.span_id)
            self._refuse(error)
            return
        delivery = self._delivery  # another thread may be shutting down
        if delivery is not None:
            delivery.accepted(seq)

    def _end_line(self, span: ReadableSpan) -> Encoded | None:
        """Encode the line of the end of a span that is not ordinary, None if it is not sampled."""
        try:
            return self._lines.encode(span, ended=True)
        except EventTooLargeError as error:
            context = span.get_span_context()
            if error.stub is None or context is None:
                raise
            self._refuse(error)
            return context.span_id, line_id(context), error.stub, span.resource

    def _end_idle(self, span_id: int, span: ReadableSpan, at: int) -> None:
        """Record the end of an open span that has been idle for too long."""
        start, context = self.open_spans.remove(span_id), span.get_span_context()
        if start is None or context is None:
            return  # the span itself ends at this moment
        try:
            end = partial(say_unknown, outcome=self._outcome, reason=IDLE)
            content = self._lines.unknown(span, context, end, at)
            receipt = self.journal.append(start[0], content, start[2])
        except Exception as error:  # noqa: BLE001 - counted and logged: no caller waits for it
            self._refuse(error)
            return
        self._count_unknown(1)
        self._accepted(receipt.seq)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Wait until the next hop has accepted every span that has ended so far.

        Args:
            timeout_millis: The longest wait; 30 seconds by default.

        Returns:
            Whether everything was accepted. Without an exporter: whether nothing was recorded.
        """
        notice_fork()
        seconds = 30.0 if timeout_millis is None else timeout_millis / 1000
        return self._flush(a.wait_of(seconds, "timeout_millis"))


def _metrics_on(provider: MeterProvider | None) -> SpanMetrics | None:
    """Return the metrics of spans on a MeterProvider, None if nothing collects them."""
    if not collects(provider):
        return None
    from wakelog.otel._span_metrics import span_metrics_on  # imported when needed

    return span_metrics_on(provider)
