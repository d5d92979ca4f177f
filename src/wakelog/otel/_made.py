"""The objects that ``configure`` has created in this process, and how they are shut down.

A process has at most one tracer provider and one MeterProvider of Wakelog, and one set-up for each
combination of settings with which ``configure`` was called.
"""

from __future__ import annotations

import atexit
import sys
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
from wakelog.runtime import ForkOrder, notice_fork, reset_in_child
from wakelog.telemetry.instruments import finish

if TYPE_CHECKING:
    from wakelog.otel._periodic_export import PeriodicMetrics
    from wakelog.otel._span_processor import DurableSpanProcessor
    from wakelog.sinks import EventSink

_UNREACHABLE_SECONDS = 0.05
_NOT_FLUSHED: Final = DeliveryResult(
    complete=False, reason="a provider of others could not be flushed in time"
)
# Settings whose values are objects of the user or of a library.
_WITH_METHODS: Final = ("exporter", "logger_provider", "tracer_provider", "meter_provider")


class Spans:
    """The tracer provider that Wakelog has created, which lives as long as the process.

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
        """Wait until the next hops have accepted every ended span; return whether they have."""
        deadline = time.monotonic() + timeout
        flushed = [
            processor.force_flush(max(0, int((deadline - time.monotonic()) * 1000)))
            for processor in self._processors
        ]
        return all(flushed)

    def end(self, timeout: float) -> bool:
        """Deliver what the next hops accept, and stop; return whether they have everything."""
        deadline = time.monotonic() + timeout
        done = [
            processor.close(max(0.0, deadline - time.monotonic())) for processor in self._processors
        ]
        with suppress_recording():
            self.provider.shutdown()
        return all(done)


class SetUp:
    """The result of one call of ``configure``, reused for every call with the same settings.

    Args:
        settings: The settings, by argument and by variable.
        sink: The sink of its loggers.
        logging: The arguments of its loggers besides agent, workflow, risk and metadata.
        processors: The processors created for it; none with a provider of the user.
        flushes: How ``shutdown`` flushes providers of the user.
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
        """Return the names of the settings whose values differ from these."""
        names = dict.fromkeys([*settings, *self.settings])
        return [
            name for name in names if not _same(name, self.settings.get(name), settings.get(name))
        ]


def _same(name: str, one: object, other: object) -> bool:
    # Objects of others are compared by identity, without calling their methods.
    return one is other if name in _WITH_METHODS else one == other


class Made:
    """Everything that ``configure`` has created.

    ``lock`` guards the set-ups; ``making`` is held while one is created, so that of several threads
    that call ``configure`` only one creates it.

    Attributes:
        current: The set-up of the last call.
        set_ups: The set-ups that have not been shut down, in order.
        spans: The tracer provider.
        metrics: The MeterProvider.
        timeouts: How long an exit may take, by the variables at the time of the last set-up.
        exit_timeout: How long an exit waits for spans, in seconds, by the result of the events.
    """

    def __init__(self) -> None:
        self._make_locks()
        self.current: SetUp | None = None
        self.set_ups: list[SetUp] = []
        self.spans: Spans | None = None
        self.metrics: PeriodicMetrics | None = None
        self.timeouts = ExitTimeouts()
        self.exit_timeout = self.timeouts.whole
        self._watching = self._registered = False
        reset_in_child(self._make_locks, ForkOrder.THREADS)
        reset_in_child(self._watch_children, ForkOrder.THREADS)

    def _make_locks(self) -> None:
        """Create the locks: at the start, and in a forked child, which may inherit them locked."""
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
        """Add a set-up and make it the current one."""
        self.timeouts = ExitTimeouts.from_environment()
        with self.lock:
            self.current = set_up
            self.set_ups.append(set_up)
            watching, self._watching = self._watching, True
        if not watching:
            self._watch_children()
            processes = sys.modules.get("multiprocessing.process")
            if processes is not None and processes.parent_process() is not None:
                self.end_with_the_child()

    def _watch_children(self) -> None:
        """See to the children of multiprocessing, which exit without the handlers of ``atexit``.

        Nothing imports multiprocessing for this, which takes 3 ms. A program that starts such
        children may import it after ``configure``, so a forked child calls this, too; later in the
        child's start, multiprocessing calls the functions that are registered with it.
        """
        register = getattr(sys.modules.get("multiprocessing.util"), "register_after_fork", None)
        if self._watching and register is not None and not self._registered:
            self._registered = True
            register(self, Made.end_with_the_child)

    def like(self, settings: Mapping[str, object]) -> SetUp | None:
        """Return the active set-up with these settings, and make it the current one."""
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
        """Deliver events, spans and metrics, and stop recording; see ``wakelog.shutdown``.

        Args:
            timeout: The longest wait, in seconds.
            others: The longest wait for each provider of the user; the same by default.

        Returns:
            The result; true if everything was delivered.
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
        """Deliver and shut down all set-ups, and return the result."""
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
            # If events were not accepted, spans will not be; if events are local, it is unknown.
            unknown = _UNREACHABLE_SECONDS if delivers else self.timeouts.answer
            self.exit_timeout = self.timeouts.whole if result else unknown
        return result

    @property
    def metrics_timeout(self) -> float:
        """How long to wait for metrics: one request, to a next hop that may be unreachable."""
        return min(self.exit_timeout, self.timeouts.answer)

    def at_exit(self) -> None:
        """Deliver and shut down everything, at the end of the process."""
        notice_fork()
        deadline = time.monotonic() + self.timeouts.whole
        spans, metrics = self.spans, self.metrics
        self._forget_others()
        self.end_recording(self.timeouts.whole)
        if metrics is not None:
            finish()
            metrics.end(0)  # starts the last export, so that it has the books of this moment
        begun = time.monotonic()
        if spans is not None:
            spans.end(max(0.0, min(deadline, begun + self.exit_timeout) - time.monotonic()))
        if metrics is not None:
            until = min(deadline, begun + self.metrics_timeout)
            metrics.end(max(0.0, until - time.monotonic()))

    def _forget_others(self) -> None:
        """Leave providers of the user to whatever shuts them down at exit."""
        for set_up in self.set_ups:
            set_up.flushes.clear()

    def end_with_the_child(self) -> None:
        """Make this process, a child of multiprocessing, deliver before it exits."""
        from multiprocessing.util import Finalize  # which is loaded in such a child

        Finalize(None, self._at_the_childs_end, exitpriority=0)

    def _at_the_childs_end(self) -> None:
        self.shutdown(self.timeouts.whole, self.timeouts.answer)
        self.at_exit()


def in_time(flush: Callable[[int], object], timeout: float) -> bool:
    """Flush an object of the user, and stop waiting after a time-out.

    Args:
        flush: Takes the time-out in milliseconds, and may exceed it.
        timeout: The longest wait, in seconds.

    Returns:
        Whether it reported success in time.
    """
    answers: list[bool] = []

    def run() -> None:
        try:
            answers.append(flush(int(timeout * 1000)) is not False)
        except Exception as error:  # noqa: BLE001 - counted and logged: it is the user's
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
