"""Instruments made from a table of metrics, and observed together.

Nothing is recorded where it happens. Figures are looked at, and measurements fetched from where they were
left, when somebody collects; so a thread that records meets none of the SDK's locks, and in a forked
child nothing can be locked for ever.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from opentelemetry import metrics
from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    MeterProvider,
    Observation,
)
from opentelemetry.util.types import AttributeValue

from wakelog.events import semconv as s
from wakelog.runtime import ForkOrder, notice_fork, reset_in_child
from wakelog.telemetry._metric import Metric

T = TypeVar("T")
Finish = Callable[[], None]


class Observations(defaultdict[str, list[Observation]]):
    """What a collection is told, by the metric's name."""

    def __init__(self) -> None:
        super().__init__(list)

    def say(self, name: str, value: float, **attributes: AttributeValue) -> None:
        """Add a figure."""
        self[name].append(Observation(value, attributes))


class Instruments:
    """The instruments of one table on one MeterProvider.

    A collection asks each instrument in turn, in one thread, and all answers are of one moment.

    Args:
        provider: The MeterProvider.
        table: The metrics.
        collect: Observes everything, once for a collection, and records measurements in the histograms
            of the instruments that it is given.

    Attributes:
        histograms: The histograms, by name.
    """

    def __init__(
        self,
        provider: MeterProvider,
        table: Sequence[Metric],
        collect: Collect,
    ) -> None:
        self._collect = collect
        self._reset()
        reset_in_child(self._reset, ForkOrder.METRICS)
        self.histograms: dict[str, Histogram] = {}
        from importlib.metadata import version  # which takes long to import

        meter = provider.get_meter(s.SCOPE_NAME, version("wakelog"))
        observable = {
            "counter": meter.create_observable_counter,
            "up_down_counter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        # Histograms first: from the first observable on, somebody may collect.
        for one in table:
            if one.kind == "histogram":
                self.histograms[one.name] = meter.create_histogram(
                    one.name,
                    one.unit,
                    one.description,
                    explicit_bucket_boundaries_advisory=one.buckets,
                )
        for one in table:
            if one.kind != "histogram":
                callback = partial(self._observe, one.name)
                observable[one.kind](one.name, [callback], one.unit, one.description)

    def _reset(self) -> None:
        """Begin anew: at first, and in a forked child."""
        self._asked = threading.local()

    def drain(
        self, name: str, left: deque[float], attributes: dict[str, AttributeValue] | None = None
    ) -> None:
        """Hand on what has been measured since the last collection."""
        histogram = self.histograms[name]
        while True:
            try:
                histogram.record(left.popleft(), attributes)
            except IndexError:
                return

    def drain_outcomes(
        self, name: str, left: deque[tuple[float, str]], **attributes: AttributeValue
    ) -> None:
        """Hand on what has been measured, each with what was wrong; empty for nothing."""
        histogram = self.histograms[name]
        for _ in range(len(left)):
            seconds, wrong = left.popleft()
            histogram.record(seconds, {**attributes, **({s.ERROR_TYPE: wrong} if wrong else {})})

    def _observe(self, name: str, _: CallbackOptions) -> Sequence[Observation]:
        seen: set[str] = getattr(self._asked, "seen", {name})
        if name in seen:  # another collection than the last one in this thread
            self._asked.answers = self._collect(self)
            self._asked.seen = seen = set()
        seen.add(name)
        answers: Observations = self._asked.answers
        return answers.get(name, [])


Collect = Callable[[Instruments], Observations]


class PerProvider(Generic[T]):
    """Something that there is one of for each MeterProvider.

    Args:
        make: Makes it.
        waits: Whether it is also made on the stand-in for a MeterProvider that is set later.
    """

    def __init__(self, make: Callable[[MeterProvider], T], *, waits: bool = False) -> None:
        self._make, self._waits = make, waits
        self._made: weakref.WeakKeyDictionary[object, T] = weakref.WeakKeyDictionary()
        self._reset()
        reset_in_child(self._reset, ForkOrder.METRICS)

    def _reset(self) -> None:
        """Begin, and again in a forked child, which may have inherited the lock as somebody held it."""
        self._lock = threading.Lock()

    def on(self, provider: MeterProvider | None) -> T | None:
        """Return the one for a MeterProvider.

        Args:
            provider: The one that was given, if any. Else it is the one that ``configure`` was given,
                else the global one if the SDK has made it.

        Returns:
            The same one for the same provider; None when there is nobody to collect.
        """
        notice_fork()
        if provider is None:
            provider = _given[-1] if _given else metrics.get_meter_provider()
            if not self._waits and not _is_of_sdk(provider):
                return None
        # What was made on the stand-in is on the global one, too.
        is_global = self._waits and provider is metrics.get_meter_provider()
        key = _GLOBAL if is_global else provider
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(provider)
            return self._made[key]


def observe(table: Sequence[Metric], collect: Collect) -> None:
    """Have figures of a part observed, on the MeterProvider that the program has or gets.

    Args:
        table: The metrics.
        collect: Observes everything, once for a collection.
    """
    made = PerProvider(lambda provider: Instruments(provider, table, collect), waits=True)
    _observed.append(made)
    made.on(None)


def use(provider: MeterProvider) -> None:
    """Have what other parts count on this MeterProvider, in place of the global one."""
    _given[:] = [provider]
    for made in _observed:
        made.on(provider)


def is_unset() -> bool:
    """Return whether nobody has set a global MeterProvider yet."""
    # The API's stand-in until then has no public name, unlike that for spans.
    return type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"


def _is_of_sdk(provider: MeterProvider) -> bool:
    sdk = sys.modules.get("opentelemetry.sdk.metrics")  # else nobody can have set one
    return sdk is not None and isinstance(provider, sdk.MeterProvider)


def finishing(end: Finish) -> Finish:
    """Have a part end what it has to do at the exit, before the last collection; a decorator."""
    _finishing.append(end)
    return end


def finish() -> None:
    """Have every part end what it has to do, so that what is collected next is the last."""
    for end in _finishing:
        end()


class _Global:
    """Stands for the global MeterProvider, whichever it is."""


_GLOBAL = _Global()
_finishing: list[Finish] = []
_given: list[MeterProvider] = []
# Parts that have figures of the whole process.
_observed: list[PerProvider[Instruments]] = []
