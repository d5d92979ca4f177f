"""Exit does not wait for the network, loses nothing that was accepted, and tells the truth.

Each program runs in a process of its own; the next hops are sockets of the test's. The bounds are wide,
for slow machines: ``benchmarks/bench_exit.py`` has the figures.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import Collector, free_ports
from tests.support.delivering import Bench, Hop
from tests.support.programs import PATIENTLY
from wakelog.journal import books, read

SECONDS = 90
# The exporter may keep trying for two minutes: whoever waits for it is far above this.
PATIENT = "120"
SOON = 30.0


class Unavailable(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def next_hop(request: pytest.FixtureRequest) -> Iterator[str]:
    """A next hop that is down in one way or another."""
    kind = request.param
    if kind == "refused":
        yield f"http://127.0.0.1:{free_ports(1)[0]}"
    elif kind == "black hole":
        with closing(socket.create_server(("127.0.0.1", 0), backlog=64)) as listening:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    else:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unavailable)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()


def start(program: str, root: Path, endpoint: str = "", **more: str) -> subprocess.Popen[str]:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "WAKELOG_DIR": str(root),
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TIMEOUT": PATIENT,
            **given,
            **more,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    output, errors = process.communicate(timeout=SECONDS)
    return output, errors


def ids(root: Path) -> list[str]:
    return [entry.record.id for entry in read(root)]


SHUTS_DOWN = """
import json, sys, time, wakelog
log = wakelog.configure("clerk")
for number in range(3):
    log.user_message(f"message {number}")
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
begun = time.monotonic()
delivered = bool(wakelog.shutdown())
print(json.dumps([time.monotonic() - begun, delivered]))
"""
DOWN = ["refused", "black hole", "503"]


@pytest.mark.parametrize("next_hop", DOWN, indirect=True)
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_next_hop_that_is_down_does_not_hold_up_the_exit(
    tmp_path: Path, next_hop: str, protocol: str
) -> None:
    process = start(SHUTS_DOWN, tmp_path, next_hop, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    output, errors = finish(process)

    assert process.returncode == 0, errors
    took, delivered = json.loads(output)
    assert not delivered
    assert took < SOON
    assert "Traceback" not in errors
    assert (books(tmp_path)[0].accepted, books(tmp_path)[0].pending) == (3, 3)


@pytest.mark.parametrize("next_hop", ["black hole"], indirect=True)
def test_the_environment_says_how_long_an_exit_waits_for_an_answer(
    tmp_path: Path, next_hop: str
) -> None:
    took = {}
    for seconds in (0.1, 3.0):
        process = start(SHUTS_DOWN, tmp_path, next_hop, WAKELOG_EXIT_ANSWER_TIMEOUT=str(seconds))
        output, errors = finish(process)
        assert process.returncode == 0, errors
        took[seconds], _ = json.loads(output)

    assert took[0.1] < 3.0 <= took[3.0]


def test_shutdown_delivers_and_says_so(tmp_path: Path, collector: Collector) -> None:
    process = start(PATIENTLY + SHUTS_DOWN, tmp_path / "j", collector.http_endpoint)
    output, errors = finish(process)

    assert json.loads(output)[1] is True, errors
    assert len(collector.log_records()) == 3
    assert books(tmp_path / "j")[0].pending == 0


EMITTERS = """
import sys, threading, time, wakelog
log = wakelog.configure("clerk")
accepted = []
def emit(number):
    while not stop.is_set():
        event = log.user_message("x")
        if event is not None:
            accepted.append(event.event_id)
        time.sleep(0.001)
