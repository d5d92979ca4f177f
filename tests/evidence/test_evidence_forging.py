"""Attempts to alter a sealed journal, or to fake one, where the table says that it is detected."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.sealed import RESOURCE, Sealed, altered, edit, key_files, verify
from wakelog.evidence import Signer, prove, seal_folder, verify_proof
from wakelog.evidence._merkle import leaf_of, root_of
from wakelog.evidence._seal import make_seal
from wakelog.evidence._seal_file import last_seal, read_seals
from wakelog.journal import Journal, read
from wakelog.record import encode, uuid7
from wakelog.storage import SEALS


def events(first: int, last: int) -> list[str]:
    return [f"event {number}" for number in range(first, last)]


# While the signer runs


def test_seals_that_are_cut_off_under_a_running_signer_are_missed_for_ever(
    tmp_path: Path, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Else what is edited then would be sealed anew, and nobody would see it without an anchor."""
    sealed = Sealed(tmp_path, segment_bytes=1 << 20)
    sealed.write("event 0")
    sealed.seal()
    sealed.write(*events(1, 10))
    sealed.seal()

    path = sealed.folder / SEALS
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    altered(sealed.folder, edit)  # a line that the seal 2 covers, with checksums that fit
    sealed.write(*events(10, 12))
    sealed.seal()
    sealed.journal.close()

    [misfit] = sealed.verify(capsys=capsys)["misfits"]
    assert "the seal 2 is missing" in misfit["what"] or "not the line" in misfit["what"]
    assert "has lost seals: the seal 2" in caplog.text


def test_all_seals_that_are_deleted_under_a_running_signer_are_missed(
    tmp_path: Path, capsys: Any
) -> None:
    sealed = Sealed(tmp_path, segment_bytes=1 << 20)
    sealed.write(*events(0, 5))
    sealed.seal()
    (sealed.folder / SEALS).unlink()
    altered(sealed.folder, edit)
    sealed.journal.close()  # nothing new is written

    [misfit] = sealed.verify(capsys=capsys)["misfits"]
    assert misfit["file"].endswith(SEALS)


def test_an_earlier_copy_of_the_seals_with_another_last_one_is_missed(
    tmp_path: Path, capsys: Any
) -> None:
    sealed = Sealed(tmp_path, segment_bytes=1 << 20)
    sealed.write("event 0")
    sealed.seal()
    path = sealed.folder / SEALS
    before = path.read_bytes()
    sealed.write(*events(1, 4))
    sealed.seal()
    # Somebody has the same key sign other lines at the same place, in a copy.
    copy = tmp_path / "copy"
    shutil.copytree(sealed.root, copy)
    other = copy / sealed.folder.name
    (other / SEALS).write_bytes(before)
    altered(other, edit)
    seal_folder(other, sealed.signer, "process")
    path.write_bytes((other / SEALS).read_bytes())
    sealed.write("later")
    sealed.journal.close()

    assert not sealed.verify(capsys=capsys)["fits"]


# Lines that look as if they needed no seal


def test_an_event_that_mentions_a_checkpoint_is_sealed_as_every_other(tmp_path: Path) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one")
    sealed.seal()
    content = encode({"body": {"event_name": "wakelog.checkpoint"}}, 1 << 20)
    sealed.journal.append(uuid7(), content, RESOURCE)
    sealed.seal()

    seal = last_seal(sealed.folder)
    assert seal is not None
    assert (seal.number, seal.last_seq) == (2, 2)
    sealed.journal.close()


FAKES: dict[str, dict[str, object]] = {
    "a body that mentions one": {"body": {"event_name": "wakelog.checkpoint"}},
    "a checkpoint's name": {"event_name": "wakelog.checkpoint", "body": "somebody did it"},
    "a header's beginning": {"body": "somebody did it"},
}


