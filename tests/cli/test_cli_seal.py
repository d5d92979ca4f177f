"""``wakelog seal``: the key with a process that does nothing but sign."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.evidence.test_evidence_signer import Agent
from tests.support.sealed import RESOURCE, key_files, verify
from tests.support.waiting import until
from wakelog.cli import main
from wakelog.cli import seal as command
from wakelog.evidence import last_seal
from wakelog.journal import Journal, books, folders
from wakelog.record import encode, uuid7
from wakelog.storage import SEALS, segments

# Of the programs that record beside sealers, which is reached now and then.
QUOTA = 1_000_000


def write(journal: Journal, count: int) -> None:
    for number in range(count):
        journal.append(uuid7(), encode({"body": f"event {number}"}, 1 << 20), RESOURCE)


def seal(root: Path, tmp_path: Path, *more: str, capsys: Any) -> tuple[int, dict[str, Any]]:
    """Run the command once, in this process."""
    capsys.readouterr()
    key = ["--key", str(tmp_path / "keys" / "seal.key")]
    code = main(["seal", str(root), *key, "--once", "--json", *more])
    return code, json.loads(capsys.readouterr().out)


@contextmanager
def sealing(root: Path, tmp_path: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a process of its own, which is killed at the end of the block."""
    command = [
        sys.executable, "-m", "wakelog", "seal", str(root),
        "--key", str(tmp_path / "keys" / "seal.key"), "--interval", "0.02", "--keep", "0", "--json", *more,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def sealed_up_to(root: Path) -> list[int]:
    found = [last_seal(folder) for folder in folders(root)]
    return sorted((one.last_seq for one in found if one is not None), reverse=True)


def test_it_seals_what_stands_in_the_folders_of_running_and_of_ended_programs(
    tmp_path: Path, capsys: Any
) -> None:
    _, public = key_files(tmp_path / "keys")
    root = tmp_path / "j"
    ended, running = Journal(root, segment_bytes=400), Journal(root)
    write(ended, 5)
    ended.close()
    write(running, 3)

    code, said = seal(root, tmp_path, capsys=capsys)
    writers = {one["last_seq"]: one for one in said["writers"]}
    assert (code, said["failed"], said["path"]) == (0, 0, str(root))
    assert said["seals"] == sum(one["new"] for one in said["writers"]) > 2
    assert (writers[5]["closed"], writers[3]["closed"]) == (True, False)

    write(running, 1)
    code, said = seal(root, tmp_path, capsys=capsys)
    assert [(one["new"], one["last_seq"]) for one in said["writers"] if one["new"]] == [(1, 4)]
    running.close()
    seal(root, tmp_path, capsys=capsys)
    assert seal(root, tmp_path, capsys=capsys)[1]["seals"] == 0

    shown = verify(root, public, capsys=capsys)
    assert shown["fits"]
    assert [one["unsealed"] for one in shown["evidence"]["writers"]] == [0, 0]
    assert shown["evidence"]["keys"] == [said["signer"]]


def test_its_json_has_what_the_help_says(tmp_path: Path, capsys: Any) -> None:
    key_files(tmp_path / "keys")
    journal = Journal(tmp_path / "j")
    write(journal, 1)
    journal.close()

    _, said = seal(tmp_path / "j", tmp_path, capsys=capsys)
    assert {*said, *said["writers"][0]} == {*re.findall(r'"(\w+)"', command.__doc__ or "")}


def test_it_seals_one_writer_where_its_folder_is_named(tmp_path: Path, capsys: Any) -> None:
    key_files(tmp_path / "keys")
    for _ in range(2):
        journal = Journal(tmp_path / "j")
        write(journal, 2)
        journal.close()
    one, other = folders(tmp_path / "j")

    _, said = seal(one, tmp_path, capsys=capsys)
    assert [writer["writer"] for writer in said["writers"]] == [one.name]
    assert not (other / SEALS).exists()


def test_nothing_is_delivered_and_nothing_but_seals_is_written(tmp_path: Path, capsys: Any) -> None:
    key_files(tmp_path / "keys")
    root = tmp_path / "j"
    journal = Journal(root)
    write(journal, 3)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    seal(root, tmp_path, capsys=capsys)

    [folder] = folders(root)
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {folder / SEALS}
    assert {path: after[path] for path in before} == before
    assert [one.pending for one in books(root)] == [3]
    journal.close()


@pytest.mark.parametrize(
    "more, code, words",
    [
        ([], 1, "seal needs the key to sign with: --key FILE"),
        (["--key", "missing"], 1, "the key missing cannot be read"),
        (["--key", "x", "--once", "--interval", "3"], 2, "not allowed with argument --once"),
        (["--key", "x", "--interval", "0"], 2, "argument --interval: '0' cannot be used"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, more: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(tmp_path)
    write(journal, 1)
    journal.close()
    try:
        ended = main(["seal", str(tmp_path), *more])
    except SystemExit as error:
        ended = int(str(error.code))

    assert ended == code
    assert words in capsys.readouterr().err
    assert not any(path.name == SEALS for path in tmp_path.rglob("*"))


def test_a_writer_that_cannot_be_sealed_makes_the_exit_code_1_and_costs_no_other(
    tmp_path: Path, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    key_files(tmp_path / "keys")
    for _ in range(2):
        journal = Journal(tmp_path / "j")
        write(journal, 2)
        journal.close()
    one, other = folders(tmp_path / "j")
    (one / "seals.jsonl.d").mkdir()
    (one / SEALS).symlink_to(one / "seals.jsonl.d")

    code, said = seal(other, tmp_path, capsys=capsys)
    assert (code, said["failed"]) == (0, 0)
    capsys.readouterr()
    code = main(
        ["seal", str(tmp_path / "j"), "--key", str(tmp_path / "keys" / "seal.key"), "--once"]
    )
    assert code == 1
    assert one.name in caplog.text + capsys.readouterr().err
    assert last_seal(other) is not None


def test_checkpoints_name_a_journal_that_was_rolled_back_while_nobody_sealed(
    tmp_path: Path, capsys: Any
) -> None:
    _, public = key_files(tmp_path / "keys")
    root, elsewhere = tmp_path / "j", str(tmp_path / "elsewhere.jsonl")
    journal = Journal(root)
    for _ in range(3):
        write(journal, 1)
        seal(root, tmp_path, "--checkpoints", elsewhere, capsys=capsys)
    [folder] = folders(root)
    first = (folder / SEALS).read_bytes().splitlines(keepends=True)[0]
    (folder / SEALS).write_bytes(first)
    write(journal, 1)
    seal(root, tmp_path, "--checkpoints", elsewhere, capsys=capsys)
    journal.close()

    [misfit] = verify(root, public, capsys=capsys)["misfits"]
    assert "the seal 2 is missing" in misfit["what"]


# Real processes


def test_it_waits_for_a_journal_and_seals_once_more_when_it_is_asked_to_end(
    tmp_path: Path, capsys: Any
) -> None:
    _, public = key_files(tmp_path / "keys")
    root = tmp_path / "j"
    with sealing(root, tmp_path, "--checkpoints", str(tmp_path / "c")) as process:
        assert process.stderr is not None
        assert "waiting for a program to begin a journal" in process.stderr.readline()
        journal = Journal(root)
        write(journal, 3)
        until(lambda: sealed_up_to(root) == [3], "the first seal")
        write(journal, 4)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)

    said = json.loads(out)
    assert process.returncode == 0
    assert [(one["last_seq"], one["closed"]) for one in said["writers"]] == [(7, False)]
    assert verify(root, public, "--anchors", tmp_path / "c", capsys=capsys)["fits"]
    journal.close()


def test_ctrl_c_ends_it_with_0(tmp_path: Path) -> None:
    key_files(tmp_path / "keys")
    journal = Journal(tmp_path / "j")
    write(journal, 1)
    with sealing(tmp_path / "j", tmp_path) as process:
        until(lambda: sealed_up_to(tmp_path / "j"), "the first seal")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    journal.close()


def test_sealers_that_are_killed_beside_others_and_programs_leave_a_journal_that_fits(
    tmp_path: Path, capsys: Any
) -> None:
    """Two sealers at once, each killed at random moments and started again, while programs record."""
    _, public = key_files(tmp_path / "keys")
    root = tmp_path / "j"
    chance = random.Random(7)
    agents = [Agent(root, QUOTA), Agent(root, QUOTA)]
    acknowledged: list[int] = []
    files = [tmp_path / f"elsewhere {number}.jsonl" for number in range(2)]
    try:
        until(lambda: any(one.last > 10 for one in agents), "records")
        for turn in range(6):
            with (
                sealing(root, tmp_path, "--checkpoints", str(files[0])),
                sealing(root, tmp_path, "--checkpoints", str(files[1])),
            ):
                before = sum(sealed_up_to(root))
                until(lambda before=before: sum(sealed_up_to(root)) > before, "more seals")  # type: ignore[misc]
                time.sleep(chance.random() / 5)
                if turn == 5:
                    until(lambda: all(path.exists() for path in files), "a checkpoint of each")
            if turn == 3:
                agents[0].kill()
                acknowledged.append(agents[0].last)
                agents[0] = Agent(root, QUOTA)
    finally:
        for one in agents:
            one.kill()
            acknowledged.append(one.last)

    code, said = seal(root, tmp_path, "--keep", "0", capsys=capsys)
    assert (code, said["failed"]) == (0, 0)
    anchors = [text for path in files for text in ("--anchors", str(path))]
    shown = verify(root, public, *anchors, capsys=capsys)
    assert shown["fits"], shown["misfits"]
    writers = shown["evidence"]["writers"]
    assert [one for one in writers if one["unsealed"]] == []
    # Where a program was killed when it had just deleted everything, there is no line to close it with.
    left = [one["writer"] for one in writers if not one["closed"]]
    assert [name for name in left if segments(root / name)] == []
    promised = sorted((one for one in acknowledged if one > 0), reverse=True)
    assert all(a >= b for a, b in zip(sealed_up_to(root), promised, strict=False))
