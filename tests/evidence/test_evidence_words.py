"""What the commands of evidence say to somebody who has given them the wrong thing, and the example."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.sealed import Sealed, key_files, verify
from wakelog.cli import main
from wakelog.errors import ConfigurationError
from wakelog.evidence import Sealing
from wakelog.journal import read


def said(capsys: Any, *command: object) -> tuple[int, str]:
    capsys.readouterr()
    code = main([str(word) for word in command])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    made = Sealed(tmp_path)
    made.write("one", "two")
    made.journal.close()
    return made


def test_a_file_without_seals_is_no_anchor(sealed: Sealed, tmp_path: Path, capsys: Any) -> None:
    for name, content in (("empty", ""), ("words", "not a seal\n{}\n")):
        (tmp_path / name).write_text(content)
        command = ("verify", sealed.root, "--keys", sealed.public, "--anchors", tmp_path / name)
        code, text = said(capsys, *command)
        assert code == 1
        assert f"{tmp_path / name} holds no seals" in text


def test_anchors_of_another_key_are_none(sealed: Sealed, tmp_path: Path, capsys: Any) -> None:
    other = Sealed(tmp_path / "other")
    other.write("one")
    other.journal.close()
    command = ("verify", sealed.root, "--keys", sealed.public, "--anchors", other.anchor)
    code, text = said(capsys, *command)
    assert code == 1
    assert f"signed with keys that were not given: {other.signer.id}" in text


def test_one_writer_is_compared_with_its_own_anchors(tmp_path: Path, capsys: Any) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one")
    sealed.journal.close()
    first = sealed.folder
    sealed.write("two")
    sealed.journal.close()
    command = ("verify", first, "--keys", sealed.public, "--anchors", sealed.anchor)
    assert said(capsys, *command)[0] == 0
    # The whole journal has to have both.
    shutil.rmtree(first)
    assert said(capsys, "verify", sealed.root, *command[2:])[0] == 1


def test_what_only_an_anchor_misses_is_said_without_a_line(
    sealed: Sealed, tmp_path: Path, capsys: Any
) -> None:
    shutil.rmtree(sealed.folder)
    command = ("verify", sealed.root, "--keys", sealed.public, "--anchors", sealed.anchor)
    code, text = said(capsys, *command)
    assert code == 1
    assert "seals.jsonl: the anchor has the seal" in text
    assert "line 0" not in text


def test_the_wrong_keys_are_named(sealed: Sealed, tmp_path: Path, capsys: Any) -> None:
    _, other = key_files(tmp_path / "others")
    code, text = said(capsys, "verify", sealed.root, "--keys", other)
    assert code == 1
    assert f"signed with the key {sealed.signer.id}, which is not among those given" in text
    assert "Nothing is sealed" not in text
    code, text = said(capsys, "verify", sealed.root, "--keys", sealed.private)
    assert code == 1
    assert "but a private key, which is not needed for verifying" in text
    (tmp_path / "none").mkdir()
    code, text = said(capsys, "verify", sealed.root, "--keys", tmp_path / "none")
    assert code == 1
    assert "there is no Ed25519 public key in" in text


def test_a_public_key_signs_nothing_whoever_may_read_it(sealed: Sealed) -> None:
    for mode in (0o644, 0o600):
        sealed.public.chmod(mode)
        with pytest.raises(ConfigurationError, match="holds a public key, and the private one"):
            Sealing(sealed.public)


def test_what_has_no_seals_is_refused_by_what_it_is(tmp_path: Path, capsys: Any) -> None:
    _, public = key_files(tmp_path / "keys")
    (tmp_path / "sessions" / "s").mkdir(parents=True)
    line = '{"id":"a","seq":1,"body":"x","crc":"00000000"}\n'
    for path in (tmp_path / "events.jsonl", tmp_path / "sessions" / "s" / "1.jsonl"):
        path.write_text(line)
    for path in (tmp_path / "events.jsonl", tmp_path / "sessions"):
        code, text = said(capsys, "verify", path, "--keys", public)
        assert code == 1
        assert "no books and no seals" in text


def test_checkpoints_by_themselves_are_not_counted_as_lines_without_a_seal(
    tmp_path: Path, capsys: Any
) -> None:
    from wakelog.evidence import record_checkpoint
    from wakelog.evidence._seal_file import last_seal
    from wakelog.journal import Journal

    sealed = Sealed(tmp_path)
    sealed.write("one")
    sealed.journal.close()
    seal = last_seal(sealed.folder)
    assert seal is not None
    beside = Journal(sealed.root)
    record_checkpoint(beside, sealed.folder, seal)
    for writer in beside.open_writers:
        writer.abandon()
    found = verify(sealed.root, sealed.public, capsys=capsys)
    assert [one["unsealed"] for one in found["evidence"]["writers"]] == [0, 0]


def test_what_prove_says_to_type_works_where_it_was_typed(
    sealed: Sealed, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    event = next(entry.record.id for entry in read(sealed.root))
    _, text = said(capsys, "prove", event, sealed.root)
    [command] = [line for line in text.splitlines() if line.startswith("python ")]
    words = command.replace("PUBLIC_KEY.pem", str(sealed.public)).split()
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:7]) == (0, "PROVED:")


def test_prove_prints_the_proof_as_json_and_writes_nothing(
    sealed: Sealed, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = next(read(sealed.root))
    code, text = said(capsys, "prove", entry.record.id, sealed.root, "--json")

    proved = json.loads(text)
    assert (code, proved["path"]) == (0, str(sealed.root))
    assert json.loads(proved["line"])["id"] == entry.record.id
    assert proved["proof"].keys() == {"wakelog_proof", "index", "path", "seal"}
    assert not (tmp_path / "proof").exists()


def test_prove_says_where_it_cannot_write(sealed: Sealed, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("mine")
    event = next(read(sealed.root)).record.id
    code, text = said(capsys, "prove", event, sealed.root, "--output", tmp_path / "file")

    assert code == 1
    assert f"write to {tmp_path / 'file'}" in text
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "give --session or --where"),
        (["--where", "user.id"], "--where 'user.id' cannot be used: give NAME=VALUE"),
        (["--session", "s", "--apply"], "--apply needs --seal-key"),
    ],
)
def test_erase_refuses_what_is_not_clear(
    sealed: Sealed, capsys: Any, options: list[str], words: str
) -> None:
    code, text = said(capsys, "erase", sealed.root, *options)

    assert code == 1
    assert words in text


def test_to_erase_what_nobody_said_says_so(sealed: Sealed, capsys: Any) -> None:
    code, text = said(
        capsys, "erase", sealed.root, "--session", "s-9", "--seal-key", sealed.private, "--apply"
    )
    assert code == 0
    assert "has content and gen_ai.conversation.id=s-9" in text


def test_the_example_proves_erases_and_finds_out(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("WAKELOG_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/sealed_journal.py"), "--directory", "sealed"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=env,
    )  # fmt: skip
    verified = done.stdout.split("$ wakelog verify ")[1:]
    assert len(verified) == 3
    assert all("anchored seals are in the journal" in text for text in verified[:2])
    assert "PROVED: this event" in verified[0]
    assert "2 values of 2 records were erased" in verified[0]
    assert "2 erased values have a signed erasure" in verified[1]
    assert "it is not the line that was sealed" in verified[2]
    assert b"Ann" not in b"".join(
        path.read_bytes() for path in (tmp_path / "sealed").rglob("*") if path.is_file()
    )