@pytest.mark.parametrize("fake", FAKES)
def test_a_writer_that_somebody_has_made_up_is_named(
    tmp_path: Path, fake: str, capsys: Any
) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one")
    sealed.journal.close()
    faked = Journal(sealed.root)
    faked.append(uuid7(), encode(FAKES[fake], 1 << 20), RESOURCE)
    [writer] = faked.open_writers
    writer.abandon()  # as at the end of a process that signs nothing
    if fake == "a header's beginning":
        path = writer.folder.path / "00000001.jsonl"
        header, line = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(header + b'{"writer":"x",' + line[1:])

    [misfit] = sealed.verify(capsys=capsys)["misfits"]
    assert misfit["writer"] == writer.id
    assert "nothing of this writer is sealed" in misfit["what"]


def test_a_checkpoint_is_believed_only_with_a_seal_of_a_key_that_is_trusted(
    tmp_path: Path, capsys: Any
) -> None:
    from wakelog.evidence import record_checkpoint

    for name, trusted in (("good", True), ("other", False)):
        sealed = Sealed(tmp_path / name)
        sealed.write("one")
        sealed.seal()
        seal = last_seal(sealed.folder)
        assert seal is not None
        if not trusted:
            other = Signer.from_file(key_files(tmp_path / "others")[0])
            fields = {n: v for n, v in seal.fields.items() if n != "signer"}
            seal = make_seal(fields, other.id, other.sign)
        folder = sealed.folder
        sealed.journal.close()
        beside = Journal(sealed.root)
        record_checkpoint(beside, folder, seal)
        for writer in beside.open_writers:
            writer.abandon()
        assert verify(sealed.root, sealed.public, capsys=capsys)["fits"] is trusted


# Proofs


def proof_of(tmp_path: Path) -> tuple[dict[str, Any], bytes, str, Sealed]:
    sealed = Sealed(tmp_path, segment_bytes=1 << 20)
    sealed.write(*events(0, 9))
    sealed.journal.close()
    [event] = [e.record.id for e in read(sealed.root) if e.record.body == "event 4"]
    proof = prove(sealed.root, event)
    return json.loads(proof.bundle), proof.line, sealed.public.read_text(), sealed


def with_another_root(proof: dict[str, Any], line: bytes) -> None:
    """Say the root a second time, after the signature, where nothing is signed."""
    root = root_of(leaf_of(line.removesuffix(b"\n"))).hex()
    proof["seal"] = proof["seal"][:-1] + f',"root":"{root}","lines":1}}'
    proof["index"], proof["path"] = 0, ""


def flipped(text: str, at: int) -> str:
    data = bytearray(b64decode(text))
    data[at] ^= 1
    return b64encode(data).decode()


def not_canonical(proof: dict[str, Any], _: bytes) -> None:
    """Give the signature its other form, S + L, which libraries with less care take."""
    before, text = proof["seal"].split(',"signature":"')
    data = b64decode(text[:-2])
    more = int.from_bytes(data[32:], "little") + verify_proof.ORDER
    proof["seal"] = (
        f'{before},"signature":"{b64encode(data[:32] + more.to_bytes(32, "little")).decode()}"}}'
    )


FORGERIES: dict[str, Callable[[dict[str, Any], bytes], None]] = {
    "a second root": with_another_root,
    "a signature in its other form": not_canonical,
    "a signature with letters that mean nothing": lambda proof, _: proof.update(
        seal=proof["seal"].replace(',"signature":"', ',"signature":"\u00e9', 1)
    ),
    "another place": lambda proof, _: proof.update(index=proof["index"] + 1),
    "a place that is text": lambda proof, _: proof.update(index=str(proof["index"])),
    "a place that is true": lambda proof, _: proof.update(index=True),
    "a place before all": lambda proof, _: proof.update(index=-1),
    "a path that is cut": lambda proof, _: proof.update(
        path=b64encode(b64decode(proof["path"])[:-32]).decode()
    ),
    "half a step": lambda proof, _: proof.update(
        path=b64encode(b64decode(proof["path"])[:-16]).decode()
    ),
    "a step more": lambda proof, _: proof.update(
        path=b64encode(b64decode(proof["path"]) + bytes(32)).decode()
    ),
    "a path with another byte": lambda proof, _: proof.update(path=flipped(proof["path"], 40)),
    "another time": lambda proof, _: proof.update(
        seal=proof["seal"].replace('"time":"2', '"time":"1')
    ),
    "another form": lambda proof, _: proof.update(wakelog_proof=2),
    "nothing signed": lambda proof, _: proof.update(seal="{}"),
    "no seal": lambda proof, _: proof.pop("seal"),
    "a list": lambda proof, _: proof.update(seal=[1]),
}


