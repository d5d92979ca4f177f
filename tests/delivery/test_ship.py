"""Any journal can be delivered from outside, and never by two at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.collector import Collector, free_ports
from tests.support.delivering import Bench, Hop, refuses
from tests.support.figures import FATES
from tests.support.waiting import until
from wakelog.events import semconv as s
from wakelog.journal import DeliveryLock, Journal, books
from wakelog.record import Resource, encode, uuid7

HERE = str(ROOT)
SECONDS = 60


def cli(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wakelog", *map(str, arguments)],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def to(collector: Collector) -> tuple[str, ...]:
    return ("--endpoint", collector.http_endpoint, "--protocol", "http/protobuf")


def leave(root: Path, count: int, processes: int = 1) -> None:
    for process in range(processes):
        journal = Journal(root)
        for number in range(count):
            journal.append(uuid7(), encode({"body": f"{process}-{number}"}, 9999), Resource({}))
        journal.close()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_a_journal_is_delivered_once_and_the_books_balance(
    tmp_path: Path, collector: Collector
) -> None:
    root = tmp_path / "j"
    leave(root, 700, processes=3)
    done = cli("ship", root, "--json", *to(collector))

    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert (said["delivered"], said["dead_lettered"], said["pending"]) == (2100, 0, 0)
    assert len(collector.log_records()) == 2100
    assert all(log.attributes[s.REPLAYED] for log in collector.log_records())
    again = cli("ship", root, *to(collector))
    assert again.returncode == 0
    assert "delivered 0, dead lettered 0, pending 0" in again.stdout
    assert len(collector.log_records()) == 2100


def test_one_writer_alone_can_be_shipped(tmp_path: Path, collector: Collector) -> None:
    root = tmp_path / "j"
    leave(root, 5, processes=2)
    first, second = sorted(root.glob("*-*"))
    done = cli("ship", second, *to(collector))

    assert done.returncode == 0, done.stderr
    assert {b.writer: b.pending for b in books(root)} == {first.name: 5, second.name: 0}


def test_a_next_hop_that_is_down_is_named_and_costs_nothing(
    tmp_path: Path, collector_binary: Path
) -> None:
    root = tmp_path / "j"
    leave(root, 3)
    [port] = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    where = ("--endpoint", endpoint, "--protocol", "http/protobuf")
    done = cli("ship", root, *where, "--timeout", 1, OTEL_EXPORTER_OTLP_TIMEOUT="1")

    assert done.returncode == 1
    assert "gave up after 1 s" in done.stderr
    assert endpoint in done.stderr
    assert books(root)[0].pending == 3


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["ship", "missing"], "there is no such file or directory"),
        (["ship", "file"], "it is JSON, but no line of it is a record"),
        (["ship", "j"], "there is nowhere to deliver to: give --endpoint"),
        (["dead-letters", "list", "missing"], "there is no such file or directory"),
        (["dead-letters", "show", "j"], "show needs --id"),
        (["dead-letters", "show", "j", "--id", "x"], "no dead letter whose id begins with 'x'"),
        (["verify", "missing"], "there is no such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    leave(tmp_path / "j", 1)
    (tmp_path / "file").write_text("{}")
    paths = {"missing", "file", "j"}
    done = cli(*[tmp_path / word if word in paths else word for word in arguments])

    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


PROGRAM = """
import sys, time
from pathlib import Path
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from wakelog.otel import DurableLogRecordProcessor
root, endpoint = sys.argv[1:]
exporter = OTLPLogExporter(endpoint=endpoint + "/v1/logs") if endpoint else None
provider = LoggerProvider()
provider.add_log_record_processor(DurableLogRecordProcessor(exporter, 20, directory=root))
logger = provider.get_logger("program")
print("ready", flush=True)
number = 0
for line in sys.stdin:
    for _ in range(int(line)):
        logger.emit(LogRecord(body=number))
        number += 1
    print(number, flush=True)
