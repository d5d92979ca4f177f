"""What an event costs on its whole way, beside the SDK's batch processor and exporter in the same run.

    python benchmarks/bench_whole_way.py [--rounds N] [--records N] [--only PART] [--directory DIR]

Every figure is the median of nine rounds (``--rounds``) in which the variants take turns; each round has 2,000
records (``--records``) of eight attributes. Times are CPU times, of the process or of the thread that emits, so that
other programs on the machine disturb them little. The receivers are processes of their own that answer at once. The
project's aims stand beside the rows. Parts: answer, emit, beside, backlog.
"""

from __future__ import annotations

import argparse
import http.server
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    LogRecordExporter,
    LogRecordExportResult,
)
from opentelemetry.sdk.trace import TracerProvider

import wakelog
from wakelog import AgentLogger, OTelSink
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel.shipping import Shipment

ATTRIBUTES = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "search",
    "gen_ai.tool.call.id": "call_1",
    "gen_ai.conversation.id": "s-1",
    "wakelog.run.id": "01a1fc74-cf13-7f51-9dc4-fd6f11066fc1",
    "http.route": "/a/b",
    "n": 3,
    "ok": True,
}
ARGUMENTS = {"query": "flights to Lisbon", "limit": 3}
OFFERED = 5000
Call = Callable[[], object]


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


def receive_http(ports: Any) -> None:
    """Answer every request over HTTP with 200, at once."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ports.put(server.server_address[1])
    server.serve_forever()


def receive_grpc(ports: Any) -> None:
    """Answer every request over gRPC with an empty response, at once."""
    import grpc

    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")
    service = "opentelemetry.proto.collector.logs.v1.LogsService"
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"Export": handler}),)
    )
    ports.put(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def started(receive: Callable[[Any], None]) -> int:
    """Start a receiver in a process of its own and return its port."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    context.Process(target=receive, args=(ports,), daemon=True).start()
    port: int = ports.get(timeout=60)
    return port


def provider_with(processor: Any) -> LoggerProvider:
    """Return a provider with one processor."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    return provider


def plain_emit(provider: LoggerProvider) -> Call:
    """Return a call that emits one log record through OpenTelemetry's API."""
    logger = provider.get_logger("bench")

    def emit() -> None:
        logger.emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            event_name="app.call",
            body="a call",
            attributes=ATTRIBUTES,
        )

    return emit


def tool_call(log: AgentLogger) -> Call:
    """Return a call that records a tool call."""
    return lambda: log.tool_call("search", ARGUMENTS, call_id="call_1", session_id="s-1")


def logger_on(provider: LoggerProvider) -> AgentLogger:
    """Return an agent's logger, redaction on."""
    return AgentLogger("bench", sink=OTelSink(provider, without_limits=True))


def timed(call: Call, count: int, clock: Callable[[], float]) -> float:
    """Return the microseconds that one of ``count`` calls takes."""
    begin = clock()
    for _ in range(count):
        call()
    return (clock() - begin) / count * 1e6


def shown(name: str, ours: Sequence[float], theirs: Sequence[float], aim: str) -> None:
    """Print a row: two medians, and their ratio."""
    one, other = statistics.median(ours), statistics.median(theirs)
    print(f"{name:52} {one:8.2f} {other:8.2f} {one / other:7.2f}   {aim}")


def headline(left: str, right: str) -> None:
    """Print what the columns are."""
    print(f"\n{'':52} {left:>8} {right:>8} {'ratio':>7}   aim")