def run_verifier(tmp_path: Path, proof: bytes, line: bytes, pem: str) -> tuple[int, str, str]:
    names = []
    for name, data in (("p.json", proof), ("e.jsonl", line), ("k.pem", pem.encode())):
        (tmp_path / name).write_bytes(data)
        names.append(str(tmp_path / name))
    program = str(verify_proof.__file__)
    done = subprocess.run(
        [sys.executable, "-I", program, *names], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_proof_is_not_taken(tmp_path: Path, how: str) -> None:
    proof, line, pem, _ = proof_of(tmp_path)
    assert verify_proof.check(dict(proof), line, pem)
    if how == "a second root":
        line = line.replace(b"event 4", b"event X")
    FORGERIES[how](proof, line)

    code, out, said = run_verifier(tmp_path, json.dumps(proof).encode(), line, pem)
    assert (code, out) == (1, "")
    assert said.startswith("NOT PROVED: ")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "proof",
    [
        b"", b"[]", b"null", b"{", b"\xff", b"[" * 4000, b'{"index":' + b"9" * 4000 + b"}",
        b" " * 10_000_000, b'{"wakelog_proof":1,"wakelog_proof":1}',
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_proof_is_said_in_one_line(tmp_path: Path, proof: bytes) -> None:
    _, line, pem, _ = proof_of(tmp_path)
    code, out, said = run_verifier(tmp_path, proof, line, pem)
    assert (code, out) == (1, "")
    assert said.startswith("NOT PROVED: ")
    assert len(said.splitlines()) == 1


def test_a_proof_of_another_journal_or_event_or_key_is_not_taken(tmp_path: Path) -> None:
    proof, line, pem, _ = proof_of(tmp_path / "one")
    other_proof, other_line, other_pem, _ = proof_of(tmp_path / "other")
    whole = json.dumps(proof).encode()
    assert run_verifier(tmp_path, whole, line, pem)[0] == 0
    assert run_verifier(tmp_path, whole, line.removesuffix(b"\n"), pem)[0] == 0
    for parts in (
        (whole, other_line, pem),
        (json.dumps(other_proof).encode(), line, pem),
        (whole, line, other_pem),
        (whole, line[:-2], pem),
        (whole, line + b"\n", pem),
        (whole, line.replace(b"\n", b"\r\n"), pem),
        (whole, line + line, pem),
        (whole, b"", pem),
        (whole, line, ""),
        (whole, line, "no key\nat all\n"),
    ):
        code, _, said = run_verifier(tmp_path, *parts)
        assert (code, said.startswith("NOT PROVED: ")) == (1, True)


def test_a_name_that_stands_twice_on_a_seal_is_no_seal_for_anybody(
    tmp_path: Path, capsys: Any
) -> None:
    sealed = Sealed(tmp_path)
    sealed.write("one")
    sealed.journal.close()
    path = sealed.folder / SEALS
    [(_, line, seal)] = list(read_seals(sealed.folder))
    assert seal is not None
    text = line[: line.index(b',"marks"')]
    root = sha256(b"other").hexdigest().encode()
    for more in (b',"root":"%b"}' % root, b',"number":7}', b',"by":"x"}'):
        path.write_bytes(text + more + b"\n")
        assert not sealed.verify(capsys=capsys)["fits"]
