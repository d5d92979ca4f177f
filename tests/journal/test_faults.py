"""A crash between any two system calls: restart twice, and nothing acknowledged is missing."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support import journal_program
from tests.support.faults import VARIABLE, with_calls, with_fault
from tests.support.guarantees import ERROR, PROPERTY, SIGKILL, Row
from wakelog.journal import books, read
from wakelog.runtime._filesystem import FileSystem

PROGRAM = ["-m", journal_program.__name__]
FAULTY = f"""
from tests.support import faults
faults.install()
import runpy
runpy.run_module({journal_program.__name__!r}, run_name="__main__", alter_sys=True)
"""
OPERATIONS = ["open", "write", "fdatasync", "fsync", "mkdir", "rename"]


Said = dict[str, list[str]]
"""What a program has said: the ids of records, by word."""


class Program:
    """The program of the tests, which plays each part in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / f"said-{id(self)}"
        self._process = subprocess.Popen(
            [sys.executable, *PROGRAM],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, directory: Path, role: str, fault: str = "") -> tuple[int, Said]:
        """Play a part and return its exit code and what it said."""
        self._output.unlink(missing_ok=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        part = [str(directory), role, fault, str(self._output)]
        self._process.stdin.write(json.dumps(part) + "\n")
        self._process.stdin.flush()
        code = self._process.stdout.readline().strip()
        assert code in ("0", str(-signal.SIGKILL)), self.end()
        return int(code), words(self._output.read_text())

    def end(self) -> str:
        """End it, and return its errors."""
        return self._process.communicate(timeout=60)[1]


def words(text: str) -> Said:
    said: Said = {"tried": [], "fsync": [], "buffered": [], "sent": []}
    for line in text.splitlines():
        word, record_id = line.split()
        said[word].append(record_id)
    return said


def check(program: Program, directory: Path, fault: str) -> list[Row] | None:
    """Kill the program at one point, restart twice, compare, and return what came of it.

    Returns:
        A row for each durability, or None when the program was not killed.
    """
    code, first = program.run(directory, "work", fault)
    # The first restart may be killed too; the second one is undisturbed.
    _, second = program.run(directory, "recover", fault)
    _, third = program.run(directory, "recover")

    in_journal = [entry.record.id for entry in read(directory)]
    acknowledged = first["fsync"] + first["buffered"]
    sent = Counter(first["sent"] + second["sent"] + third["sent"])
    assert set(acknowledged) <= set(in_journal) <= set(first["tried"]), fault
    assert len(in_journal) == len(set(in_journal)), fault
    assert sent.keys() == set(in_journal), fault
    for kept in books(directory):
        assert kept.pending == kept.corrupt == 0, fault
        assert kept.delivered == kept.accepted, fault
    if code == 0:
        return None
    tried = first["tried"]
    by_level = {"fsync": tried[::3], "os_buffered": [i for n, i in enumerate(tried) if n % 3]}
    return [
        Row(
            SIGKILL,
            level,
            1,
            len(ids),
            len(set(ids) & set(acknowledged)),
            len(set(ids) & set(acknowledged) - sent.keys()),
            sum(sent[i] - 1 for i in ids if i in sent),
        )
        for level, ids in by_level.items()
    ]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_before_and_after_every_system_call_loses_nothing_acknowledged(
    tmp_path: Path, operation: str, record_property: Callable[[str, object], None]
) -> None:
    def kills(when: str) -> list[list[Row]]:
        killed: list[list[Row]] = []
        program = Program(tmp_path)
        while rows := check(
            program, tmp_path / f"{when}-{len(killed)}", f"{when}:{operation}:{len(killed) + 1}"
        ):
            killed.append(rows)
        assert program.end() == ""
        return killed

    with ThreadPoolExecutor(2) as pool:
        before, after = pool.map(kills, ["before", "after"])

    assert len(before) == len(after) > 0
    for row in itertools.chain(*before, *after):
        record_property(PROPERTY, row)


def test_the_variable_brings_a_fault_into_any_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, str(tmp_path / "j"), "work"],
        cwd=ROOT,
        env={**os.environ, VARIABLE: "after:write:6"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr
    said = words(done.stdout)
    acknowledged = set(said["fsync"] + said["buffered"])
    in_journal = {entry.record.id for entry in read(tmp_path / "j")}
    assert acknowledged < in_journal <= set(said["tried"])


def test_what_is_shipped_has_no_hook_for_faults() -> None:
    sources = list((ROOT / "src").rglob("*.py"))

    # The demonstration kills an agent of its own, in another process.
    killers = {path.name for path in sources if "SIGKILL" in path.read_text()}

    assert "FAULT" not in re.sub("DEFAULT", "", "".join(path.read_text() for path in sources))
    assert killers == {"demo.py", "_demo_process.py"}


def counted(call: Callable[..., Any], calls: list[object]) -> Callable[..., Any]:
    def counting(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return call(*arguments, **named)

    return counting


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE"])
@pytest.mark.parametrize("operation", ["open", "write", "fdatasync", "rename"])
def test_an_error_of_any_system_call_is_raised_or_answered_and_never_an_acknowledgement(
    tmp_path: Path, operation: str, code: str, record_property: Callable[[str, object], None]
) -> None:
    from wakelog.errors import JournalError
    from wakelog.journal import Durability, Journal
    from wakelog.record import Resource, encode, uuid7

    for count in itertools.count(1):
        directory = tmp_path / str(count)
        fs = with_fault(FileSystem(), f"error:{operation}:{count}:{code}")
        calls: list[object] = []
        fs = with_calls(fs, **{operation: counted(getattr(fs, operation), calls)})
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
        if len(calls) < count:
            assert count > 1
            break  # it has been at each call
        lost, twice = len(set(acknowledged) - set(found)), len(found) - len(set(found))
        row = Row(ERROR.format(code), "fsync", 1, 8 + failures, 8, lost, twice)
        record_property(PROPERTY, row)


@pytest.mark.parametrize(
    "fault", ["x", "before:nothing:1", "before:write:x", "error:write:1:EWHAT"]
)
def test_a_fault_that_does_not_exist_is_refused(fault: str) -> None:
    with pytest.raises(ValueError, match="before:write:3"):
        with_fault(FileSystem(), fault)
