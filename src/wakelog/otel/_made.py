"""What ``configure`` has made in this process, and how all of it ends.

A process has at most one tracer provider and one MeterProvider of ours, and a set-up for each kind of
settings that ``configure`` was called with.
"""

from __future__ import annotations

import atexit
import multiprocessing.util
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import TracerProvider

from wakelog.delivery import suppress_recording
from wakelog.otel._others import failures
from wakelog.otel._processor import DurableLogRecordProcessor
from wakelog.otel._result import NO_SPANS, DeliveryResult
from wakelog.otel._settings import ExitTimeouts
from wakelog.otel._span_processor import DurableSpanProcessor
from wakelog.runtime import ForkOrder, notice_fork, reset_in_child
from wakelog.sinks import EventSink
from wakelog.telemetry.instruments import finish

if TYPE_CHECKING:
    from wakelog.otel._pushing import PushedMetrics

_UNREACHABLE_SECONDS = 0.05
_NOT_FLUSHED: Final = DeliveryResult(
    complete=False, reason="a provider of others could not be flushed in time"
)
# Settings that are objects of others.
_WITH_METHODS: Final = ("exporter", "logger_provider", "tracer_provider", "meter_provider")


class Spans:
    """The tracer provider that this module has made, which lives as long as the process.

    Args:
        provider: The tracer provider.
        processors: Its processors that have a journal.
    """

    def __init__(
        self, provider: TracerProvider, processors: Sequence[DurableSpanProcessor]
    ) -> None:
        self.provider = provider
        self._processors = processors

    def flush(self, timeout: float) -> bool:
        """Wait until the next hops have accepted every span that has ended; say whether they have."""
        deadline = time.monotonic() + timeout
        flushed = [
            processor.force_flush(max(0, int((deadline - time.monotonic()) * 1000)))
            for processor in self._processors
        ]
        return all(flushed)

    def end(self, timeout: float) -> bool:
        """Deliver what the next hops take, and stop; say whether they have everything."""
        deadline = time.monotonic() + timeout
        done = [
            processor.close(max(0.0, deadline - time.monotonic())) for processor in self._processors
        ]
        with suppress_recording():
            self.provider.shutdown()
        return all(done)


class SetUp:
    """What one call of ``configure`` has made, for every call with the same settings.

    Args:
        settings: What it was made from, by argument and by variable.
        sink: Where its loggers record.
        logging: What its loggers are made with beside agent, workflow, risk and metadata.
        processors: The processors that were made for it; none beside a provider that was given.
        flushes: How to flush the providers that were there before, for ``shutdown``.
    """

    def __init__(
        self,
        settings: Mapping[str, object],
        sink: EventSink,
        logging: Mapping[str, Any],
        *,
        processors: Sequence[DurableLogRecordProcessor] = (),
        flushes: Sequence[Callable[[int], object]] = (),
    ) -> None:
        self.settings, self.sink, self.logging = dict(settings), sink, dict(logging)
        self.processors = list(processors)
        self.flushes = list(flushes)

    def differs(self, settings: Mapping[str, object]) -> list[str]:
        """Return the names of settings that are others than these."""
        names = dict.fromkeys([*settings, *self.settings])
        return [
            name for name in names if not _same(name, self.settings.get(name), settings.get(name))
        ]


def _same(name: str, one: object, other: object) -> bool:
    # Foreign objects are asked for nothing: two exporters are the same when they are one.
    return one is other if name in _WITH_METHODS else one == other


