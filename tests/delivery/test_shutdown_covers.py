"""What ``shutdown`` and ``flush`` promise holds for events, spans and metrics, in every kind of process."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.programs import INSTRUMENT, PATIENTLY, SECONDS, environment


class Hop:
    """A next hop that takes everything, but for the paths that it refuses."""

    def __init__(self) -> None:
        hop = self
        self.posts: list[tuple[str, bytes]] = []
        self.refused: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = 400 if self.path in hop.refused else 200
                if status == 200:
                    hop.posts.append((self.path, body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> list[str]:
        found = []
        for path, body in self.posts:
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += [span.name for scope in resource.scope_spans for span in scope.spans]
        return sorted(found)

    def events(self) -> list[str]:
        found = []
        for path, body in self.posts:
            if path == "/v1/logs":
                for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                    for scope in resource.scope_logs:
                        found += [log.event_name for log in scope.log_records]
        return sorted(found)

    def metrics(self) -> int:
        return sum(path == "/v1/metrics" for path, _ in self.posts)


@pytest.fixture
def hop() -> Iterator[Hop]:
    made = Hop()
    yield made
    made.server.shutdown()
    made.server.server_close()


RECORDS = """
import json, os, sys, multiprocessing
import wakelog

def work(name):
    with wakelog.get_logger(name).run():
        pass

def set_up_and_work(name):
    wakelog.configure(name)
    work(name)

def end():
    # In the child and in the parent: nothing but this, and no handler of atexit.
    sys.stdout.write(json.dumps(bool(wakelog.shutdown(20))) + "\\n")
    sys.stdout.flush()
    os._exit(0)
"""
# How a process may end, and how many runs it has recorded.
WAYS = {
    "os._exit": ("wakelog.configure('a'); work('a'); end()", 1),
    "two set-ups": (
        "wakelog.configure('a'); work('a'); wakelog.configure('b', durability='fsync'); work('b'); end()",
        2,
    ),
    "shared": ("wakelog.configure('a'); work('a'); wakelog.configure('b'); work('b'); end()", 2),
    "fork": (
        (
            "wakelog.configure('a'); work('a')\n"
            "if os.fork() == 0:\n    work('b'); end()\n"
            "os.wait(); end()"
        ),
        2,
    ),
    "multiprocessing fork": (
        (
            "wakelog.configure('a'); work('a')\n"
            "child = multiprocessing.get_context('fork').Process(target=work, args=('b',))\n"
            "child.start(); child.join(); end()"
        ),
        2,
    ),
    "multiprocessing fork, with its exit loaded before": (
        (
            "import multiprocessing.util; wakelog.configure('a'); work('a')\n"
            "child = multiprocessing.get_context('fork').Process(target=work, args=('b',))\n"
            "child.start(); child.join(); end()"
        ),
        2,
    ),
    "pool": (
        (
            "wakelog.configure('a'); work('a')\n"
            "pool = multiprocessing.get_context('fork').Pool(1)\n"
            "pool.map(work, ['b', 'c']); pool.close(); pool.join(); end()"
        ),
        3,
    ),
}
STARTED = """
if __name__ == "__main__":
    wakelog.configure("a")
    work("a")
    child = multiprocessing.get_context({method!r}).Process(target=set_up_and_work, args=("b",))
    child.start()
    child.join()
    end()
"""


def variables(hop: Hop, folder: Path) -> dict[str, str]:
    return environment(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{hop.server.server_port}",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        # Longer than the test: what arrives was sent because somebody asked for it.
        OTEL_BSP_SCHEDULE_DELAY="600000",
        OTEL_BLRP_SCHEDULE_DELAY="600000",
        WAKELOG_DIR=str(folder / "journal"),
        PYTHONWARNINGS="ignore",
    )


def ran(program: str, env: dict[str, str], folder: Path) -> list[Any]:
    file = folder / "program.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, str(file)],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("way", [*WAYS, "spawn", "forkserver"])
def test_everything_is_sent_however_the_process_ends(hop: Hop, tmp_path: Path, way: str) -> None:
    started = STARTED.format(method=way)
    code, runs = WAYS.get(way, (started, 2))

    said = ran(PATIENTLY + RECORDS + code, variables(hop, tmp_path), tmp_path)

    assert said
    assert all(said)
    names = list(("a", "b", "c")[:runs])
    assert hop.spans() == [f"invoke_agent {name}" for name in names]
    assert hop.events() == sorted(["wakelog.run_start", "wakelog.run_end"] * runs)
    assert hop.metrics() > 0


@pytest.mark.parametrize("refused", ["/v1/traces", "/v1/logs"])
@pytest.mark.parametrize("call", ["wakelog.shutdown(3)", "log.flush(3)"])
def test_what_was_not_sent_is_not_called_delivered(
    hop: Hop, tmp_path: Path, refused: str, call: str
) -> None:
    hop.refused.add(refused)
    code = f"""
log = wakelog.configure("a")
work("a")
print(json.dumps(bool({call})), flush=True)
os._exit(0)
"""

    assert ran(PATIENTLY + RECORDS + code, variables(hop, tmp_path), tmp_path) == [False]


def test_a_flush_sends_the_spans_too(hop: Hop, tmp_path: Path) -> None:
    code = """
log = wakelog.configure("a")
work("a")
print(json.dumps(bool(log.flush(20))), flush=True)
os._exit(0)
"""

    assert ran(PATIENTLY + RECORDS + code, variables(hop, tmp_path), tmp_path) == [True]
    assert hop.spans() == ["invoke_agent a"]


@pytest.mark.parametrize("zero_code", [True, False])
def test_providers_that_were_there_before_are_flushed_and_go_on(
    hop: Hop, tmp_path: Path, zero_code: bool
) -> None:
    theirs = """
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    import wakelog
    wakelog.configure("a")
    """
    code = """
    import os, wakelog
    from opentelemetry import trace
    with wakelog.get_logger("a").run():
        pass
    assert wakelog.shutdown(20)
    with trace.get_tracer("x").start_as_current_span("later"):
        pass
    assert trace.get_tracer_provider().force_flush()
    os._exit(0)
    """
    program = dedent(code) if zero_code else dedent(theirs) + dedent(code)
    starter = [INSTRUMENT] if zero_code else []
    done = subprocess.run(
        [*starter, sys.executable, "-c", PATIENTLY + program],
        env={**variables(hop, tmp_path), "OTEL_PYTHON_CONFIGURATOR": "wakelog"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert hop.spans() == ["invoke_agent a", "later"]
    assert hop.events() == ["wakelog.run_end", "wakelog.run_start"]