stop = threading.Event()
threads = [threading.Thread(target=emit, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
while len(accepted) < 200: time.sleep(0.001)
wakelog.shutdown(5)
after = len(accepted)
while len(accepted) < after + 50: time.sleep(0.001)
stop.set()
for thread in threads: thread.join()
print("\\n".join(accepted))
"""


def test_emitters_that_are_still_running_lose_nothing(tmp_path: Path, collector: Collector) -> None:
    process = start(EMITTERS, tmp_path / "j", collector.http_endpoint)
    output, errors = finish(process)

    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    accepted = output.split()
    assert len(accepted) >= 250
    assert set(accepted) == set(ids(tmp_path / "j"))
    # What came too late for this process is pending, and the books know it; what was under way when
    # it gave up may have arrived nevertheless.
    found = books(tmp_path / "j")
    assert sum(b.accepted for b in found) == len(accepted)
    assert sum(b.delivered for b in found) <= len({r.uid for r in collector.log_records()})


EARLY_HANDLER = """
import atexit
logs = []
atexit.register(lambda: print(logs[0].user_message("the last words").event_id))
import wakelog
logs.append(wakelog.configure("clerk"))
print(logs[0].user_message("the first words").event_id)
"""


@pytest.mark.parametrize("next_hop", ["refused"], indirect=True)
def test_an_atexit_handler_registered_earlier_may_emit_last(tmp_path: Path, next_hop: str) -> None:
    process = start(EARLY_HANDLER, tmp_path, next_hop)
    output, errors = finish(process)

    assert process.returncode == 0
    assert "Traceback" not in errors
    assert ids(tmp_path) == output.split()
    assert len(ids(tmp_path)) == 2


FORKS = """
import os, sys, wakelog
log = wakelog.configure("clerk")
log.user_message("parent")
child = os.fork()
if child == 0:
    for number in range(10):
        log.user_message(f"child {number}")
    if sys.argv[-1] == "flush":
        assert log.flush(60)
    os._exit(0)  # as multiprocessing ends
_, status = os.waitpid(child, 0)
log.user_message("parent again")
if sys.argv[-1] == "flush":
    assert log.flush(60)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("flush", [True, False])
def test_a_forked_child_that_ends_at_once_loses_nothing(
    tmp_path: Path, collector: Collector, flush: bool
) -> None:
    program = FORKS.replace('sys.argv[-1] == "flush"', str(flush))
    process = start(program, tmp_path / "j", collector.http_endpoint)
    _, errors = finish(process)

    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert len(ids(tmp_path / "j")) == 12
    if flush:
        assert len(collector.log_records()) == 12


ASYNCIO = """
import asyncio, signal, wakelog
async def main():
    log = wakelog.configure("clerk")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async def agent(number):
        while not stop.is_set():
            print(log.user_message("x").event_id, flush=True)
            await asyncio.sleep(0)
        print(log.user_message("the end").event_id, flush=True)
    await asyncio.gather(*(agent(n) for n in range(3)))
asyncio.run(main())
"""


@pytest.mark.parametrize("next_hop", ["black hole"], indirect=True)
def test_sigterm_in_an_asyncio_program_loses_nothing(tmp_path: Path, next_hop: str) -> None:
    process = start(ASYNCIO, tmp_path, next_hop)
    assert process.stdout is not None
    first = [process.stdout.readline().strip() for _ in range(20)]
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert process.stderr is not None
    output, errors = process.stdout.read(), process.stderr.read()
    process.wait(SECONDS)
    process.stdout.close()
    process.stderr.close()

    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert time.monotonic() - begun < 30
    assert set(first + output.split()) == set(ids(tmp_path))


FINALIZING = """
import sys, threading, time, wakelog
log = wakelog.configure("clerk")
log.user_message("first")
class Late:
    def __del__(self):
        log.user_message("from a finalizer")
sys.late = Late()
def forever():
    while True:
        log.user_message("from a daemon")
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
"""


@pytest.mark.parametrize("next_hop", ["refused", "black hole"], indirect=True)
def test_emitting_while_the_interpreter_ends_neither_hangs_nor_complains(
    tmp_path: Path, next_hop: str
) -> None:
    # The daemon records without a pause for as long as the exit waits.
    process = start(FINALIZING, tmp_path, next_hop, WAKELOG_EXIT_ANSWER_TIMEOUT="0.5")
    _, errors = finish(process)

    assert process.returncode == 0, errors
    assert "can't start new thread" not in errors
    assert "Fatal" not in errors
    assert len(ids(tmp_path)) > 1


def test_flush_honours_its_time_out_and_says_no(tmp_path: Path) -> None:
    gate = threading.Event()
    hop = Hop()
    hop.script = lambda _: (gate.wait(60), hop_taken())[1]
    bench = Bench(tmp_path, hop)
    bench.record(1)
    worker = threading.Thread(target=bench.delivery.step)
    worker.start()
    begun = time.monotonic()
    said = bench.delivery.flush(0.2)
    took = time.monotonic() - begun
    gate.set()
    worker.join()

    assert not said
    assert 0.2 <= took < 30
    assert bench.delivery.flush(0)
    bench.close()


def hop_taken() -> Any:
    from tests.support.delivering import TAKEN

    return TAKEN


def test_flush_does_not_call_a_dead_letter_delivered(tmp_path: Path) -> None:
    from tests.support.delivering import refuses

    bench = Bench(tmp_path, Hop(refuses("bad")))
    bench.record(1, "bad", 2)
    bench.drain()

    assert not bench.delivery.flush(30)
    bench.close()


ORPHANS = """
import json, time, wakelog
log = wakelog.configure("clerk")
log.user_message("mine")
begun = time.monotonic()
delivered = bool(wakelog.shutdown(100))
print(json.dumps([time.monotonic() - begun, delivered]))
"""


def test_exit_does_not_wait_for_what_others_left_behind(
    tmp_path: Path, collector: Collector
) -> None:
    root = tmp_path / "j"
    from wakelog.journal import Journal
    from wakelog.record import Resource, encode, uuid7

    journal = Journal(root)
    content = encode({"body": "x" * 1000}, 1 << 20)
    for _ in range(50_000):
        journal.append(uuid7(), content, Resource({}))
    journal.close()
    process = start(PATIENTLY + ORPHANS, root, collector.http_endpoint)
    output, errors = finish(process)

    took, delivered = json.loads(output)
    assert delivered, errors
    assert took < SOON
    assert books(root)[0].pending > 0
