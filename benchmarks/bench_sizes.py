"""How many bytes an event takes: in the journal, and in the requests that deliver it.

    python benchmarks/bench_sizes.py [--runs N]

Runs of an agent are recorded: a question, two calls of a model and two of a tool, with contents of three sizes (tokens
of four characters). They are delivered over OTLP/HTTP, with and without gzip, to a receiver on the loopback that counts the
bytes of the bodies. The content of events stays in the journal, as it does by default.
"""

from __future__ import annotations

import argparse
import http.server
import random
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import ClassVar

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import wakelog
from wakelog.journal import read
from wakelog.otel import DurableLogRecordProcessor, DurableSpanProcessor

RESOURCE = Resource.create({"service.name": "travel", "service.version": "1.4.2"})
WORDS = ("harbour", "crane", "manifest", "container", "berth", "customs", "tide", "pilot", "quay")
SIZES = {"short": 200, "ordinary": 2_000, "long": 20_000}  # characters of a content
EVENTS_OF_A_RUN = 11  # the run's start and end, the question, and two events for each of four calls


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes every request, and counts the bytes of its body by path."""

    taken: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        Receiver.taken[self.path] += length
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def text(characters: int, chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=characters // 8))[:characters]


def record(log: wakelog.AgentLogger, runs: int, characters: int) -> None:
    chance = random.Random(7)
    for run in range(runs):
        with log.run(session_id=f"session-{run % 40}", input=text(characters, chance)):
            log.user_message(text(characters, chance))
            for call in range(2):
                with log.model("gpt-4o", "openai", input=text(characters, chance)) as model:
                    model.respond(text(characters, chance), input_tokens=812, output_tokens=96)
                with log.tool("find_berth", {"ship": run, "at": call}) as tool:
                    tool.result(text(characters, chance))


def measured(root: Path, port: int, runs: int, characters: int, compression: Compression) -> str:
    """Return a row: bytes for each event in the journal, of spans beside it, and sent of both."""
    Receiver.taken.clear()
    url = f"http://127.0.0.1:{port}"
    logs = OTLPLogExporter(endpoint=f"{url}/logs", compression=compression)
    spans = OTLPSpanExporter(endpoint=f"{url}/spans", compression=compression)
    tracers = TracerProvider(resource=RESOURCE)
    tracers.add_span_processor(DurableSpanProcessor(spans, directory=root))
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(DurableLogRecordProcessor(logs, directory=root))
    log = wakelog.configure("clerk", logger_provider=provider, tracer_provider=tracers)
    record(log, runs, characters)
    assert provider.force_flush()
    assert tracers.force_flush()
    wakelog.shutdown()
    provider.shutdown()
    tracers.shutdown()

    events = sum(1 for _ in read(root))
    assert events == runs * EVENTS_OF_A_RUN
    on_disk = Counter[str]()
    for folder in {path.parent for path in root.glob("*/*.jsonl")}:
        signal = "spans" if '"signal":"spans"' in (folder / "owner").read_text() else "logs"
        on_disk[signal] += sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    figures = (on_disk["logs"], on_disk["spans"], Receiver.taken["/logs"], Receiver.taken["/spans"])
    return " | ".join(f"{figure / events:,.0f}" for figure in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"bytes for each event, of {runs * EVENTS_OF_A_RUN:,} events\n")
    print("| content | sent as | journal, events | journal, spans | sent, events | sent, spans |")
    print("|---|---|---:|---:|---:|---:|")
    for name, characters in SIZES.items():
        for compression in (Compression.NoCompression, Compression.Gzip):
            with tempfile.TemporaryDirectory() as folder:
                figures = measured(Path(folder), server.server_port, runs, characters, compression)
            print(f"| {name}, {characters:,} characters | {compression.value} | {figures} |")
    server.shutdown()


if __name__ == "__main__":
    main()