def answers(options: argparse.Namespace, directory: Path) -> None:
    """Time events from the call to the next hop's answer: the CPU of the whole process."""
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (
        OTLPLogExporter as GRPCLogExporter,
    )
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    over_http, over_grpc = started(receive_http), started(receive_grpc)
    headline("Wakelog", "SDK")
    makers: dict[str, Callable[[], LogRecordExporter]] = {
        "HTTP": lambda: OTLPLogExporter(endpoint=f"http://127.0.0.1:{over_http}/v1/logs"),
        "gRPC": lambda: GRPCLogExporter(endpoint=f"http://127.0.0.1:{over_grpc}"),
    }
    for protocol, make in makers.items():
        theirs = provider_with(BatchLogRecordProcessor(make()))
        ours, agent = (
            provider_with(DurableLogRecordProcessor(make(), directory=directory / protocol / name))
            for name in ("ours", "agent")
        )
        calls = {
            "theirs": (theirs, plain_emit(theirs)),
            "ours": (ours, plain_emit(ours)),
            "agent": (agent, tool_call(logger_on(agent))),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(options.rounds):
            for name, (provider, call) in calls.items():
                begin = time.process_time()
                for _ in range(options.records):
                    call()
                assert provider.force_flush(), "not everything was delivered"
                times[name].append((time.process_time() - begin) / options.records * 1e6)
        for provider in (theirs, ours, agent):
            provider.shutdown()
        what = f"emit to answer over {protocol}, process"
        shown(f"{what}: Logger.emit", times["ours"], times["theirs"], "0.65")
        if protocol == "HTTP":
            shown(f"{what}: tool_call", times["agent"], times["theirs"], "0.9")


def emits(options: argparse.Namespace, directory: Path) -> None:
    """Time the thread that emits, with nothing that exports."""
    queue = BatchLogRecordProcessor(
        Nowhere(),
        schedule_delay_millis=3_600_000,
        max_queue_size=10**7,
        max_export_batch_size=10**7,
    )
    theirs = provider_with(queue)
    ours, agent = (
        provider_with(DurableLogRecordProcessor(None, directory=directory / name))
        for name in ("emit", "agent")
    )
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer = tracer_provider.get_tracer("bench")
    theirs_emit = plain_emit(theirs)
    log = wakelog.configure(
        "bench", service_name="bench", directory=directory / "configured", exporter=None
    )

    def two_and_a_span() -> None:
        with tracer.start_as_current_span("work"):
            theirs_emit()
            theirs_emit()

    def tool() -> None:
        with log.tool("search", ARGUMENTS) as block:
            block.result({"found": 3})

    def model() -> None:
        with log.model("gpt-4o", "openai") as block:
            block.respond("an answer")

    calls: dict[str, tuple[Call, bool]] = {
        "theirs": (theirs_emit, False),
        "none": (plain_emit(LoggerProvider(shutdown_on_exit=False)), False),
        "two and a span": (two_and_a_span, False),
        "ours": (plain_emit(ours), False),
        "agent": (tool_call(logger_on(agent)), False),
        "in a run": (tool_call(log), True),
        "tool": (tool, True),
        "model": (model, True),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, (call, in_a_run) in calls.items():
            count = options.records // 4
            if in_a_run:
                with log.run():
                    times[name].append(timed(call, count, time.thread_time))
            else:
                times[name].append(timed(call, count, time.thread_time))
        theirs.force_flush()
    headline("Wakelog", "SDK")
    one, two = times["theirs"], times["two and a span"]
    shown("emit alone, thread: Logger.emit, the SDK's queue", times["ours"], one, "1.0")
    shown("  the SDK's part of either: no processor", times["none"], one, "")
    shown("  tool_call, redaction on, outside a run", times["agent"], one, "1.3")
    shown("  tool_call, configure() inside a run, span events", times["in a run"], one, "2.0")
    shown("  with log.tool, two calls and a span", times["tool"], two, "1.3")
    shown("  with log.model, the same", times["model"], two, "1.3")
    wakelog.shutdown()
    for provider in (theirs, ours, agent):
        provider.shutdown()


def beside(options: argparse.Namespace, directory: Path) -> None:
    """Time what else the process does, and single calls, while records are exported."""
    port = started(receive_http)
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    def http() -> LogRecordExporter:
        return OTLPLogExporter(endpoint=f"http://127.0.0.1:{port}/v1/logs")

    providers = {
        "theirs": provider_with(BatchLogRecordProcessor(http())),
        "ours": provider_with(DurableLogRecordProcessor(http(), directory=directory / "http")),
        "here": provider_with(DurableLogRecordProcessor(None, directory=directory / "here")),
    }
    late: dict[str, list[float]] = {name: [] for name in providers}
    loops: dict[str, list[float]] = {name: [] for name in providers}
    for _ in range(options.rounds):
        for name, provider in providers.items():
            emit = plain_emit(provider)
            late[name].append(statistics.quantiles(offered(emit), n=100)[98] * 1e6)
            loops[name].append(loop_beside(emit))
            provider.force_flush()
    headline("Wakelog", "SDK")
    shown(f"emit, p99, {OFFERED}/s offered, exporting, wall", late["ours"], late["theirs"], "1.1")
    headline("export", "none")
    kept = [1e6 / rate for rate in loops["ours"]], [1e6 / rate for rate in loops["here"]]
    shown(f"a loop beside {OFFERED} records/s, µs a step", *kept, "1.05")
    for provider in providers.values():
        provider.shutdown()
    quiet = {
        "theirs": provider_with(BatchLogRecordProcessor(Nowhere())),
        "ours": provider_with(DurableLogRecordProcessor(Nowhere(), directory=directory / "tight")),
    }
    tight: dict[str, list[float]] = {name: [] for name in quiet}
    for _ in range(options.rounds):
        for name, provider in quiet.items():
            tight[name].append(timed(plain_emit(provider), options.records, time.perf_counter))
            provider.force_flush()
    headline("Wakelog", "SDK")
    shown(
        "a tight loop, an exporter that does nothing, wall", tight["ours"], tight["theirs"], "1.6"
    )
    for provider in quiet.values():
        provider.shutdown()


def offered(emit: Call, seconds: float = 0.5) -> list[float]:
    """Emit at the offered rate and return how long each call took."""
    took: list[float] = []
    begin = time.perf_counter()
    for number in range(int(OFFERED * seconds)):
        while (now := time.perf_counter()) < begin + number / OFFERED:
            time.sleep(0)
        emit()
        took.append(time.perf_counter() - now)
    return took


def loop_beside(emit: Call, seconds: float = 0.5) -> float:
    """Return how many steps a second a loop takes while another thread emits at the offered rate."""
    stopping = threading.Event()

    def run() -> None:
        begin, number = time.perf_counter(), 0
        while not stopping.is_set():
            due = int((time.perf_counter() - begin) * OFFERED)
            for _ in range(due - number):
                emit()
            number = due
            time.sleep(0.002)

    thread = threading.Thread(target=run)
    thread.start()
    steps, begin = 0, time.thread_time()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        sum(range(200))
        steps += 1
    del begin
    stopping.set()
    thread.join()
    return steps / seconds


def backlog(options: argparse.Namespace, directory: Path) -> None:
    """Ship what a program has left, from its journal, to a receiver that answers at once."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    port = started(receive_http)
    count = 20 * options.records
    rates: list[float] = []
    for number in range(min(3, options.rounds)):
        root = directory / str(number)
        left = provider_with(DurableLogRecordProcessor(None, directory=root))
        emit = plain_emit(left)
        for _ in range(count):
            emit()
        left.shutdown()
        exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{port}/v1/logs")
        begin = time.process_time()
        shipment = Shipment(root, exporter)
        while shipment.delivered < count:
            time.sleep(0.01)
        rates.append(count / (time.process_time() - begin))
        shipment.stop()
    print(f"\nwakelog ship, {count:,} records: {statistics.median(rates):,.0f} records per CPU second   aim 80,000")  # fmt: skip


PARTS = {"answer": answers, "emit": emits, "beside": beside, "backlog": backlog}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--directory", type=Path, default=None, help="where to put the journals")
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("opentelemetry-sdk", "orjson"))
    print(f"Python {platform.python_version()}, {packages}, {os.cpu_count()} cores, {sys.platform}")
    print(f"load before: {os.getloadavg()[0]:.1f}; microseconds a record, median of {options.rounds}")  # fmt: skip
    for name, part in PARTS.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                part(options, Path(directory))


if __name__ == "__main__":
    main()
