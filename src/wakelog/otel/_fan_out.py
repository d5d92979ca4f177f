"""Several metric exporters combined into one, for ``OTEL_METRICS_EXPORTER=console,otlp``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

_T = TypeVar("_T")


class MetricFanOut(MetricExporter):
    """Exports the collected metrics to each of several exporters.

    All get the temporality and the aggregation that the last one prefers; the console exporter,
    which accepts any, is the first.

    Args:
        exporters: At least one.
    """

    def __init__(self, exporters: Sequence[MetricExporter]) -> None:
        # The SDK's reader reads the same attributes; there is no public way.
        super().__init__(
            getattr(exporters[-1], "_preferred_temporality", None),
            getattr(exporters[-1], "_preferred_aggregation", None),
        )
        self._exporters = list(exporters)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
    ) -> MetricExportResult:
        """Export to each; a failure of one is a failure."""
        results = self._of_each(
            lambda exporter: exporter.export(metrics_data, timeout_millis=timeout_millis, **more)
        )
        succeeded = all(result is MetricExportResult.SUCCESS for result in results)
        return MetricExportResult.SUCCESS if succeeded else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush each exporter."""
        return all(self._of_each(lambda exporter: exporter.force_flush(timeout_millis)))

    def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
        """Shut down each exporter."""
        self._of_each(lambda exporter: exporter.shutdown(timeout_millis, **more))

    def _of_each(self, call: Callable[[MetricExporter], _T]) -> list[_T]:
        """Return what each exporter returns; an exception of one is raised after the others' calls."""
        results: list[_T] = []
        raised: Exception | None = None
        for exporter in self._exporters:
            try:
                results.append(call(exporter))
            except Exception as error:  # noqa: BLE001 - the code of others may raise anything
                raised = raised or error
        if raised is not None:
            raise raised
        return results