"""


class Program:
    """A program that records as many events as it is told to."""

    def __init__(self, started: list[Any], root: Path, endpoint: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, root, endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(self.process)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def record(self, count: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(SECONDS) == 0


def sidecar(
    started: list[Any], root: Path, collector: Collector, **more: str
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "wakelog",
            "ship",
            root,
            "--all",
            "--follow",
            "--json",
            *to(collector),
        ],
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def received(collector: Collector) -> Counter[str | None]:
    return Counter(log.uid for log in collector.log_records())


def test_a_sidecar_delivers_for_a_program_that_does_not(
    tmp_path: Path, collector: Collector, processes: list[Any]
) -> None:
    root = tmp_path / "j"
    program = Program(processes, root)
    program.record(100)
    ship = sidecar(processes, root, collector)
    collector.wait_for_logs(100, SECONDS)
    program.record(50)  # while it follows
    collector.wait_for_logs(150, SECONDS)
    program.record(20)
    program.end()
    collector.wait_for_logs(170, SECONDS)
    until(lambda: books(root)[0].pending == 0)
    ship.send_signal(signal.SIGTERM)
    output, errors = ship.communicate(timeout=SECONDS)

    assert (ship.returncode, errors) == (0, "")
    assert json.loads(output)["delivered"] == 170
    assert set(received(collector).values()) == {1}


def test_a_sidecar_may_be_started_before_there_is_a_journal(
    tmp_path: Path, collector: Collector, processes: list[Any]
) -> None:
    root = tmp_path / "j"
    ship = sidecar(processes, root, collector)
    never = sidecar(processes, tmp_path / "never", collector)
    for one in (ship, never):
        assert one.stderr is not None
        assert "waiting for a program to begin a journal" in one.stderr.readline()

    program = Program(processes, root)
    program.record(10)
    collector.wait_for_logs(10, SECONDS)
    program.end()
    for one in (ship, never):
        one.send_signal(signal.SIGTERM)

    assert [one.wait(SECONDS) for one in (ship, never)] == [0, 0]
    assert not (tmp_path / "never").exists()


def test_what_a_sidecar_does_for_others_is_seen_where_it_delivers(
    tmp_path: Path, collector: Collector, processes: list[Any]
) -> None:
    """The program does not deliver; the sidecar answers for what is pending when it comes, and later."""
    root = tmp_path / "j"
    leave(root, 30)
    program = Program(processes, root)
    program.record(100)
    ship = sidecar(processes, root, collector, OTEL_METRIC_EXPORT_INTERVAL="50")
    collector.wait_for_logs(130, SECONDS)
    program.record(50)
    collector.wait_for_logs(180, SECONDS)
    program.end()

    def delivered() -> float:
        reports = collector.metrics()
        return reports[-1]("wakelog.events.delivered") if reports else 0

    until(lambda: delivered() == 180)
    ship.send_signal(signal.SIGTERM)
    _, errors = ship.communicate(timeout=SECONDS)

    assert errors == ""
    for report in collector.metrics():
        found = {name: report(f"wakelog.events.{name}") for name in ("accepted", *FATES)}
        assert found["accepted"] == sum(found[name] for name in FATES), found
        assert report.resource["service.name"] == "wakelog-ship"
    last = collector.metrics()[-1]
    assert last("wakelog.events.accepted", wakelog__origin="adopted") == 180
    assert last("wakelog.events.accepted", wakelog__origin="own") == 0
    assert last("wakelog.delivery.replayed") + last("wakelog.delivery.latency") > 0


def test_a_sidecar_says_once_that_its_metrics_are_not_taken(
    tmp_path: Path, processes: list[Any]
) -> None:
    """And why; no port of HTTP's answers there."""
    root = tmp_path / "j"
    leave(root, 1)
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    process = subprocess.Popen(
        [sys.executable, "-m", "wakelog", "ship", str(root), "--follow", "--json"],
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": nowhere,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
            "OTEL_METRIC_EXPORT_INTERVAL": "10",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    processes.append(process)
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=SECONDS)

    [line] = [line for line in [*lines, *rest.splitlines()] if "metrics" in line]
    assert "Connection refused" in line


