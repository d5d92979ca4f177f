"""Forks that Python sees, and forks in C of which it sees nothing, behind every front door."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.forking_program import RECORDS
from tests.support.front_doors import DOORS
from tests.support.guarantees import FORKED, PROPERTY, Row
from tests.support.scripted import ScriptedHTTP
from wakelog.audit import JournalSessionLog, SQLiteSessionLog, ThreadKey
from wakelog.journal import Misfit, books, first_misfit, folders, read

TEXT = re.compile(r"(?:parent|(?:grand)?child\d)(?: again)? \d")
PROCESSES = ["parent", "child0", "child1"]
EXPECTED = Counter(
    f"{who} {number}"
    for who in (
        *(*PROCESSES, *(f"{who} again" for who in PROCESSES)),
        *("grandchild0", "grandchild1"),
    )
    for number in range(RECORDS)
)


def run(door: str, fork: str, directory: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.forking_program", door, fork, str(directory)],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    accepted = Counter(line[9:] for line in lines if line.startswith("accepted "))
    assert accepted == EXPECTED
    return lines


def process_of(text: str) -> str:
    return text.rpartition(" ")[0].removesuffix(" again")


def texts_in(lines: list[str]) -> list[str]:
    return [found[0] for line in lines if (found := TEXT.search(line))]


def check_writers(root: Path) -> Counter[str]:
    """Return what is there: everything once, each process has written its own, and the books balance."""
    by_writer: dict[str, list[str]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for entry in read(root):
        found = TEXT.search(repr(entry.record))
        if found and (entry.writer, found[0]) not in seen:
            seen.add((entry.writer, found[0]))
            by_writer[entry.writer].append(found[0])
    found_texts = Counter(text for texts in by_writer.values() for text in texts)
    assert found_texts == EXPECTED
    processes = [{process_of(text) for text in texts} for texts in by_writer.values()]
    assert [len(found) for found in processes] == [1] * len(processes)
    for one in books(root, exact=True):
        assert (one.dead_lettered, one.evicted, one.corrupt) == (0, 0, 0)
        assert one.delivered >= 0
        assert one.pending >= 0
    return found_texts


def found_by(door: str, directory: Path) -> Counter[str]:
    """Return what is kept of a door that has no journal of writers."""
    key = ThreadKey("acme", "thread")
    if door.startswith("audit"):
        log: JournalSessionLog | SQLiteSessionLog
        if door == "audit, SQLite":
            log = SQLiteSessionLog(directory / "audit.db")
        else:
            log = JournalSessionLog(directory / "audit")
        logged = asyncio.run(log.load_since(key))
        log.close()
        assert [one.ordinal for one in logged] == list(range(1, len(logged) + 1))
        return Counter(str((one.event.payload or {})["tier"]) for one in logged)
    files = [path for path in directory.rglob("*.jsonl") if path.is_file()]
    return Counter(texts_in([line for path in files for line in path.read_text().splitlines()]))


@pytest.mark.parametrize("fork", ["c", "os"])
@pytest.mark.parametrize("door", DOORS)
def test_whoever_forks_loses_nothing_and_hangs_nowhere(
    tmp_path: Path, door: str, fork: str, record_property: Callable[[str, object], None]
) -> None:
    lines = run(door, fork, tmp_path)

    found = None
    if door == "audit, memory":
        kept: dict[str, set[str]] = defaultdict(set)
        for line in lines:
            if line.startswith("kept "):
                _, process, text = line.split(" ", 2)
                kept[process].add(text)
        assert len(kept) == 3  # the parent, and those that have closed it
        owners = {"parent", "child0", "grandchild1"}
        whole = {who: {t for t in EXPECTED if process_of(t) == who} for who in owners}
        for texts in kept.values():
            assert any(mine <= texts for mine in whole.values())
    elif door.startswith(("processor", "configure")):
        found = check_writers(tmp_path)
    elif door.startswith("streams"):
        found = check_writers(tmp_path / "streams")
    else:
        found = found_by(door, tmp_path)
        assert found == EXPECTED
    if found is not None and fork == "c":
        tried = EXPECTED.total()
        lost, twice = (EXPECTED - found).total(), (found - EXPECTED).total()
        record_property(PROPERTY, Row(FORKED, "os_buffered", 1, tried, tried, lost, twice))
    if door == "forwarding gateway":
        forwarded = texts_in((tmp_path / "forwarded.txt").read_text().splitlines())
        assert set(forwarded) <= EXPECTED.keys()
        assert {text for text in EXPECTED if text.startswith("parent")} <= set(forwarded)


@pytest.mark.parametrize("fork", ["c", "os"])
@pytest.mark.parametrize("door", ["processor", "processor with a buffer", "configure"])
def test_children_deliver_over_connections_of_their_own(
    tmp_path: Path, door: str, fork: str
) -> None:
    with ScriptedHTTP() as hop:
        run(
            door,
            fork,
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=hop.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
        )
        check_writers(tmp_path)
        total = {entry.record.id for entry in read(tmp_path)}
        delivered = set(hop.uids())
    assert delivered <= total
    # The parent, one child and one grandchild have closed the door, which delivers.
    closed = ("parent", "child0", "grandchild1")
    mine = [e for e in read(tmp_path) if (t := TEXT.search(repr(e.record))) and process_of(t[0]) in closed]  # fmt: skip
    assert {entry.record.id for entry in mine} <= delivered


@pytest.mark.parametrize("fork", ["c", "os"])
def test_no_two_processes_give_out_the_same_ids(fork: str) -> None:
    code = """
import ctypes, os, sys, wakelog
from opentelemetry import trace
log = wakelog.configure("ids", directory=sys.argv[2])
fork = ctypes.PyDLL(None).fork if sys.argv[1] == "c" else os.fork
tracer = trace.get_tracer("ids")
sys.path.insert(0, ".")
from tests.support.forking_program import be_still
def say():
    context = tracer.start_span("x").get_span_context()
    os.write(1, f"{context.trace_id} {context.span_id} {log.user_message('x').event_id}\\n".encode())
say()
be_still()
for _ in range(4):
    if not (pid := fork()):
        say()
        os._exit(0)
    os.waitpid(pid, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, fork, os.environ["XDG_STATE_HOME"]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids = done.stdout.split()
    assert len(ids) == len(set(ids)) == 15


def test_the_chain_of_every_writer_is_whole_after_forks_in_c(tmp_path: Path) -> None:
    run("processor", "c", tmp_path)

    misfits: list[Misfit | None] = [first_misfit(folder) for folder in folders(tmp_path)]
    assert misfits == [None] * 5
