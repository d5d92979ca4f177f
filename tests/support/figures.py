"""Reading metrics, and holding the books against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

Attributes = Mapping[str, Any]
FATES = ("delivered", "pending", "dead_lettered", "evicted", "corrupt")


class Hop(LogRecordExporter):
    """A next hop that can be down, and that cannot encode the records that are `bad`."""

    def __init__(self) -> None:
        self.down = False
        self.taken: list[Any] = []

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        if self.down:
            return LogRecordExportResult.FAILURE
        if any(one.log_record.body == "bad" for one in batch):
            raise TypeError("a value that cannot be encoded")
        self.taken += [one.log_record.body for one in batch]
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class Meter:
    """A MeterProvider whose figures are read when the test wants to."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def read(self) -> Scrape:
        """Collect."""
        return self.read_from(self._reader)

    @staticmethod
    def read_from(reader: InMemoryMetricReader) -> Scrape:
        """Collect for a reader."""
        found: dict[str, list[Any]] = {}
        data = reader.get_metrics_data()
        for resource in data.resource_metrics if data else []:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    assert metric.name not in found
                    found[metric.name] = list(metric.data.data_points)
        return Scrape(found)


class Scrape:
    """What one collection brought."""

    def __init__(self, points: dict[str, list[Any]]) -> None:
        self.points = points

    def __call__(self, name: str, **attributes: str) -> float:
        """Return the sum of a metric's points that have these attributes."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return sum(
            getattr(point, "value", getattr(point, "count", 0))
            for point in self.points.get(name, [])
            if wanted.items() <= dict(point.attributes).items()
        )

    def books(self) -> dict[str, float]:
        """Return the figures of the books."""
        return {name: self(f"wakelog.events.{name}") for name in ("accepted", *FATES)}

    def balanced(self) -> dict[str, float]:
        """Return the figures of the books, after holding them against each other."""
        books = self.books()
        assert books["accepted"] == sum(books[name] for name in FATES), books
        assert all(value >= 0 for value in books.values()), books
        return books


def emitting(processor: Any) -> Any:
    """Return a function that emits records with the given bodies through a processor."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("others")

    def emit(*bodies: str) -> None:
        for body in bodies:
            logger.emit(body=body, event_name="e")

    return emit