@pytest.mark.parametrize("first", ["program", "sidecar"])
def test_a_program_and_a_sidecar_never_deliver_the_same_writer_at_once(
    tmp_path: Path, collector: Collector, processes: list[Any], first: str
) -> None:
    root = tmp_path / "j"
    leave(root, 300)
    if first == "sidecar":
        ship = sidecar(processes, root, collector)
        collector.wait_for_logs(300, SECONDS)
    program = Program(processes, root, collector.http_endpoint)
    program.record(10)
    if first == "program":
        ship = sidecar(processes, root, collector)
    for _ in range(20):
        program.record(100)
    collector.wait_for_logs(2310, SECONDS)
    # What is under way when a program ends may be sent again; here nothing is.
    until(lambda: sum(b.pending for b in books(root)) == 0)
    program.end()
    leave(root, 10)  # for the sidecar, which may not have been at work before
    collector.wait_for_logs(2320, SECONDS)
    until(lambda: sum(b.pending for b in books(root)) == 0)
    ship.send_signal(signal.SIGTERM)  # SIGINT may be ignored where the tests run
    ship.communicate(timeout=SECONDS)

    assert len(received(collector)) == 2320
    assert set(received(collector).values()) == {1}
    assert sum(b.delivered for b in books(root)) == 2320


def test_a_sidecar_that_is_killed_loses_nothing_and_the_next_goes_on(
    tmp_path: Path, collector: Collector, processes: list[Any]
) -> None:
    root = tmp_path / "j"
    program = Program(processes, root)
    for _ in range(3):
        program.record(2000)
        ship = sidecar(processes, root, collector)
        until(lambda: len(collector.log_records()) > 0)
        ship.kill()
        ship.wait(SECONDS)
    last = sidecar(processes, root, collector)
    collector.wait_for_logs(6000, SECONDS)
    program.end()
    until(lambda: sum(b.pending for b in books(root)) == 0)
    last.send_signal(signal.SIGTERM)
    last.communicate(timeout=SECONDS)

    assert len(received(collector)) == 6000
    assert sum(b.delivered for b in books(root)) == 6000


def test_a_program_takes_over_when_the_sidecar_ends_and_flush_tells_the_truth_meanwhile(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "j", Hop())
    bench.record(1)
    [folder] = (tmp_path / "j").glob("*-*")
    lock = DeliveryLock.take(folder)  # the sidecar has it
    assert lock is not None
    bench.step(3)
    assert bench.hop.bodies == []
    assert not bench.delivery.flush(0)

    lock.release()
    bench.drain()
    assert bench.hop.bodies == [1]
    assert bench.delivery.flush(0)
    bench.close()


def test_what_another_process_delivers_is_said_to_be_left_to_it(
    tmp_path: Path, collector: Collector
) -> None:
    root = tmp_path / "j"
    leave(root, 5)
    [folder] = root.glob("*-*")
    lock = DeliveryLock.take(folder)
    assert lock is not None
    beside = cli("ship", root, *to(collector))
    lock.release()
    alone = cli("ship", root, *to(collector))

    assert (beside.returncode, alone.returncode) == (0, 0)
    assert "pending 5\nWhat is pending is left to the processes that deliver" in beside.stdout
    assert alone.stdout.endswith("delivered 5, dead lettered 0, pending 0\n")


# Dead letters, from the command line.


@pytest.fixture
def with_dead_letters(tmp_path: Path) -> Path:
    root = tmp_path / "j"
    bench = Bench(root, Hop(refuses("bad", "worse", reason="400: not like this")))
    bench.record(1, "bad", 2, "worse", 3)
    bench.drain()
    bench.close()
    return root


def test_dead_letters_are_listed_and_shown(with_dead_letters: Path) -> None:
    listed = cli("dead-letters", "list", with_dead_letters)
    assert listed.returncode == 0
    assert listed.stdout.count("400: not like this") == 2

    found = json.loads(cli("dead-letters", "list", with_dead_letters, "--json").stdout)
    assert [one["seq"] for one in found] == [2, 4]
    shown = cli("dead-letters", "show", with_dead_letters, "--id", found[0]["id"])
    assert '"body":"bad"' in shown.stdout
    assert "400: not like this" in shown.stdout
    [whole] = json.loads(
        cli("dead-letters", "show", with_dead_letters, "--id", found[1]["id"], "--json").stdout
    )
    assert json.loads(whole["line"])["body"] == "worse"


