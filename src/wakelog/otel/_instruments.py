"""The instruments of a table of metrics on a MeterProvider.

Nothing is recorded where it happens. Counts are read, and measurements fetched from where they were
left, when somebody collects; so a thread that emits meets none of the SDK's locks, and in a forked
child nothing can be locked for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.sdk.metrics import MeterProvider as SDKMeterProvider

from wakelog.events import semconv as s
from wakelog.otel._metric_table import Metric

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram

Observations = dict[str, list[Observation]]


class Instruments:
    """Makes the instruments, which ask for everything once in a collection.

    A collection asks each instrument in turn, in one thread, and all answers are of one moment. Nothing
    is answered before ``begin``, since a collection may come while the instruments are made.

    Args:
        provider: The MeterProvider.
        table: The metrics.
        look: Returns what there is to say, by the metrics' names, and records what histograms get.
    """

    def __init__(
        self, provider: MeterProvider, table: Iterable[Metric], look: Callable[[], Observations]
    ) -> None:
        self.histograms: dict[str, Histogram] = {}
        self._look = look
        self._asked: threading.local | None = None
        meter = provider.get_meter(s.SCOPE_NAME, version("wakelog"))
        observable: dict[str, Callable[..., Any]] = {
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
        """Begin to answer: once whoever looks is ready to, and again in a forked child."""
        self._asked = threading.local()

    def _observe(self, name: str, _: CallbackOptions) -> Sequence[Observation]:
        asked = self._asked
        if asked is None:
            return []
        seen: set[str] = getattr(asked, "seen", {name})
        if name in seen:  # another collection than the last one in this thread
            asked.answers = self._look()
            asked.seen = seen = set()
        seen.add(name)
        answers: Observations = asked.answers
        return answers.get(name, [])


def drain(left: deque[float], histogram: Histogram) -> None:
    """Hand on what has been measured since the last collection."""
    while True:
        try:
            histogram.record(left.popleft())
        except IndexError:
            return


def provider_or_global(provider: MeterProvider | None) -> MeterProvider | None:
    """Return a MeterProvider, or else the global one if the SDK has made it."""
    if provider is None:
        provider = metrics.get_meter_provider()
        if not isinstance(provider, SDKMeterProvider):
            return None
    return provider