class Made:
    """What ``configure`` has made.

    ``lock`` guards the set-ups; ``making`` is held while one is made, so that of several threads that
    call ``configure`` one makes it.

    Attributes:
        current: The set-up of the last call.
        set_ups: Those that have not been ended, in order.
        spans: The tracer provider.
        metrics: The MeterProvider.
        timeouts: How long an exit may take, by the variables as the last set-up found them.
        exit_timeout: How long an exit waits for spans, in seconds, by what became of the events.
    """

    def __init__(self) -> None:
        self._make_locks()
        self.current: SetUp | None = None
        self.set_ups: list[SetUp] = []
        self.spans: Spans | None = None
        self.metrics: PushedMetrics | None = None
        self.timeouts = ExitTimeouts()
        self.exit_timeout = self.timeouts.whole
        self._watching = False
        reset_in_child(self._make_locks, ForkOrder.THREADS)

    def _make_locks(self) -> None:
        """Make locks, at first and in a forked child, which may have inherited them as held."""
        self.lock = threading.Lock()
        self.making = threading.RLock()

    @property
    def processor(self) -> DurableLogRecordProcessor | None:
        """The first processor of the current set-up, while it delivers."""
        current = self.current
        if current is None or current not in self.set_ups or not current.processors:
            return None
        return current.processors[0]

    def begin(self, set_up: SetUp) -> None:
        """Make a set-up the current one."""
        self.timeouts = ExitTimeouts.from_environment()
        with self.lock:
            self.current = set_up
            self.set_ups.append(set_up)
            watching, self._watching = self._watching, True
        if not watching:
            # A child of multiprocessing ends without the handlers of ``atexit``.
            multiprocessing.util.register_after_fork(self, Made.end_with_the_child)
            if multiprocessing.parent_process() is not None:
                self.end_with_the_child()

    def like(self, settings: Mapping[str, object]) -> SetUp | None:
        """Return the set-up with these settings that has not been ended, and make it current."""
        with self.lock:
            for set_up in self.set_ups:
                if not set_up.differs(settings):
                    self.current = set_up
                    return set_up
        return None

    def flush_spans(self, timeout: float) -> bool:
        """Export spans, and return whether all were accepted."""
        notice_fork()
        spans = self.spans
        return spans is None or spans.flush(timeout)

    def shutdown(self, timeout: float, others: float | None = None) -> DeliveryResult:
        """Deliver events, spans and metrics, and end what records; see ``wakelog.shutdown``.

        Args:
            timeout: The longest wait, in seconds.
            others: The longest wait for each provider of others; the same by default.

        Returns:
            What became of what was recorded; true when everything was delivered.
        """
        notice_fork()
        deadline = time.monotonic() + timeout
        spans, metrics = self.spans, self.metrics
        result = self.end_recording(timeout, others)
        begun = time.monotonic()
        if spans is not None:
            until = min(deadline, begun + self.exit_timeout)
            if not spans.flush(max(0.0, until - time.monotonic())):
                result += NO_SPANS
        if metrics is not None:
            left = max(0.0, deadline - time.monotonic())
            metrics.flush(min(left, self.metrics_timeout))
        return result

    def end_recording(self, timeout: float, others: float | None = None) -> DeliveryResult:
        """Deliver and end what is set up, and return what became of what was recorded."""
        deadline = time.monotonic() + timeout
        with self.lock:
            ending, self.set_ups = self.set_ups, []
        result, delivers = DeliveryResult(complete=True), False
        for set_up in ending:
            for processor in set_up.processors:
                delivers = processor.delivers or delivers
                left = max(0.0, deadline - time.monotonic())
                result += processor.result(complete=processor.close(left))
            for flush in set_up.flushes:
                left = max(0.0, deadline - time.monotonic())
                allowed = others if result else self.timeouts.answer
                most = left if allowed is None else min(left, allowed)
                if not in_time(flush, most):
                    result += _NOT_FLUSHED
        if any(set_up.processors for set_up in ending):
            # Where events did not get through, nothing else will; where they stay here, nobody knows.
            unknown = _UNREACHABLE_SECONDS if delivers else self.timeouts.answer
            self.exit_timeout = self.timeouts.whole if result else unknown
        return result

    @property
    def metrics_timeout(self) -> float:
        """How long to wait for metrics: one request, to a next hop that may be gone by now."""
        return min(self.exit_timeout, self.timeouts.answer)

    def at_exit(self) -> None:
        """Deliver and end everything, for the end of the process."""
        notice_fork()
        deadline = time.monotonic() + self.timeouts.whole
        spans, metrics = self.spans, self.metrics
        self._forget_others()
        self.end_recording(self.timeouts.whole)
        if metrics is not None:
            finish()
            metrics.end(0)  # begins it, so that its books are those of the end
        begun = time.monotonic()
        if spans is not None:
            spans.end(max(0.0, min(deadline, begun + self.exit_timeout) - time.monotonic()))
        if metrics is not None:
            until = min(deadline, begun + self.metrics_timeout)
            metrics.end(max(0.0, until - time.monotonic()))

    def _forget_others(self) -> None:
        """Leave providers of others to what ends them at the exit: the SDK, or their owner."""
        for set_up in self.set_ups:
            set_up.flushes.clear()

    def end_with_the_child(self) -> None:
        """Have this process, a child of multiprocessing, deliver before it ends."""
        multiprocessing.util.Finalize(None, self._at_the_childs_end, exitpriority=0)

    def _at_the_childs_end(self) -> None:
        self.shutdown(self.timeouts.whole, self.timeouts.answer)
        self.at_exit()


def in_time(flush: Callable[[int], object], timeout: float) -> bool:
    """Flush something of others, for no longer than one can wait.

    Args:
        flush: Takes the time-out in milliseconds, and may not keep to it.
        timeout: The longest wait, in seconds.

    Returns:
        Whether it said in time that it is done.
    """
    answers: list[bool] = []

    def run() -> None:
        try:
            answers.append(flush(int(timeout * 1000)) is not False)
        except Exception as error:  # noqa: BLE001 - counted and said: it is somebody else's
            failures.note(error)

    thread = threading.Thread(target=run, name="wakelog-flush", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is exiting
        run()
    else:
        thread.join(timeout)
    return bool(answers) and answers[0]


made = Made()
atexit.register(made.at_exit)