def test_dead_letters_are_replayed_and_the_books_stay_balanced(
    with_dead_letters: Path, collector: Collector
) -> None:
    before = books(with_dead_letters)[0]
    assert (before.delivered, before.dead_lettered, before.pending) == (3, 2, 0)
    [first, second] = json.loads(cli("dead-letters", "list", with_dead_letters, "--json").stdout)

    one = cli("dead-letters", "replay", with_dead_letters, "--id", first["id"], *to(collector))
    assert one.returncode == 0, one.stderr
    assert "delivered" in one.stdout
    half = books(with_dead_letters)[0]
    assert (half.delivered, half.dead_lettered, half.pending) == (4, 1, 0)

    all_ = cli("dead-letters", "replay", with_dead_letters, "--json", *to(collector))
    assert [r["id"] for r in json.loads(all_.stdout)] == [second["id"]]
    after = books(with_dead_letters)[0]
    assert (after.delivered, after.dead_lettered, after.pending) == (5, 0, 0)
    received = {log.uid: log for log in collector.log_records()}
    assert received[first["id"]].body == "bad"
    assert received[first["id"]].attributes[s.REPLAYED] is True
    assert cli("verify", with_dead_letters).returncode == 0
    assert "There are no dead letters" in cli("dead-letters", "list", with_dead_letters).stdout


def test_a_replay_that_is_not_accepted_changes_nothing(with_dead_letters: Path) -> None:
    [port] = free_ports(1)
    done = cli(
        *("dead-letters", "replay", with_dead_letters),
        *("--endpoint", f"http://127.0.0.1:{port}", "--protocol", "http/protobuf"),
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )

    assert done.returncode == 1
    assert "not accepted" in done.stdout
    assert books(with_dead_letters)[0].dead_lettered == 2


# Verify.


def test_verify_finds_nothing_wrong_with_what_is_whole(tmp_path: Path) -> None:
    leave(tmp_path / "j", 300, processes=2)
    done = cli("verify", tmp_path / "j", "--json")

    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["fits"]
    assert said["misfits"] == []
    assert said["total"]["accepted"] == 600
    assert "Every line is what was written." in cli("verify", tmp_path / "j").stdout


@pytest.mark.parametrize(
    "damage, line, what",
    [
        ("flip", 5, "its checksum does not match"),
        ("cut line", 5, "its checksum does not match"),
        ("header", 1, "damaged"),
        ("swap", 5, "its checksum does not match"),
        ("append", 12, "its checksum does not match"),
    ],
)
def test_verify_names_the_first_line_that_does_not_fit(
    tmp_path: Path, damage: str, line: int, what: str
) -> None:
    root = tmp_path / "j"
    bench = Bench(root, Hop())
    bench.record(*range(10))
    bench.close()
    [segment] = root.glob("*/00000001.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    offset = len(b"".join(lines[: line - 1]))
    match damage:
        case "flip":
            lines[4] = lines[4].replace(b'"body":3', b'"body":8')
        case "cut line":
            del lines[4]
        case "header":
            lines[0] = lines[0].replace(b"tests", b"texts")
        case "swap":
            lines[4], lines[5] = lines[5], lines[4]
        case "append":
            lines.append(lines[-1])
    segment.write_bytes(b"".join(lines))
    done = cli("verify", root, "--json")

    assert done.returncode == 1
    [misfit] = json.loads(done.stdout)["misfits"]
    assert misfit["file"] == str(segment)
    assert (misfit["line"], misfit["offset"]) == (line, offset)
    assert what in misfit["what"]
    text = cli("verify", root).stdout
    assert f"line {line}, byte {offset}: " in text


def test_verify_misses_records_that_were_delivered_and_are_not_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "j", Hop())
    bench.record(*range(10))
    bench.drain()
    bench.close()
    [segment] = tmp_path.glob("j/*/00000001.jsonl")
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-2]))
    done = cli("verify", tmp_path / "j")

    assert done.returncode == 1
    assert "10 records have been dealt with, and there are 8" in done.stdout


def test_verify_misses_dead_letters_that_were_deleted(with_dead_letters: Path) -> None:
    [file] = with_dead_letters.glob("*/dead_letters.jsonl")
    file.unlink()
    done = cli("verify", with_dead_letters, "--json")

    assert done.returncode == 1
    assert "2 dead letters are missing" in json.loads(done.stdout)["misfits"][0]["what"]
