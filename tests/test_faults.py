"""A crash between any two system calls: restart twice, and nothing acknowledged is missing."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import journal_program
from wakelog.errors import ConfigurationError
from wakelog.journal import books, read
from wakelog.journal._filesystem import VARIABLE, FileSystem, with_fault

PROGRAM = Path(journal_program.__file__)
OPERATIONS = ["open", "write", "fdatasync", "fsync", "mkdir", "rename"]


def run(directory: Path, role: str, fault: str | None = None) -> tuple[int, dict[str, list[str]]]:
    """Run the program and return its exit code and what it said, by word."""
    environment = {**os.environ, VARIABLE: fault or ""}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(directory), role],
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    said: dict[str, list[str]] = {"tried": [], "fsync": [], "buffered": [], "sent": []}
    for line in done.stdout.decode().splitlines():
        word, record_id = line.split()
        said[word].append(record_id)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode, said


def check(directory: Path, fault: str) -> bool:
    """Kill the program at one point, restart twice, and compare; return whether it was killed."""
    code, first = run(directory, "work", fault)
    # The first restart may be killed too; the second one is undisturbed.
    _, second = run(directory, "recover", fault)
    _, third = run(directory, "recover")

    in_journal = [entry.record.id for entry in read(directory)]
    acknowledged = first["fsync"] + first["buffered"]
    sent = Counter(first["sent"] + second["sent"] + third["sent"])
    assert set(acknowledged) <= set(in_journal) <= set(first["tried"]), fault
    assert len(in_journal) == len(set(in_journal)), fault
    assert sent.keys() == set(in_journal), fault
    for kept in books(directory):
        assert kept.pending == kept.corrupt == 0, fault
        assert kept.delivered == kept.accepted, fault
    return code != 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_before_and_after_every_system_call_loses_nothing_acknowledged(
    tmp_path: Path, operation: str, record_property: pytest.FixtureRequest
) -> None:
    def kills(when: str) -> int:
        for count in itertools.count(1):
            directory = tmp_path / f"{when}-{count}"
            if not check(directory, f"{when}:{operation}:{count}"):
                return count - 1
        raise AssertionError

    with ThreadPoolExecutor(2) as pool:
        before, after = pool.map(kills, ["before", "after"])

    assert before == after > 0


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE"])
@pytest.mark.parametrize("operation", ["open", "write", "fdatasync", "rename"])
def test_an_error_of_any_system_call_is_raised_or_answered_and_never_an_acknowledgement(
    tmp_path: Path, operation: str, code: str
) -> None:
    from wakelog.errors import JournalError
    from wakelog.journal import Durability, Journal
    from wakelog.record import Resource, encode, uuid7

    for count in range(1, 30):
        directory = tmp_path / str(count)
        fs = with_fault(FileSystem(), f"error:{operation}:{count}:{code}")
        acknowledged: list[str] = []
        failures = 0
        said: list[str] = []
        journal = None
        while len(acknowledged) < 8 and failures < 3:
            record_id = uuid7()
            try:
                journal = journal or Journal(
                    directory, durability=Durability.FSYNC, segment_bytes=900, fs=fs
                )
                journal.append(record_id, encode({"body": "x" * 150}, 1 << 20), Resource({}))
                acknowledged.append(record_id)
            except JournalError as error:
                failures += 1
                said.append(str(error))
        assert journal is not None
        journal.close()

        assert len(acknowledged) == 8
        assert all(str(directory) in text for text in said)
        found = [entry.record.id for entry in read(directory)]
        assert [i for i in found if i in set(acknowledged)] == acknowledged
        [kept] = books(directory)
        assert kept.corrupt == 0


@pytest.mark.parametrize(
    "fault", ["x", "before:nothing:1", "before:write:x", "error:write:1:EWHAT"]
)
def test_a_fault_that_does_not_exist_is_refused(fault: str) -> None:
    with pytest.raises(ConfigurationError, match="before:write:3"):
        with_fault(FileSystem(), fault)
