"""Promise 10: a record leaves by the pipeline that it was recorded for, or waits and is said to."""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GRPCLogExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.resources import Resource as SDKResource

from tests.conftest import ROOT
from tests.support.guarantees import OWNERS, PROPERTY, Row
from tests.support.programs import environment
from wakelog.cli import main
from wakelog.cli._whose import Whose
from wakelog.errors import ConfigurationError, JournalError, JournalFormatError
from wakelog.journal import (
    Folder,
    Journal,
    Owner,
    Service,
    books,
    folders,
    next_generation,
    owner_of,
    read,
)
from wakelog.otel import DurableLogRecordProcessor
from wakelog.otel._pipeline import destination_of
from wakelog.record import LOGS, SPANS, Resource, encode, seal, seal_fields, uuid7

PROGRAM = ROOT / "tests" / "support" / "owned_program.py"
COUNT = 5


def program(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        env=environment(WAKELOG_DIR=str(directory)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (-9 if arguments[-1] == "kill" else 0), done.stderr
    return done


def by_hop(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        hop, body = line.split(" ", 1)
        found.setdefault(hop, []).append(body)
    return found


def fill(
    root: Path, service: str, count: int = 1, pipeline: str = "default", signal: str = LOGS
) -> str:
    """A process that was killed left this."""
    journal = Journal(root, pipeline=pipeline, signal=signal)
    resource = Resource({"service.name": service})
    for number in range(count):
        journal.append(uuid7(), encode({"body": f"{service} {number}"}, 1 << 20), resource)
    assert journal.writer is not None
    journal.close()
    return journal.writers[-1].id


def format_1(root: Path, service: str, count: int) -> None:
    """The folder that the first candidate writes."""
    root.mkdir(exist_ok=True)
    (root / "wakelog.json").write_bytes(b'{"wakelog":"journal","format":1}')
    folder = Folder.create(root, uuid7())
    resource = {"attributes": {"service.name": service}, "schema_url": ""}
    line, crc = seal_fields(
        {
            "writer": folder.writer,
            "segment": 1,
            "format": 1,
            "last_seq": 0,
            "last_crc": "00000000",
            "resource": resource,
        }
    )
    for seq in range(1, count + 1):
        more, crc = seal(uuid7(), seq, encode({"body": f"{service} {seq}"}, 1 << 20), crc)
        line += more
    (folder.path / "00000001.jsonl").write_bytes(line)
    folder.release()


# The matrix: whoever starts second, its own arrives and the other's waits

LEFT = [
    ("payroll", "-", "http://payroll"),
    ("-", "-", "http://nobody"),
    ("payroll", "x", "http://p"),
]
NEXT = {
    "the same": lambda s, p, d: (s, p, d),
    "another service": lambda s, p, d: ("webshop", p, "http://webshop"),
    "another service, same endpoint": lambda s, p, d: ("webshop", p, d),
    "another endpoint": lambda s, p, d: (s, p, "http://new"),
    "another pipeline": lambda s, p, d: (s, "other", d),
}


@pytest.mark.parametrize("left", LEFT, ids=lambda left: "/".join(left[:2]))
@pytest.mark.parametrize("then", NEXT)
def test_what_a_killed_process_left_leaves_by_its_own_door_or_waits_and_is_said_to(
    left: tuple[str, str, str],
    then: str,
    tmp_path: Path,
    record_property: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "shared"
    program(root, *left, COUNT, "kill")
    following = NEXT[then](*left)

    second = program(root, *following, 1, "run")

    # A name that somebody gave follows to another endpoint; one by the destination does not.
    same_door = following[:2] == left[:2] and (left[1] != "-" or following[2] == left[2])
    arrived = by_hop(second)
    own = f"{left[0]}/{left[1]}/"
    taken_up = [body for hop in arrived.values() for body in hop if body.startswith(own)]
    assert list(arrived) == [following[2]]
    assert len(taken_up) == (COUNT if same_door else 0) + (following[:2] == left[:2])
    waiting = 0 if same_door else COUNT
    assert sum(one.pending for one in books(root)) == waiting
    if waiting:
        if following[0] == left[0]:
            assert f"{COUNT} records of service" in second.stderr
            assert "wakelog ship --service" in second.stderr
        capsys.readouterr()
        assert main(["status", str(root)]) == 0
        assert f"{COUNT} of " in capsys.readouterr().out
    record_property(PROPERTY, Row(OWNERS, "os_buffered", 1, COUNT, COUNT, 0, 0))

    third = program(root, *left, 1, "run")
    assert sum(one.pending for one in books(root)) == 0
    everything = taken_up + [b for bs in by_hop(third).values() for b in bs if b.startswith(own)]
    assert len(everything) == len(set(everything)) == COUNT + 1 + (following[:2] == left[:2])


def test_ten_processes_of_two_services_in_one_directory_swap_nothing(tmp_path: Path) -> None:
    for number, service in itertools.product(range(2), ("a", "b")):
        program(tmp_path, service, "default", f"http://{service}", COUNT + number, "kill")

    for service in ("b", "a"):
        arrived = by_hop(program(tmp_path, service, "default", f"http://{service}", 1, "run"))
        assert list(arrived) == [f"http://{service}"]
        assert len(arrived[f"http://{service}"]) == 2 * COUNT + 2
        assert all(body.startswith(f"{service}/") for body in arrived[f"http://{service}"])
    assert sum(one.pending for one in books(tmp_path)) == 0


def test_a_followed_default_is_said_once_with_the_count(tmp_path: Path) -> None:
    program(tmp_path, "a", "default", "http://old", COUNT, "kill")

    done = program(tmp_path, "a", "default", "http://new", 1, "run")

    [line] = [line for line in done.stderr.splitlines() if "another destination" in line]
    assert f"{COUNT} records" in line
    assert "http://old" in line
    assert len(by_hop(done)["http://new"]) == COUNT + 1


@pytest.mark.parametrize("service, arrives", [("a", COUNT), ("b", 0)])
def test_a_folder_of_the_first_candidate_is_of_default_of_its_service(
    service: str, arrives: int, tmp_path: Path
) -> None:
    root = tmp_path / "j"
    format_1(root, "a", COUNT)

    done = program(root, service, "default", "http://it", 1, "run")

    assert len(by_hop(done)["http://it"]) == arrives + 1
    assert sum(one.pending for one in books(root)) == COUNT - arrives
    assert orjson.loads((root / "wakelog.json").read_bytes())["format"] == 2
    assert len(list(read(root))) == COUNT + 1


def test_a_wakelog_that_knows_only_format_1_refuses_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    format_1(tmp_path / "j", "a", 1)
    fill(tmp_path / "j", "a")

    # The check of the marker is the same code in the first candidate, with another number.
    monkeypatch.setattr("wakelog.journal._root.FORMAT", 1)
    with pytest.raises(JournalFormatError, match="its format is 2, and this Wakelog knows 1"):
        Journal(tmp_path / "j")


CANDIDATE = "d08c7fa"
CANDIDATE_OPENS = "import sys; from wakelog.journal import Journal; Journal(sys.argv[1])"


def test_the_first_candidate_itself_refuses_the_directory(tmp_path: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", CANDIDATE, "src"],
        cwd=PROGRAM.parents[2],
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        pytest.skip(f"{CANDIDATE} is not in this clone; the marker is tried by the test before")
    (tmp_path / "old").mkdir()
    subprocess.run(["tar", "-x", "-C", str(tmp_path / "old")], input=archive.stdout, check=True)
    fill(tmp_path / "j", "a")

    done = subprocess.run(
        [sys.executable, "-c", CANDIDATE_OPENS, str(tmp_path / "j")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "old" / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "its format is 2, and this Wakelog knows 1" in done.stderr


# One process


def emit(durable: DurableLogRecordProcessor, service: str, body: str) -> None:
    provider = LoggerProvider(
        resource=SDKResource({"service.name": service}), shutdown_on_exit=False
    )
    provider.add_log_record_processor(durable)
    provider.get_logger("l").emit(LogRecord(body=body))


def test_records_of_two_services_in_one_processor_have_a_folder_each(tmp_path: Path) -> None:
    exporter = InMemoryLogRecordExporter()
    durable = DurableLogRecordProcessor(exporter, directory=tmp_path)
    emit(durable, "a", "1")
    emit(durable, "b", "2")
    emit(durable, "a", "3")

    assert durable.force_flush()
    found = {str(o.service): o for path in folders(tmp_path) if (o := owner_of(path))}
    assert set(found) == {"a", "b"}
    assert len({one.process for one in found.values()}) == 1
    assert sorted(one.generation for one in found.values()) == [1, 2]
    assert len(exporter.get_finished_logs()) == 3
    assert durable.close(5)
    assert sorted(one.delivered for one in books(tmp_path)) == [1, 2]


def test_equal_pipelines_of_one_process_are_numbered_and_a_closed_one_is_free(
    tmp_path: Path,
) -> None:
    made = [
        DurableLogRecordProcessor(InMemoryLogRecordExporter(), directory=tmp_path) for _ in range(3)
    ]
    names = [one.pipeline for one in made]
    assert names == [names[0], f"{names[0]}#2", f"{names[0]}#3"]
    made[1].shutdown()
    again = DurableLogRecordProcessor(InMemoryLogRecordExporter(), directory=tmp_path)
    assert again.pipeline == names[1]
    for one in (*made, again):
        one.shutdown()


@pytest.mark.parametrize("exporter", [OTLPLogExporter, GRPCLogExporter])
def test_a_pipeline_s_name_tells_headers_apart_and_shows_none(exporter: Any) -> None:
    """Fails when the attributes that say it, which have no public names, are gone."""
    names = [
        destination_of(
            exporter(endpoint="http://localhost:1/v1/logs", headers={"x-tenant": tenant})
        )
        for tenant in ("secret-one", "secret-two", "secret-one")
    ]
    assert names[0] == names[2] != names[1]
    assert "localhost:1" in names[0]
    assert "secret" not in "".join(names)
    other = destination_of(exporter(endpoint="http://localhost:2/v1/logs"))
    assert other.count(":") < names[0].count(":") + 1
    assert destination_of(exporter(endpoint="http://u:pass@localhost:2/v1/logs")) != other
    assert "pass" not in destination_of(exporter(endpoint="http://u:pass@localhost:2/v1/logs"))


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201, "a\x1bb"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pipeline"):
        DurableLogRecordProcessor(None, directory=tmp_path, pipeline=name)


def test_the_default_directory_follows_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "state" / "wakelog"
    late = DurableLogRecordProcessor(None)
    assert list(base.iterdir()) == []
    emit(late, "first", "1")
    assert late.journal.root == base / "first"
    late.shutdown()

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=known")
    known = DurableLogRecordProcessor(None)
    assert (base / "known" / "wakelog.json").exists()
    known.shutdown()


@pytest.mark.parametrize("known", [False, True])
def test_a_bad_parent_raises_at_construction_either_way(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if known:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "known")
    (tmp_path / "state").write_text("a file")
    with pytest.raises(JournalError, match="file"):
        DurableLogRecordProcessor(None)


@pytest.mark.parametrize("how", ["flipped", "empty", "missing"])
def test_a_damaged_owner_costs_nothing_and_sends_nothing_elsewhere(
    how: str, tmp_path: Path
) -> None:
    writer = fill(tmp_path, "a", pipeline="audit")
    path = tmp_path / writer / "owner"
    whole = path.read_bytes()
    for place in range(len(whole)) if how == "flipped" else (0,):
        if how == "flipped":
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        elif how == "empty":
            path.write_bytes(b"")
        else:
            path.unlink()
        owner = owner_of(tmp_path / writer)
        assert owner is not None
        assert (str(owner.service), owner.pipeline, owner.generation) == ("a", "audit", 1)


def test_a_forked_child_has_folders_of_its_own_and_another_process_id(tmp_path: Path) -> None:
    journal = Journal(tmp_path, pipeline="p")
    content = encode({"body": 1}, 1 << 20)
    journal.append(uuid7(), content, Resource({"service.name": "a"}))
    child = os.fork()
    if child == 0:
        try:
            journal.append(uuid7(), content, Resource({"service.name": "a"}))
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    found = [owner for path in folders(tmp_path) if (owner := owner_of(path)) is not None]
    assert [(str(one.service), one.pipeline, one.generation) for one in found] == [
        ("a", "p", 1),
        ("a", "p", 2),
    ]
    assert found[0].process != found[1].process
    journal.close()


@pytest.mark.parametrize("counter", ["kept", "gone", "damaged"])
def test_a_generation_is_greater_than_all_whatever_clock_and_counter_say(
    counter: str, tmp_path: Path
) -> None:
    Journal(tmp_path)
    owner = Owner(Service("", "a"), generation=41)
    Folder.create(tmp_path, "00000000-0000-7000-8000-000000000000", owner=owner).release()
    if counter != "gone":
        (tmp_path / "generation").write_bytes(b"7\n" if counter == "damaged" else b"%020d\n" % 50)

    with next_generation(tmp_path) as generation:
        assert generation == (51 if counter == "kept" else 42)


# The command line


@pytest.mark.parametrize(
    "command", [["ship", "--endpoint", "http://localhost:9"], ["dead-letters", "replay"]]
)
def test_a_command_sends_nobody_s_records_unasked(
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "what the command sets for its own process")
    fill(tmp_path, "a")
    fill(tmp_path, "b", pipeline="x")

    assert main([command[0], *command[1:], str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "--service a --pipeline default; or --service b --pipeline x" in said
    assert "--all" in said


@pytest.mark.parametrize(
    "service, pipeline, everybody, meant",
    [
        ("a", None, False, {"a"}),
        (None, "x", False, {"b"}),
        (None, None, True, {"a", "b"}),
    ],
)
def test_ship_takes_what_is_named(
    service: str | None, pipeline: str | None, everybody: bool, meant: set[str], tmp_path: Path
) -> None:
    named = {fill(tmp_path, "a"): "a", fill(tmp_path, "b", pipeline="x"): "b"}
    whose = Whose(argparse.Namespace(service=service, pipeline=pipeline, all=everybody))
    whose.choose(tmp_path, "ship")
    assert {named[p.name] for p in folders(tmp_path) if whose.is_meant(p)} == meant


def test_the_only_one_there_needs_no_name_and_later_ones_are_left(tmp_path: Path) -> None:
    whose = Whose(argparse.Namespace(service=None, pipeline=None, all=False))
    Journal(tmp_path)
    whose.choose(tmp_path, "ship")
    first, second = fill(tmp_path, "a"), fill(tmp_path, "b")
    assert whose.is_meant(tmp_path / first)
    assert not whose.is_meant(tmp_path / second)


def test_what_waits_of_one_pipeline_is_said_with_its_spans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "one", "a", 3)
    fill(tmp_path / "one", "a", 2, signal=SPANS)
    fill(tmp_path / "named", "a", 3, pipeline="audit")
    fill(tmp_path / "named", "a", 2, pipeline="audit", signal=SPANS)

    main(["status", str(tmp_path / "one")])
    one = capsys.readouterr().out
    main(["status", str(tmp_path / "named")])
    named = capsys.readouterr().out

    assert "no process records" not in one  # the next process of the only service delivers it
    assert "5 of a, pipeline audit are pending" in named


def test_status_shows_service_and_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "a")
    fill(tmp_path, "b", pipeline="audit")

    assert main(["status", "--json", str(tmp_path)]) == 0
    found = orjson.loads(capsys.readouterr().out)["writers"]
    assert [(one["service"], one["pipeline"]) for one in found] == [
        ("a", "default"),
        ("b", "audit"),
    ]
    assert main(["status", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "a, pipeline default" in text
    assert "b, pipeline audit" in text
    assert "wakelog ship --service b --pipeline audit" in text
