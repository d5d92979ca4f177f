"""What a span costs, beside the SDK's batch span processor and exporter in the same run.

    python benchmarks/bench_spans.py [--rounds N] [--spans N]

Every figure is the median of nine rounds (``--rounds``) in which the variants take turns; each round has 2,000 spans
(``--spans``) of eight attributes, started and ended. Times are CPU times: of the thread that starts and ends spans, with
an exporter that is not called meanwhile; and of the whole process, to the answer of a receiver that is a process of its
own and answers at once. The project's aims stand beside the rows. Where ``fastotel`` is installed (``pip install
fastotel``; Rust, and durable in nothing), it is measured beside them.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_whole_way import ATTRIBUTES, headline, receive_http, shown, started

from wakelog.otel import DurableSpanProcessor


class Nowhere(SpanExporter):
    """An exporter that does nothing."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Accept everything."""
        return SpanExportResult.SUCCESS


def fastotel(url: str, **settings: Any) -> dict[str, SpanProcessor]:
    """Return fastotel's processor by its name, where it is installed."""
    if importlib.util.find_spec("fastotel") is None:
        return {}
    module = importlib.import_module("fastotel")
    return {"fastotel": module.OTLPSpanProcessor(endpoint=url, **settings)}


def with_spans(processor: SpanProcessor) -> Callable[[], None]:
    """Return a call that starts and ends one span."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")

    def span() -> None:
        with tracer.start_as_current_span("execute_tool search", attributes=ATTRIBUTES):
            pass

    return span


def measure(
    options: argparse.Namespace,
    processors: Mapping[str, SpanProcessor],
    clock: Callable[[], float],
    *,
    to_the_answer: bool,
) -> dict[str, list[float]]:
    """Return the microseconds of a span, round by round, for each processor."""
    calls = {name: with_spans(processor) for name, processor in processors.items()}
    times: dict[str, list[float]] = {name: [] for name in processors}
    for _ in range(options.rounds):
        for name, processor in processors.items():
            call, begin = calls[name], clock()
            for _ in range(options.spans):
                call()
            if to_the_answer:
                assert processor.force_flush(), "not everything was delivered"
            times[name].append((clock() - begin) / options.spans * 1e6)
            if not to_the_answer:
                processor.force_flush()
    for processor in processors.values():
        processor.shutdown()
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--spans", type=int, default=2000)
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, ", end="")
    print(f"opentelemetry-sdk {version('opentelemetry-sdk')}")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        url = f"http://127.0.0.1:{started(receive_http)}/v1/traces"
        kept = measure(
            options,
            {
                "theirs": BatchSpanProcessor(
                    Nowhere(),
                    max_queue_size=10**6,
                    max_export_batch_size=10**6,
                    schedule_delay_millis=3_600_000,
                ),
                "ends": DurableSpanProcessor(None, directory=directory / "1", starts=False),
                "ours": DurableSpanProcessor(None, directory=directory / "2"),
                **fastotel(url, max_queue_size=100_000),
            },
            time.thread_time,
            to_the_answer=False,
        )
        headline("Wakelog", "SDK")
        shown("a span, thread: with start lines", kept["ours"], kept["theirs"], "1.4")
        shown("  without", kept["ends"], kept["theirs"], "1.1")
        if "fastotel" in kept:
            shown("  fastotel", kept["fastotel"], kept["theirs"], "")
        answered = measure(
            options,
            {
                "theirs": BatchSpanProcessor(OTLPSpanExporter(url), max_queue_size=100_000),
                "ends": DurableSpanProcessor(
                    OTLPSpanExporter(url), directory=directory / "3", starts=False
                ),
                "ours": DurableSpanProcessor(OTLPSpanExporter(url), directory=directory / "4"),
                **fastotel(url, max_queue_size=100_000),
            },
            time.process_time,
            to_the_answer=True,
        )
        shown(
            "a span to the answer, process: with start lines",
            answered["ours"],
            answered["theirs"],
            "0.75",
        )
        shown("  without", answered["ends"], answered["theirs"], "0.75")
        if "fastotel" in answered:
            shown("  fastotel", answered["fastotel"], answered["theirs"], "")
        print(
            f"medians of {options.rounds} rounds: {statistics.median(kept['theirs']):.1f} µs is the SDK's span"
        )


if __name__ == "__main__":
    main()
