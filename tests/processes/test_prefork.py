"""A server that forks its workers, as gunicorn does: one dies, is replaced, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.collector import Collector
from wakelog.events import semconv as s
from wakelog.journal import books, read

# The master sets recording up before it forks, and has recorded something itself by then. Worker 1
# is killed while it emits, and a new one takes its place; the others go on until they are told.
SERVER = """
import os, signal, sys, time
import wakelog

WORKERS, EVENTS = 4, 60
log = wakelog.configure("server", service_name="prefork", directory=sys.argv[1])


def emit(worker, number):
    event = log.user_message(f"worker {worker}, event {number}")
    assert event.receipt is not None
    line = f"{event.receipt.writer} {event.receipt.seq} {event.event_id}\\n"
    os.write(1, line.encode())


def fork(worker, doomed=False):
    if pid := os.fork():
        return pid
    code = 1
    try:
        for number in range(EVENTS):
            emit(worker, number)
            if doomed and number == EVENTS // 2:
                os.kill(os.getpid(), signal.SIGKILL)
        wakelog.shutdown(0.1)
        code = 0
    finally:
        os._exit(code)


emit("master", 0)
workers = {fork(n, doomed=n == 1): n for n in range(WORKERS)}
while workers:
    pid, status = os.wait()
    worker = workers.pop(pid)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL:
        workers[fork(worker)] = worker
    else:
        assert code == 0, code
    emit("master", worker)
print("done", flush=True)
os._exit(0)
"""


def serve(directory: Path, **environment: str) -> dict[str, list[tuple[int, str]]]:
    """Run the server, and return what was accepted: numbers and ids, by writer."""
    done = subprocess.run(
        [sys.executable, "-c", SERVER, str(directory)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last == "done", done.stderr
    accepted: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in lines:
        writer, seq, event_id = line.split()
        accepted[writer].append((int(seq), event_id))
    return accepted


def check_numbers(accepted: dict[str, list[tuple[int, str]]]) -> None:
    assert len(accepted) == 6  # the master, four workers, and the one that took a place
    for numbered in accepted.values():
        assert [seq for seq, _ in numbered] == list(range(1, len(numbered) + 1))
    assert sorted(map(len, accepted.values())) == [6, 31, 60, 60, 60, 60]


def test_forked_workers_have_writers_of_their_own_and_lose_nothing_to_a_kill(
    tmp_path: Path,
) -> None:
    accepted = serve(tmp_path)

    check_numbers(accepted)
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for entry in read(tmp_path):
        found[entry.writer].append((entry.record.seq, entry.record.id))
    assert found == accepted
    assert sum(one.pending for one in books(tmp_path)) == sum(map(len, accepted.values()))


@pytest.mark.timeout(120)
def test_what_forked_workers_recorded_during_an_outage_is_delivered_when_it_ends(
    tmp_path: Path, collector: Collector
) -> None:
    directory = tmp_path / "journal"
    collector.stop()
    endpoint = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    accepted = serve(directory, **endpoint)
    check_numbers(accepted)
    ids = {event_id for numbered in accepted.values() for _, event_id in numbered}

    collector.start()
    later = (
        "import sys, time, wakelog; wakelog.configure('later', directory=sys.argv[1], "
        "service_name='prefork')\n"
        "from pathlib import Path; from wakelog.journal import books\n"
        "while sum(one.pending for one in books(Path(sys.argv[1]))): time.sleep(0.05)"
    )
    subprocess.run(
        [sys.executable, "-c", later, str(directory)],
        env={**os.environ, **endpoint},
        check=True,
        timeout=100,
    )

    logs = collector.wait_for_logs(len(ids))
    received = {log.attributes[s.LOG_RECORD_UID]: log for log in logs}
    assert received.keys() == ids
    numbers = {(log.attributes[s.WRITER_ID], log.attributes[s.SEQ]) for log in received.values()}
    assert numbers == {(w, seq) for w, numbered in accepted.items() for seq, _ in numbered}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_nothing_is_imported_while_something_is_sent(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    """A child that is forked during an import inherits its lock, and waits for it for ever."""
    code = """
import sys, wakelog
from opentelemetry import metrics, trace
log = wakelog.configure("a", directory=sys.argv[1])
before = set(sys.modules)
with log.run():
    log.user_message("x")
assert log.flush(60)
metrics.get_meter_provider().force_flush(60000)
trace.get_tracer_provider().force_flush(60000)
print(*sorted(set(sys.modules) - before))
"""
    grpc = protocol == "grpc"
    endpoint = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_endpoint if grpc else collector.http_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "journal")],
        env={**os.environ, **endpoint},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
