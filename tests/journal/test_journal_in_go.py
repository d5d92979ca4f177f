"""The format in another language: a reader in Go of what `docs/journal.md` says, held against Wakelog's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.journaled import Journaled
from wakelog.journal import folders, read

SOURCE = ROOT / "examples" / "read_journal.go"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled; without Go on the machine the test is skipped."""
    if (go := shutil.which("go")) is None:
        pytest.skip("no Go on this machine to compile examples/read_journal.go with")
    program = tmp_path_factory.mktemp("go") / "read_journal"
    command = [go, "build", "-o", str(program), str(SOURCE)]
    subprocess.run(
        command, check=True, env={**os.environ, "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    )
    return program


def journal(tmp_path: Path) -> Path:
    made = Journaled(tmp_path / "journal", segment_bytes=3000, max_line_bytes=1500)
    for number in range(20):
        made.log.user_message(f"hello {number} äöü 🚢")
        made.log.emit(
            "custom", {"photo": b"\x89PNG", "ratio": float("nan"), "text": "x" * 150 * number}
        )
    made.close()
    return made.directory


def test_a_reader_in_go_prints_what_wakelog_reads_and_finds_every_line_whole(
    reader: Path, tmp_path: Path
) -> None:
    root = journal(tmp_path)
    [folder] = folders(root)

    done = subprocess.run([reader, str(folder)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("0*.jsonl"))) > 2
    expected = [(str(e.record.seq), e.record.event_name, e.record.id) for e in read(root)]
    printed = [line.split() for line in done.stdout.splitlines()]
    assert [(seq, name, uid) for seq, _, name, uid in printed] == expected
    assert len(expected) == 40


@pytest.mark.parametrize("place", [0.001, 0.3, 0.6, 0.999])
def test_a_reader_in_go_finds_a_flipped_bit(reader: Path, place: float, tmp_path: Path) -> None:
    [folder] = folders(journal(tmp_path))
    segment = sorted(folder.glob("0*.jsonl"))[1]
    content = bytearray(segment.read_bytes())
    content[int(len(content) * place)] ^= 1
    segment.write_bytes(content)

    done = subprocess.run([reader, str(folder)], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert f"{segment}, line " in done.stderr
