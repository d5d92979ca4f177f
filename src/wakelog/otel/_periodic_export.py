"""Periodic export of metrics, for a MeterProvider that Wakelog has created.

The SDK's own reader holds a lock while it exports, which a forked child inherits locked; the child
continues with the histograms of its parent; and every failed export is logged. So a thread here
schedules the exports, and the SDK's reader only collects.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry.sdk.environment_variables import (
    OTEL_METRIC_EXPORT_INTERVAL,
    OTEL_METRIC_EXPORT_TIMEOUT,
    OTEL_METRICS_EXEMPLAR_FILTER,
)
from opentelemetry.sdk.metrics import MeterProvider, MetricsTimeoutError
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource

from wakelog.delivery import suppress_recording
from wakelog.otel._response_capture import readable
from wakelog.otel._settings import above_0, naming_variables
from wakelog.runtime import ForkOrder, PerThread, contained, notice_fork, reset_in_child

_log = logging.getLogger("wakelog")

_INTERVAL_MILLIS, _TIMEOUT_MILLIS = 60_000.0, 30_000.0
# Longer than any collection takes, except one that hangs in a user's callback.
_FORK_SECONDS = 1.0
# The loggers on which the SDK and the official exporters report failed exports.
_EXPORTER_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.sdk.metrics._internal.export",
)

MakeExporter = Callable[[], MetricExporter | None]


def let_exporters_log() -> None:
    """Enable the warnings of the exporters' loggers, if OpenTelemetry's logging is disabled."""
    for name in _EXPORTER_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


class PeriodicMetrics:
    """A MeterProvider, and a thread that exports its metrics periodically and at the end.

    ``_still`` is held while metrics are collected. A fork waits for it, for a second at most, so
    that no child inherits the SDK's locks while a collection holds them. ``_changed`` guards the
    requests to the thread and its responses; nothing is collected or exported under it.

    A forked child reports its own figures, under the ``service.instance.id`` that the SDK gives it,
    through an exporter of its own.

    Args:
        exporter: The exporter.
        renew: Creates another exporter with the same settings, for a forked child.

    Raises:
        ConfigurationError: If ``OTEL_METRIC_EXPORT_INTERVAL`` or ``OTEL_METRIC_EXPORT_TIMEOUT`` is
            not above 0.
    """

    def __init__(self, exporter: MetricExporter, renew: MakeExporter) -> None:
        interval = above_0(None, OTEL_METRIC_EXPORT_INTERVAL) or _INTERVAL_MILLIS
        self._interval = min(interval / 1000, threading.TIMEOUT_MAX)
        self._timeout = above_0(None, OTEL_METRIC_EXPORT_TIMEOUT) or _TIMEOUT_MILLIS
        self._exporter = _Exporter(exporter, renew)
        self._reader = _Reader(self._exporter, self)
        self._forking: int | None = None
        self._renewing = False

    def start(self, resource: Resource) -> MeterProvider:
        """Create the MeterProvider and start the thread.

        Args:
            resource: The resource of the metrics.

        Raises:
            ConfigurationError: If the SDK does not know the ``OTEL_METRICS_EXEMPLAR_FILTER``.
        """
        with naming_variables("the MeterProvider", OTEL_METRICS_EXEMPLAR_FILTER):
            self.provider = MeterProvider([self._reader], resource, shutdown_on_exit=False)
        for name in _EXPORTER_LOGGERS:
            logging.getLogger(name).addFilter(_exporter_logs)
        self._begin()
        os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork)
        reset_in_child(self._after_fork_in_child, ForkOrder.THREADS)
        return self.provider

    def _begin(self) -> None:
        """Start the thread with new state, also in a forked child."""
        self._still = threading.RLock()
        self._changed = threading.Condition()
        self._asked = self._answered = 0
        self._ending = self._ended = self._complained = False
        # The failure of the current attempt, set as soon as it is logged.
        self._trouble = ""
        self.failing: bool | None = None
        """Whether the last attempt failed; None before the first one."""
        self._thread = threading.Thread(target=self._run, name="wakelog-metrics", daemon=True)
        self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Collect and export now.

        Args:
            timeout: The longest wait, in seconds. It ends as soon as the attempt is seen to fail.

        Returns:
            Whether the next hop has accepted the metrics.
        """
        notice_fork()
        with self._changed:
            if self._ending:
                return self._ended and not self.failing
            self._asked += 1
            asked = self._asked
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= asked or self._trouble, timeout)
            return self._answered >= asked and not self.failing

    def end(self, timeout: float) -> bool:
        """Collect and export for the last time; the wait is as in ``flush``.

        Returns:
            Whether the thread has ended.
        """
        notice_fork()
        with self._changed:
            self._ending = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended or self._trouble, timeout)
            return self._ended

    @property
    def is_renewing(self) -> bool:
        """Whether the reader is being replaced in a forked child."""
        return self._renewing

    def _run(self) -> None:
        ending = False
        try:
            while not ending:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._ending or self._asked > self._answered, self._interval
                    )
                    asked, ending = self._asked, self._ending
                raised = contained(self._export)
                if raised is not None:  # by a callback or an exporter
                    self._note(sent=False, why=f"{type(raised).__name__}: {raised}")
                with self._changed:
                    self._answered, self._trouble = asked, ""
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._ending = self._ended = True
                self._changed.notify_all()
            contained(self._exporter.shutdown)

    def _export(self) -> None:
        try:
            with self._still:
                data = self._reader.take(self._timeout)
        except MetricsTimeoutError:
            _log.warning("collecting metrics took longer than %g s", self._timeout / 1000)
            return
        if data is None:
            return
        with suppress_recording():
            with _exporter_logs.by(self._note_trouble):
                sent = self._reader.send(data, self._timeout)
            self._note(sent=sent, why=self._trouble or "the exporter gave no reason")

    def _note(self, *, sent: bool, why: str) -> None:
        """Store the result of an attempt, and log it if it differs from the previous one."""
        self.failing = not sent
        if sent and self._complained:
            self._complained = False
            _log.warning("metrics are sent again")
        elif not sent and not self._complained:
            self._complained = True
            _log.warning(
                "cannot send metrics: %s. It is tried again every %g s and not said again; "
                "events are not affected. OTEL_METRICS_EXPORTER=none sends no metrics",
                readable(why).rstrip("."),
                self._interval,
            )

    def _note_trouble(self, message: str) -> None:
        with self._changed:
            self._trouble = self._trouble or message
            self._changed.notify_all()

    def _before_fork(self) -> None:
        # A callback that forks runs inside a collection, on the thread that holds the lock.
        ours = threading.current_thread() is self._thread
        if not ours and self._still.acquire(timeout=_FORK_SECONDS):
            self._forking = threading.get_ident()

    def _after_fork(self) -> None:
        if self._forking == threading.get_ident():
            self._forking = None
            self._still.release()

    def _after_fork_in_child(self) -> None:
        # A fork in native code does not call _before_fork; then a free lock means no collection.
        still = self._forking == threading.get_ident() or self._still.acquire(blocking=False)
        self._forking = None
        self._exporter.renew()
        if not still:
            # The SDK's locks stay locked in this process, so nothing can be collected.
            self._changed = threading.Condition()
            self._ending = self._ended = self.failing = True
            return
        inherited, self._reader = self._reader, _Reader(self._exporter, self)
        self._renewing = True
        self.provider.remove_metric_reader(inherited)
        self._renewing = False
        self.provider.add_metric_reader(self._reader)
        self._begin()


