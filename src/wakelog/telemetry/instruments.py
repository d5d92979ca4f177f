"""Instruments that are created from a table of metrics and observed together.

Figures are read, and stored measurements recorded, only during a collection. A thread that records
events therefore takes none of the SDK's locks, and a forked child cannot inherit a locked one.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

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

if TYPE_CHECKING:
    from wakelog.telemetry._metric import Metric

T = TypeVar("T")
Finish = Callable[[], None]


class Observations(defaultdict[str, list[Observation]]):
    """The observations of a collection, by metric name."""

    def __init__(self) -> None:
        super().__init__(list)

    def say(self, name: str, value: float, **attributes: AttributeValue) -> None:
        """Add an observation."""
        self[name].append(Observation(value, attributes))


class Instruments:
    """The instruments of one table on one MeterProvider.

    A collection reads the instruments in turn, in one thread; all observations are from one moment.

    Args:
        provider: The MeterProvider.
        table: The metrics.
        collect: Called once in a collection. Returns the observations, and records measurements in
            the histograms of the given instruments.

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
        from importlib.metadata import version  # a slow import

        meter = provider.get_meter(s.SCOPE_NAME, version("wakelog"))
        observable = {
            "counter": meter.create_observable_counter,
            "up_down_counter": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }
        # Histograms first: a collection may begin as soon as an observable instrument exists.
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
        """Initialize the state, at first and in each forked child."""
        self._asked = threading.local()

    def drain(
        self, name: str, left: deque[float], attributes: dict[str, AttributeValue] | None = None
    ) -> None:
        """Record the measurements since the last collection in a histogram."""
        histogram = self.histograms[name]
        while True:
            try:
                histogram.record(left.popleft(), attributes)
            except IndexError:
                return

    def drain_outcomes(
        self, name: str, left: deque[tuple[float, str]], **attributes: AttributeValue
    ) -> None:
        """Record measurements with their error types (empty for none) in a histogram."""
        histogram = self.histograms[name]
        for _ in range(len(left)):
            seconds, wrong = left.popleft()
            histogram.record(seconds, {**attributes, **({s.ERROR_TYPE: wrong} if wrong else {})})

    def _observe(self, name: str, _: CallbackOptions) -> Sequence[Observation]:
        seen: set[str] = getattr(self._asked, "seen", {name})
        if name in seen:  # a new collection in this thread
            self._asked.answers = self._collect(self)
            self._asked.seen = seen = set()
        seen.add(name)
        answers: Observations = self._asked.answers
        return answers.get(name, [])


Collect = Callable[[Instruments], Observations]


class PerProvider(Generic[T]):
    """A registry with one object for each MeterProvider.

    Args:
        make: Creates the object.
        waits: Whether to create it on the API's proxy too, for a MeterProvider that is set later.
    """

    def __init__(self, make: Callable[[MeterProvider], T], *, waits: bool = False) -> None:
        self._make, self._waits = make, waits
        self._made: weakref.WeakKeyDictionary[object, T] = weakref.WeakKeyDictionary()
        self._reset()
        reset_in_child(self._reset, ForkOrder.METRICS)

    def _reset(self) -> None:
        """Create the lock, at first and in each forked child, which may inherit a locked one."""
        self._lock = threading.Lock()

    def on(self, provider: MeterProvider | None) -> T | None:
        """Return the object of a MeterProvider.

        Args:
            provider: The MeterProvider; None for the one given to ``configure``, else for the
                global one if it is the SDK's.

        Returns:
            The same object for the same provider; None if there is no provider that collects.
        """
        notice_fork()
        if provider is None:
            provider = _given[-1] if _given else metrics.get_meter_provider()
            if not self._waits and not _is_of_sdk(provider):
                return None
        # Instruments on the proxy are also on the global provider.
        is_global = self._waits and provider is metrics.get_meter_provider()
        key = _GLOBAL if is_global else provider
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(provider)
            return self._made[key]


def observe(table: Sequence[Metric], collect: Collect) -> None:
    """Register a table of metrics on the MeterProvider that the program has or will set.

    Args:
        table: The metrics.
        collect: Called once in a collection. Returns the observations.
    """
    made = PerProvider(lambda provider: Instruments(provider, table, collect), waits=True)
    _observed.append(made)
    made.on(None)


def use(provider: MeterProvider) -> None:
    """Use this MeterProvider instead of the global one for all registered tables."""
    _given[:] = [provider]
    for made in _observed:
        made.on(provider)


def collects(provider: MeterProvider | None) -> bool:
    """Return whether metrics are collected from a MeterProvider.

    Args:
        provider: The MeterProvider; None for the one given to ``configure``, else for the global
            one, which collects if it is the SDK's.
    """
    if provider is not None:
        return True
    return _is_of_sdk(_given[-1] if _given else metrics.get_meter_provider())


def is_unset() -> bool:
    """Return whether no global MeterProvider has been set yet."""
    # The API's proxy has no public name, unlike that for spans.
    return type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"


def _is_of_sdk(provider: MeterProvider) -> bool:
    sdk = sys.modules.get("opentelemetry.sdk.metrics")  # without it, none can have been set
    return sdk is not None and isinstance(provider, sdk.MeterProvider)


def finishing(end: Finish) -> Finish:
    """Register a function that runs at exit before the last collection; a decorator."""
    _finishing.append(end)
    return end


def finish() -> None:
    """Run the registered functions, before the last collection."""
    for end in _finishing:
        end()


class _Global:
    """A key for the global MeterProvider."""


_GLOBAL = _Global()
_finishing: list[Finish] = []
_given: list[MeterProvider] = []
# Registered tables with figures of the whole process.
_observed: list[PerProvider[Instruments]] = []
