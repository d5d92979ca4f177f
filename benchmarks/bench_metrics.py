"""What metrics cost the thread that emits.

    python benchmarks/bench_metrics.py [--directory DIR]

The same records through three processors in one run: without a MeterProvider, with one that is collected
after each burst, and with one as configure() makes it, whose thread sends every 0.2 s; with
exporters that do nothing. They take turns burst by burst, and after each burst all deliver. The order
changes from burst to burst. The last row is what one collection takes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench_emit import Nowhere, burst, plain_emit, provider_with
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
)
from opentelemetry.sdk.resources import Resource

from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._periodic_export import PeriodicMetrics

BURSTS = 100


class NowhereForMetrics(MetricExporter):
    """Takes everything and does nothing."""

    def export(self, metrics_data, timeout_millis=10_000, **_):
        """Do so."""
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        """Do nothing."""
        return True

    def shutdown(self, timeout_millis=30_000, **_):
        """Do nothing."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=None, help="where to put the journals")
    options = parser.parse_args()
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    os.environ["OTEL_METRIC_EXPORT_INTERVAL"] = "200"
    periodic = PeriodicMetrics(NowhereForMetrics(), NowhereForMetrics).start(Resource.create())
    collections: list[float] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        providers = {
            "without": provider_with(
                DurableLogRecordProcessor(Nowhere(), directory=f"{directory}/0")
            ),
            "with a MeterProvider": provider_with(
                DurableLogRecordProcessor(
                    Nowhere(), directory=f"{directory}/1", meter_provider=meters
                )
            ),
            "with one that sends": provider_with(
                DurableLogRecordProcessor(
                    Nowhere(), directory=f"{directory}/2", meter_provider=periodic
                )
            ),
        }
        calls = {name: plain_emit(provider) for name, provider in providers.items()}
        times: dict[str, list[int]] = {name: [] for name in calls}
        for number in range(BURSTS):
            for name in [*calls] if number % 2 else [*reversed(calls)]:
                burst(calls[name], times[name])
            for provider in providers.values():
                provider.force_flush()
            began = time.perf_counter()
            reader.get_metrics_data()
            collections.append(time.perf_counter() - began)
        first = statistics.median(times["without"])
        print(f"{'':24} {'median µs':>10} {'mean µs':>8} {'p99 µs':>8} {'ratio':>6}")
        for name, values in times.items():
            median, mean = statistics.median(values), statistics.fmean(values)
            p99 = statistics.quantiles(values, n=100)[98]
            figures = f"{median / 1e3:10.2f} {mean / 1e3:8.2f} {p99 / 1e3:8.2f}"
            print(f"{name:24} {figures} {median / first:6.3f}")
        print(f"{'one collection':24} {statistics.median(collections) * 1e6:10.0f}")
        for provider in providers.values():
            provider.shutdown()


if __name__ == "__main__":
    main()
