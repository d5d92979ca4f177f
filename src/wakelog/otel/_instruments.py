"""Instruments made from a table of metrics, and observed together.

Nothing is recorded where it happens. Figures are looked at, and measurements fetched from where they were
left, when somebody collects; so a thread that records meets none of the SDK's locks, and in a forked
child nothing can be locked for ever.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
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
from wakelog.otel._metric_table import Metric

T = TypeVar("T")
Observations = dict[str, list[Observation]]
Begin = Callable[[MeterProvider], object]
Finish = Callable[[], None]

# Between two collections, the newest so many measurements of a kind are kept.
MOST_SAMPLES = 8192


def samples() -> deque[float]:
    """Return a place for measurements: adding one takes no lock."""
    return deque(maxlen=MOST_SAMPLES)


class Instruments:
    """The instruments of one table on one MeterProvider.

    A collection asks each instrument in turn, in one thread, and all answers are of one moment.

    Args:
        provider: The MeterProvider.
        table: The metrics.
        look: Looks at everything, once for a collection, and records measurements in the histograms
            of the instruments that it is given.

    Attributes:
        histograms: The histograms, by name.
    """

    def __init__(
        self,
        provider: MeterProvider,
        table: Sequence[Metric],
        look: Callable[[Instruments], Observations],
    ) -> None:
        self._look = look
        self.begin()
        self.histograms: dict[str, Histogram] = {}
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

    def begin(self) -> None:
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

    def _observe(self, name: str, _: CallbackOptions) -> Sequence[Observation]:
        seen: set[str] = getattr(self._asked, "seen", {name})
        if name in seen:  # another collection than the last one in this thread
            self._asked.seen = seen = set()
            self._asked.answers = self._look(self)
        seen.add(name)
        answers: Observations = self._asked.answers
        return answers.get(name, [])


class PerProvider(Generic[T]):
    """Something that there is one of for each MeterProvider.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[MeterProvider], T]) -> None:
        self._make = make
        self._made: weakref.WeakKeyDictionary[MeterProvider, T] = weakref.WeakKeyDictionary()
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
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
        if provider is None:
            from opentelemetry.sdk.metrics import MeterProvider as SDKMeterProvider

            provider = _given[-1] if _given else metrics.get_meter_provider()
            if not isinstance(provider, SDKMeterProvider):
                return None
        with self._lock:
            if provider not in self._made:
                self._made[provider] = self._make(provider)
            return self._made[provider]


def observe(begin: Begin) -> None:
    """Have figures of another part observed, on the MeterProvider that the program has or gets.

    Args:
        begin: Makes its instruments on a MeterProvider, which may be the stand-in for one that is set
            later. Called again for one that ``configure`` is given.
    """
    with _beginning:
        provider = _given[-1] if _given else None
        _begun[begin] = [provider]
    begin(provider or metrics.get_meter_provider())


def use(provider: MeterProvider) -> None:
    """Have what other parts count on this MeterProvider, in place of the global one."""
    # The global one stands for None: what began on the stand-in is on it too.
    key = None if provider is metrics.get_meter_provider() else provider
    with _beginning:
        _given[:] = [provider]
        new = [begin for begin, on in _begun.items() if key not in on]
        for begin in new:
            _begun[begin].append(key)
    for begin in new:
        begin(provider)


def finishing(end: Finish) -> Finish:
    """Have a part end what it has to do at the exit, before the last collection; a decorator."""
    _finishing.append(end)
    return end


def finish() -> None:
    """Have every part end what it has to do, so that what is collected next is the last."""
    for end in _finishing:
        end()


def _after_fork() -> None:
    global _beginning  # noqa: PLW0603 - a forked child may have inherited it locked
    _beginning = threading.Lock()


_beginning = threading.Lock()
os.register_at_fork(after_in_child=_after_fork)
_finishing: list[Finish] = []
_given: list[MeterProvider] = []
# Other parts that have figures, and where they have begun; None for the global MeterProvider.
_begun: dict[Begin, list[MeterProvider | None]] = {}
