"""Servers that load the application once and fork: each worker is a writer, and none hangs at the end."""

from __future__ import annotations

import http.client
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from scripts.build_uwsgi import uwsgi
from tests.support.collector import free_ports
from tests.support.parts import need
from tests.support.servers import Server
from wakelog.journal import first_misfit, folders, read

ROOT = Path(__file__).parents[1]
REQUESTS = 30
# What a server waits for its workers before it kills them is far longer.
STOP_SECONDS = 20


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
    finally:
        begun = monotonic()
        running.stop()
    assert monotonic() - begun < STOP_SECONDS, "a worker hung at the end"

    by_writer: dict[str, list[str]] = defaultdict(list)
    for entry in read(journal):
        by_writer[entry.writer].append(str(entry.record.body))
    requests = {f"/{number}": process for number, process in enumerate(answers)}
    bodies = Counter(body for texts in by_writer.values() for body in texts)
    assert bodies == Counter(["loaded", *requests])
    for texts in by_writer.values():
        assert len({requests.get(text) for text in texts}) == 1
    assert [first_misfit(folder) for folder in folders(journal)] == [None] * len(by_writer)
