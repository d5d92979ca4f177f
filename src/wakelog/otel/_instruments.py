"""Instruments made from a table of metrics, and observed together.

Nothing is recorded where it happens. Figures are looked at, and measurements fetched from where they were
left, when somebody collects; so a thread that records meets none of the SDK's locks, and in a forked
child nothing can be locked for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version

from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    MeterProvider,
    Observation,
)
from opentelemetry.util.types import AttributeValue

from wakelog.events import semconv as s
from wakelog.otel._metric_table import Metric

Observations = dict[str, list[Observation]]


class Instruments:
    """The instruments of one table on one MeterProvider.

    A collection asks each instrument in turn, in one thread, and all answers are of one moment.

    Args:
        provider: The MeterProvider.
        table: The metrics.
        look: Looks at everything, once for a collection, and records measurements in ``histograms``.

    Attributes:
        histograms: The histograms, by name.
    """

    def __init__(
        self, provider: MeterProvider, table: Iterable[Metric], look: Callable[[], Observations]
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
        for one in table:
            if one.kind == "histogram":
                self.histograms[one.name] = meter.create_histogram(
                    one.name,
                    one.unit,
                    one.description,
                    explicit_bucket_boundaries_advisory=one.buckets,
                )
            else:
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
            self._asked.answers = self._look()
        seen.add(name)
        answers: Observations = self._asked.answers
        return answers.get(name, [])
