"""What recording one event costs the agent, beside the SDK's own batch processor.

    python benchmarks/bench_emit.py [--directory DIR]

Each figure is the median over single calls, in microseconds, with an exporter that does nothing
behind both processors. Calls come in bursts that fit into the batch processor's queue, with a pause
after each in which either side exports, so that nothing is dropped and no call competes with an
export; the variants take turns burst by burst. The last column is the ratio to the first row.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)

from wakelog import AgentLogger
from wakelog.otel import DurableLogRecordProcessor, OTelSink

BURST, BURSTS = 400, 50
ATTRIBUTES = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.conversation.id": "s-1",
    "wakelog.run.id": "01a1fc74-cf13-7f51-9dc4-fd6f11066fc1",
}
ARGUMENTS = {"query": "flights to Lisbon", "limit": 3}


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


def provider_with(processor: Any) -> LoggerProvider:
    """Return a provider with one processor."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    return provider


def plain_emit(provider: LoggerProvider) -> Callable[[], None]:
    """Return a call that emits one log record through OpenTelemetry's API."""
    logger = provider.get_logger("bench")

    def emit() -> None:
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            event_name="wakelog.tool_call",
            attributes=ATTRIBUTES,
        )

    return emit


def burst(call: Callable[[], object], into: list[int]) -> None:
    """Time single calls."""
    clock = time.perf_counter_ns
    for _ in range(BURST):
        begin = clock()
        call()
        into.append(clock() - begin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default=None, help="where to put the journals")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        baseline = provider_with(BatchLogRecordProcessor(Nowhere()))
        durable = [
            provider_with(DurableLogRecordProcessor(Nowhere(), directory=f"{directory}/{name}"))
            for name in ("plain", "agent")
        ]
        log = AgentLogger("bench", sink=OTelSink(durable[1], without_limits=True))
        calls: dict[str, Callable[[], object]] = {
            "Logger.emit, BatchLogRecordProcessor": plain_emit(baseline),
            "Logger.emit, DurableLogRecordProcessor": plain_emit(durable[0]),
            "AgentLogger.tool_call, the same": lambda: log.tool_call(
                "search", ARGUMENTS, call_id="call_1", session_id="s-1"
            ),
        }
        times: dict[str, list[int]] = {name: [] for name in calls}
        for _ in range(BURSTS):
            for name, call in calls.items():
                burst(call, times[name])
            for provider in (baseline, *durable):
                provider.force_flush()
        first = statistics.median(next(iter(times.values())))
        print(f"{'':40} {'median µs':>10} {'p99 µs':>8} {'ratio':>6}")
        for name, values in times.items():
            median = statistics.median(values)
            p99 = statistics.quantiles(values, n=100)[98]
            print(f"{name:40} {median / 1e3:10.2f} {p99 / 1e3:8.2f} {median / first:6.2f}")
        for provider in (baseline, *durable):
            provider.shutdown()


if __name__ == "__main__":
    main()
