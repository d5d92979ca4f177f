"""What the end of a program costs while the next hop is down, beside the SDK.

    python benchmarks/bench_exit.py [--runs N] [--protocol P]

A fresh process records ten events, and its provider is shut down a second later. The port is refused,
a black hole (it listens and never answers), or a server that answers everything with 503. The project's
aim: less than a second each. The last column is a whole program that ends, from its last statement on: set
up by configure(), with events, spans and metrics, which have been sent every 0.2 s.
"""

from __future__ import annotations

import argparse
import http.server
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROGRAM = """
import logging, sys, time
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
protocol, endpoint, whose, directory = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    exporter = OTLPLogExporter(endpoint=endpoint, insecure=True)
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    exporter = OTLPLogExporter(endpoint=endpoint + "/v1/logs")
logging.disable()
if whose == "sdk":
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    processor = BatchLogRecordProcessor(exporter)
else:
    from wakelog.otel import DurableLogRecordProcessor
    processor = DurableLogRecordProcessor(exporter, directory=directory)
provider = LoggerProvider(shutdown_on_exit=False)
provider.add_log_record_processor(processor)
logger = provider.get_logger("bench")
for number in range(10):
    logger.emit(LogRecord(body=number))
time.sleep(1)
begun = time.perf_counter()
provider.shutdown()
print(time.perf_counter() - begun)
"""

WHOLE = """
import logging, os, sys, time
protocol, endpoint, _, directory = sys.argv[1:]
os.environ.update(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
                  OTEL_METRIC_EXPORT_INTERVAL="200")
logging.disable()
import wakelog
log = wakelog.configure("bench", directory=directory)
with log.run():
    for number in range(10):
        log.user_message("x")
time.sleep(1)
print(time.monotonic())
"""


class Unavailable(http.server.BaseHTTPRequestHandler):
    """Answers everything with 503."""

    def do_POST(self) -> None:
        """Do so."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def down(kind: str) -> Iterator[str]:
    """Give the address of a next hop that is down."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
    if kind == "black hole":
        yield endpoint
        listening.close()
        return
    listening.close()
    if kind == "refused":
        yield endpoint
        return
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unavailable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def measure(protocol: str, endpoint: str, whose: str) -> float:
    """Return how long the shutdown of a fresh process takes, in seconds."""
    with tempfile.TemporaryDirectory() as directory:
        program = WHOLE if whose == "all" else PROGRAM
        command = [sys.executable, "-c", program, protocol, endpoint, whose, directory]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ)
        ended = time.monotonic()
    said = float(done.stdout)
    return ended - said if whose == "all" else said


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="1 by default; the median is printed")
    parser.add_argument("--protocol", default="http/protobuf", choices=("http/protobuf", "grpc"))
    arguments = parser.parse_args()
    print(f"shutting down over {arguments.protocol}, in seconds")
    for kind in ("refused", "black hole", "503"):
        with down(kind) as endpoint:
            found = {
                whose: statistics.median(
                    measure(arguments.protocol, endpoint, whose) for _ in range(arguments.runs)
                )
                for whose in ("wakelog", "sdk", "all")
            }
        print(
            f"  {kind:<12} Wakelog {found['wakelog']:6.2f}   the SDK {found['sdk']:6.2f}"
            f"   a whole program with Wakelog {found['all']:6.2f}"
        )


if __name__ == "__main__":
    main()
