"""`prune`, `repair` and `doctor`: what they change, and what they leave."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider

from tests.cli.test_cli import directory, recorder, run
from tests.support.recorded_runs import data
from wakelog import AgentLogger, DurableLogRecordProcessor, OTelSink
from wakelog.integrations.logging import WakelogHandler
from wakelog.journal import books, read
from wakelog.storage import segments

__all__ = ["directory"]

# --- prune and repair


def aged(root: Path) -> None:
    """Have all segments written two weeks ago."""
    then = time.time() - 14 * 86_400
    for path in root.glob("*/*.jsonl"):
        os.utime(path, (then, then))


def test_prune_deletes_what_is_delivered_and_only_when_told_to(tmp_path: Path) -> None:
    with recorder(tmp_path, delivering=True) as log:
        log.decision("go")
        assert log.flush()
    with recorder(tmp_path) as log:
        log.decision("not delivered")
    aged(tmp_path)

    would = data("prune", tmp_path)
    assert (would["applied"], would["segments"], would["undelivered"]) == (False, 1, 0)
    assert len(list(tmp_path.glob("*/*.jsonl"))) == 2
    did = data("prune", "--apply", tmp_path)
    assert (did["applied"], did["segments"], did["bytes"]) == (True, 1, would["bytes"])
    assert [entry.record.attributes["wakelog.decision.text"] for entry in read(tmp_path)] == [
        "not delivered"
    ]
    assert data("prune", "--older-than", "4w", tmp_path)["segments"] == 0
    assert data("status", tmp_path)["balances"]

    assert data("prune", "--apply", "--undelivered", tmp_path)["undelivered"] == 1
    assert list(read(tmp_path)) == []
    status = data("status", tmp_path)
    assert (status["balances"], status["total"]["evicted"]) == (True, 1)


def test_prune_leaves_what_is_being_written(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.decision("go")
        aged(tmp_path)
        assert data("prune", "--undelivered", tmp_path)["segments"] == 0


FAULTS = {
    "wakelog.json": b"{",
    "swept": b"nothing",
    "owner": b'{"service":',
    "ledger": b"{}",
    "deleted": b"hello\n",
    "dead_letters.jsonl": b'{"id": "1"}\n{"id":\n',
}


@pytest.mark.parametrize("name", FAULTS)
def test_repair_moves_a_file_aside_that_says_nothing(name: str, directory: Path) -> None:
    folder = directory if name in ("wakelog.json", "swept") else books(directory)[0].writer
    path = directory / folder / name
    path.write_bytes(FAULTS[name])
    ids = [entry.record.id for entry in read(directory)]

    found = run("repair", "--json", directory)
    (fault,) = json.loads(found.stdout)["faults"]
    assert (found.returncode, fault["file"], fault["done"]) == (1, str(path), False)
    assert path.read_bytes() == FAULTS[name]

    assert data("repair", "--apply", directory)["faults"][0]["done"] is True
    assert data("repair", directory)["faults"] == []
    assert [entry.record.id for entry in read(directory)] == ids
    aside = [one.read_bytes() for one in path.parent.glob(f"{name}.damaged*")]
    assert aside == [FAULTS[name]] or aside == [b'{"id":\n']
    if name == "owner":
        assert b'"service"' in path.read_bytes()
    assert data("status", directory)["total"]["accepted"] >= len(ids)


def test_repair_copies_damaged_lines_aside_and_changes_no_segment(directory: Path) -> None:
    folder = directory / books(directory)[0].writer
    (index,) = segments(folder)
    path = folder / f"{index:08d}.jsonl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content) + b'{"id":"torn')
    ids = [entry.record.id for entry in read(directory)]

    assert {one["file"] for one in json.loads(run("repair", "--json", directory).stdout)["faults"]} == {str(path)}  # fmt: skip
    assert all(one["done"] for one in data("repair", "--apply", directory)["faults"])
    assert data("repair", directory)["faults"] == []
    assert path.read_bytes() == bytes(content) + b'{"id":"torn'
    assert path.with_suffix(".torn").read_bytes() == b'{"id":"torn'
    (damaged,) = path.with_suffix(".damaged").read_bytes().splitlines()
    assert damaged in bytes(content)
    assert [entry.record.id for entry in read(directory)] == ids


def test_repair_leaves_what_is_being_written(tmp_path: Path) -> None:
    with recorder(tmp_path) as log:
        log.decision("go")
        next(tmp_path.glob("*/owner")).write_bytes(b"{")
        done = data("repair", "--apply", tmp_path)

    assert [one["done"] for one in done["faults"]] == [None]


# --- doctor


def found_by_doctor(*arguments: object, **more: str) -> dict[str, list[dict[str, str]]]:
    done = run("doctor", "--json", *arguments, **more)
    assert done.stderr == ""
    found: dict[str, list[dict[str, str]]] = {}
    for check in json.loads(done.stdout)["checks"]:
        found.setdefault(check["name"], []).append(check)
    statuses = {check["status"] for checks in found.values() for check in checks}
    assert done.returncode == ("problem" in statuses)
    return found


def test_doctor_finds_nothing_wrong_with_what_is_well(directory: Path, collector: Any) -> None:
    for protocol, endpoint in (
        ("http/protobuf", collector.http_endpoint),
        ("grpc", collector.grpc_endpoint),
    ):
        found = found_by_doctor(directory, "--endpoint", endpoint, "--protocol", protocol)

        (destination,) = found["destination"]
        assert destination["status"] == "ok", destination
        names = ("variables", "versions", "directory", "permissions", "disk", "damage")
        assert {found[name][0]["status"] for name in names} == {"ok"}


def test_doctor_says_what_is_wrong_and_what_to_do(directory: Path) -> None:
    directory.chmod(0o755)
    next(directory.glob("*/owner")).write_bytes(b"{")
    found = found_by_doctor(
        directory,
        WAKELOG_DURABILTY="fsync",
        OTEL_EXPORTER_OTLP_ENPOINT="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )

    hints = [check["hint"] for check in found["variables"]]
    assert hints == [
        "Did you mean WAKELOG_DURABILITY?",
        "Did you mean OTEL_EXPORTER_OTLP_ENDPOINT?",
    ]
    (destination,) = found["destination"]
    assert destination["status"] == "problem"
    assert "refuses connections" in destination["what"]
    assert "chmod 700" in found["permissions"][0]["hint"]
    assert found["damage"][0]["hint"] == "wakelog repair moves it aside"
    assert found["books"][0]["status"] == "warning"


def test_doctor_says_where_there_is_no_journal(tmp_path: Path) -> None:
    found = found_by_doctor(tmp_path / "nothing")

    assert found["directory"][0]["status"] == "problem"
    assert found["destination"][0]["status"] == "warning"


def test_doctor_finds_a_logger_that_is_recorded_twice(tmp_path: Path) -> None:
    processor = DurableLogRecordProcessor(None, directory=tmp_path / "journal")
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = logging.getLogger("tests.recorded_twice")
    logger.setLevel(logging.INFO)
    ours = WakelogHandler(log=AgentLogger("clerk", sink=OTelSink(provider)))
    theirs = LoggingHandler(logger_provider=provider)
    for handler in (ours, theirs):
        logger.addHandler(handler)
    for number in range(5):
        logger.info("order %d", number)
    for handler in (ours, theirs):
        logger.removeHandler(handler)
    processor.shutdown()

    (check,) = found_by_doctor(tmp_path / "journal")["second records"]

    assert check["status"] == "warning"
    assert "5 log calls of 'tests.recorded_twice' are recorded twice" in check["what"]
