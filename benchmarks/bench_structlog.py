"""What Wakelog adds to a structlog chain, beside a JSON file and the official processor.

    python benchmarks/bench_structlog.py [--directory DIR]

Each row is one structlog logger with its own chain; each figure is the median over single calls, in
microseconds. Calls come in bursts that fit into the batch processor's queue, with a pause after each
in which exporters that do nothing are fed; the chains take turns burst by burst. The last columns are
the ratios that matter: to a chain that renders JSON into a file, and to the official processor in
front of a batch processor.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from opentelemetry.instrumentation.structlog import StructlogProcessor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)

from wakelog import AgentLogger
from wakelog.integrations.structlog import WakelogProcessor
from wakelog.otel import DurableLogRecordProcessor, OTelSink

BURST, BURSTS = 400, 40
FIELDS = {
    "order": 4711,
    "customer": "c-81",
    "amount": 129.5,
    "tags": ["new", "web"],
    "path": "/pay",
}
BEFORE = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
STAMP = structlog.processors.TimeStamper(fmt="iso")


class Nowhere(LogRecordExporter):
    """An exporter that does nothing."""

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        """Accept everything."""
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return True."""
        return True


def drop(logger: Any, name: str, event_dict: Any) -> Any:
    """End a chain, as WakelogProcessor(last=True) does."""
    raise structlog.DropEvent


def chain(*processors: Any, factory: Any = None) -> Any:
    """Return a logger with a chain of its own."""
    return structlog.wrap_logger(
        (factory or structlog.PrintLoggerFactory(open(os.devnull, "w")))(),
        processors=[*BEFORE, *processors],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    ).bind()


def provider_with(processor: Any) -> LoggerProvider:
    """Return a provider with one processor."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    return provider


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary one by default")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().directory) as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    """Measure every chain in turns."""
    batch = provider_with(BatchLogRecordProcessor(Nowhere()))
    durable = provider_with(DurableLogRecordProcessor(Nowhere(), directory=folder / "journal"))
    log = AgentLogger(sink=OTelSink(durable, required=True, without_limits=True))
    plain = AgentLogger(
        sink=OTelSink(durable, required=True, without_limits=True), redact_payloads=False
    )
    json = structlog.processors.JSONRenderer()
    file = structlog.WriteLoggerFactory((folder / "plain.jsonl").open("w"))
    both = structlog.WriteLoggerFactory((folder / "both.jsonl").open("w"))
    chains = {
        "JSON into a file": chain(STAMP, json, factory=file),
        "official processor, batch processor": chain(StructlogProcessor(batch), drop),
        "WakelogProcessor": chain(WakelogProcessor(log, last=True)),
        "WakelogProcessor, no redaction": chain(WakelogProcessor(plain, last=True)),
        "WakelogProcessor and JSON into a file": chain(
            WakelogProcessor(log), STAMP, json, factory=both
        ),
    }
    times: dict[str, list[int]] = {name: [] for name in chains}
    with structlog.contextvars.bound_contextvars(request="r-1", user="u-1"):
        for burst in range(BURSTS + 1):
            for name, logger in chains.items():
                taken = one_burst(logger)
                if burst:  # the first one warms up
                    times[name] += taken
                batch.force_flush()
                durable.force_flush()
    medians = {name: statistics.median(taken) / 1000 for name, taken in times.items()}
    file_us, official_us = list(medians.values())[:2]
    print(f"{'chain':40}{'µs':>8}{'to the file':>13}{'to the official':>17}")
    for name, median in medians.items():
        print(f"{name:40}{median:8.1f}{median / file_us:13.2f}{median / official_us:17.2f}")
    batch.shutdown()
    durable.shutdown()


def one_burst(logger: Any) -> list[int]:
    """Return what each call of a burst took, in nanoseconds."""
    taken = []
    for _ in range(BURST):
        begun = time.perf_counter_ns()
        logger.info("payment accepted", **FIELDS)
        taken.append(time.perf_counter_ns() - begun)
    return taken


if __name__ == "__main__":
    main()