class _Reader(PeriodicExportingMetricReader):
    """Collects on request, and separates collecting from exporting.

    Args:
        exporter: The exporter.
        owner: The object that requests collections, and that flushes and shuts down.
    """

    def __init__(self, exporter: _Exporter, owner: PeriodicMetrics) -> None:
        super().__init__(exporter, export_interval_millis=math.inf)
        self._owner = owner
        self._to_send = exporter
        self._collected: MetricsData | None = None

    def take(self, timeout_millis: float) -> MetricsData | None:
        """Collect, and return the metrics.

        Raises:
            MetricsTimeoutError: If collecting takes too long.
        """
        self._collected = None
        self.collect(timeout_millis)
        return self._collected

    def send(self, data: MetricsData, timeout_millis: float) -> bool:
        """Export as the SDK does, and return whether it succeeded."""
        self._to_send.sent = False
        super()._receive_metrics(data, timeout_millis)
        return self._to_send.sent

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002 - the SDK's signature
        **_: Any,
    ) -> None:
        self._collected = metrics_data

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._owner.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        if not self._owner.is_renewing:
            self._owner.end(timeout_millis / 1000)


class _Exporter(MetricExporter):
    """An exporter that is replaced in a forked child, which may not use its parent's connections.

    Attributes:
        sent: Whether the last export succeeded.
    """

    def __init__(self, exporter: MetricExporter, make: MakeExporter) -> None:
        # The SDK's reader reads the same attributes; there is no public way.
        super().__init__(
            getattr(exporter, "_preferred_temporality", None),
            getattr(exporter, "_preferred_aggregation", None),
        )
        self._exporter: MetricExporter | None = exporter
        self._make = make
        self._inherited: list[MetricExporter] = []
        self.sent = False

    def renew(self) -> None:
        """Leave the exporter to the parent process, and create another one when it is needed."""
        if self._exporter is not None:
            self._inherited.append(self._exporter)  # shutting it down would affect the parent
        self._exporter = None

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
    ) -> MetricExportResult:
        if self._exporter is None:
            self._exporter = self._make()
        if self._exporter is None:
            return MetricExportResult.FAILURE
        result = self._exporter.export(metrics_data, timeout_millis=timeout_millis, **more)
        self.sent = result is MetricExportResult.SUCCESS
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter is None or self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        if self._exporter is not None:
            with suppress_recording():
                self._exporter.shutdown(timeout_millis, **more)


class _ExporterLogCapture(logging.Filter):
    """Passes a thread's warnings to a listener instead of the log, so that they do not repeat."""

    def __init__(self) -> None:
        super().__init__()
        self._listener = PerThread[Callable[[str], None] | None](None)

    def by(self, listener: Callable[[str], None]) -> AbstractContextManager[None]:
        """Pass the warnings of this thread in the block to a listener only."""
        return self._listener.set(listener)

    def filter(self, record: logging.LogRecord) -> bool:
        listener = self._listener.get()
        if listener is None or record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        listener(f"{record.getMessage()}: {error}" if error else record.getMessage())
        return False


_exporter_logs = _ExporterLogCapture()
