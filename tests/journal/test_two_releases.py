"""A journal of the first candidate and one of this release in one directory, while both are used.

The first candidate is that of format 1, taken from the history of the repository. It cannot be changed any more,
so everything here is about what this release writes and reads.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import ROOT
from tests.support.programs import environment
from tests.support.scripted import ScriptedHTTP
from tests.support.waiting import until
from wakelog.cli import main
from wakelog.journal import books, folders, owner_of

REPOSITORY = ROOT
PROGRAM = ROOT / "tests" / "support" / "release_program.py"
CANDIDATE = "d08c7fa"


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of the first candidate, to be put on a program's path."""
    archive = subprocess.run(
        ["git", "archive", CANDIDATE, "src"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"{CANDIDATE} is not in this clone: it has no history, or is no clone at all")
    folder = tmp_path_factory.mktemp("candidate")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder / "src"


class Program:
    """A running program of one of the releases, with what it says in files."""

    def __init__(self, name: str, largest: int, folder: Path, env: dict[str, str]) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), name, str(largest)],
                env=env,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )
        until(lambda: self.accepted, f"the first record of {name}")

    @property
    def accepted(self) -> list[str]:
        """The ids of the records that were accepted, whatever became of the program."""
        whole, _, _ = self._out.read_text().rpartition("\n")
        return whole.split()

    @property
    def said(self) -> str:
        return self._err.read_text()

    def record(self, more: int) -> None:
        wanted = len(self.accepted) + more
        until(lambda: len(self.accepted) >= wanted, f"{more} more records")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def end(self) -> None:
        self._close()
        assert self._process.wait(60) == 0, self.said

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()


Start = Callable[[str], Program]


@pytest.fixture
def start(candidate: Path, tmp_path: Path, hop: ScriptedHTTP) -> Iterator[Start]:
    """Start programs in one directory; those whose name begins with `old` are of the first candidate."""
    with ExitStack() as running:

        def begin(name: str) -> Program:
            env = environment(
                WAKELOG_DIR=str(tmp_path / "journal"),
                OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=hop.logs_endpoint,
                OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
                OTEL_METRICS_EXPORTER="none",
            )
            if name.startswith("old"):
                env["PYTHONPATH"] = str(candidate)
            largest = 1000 if name.startswith("old") else 1_100_000  # which does not go onto a line
            return running.enter_context(Program(name, largest, tmp_path, env))

        yield begin


@pytest.fixture
def hop() -> Iterator[ScriptedHTTP]:
    with ScriptedHTTP() as server:
        yield server


def arrive(hop: ScriptedHTTP, ids: list[str]) -> None:
    until(lambda: set(ids) <= set(hop.uids()), f"the arrival of {len(ids)} records")


def test_processes_of_both_releases_record_and_deliver_in_one_directory_through_kills(
    start: Start, hop: ScriptedHTTP, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "journal"
    # They share the directory before the newer release raises its format.
    olds = [start("old-1"), start("old-2")]
    news = [start("new-1"), start("new-2")]
    for one in olds + news:
        one.record(20)
        arrive(hop, one.accepted[:20])

    hop.stop()
    for one in olds + news:
        one.record(30)
    olds[0].kill()
    news[0].kill()
    successor = start("new-3")
    hop.start()

    # What the dead have left arrives while the others go on.
    for dead in (olds[0], news[0]):
        arrive(hop, dead.accepted)
    for one in (olds[1], news[1], successor):
        one.record(20)
        one.end()
    everything = [i for one in (*olds, *news, successor) for i in one.accepted]
    arrive(hop, everything)
    assert len(everything) == len(set(everything))
    found = books(root, exact=True)
    assert sum(one.pending + one.corrupt + one.dead_lettered + one.evicted for one in found) == 0
    # A record may have been written whose program was killed before it could say so.
    assert 0 <= sum(one.accepted for one in found) - len(everything) <= 2
    assert {owner.generation > 0 for path in folders(root) if (owner := owner_of(path))} == {
        True,
        False,
    }
    assert main(["verify", str(root)]) == 0, capsys.readouterr()
    for one in (*olds, *news, successor):
        assert "Traceback" not in one.said, one.said
        assert "ERROR" not in one.said, one.said


def contents(folder: Path) -> dict[str, bytes]:
    """What a folder holds, without the empty file that whoever looks for undelivered records locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "delivery"
    }


def test_a_process_of_the_first_candidate_leaves_what_it_cannot_read_to_this_release(
    start: Start, hop: ScriptedHTTP, tmp_path: Path
) -> None:
    root = tmp_path / "journal"
    old = start("old")
    hop.stop()
    new = start("new")
    new.record(30)
    new.kill()
    [left] = [path for path in folders(root) if (owner := owner_of(path)) and owner.generation > 0]
    before = contents(left)
    assert any(".blobs/" in name for name in before)
    hop.start()

    until(lambda: "its line format is 2" in old.said, "the search of the older release")
    old.record(50)
    arrive(hop, old.accepted[:-1])
    assert contents(left) == before
    assert not set(new.accepted) & set(hop.uids())

    successor = start("successor")
    arrive(hop, new.accepted)
    hop.stop()
    old.record(20)
    old.kill()
    hop.start()
    arrive(hop, old.accepted)
    successor.record(5)
    successor.end()
    arrive(hop, successor.accepted)
    assert sum(one.pending for one in books(root, exact=True)) == 0
    assert old.said.count("its line format is 2") == 1
    assert "Traceback" not in old.said + successor.said
