"""Servers that load the application once and fork: each worker is a writer, and none hangs at the end."""

from __future__ import annotations

import http.client
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.build_uwsgi import uwsgi
from tests.conftest import ROOT
from tests.support.collector import free_ports
from tests.support.parts import need
from tests.support.scripted import ScriptedHTTP
from tests.support.servers import Server
from tests.support.waiting import until
from wakelog.journal import books, first_misfit, folders, read

REQUESTS = 30
# What a server waits for its workers before it kills them is far longer.
STOP_SECONDS = 20
HANGS = """
import faulthandler, os, signal, socket, sys, time
faulthandler.register(signal.SIGXCPU)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def hang_here():
    time.sleep(300)
if os.fork():
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
hang_here()
"""


def command(server: str, port: int) -> list[str]:
    if server.startswith("gunicorn"):
        pytest.importorskip("gunicorn")
        return [
            *(sys.executable, "-m", "gunicorn", "--preload", "-w", "3"),
            *("-b", f"127.0.0.1:{port}", "tests.support.wsgi_app:application"),
        ]
    need("uwsgi")
    hooks = ["--py-call-osafterfork"] if server.endswith("hooks") else []
    return [
        *(str(uwsgi()), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "3"),
        *("--enable-threads", "--die-on-term", "--need-app", *hooks),
        *("--virtualenv", sys.prefix, "--pythonpath", str(ROOT)),
        *("--module", "tests.support.wsgi_app:application"),
    ]


def get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.attack(runs=10)
@pytest.mark.parametrize("server", ["uWSGI", "uWSGI with hooks", "gunicorn --preload"])
def test_every_worker_of_a_server_that_forks_records_as_itself_and_ends(
    tmp_path: Path, server: str
) -> None:
    (port,) = free_ports(1)
    journal = tmp_path / "journal"
    environment = {"WAKELOG_DIR": str(journal), "PYTHONPATH": str(ROOT)}
    running = Server(command(server, port), port, tmp_path, environment, part="uwsgi")
    running.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda n: get(port, f"/{n}"), range(REQUESTS)))
        if server.startswith("uWSGI"):
            # A worker of uWSGI misses a signal that comes between two requests, just before it waits.
            until(running.waits_for_requests, "the workers to wait for requests")
    finally:
        hung = running.stop(STOP_SECONDS, alone=server.startswith("uWSGI"))
    assert not hung

    by_writer: dict[str, list[str]] = defaultdict(list)
    for entry in read(journal):
        by_writer[entry.writer].append(str(entry.record.body))
    requests = {f"/{number}": process for number, process in enumerate(answers)}
    bodies = Counter(body for texts in by_writer.values() for body in texts)
    assert bodies == Counter(["loaded", *requests])
    for texts in by_writer.values():
        assert len({requests.get(text) for text in texts}) == 1
    assert [first_misfit(folder) for folder in folders(journal)] == [None] * len(by_writer)


def test_a_server_that_does_not_end_says_which_process_hangs(tmp_path: Path) -> None:
    program = tmp_path / "hangs.py"
    program.write_text(HANGS)
    (port,) = free_ports(1)
    running = Server([sys.executable, str(program), str(port)], port, tmp_path, part="uwsgi")
    running.start()

    hung = running.stop(0.2)

    assert "not ended after 0.2 s" in hung
    assert hung.count(f"hangs.py {port}") == 2
    assert "in hang_here" in hung
    assert running.stop() == ""


@pytest.mark.parametrize("at_the_end, delivered", [("shutdown", 3), ("nothing", 0)])
def test_uvicorn_ends_by_its_signal_and_delivers_where_the_lifespan_says_so(
    tmp_path: Path, at_the_end: str, delivered: int
) -> None:
    pytest.importorskip("uvicorn")
    (port,) = free_ports(1)
    journal = tmp_path / "journal"
    with ScriptedHTTP() as hop:
        environment = {
            "WAKELOG_DIR": str(journal),
            "PYTHONPATH": str(ROOT),
            "AT_THE_END": at_the_end,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hop.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BLRP_SCHEDULE_DELAY": "60000",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
        }
        application = "tests.support.asgi_app:application"
        line = [sys.executable, "-m", "uvicorn", "--port", str(port), application]
        running = Server(line, port, tmp_path, environment, part="uvicorn")
        running.start()
        try:
            for number in range(3):
                get(port, f"/{number}")
        finally:
            hung = running.stop()

        assert not hung
        assert [(one.accepted, one.delivered) for one in books(journal)] == [(3, delivered)]
        assert len(hop.uids()) == delivered
