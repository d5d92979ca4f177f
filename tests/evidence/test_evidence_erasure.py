"""Erasing at a bad moment: killed, without power, while somebody records, delivers, seals or verifies."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.support.appending import in_place_of_the_system
from tests.support.faults import with_calls, with_fault
from tests.support.guarantees import ERASING, ERASING_POWER, PROPERTY, Row
from tests.support.power import Power, put
from tests.support.sealed import Sealed, altered, key_files, verify
from wakelog.cli import main
from wakelog.errors import WakelogError
from wakelog.evidence import Signer, erase, prove, seal_folder, verify_proof
from wakelog.evidence._seal_file import SealFile
from wakelog.index import Index, Selection
from wakelog.journal import Cursor, Journal, Mark, first_misfit, folders, read
from wakelog.record import ERASED, Resource, encode, erased_part, salted_part, uuid7
from wakelog.runtime._filesystem import SYSTEM, FileSystem
from wakelog.storage import ERASING as NAME
from wakelog.storage import Overwriting, overwrite, segment_name, segments

RESOURCE = Resource({})
CONTENT = frozenset({"said"})
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)
OPERATIONS = ["open", "write", "fdatasync", "fsync", "rename", "unlink"]
RECORDS = 12


@pytest.fixture(autouse=True)
def _signatures_by_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proofs' own arithmetic takes far longer, and is tried in test_evidence_proofs.py."""

    def is_signature(key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    monkeypatch.setattr(verify_proof, "is_signature", is_signature)


def content_of(user: str, number: int, size: int = 0) -> bytes:
    said = f"{user} says {number} {'x' * size}"
    return encode({"attributes": {"user.id": user, "said": said}}, 2500, apart=CONTENT)


def recorded(root: Path) -> Path:
    """Record what two people said, in several segments, one thing too large for its line; sealed."""
    private, public = key_files(root.parent / "keys")
    journal = Journal(root, segment_bytes=2000)
    for number in range(RECORDS):
        size = 3000 if number in (3, 4) else 0
        journal.append(uuid7(), content_of("ann" if number % 2 else "bob", number, size), RESOURCE)
    journal.close()
    [folder] = folders(root)
    seal_folder(folder, Signer.from_file(private), "process", closing=True)
    return public


def erase_ann(root: Path, keys: Path) -> Any:
    signer = Signer.from_file(keys / "seal.key")
    return erase(
        root, lambda all_: all_.get("user.id") == "ann", ("ann",), signer, "request", apply=True
    )


def said_in(root: Path) -> list[tuple[str, object]]:
    return [
        (record.attributes["user.id"], record.attributes.get("said", record.attributes.get(ERASED)))
        for record in (entry.record for entry in read(root))
    ]


def everything(root: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


def all_is_well(root: Path, public: Path, capsys: Any) -> None:
    """See that all records are there, that nobody is called damaged, and that every seal fits."""
    found = said_in(root)
    assert [user for user, _ in found] == ["bob", "ann"] * (RECORDS // 2)
    for number, (user, said) in enumerate(found):
        if user == "bob":
            assert str(said).startswith(f"bob says {number}")
        else:
            assert str(said).startswith((f"ann says {number}", "[wakelog: "))
    assert delivered_from(root) == [user for user, _ in found]
    checked = verify(root, public, capsys=capsys)
    assert checked["fits"], checked["misfits"]


def delivered_from(root: Path) -> list[str]:
    [folder] = folders(root)
    cursor = Cursor(folder, Mark(), complete=True, later=True)
    try:
        chunk = cursor.read(100, 1 << 30)
        assert not chunk.damaged
        return [entry.record.attributes["user.id"] for entry in chunk.entries]
    finally:
        cursor.close()


def ends_well(root: Path, public: Path, capsys: Any) -> None:
    """See that a second run completes what a first one has begun."""
    erase_ann(root, public.parent)
    assert b"ann says" not in everything(root)
    [folder] = folders(root)
    assert not (folder / NAME).exists()
    all_is_well(root, public, capsys)
    pem = public.read_text()
    for entry in read(root):
        proof = prove(root, entry.record.id)
        verify_proof.check(json.loads(proof.bundle), proof.line, pem)


def erase_in_a_child(root: Path, keys: Path, fault: str) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with in_place_of_the_system(with_fault(UNSYNCED, fault)):
                erase_ann(root, keys)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_kill_before_and_after_every_system_call_leaves_valid_lines(
    tmp_path: Path, capsys: Any, record_property: Callable[[str, object], None]
) -> None:
    public = recorded(tmp_path / "journal")
    kills = 0
    for operation, when in itertools.product(OPERATIONS, ("before", "after")):
        for number in itertools.count(1):
            root = tmp_path / f"{operation}-{when}-{number}" / "journal"
            shutil.copytree(tmp_path / "journal", root)
            code = erase_in_a_child(root, public.parent, f"{when}:{operation}:{number}")
            assert code in (0, -signal.SIGKILL)
            if code == 0:
                break
            kills += 1
            all_is_well(root, public, capsys)
            ends_well(root, public, capsys)
            record_property(PROPERTY, Row(ERASING, "fsync", 1, RECORDS, RECORDS, 0, 0))
            shutil.rmtree(root.parent)
    assert kills > 40


@pytest.mark.parametrize("size", [1, 20, 50, 100])
def test_a_kill_in_the_middle_of_overwriting_leaves_valid_lines(
    tmp_path: Path, size: int, capsys: Any, record_property: Callable[[str, object], None]
) -> None:
    """The kernel checks for SIGKILL between two pages, so a part of a write may be in the file."""
    public = recorded(tmp_path / "journal")
    for number in itertools.count(1):
        root = tmp_path / str(number) / "journal"
        shutil.copytree(tmp_path / "journal", root)
        if not killed_inside(root, public.parent, number, size):
            break
        [folder] = folders(root)
        assert (folder / NAME).exists()
        all_is_well(root, public, capsys)
        assert first_misfit(folder, frozenset({"0"})) is not None or b"ann says" in everything(root)
        record_property(PROPERTY, Row(ERASING, "fsync", 1, RECORDS, RECORDS, 0, 0))
        ends_well(root, public, capsys)
    assert number >= 5


def killed_inside(root: Path, keys: Path, number: int, size: int) -> bool:
    pid = os.fork()
    if pid == 0:
        calls = itertools.count(1)

        def write(fd: int, data: bytes) -> int:
            path = os.readlink(f"/proc/self/fd/{fd}")
            if path.endswith(".jsonl") and "seals" not in path and next(calls) == number:
                os.write(fd, data[:size])
                os.kill(os.getpid(), signal.SIGKILL)
            return os.write(fd, data)

        try:
            with in_place_of_the_system(with_calls(UNSYNCED, write=write)):
                erase_ann(root, keys)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0


def test_a_power_failure_after_any_operation_leaves_valid_lines(
    tmp_path: Path, capsys: Any, record_property: Callable[[str, object], None]
) -> None:
    base = tmp_path / "disk"
    base.mkdir()
    public = recorded(base / "journal")
    keys = tmp_path / "keys"
    shutil.copytree(public.parent, keys)
    power = Power(base)
    with in_place_of_the_system(power.fs):
        erase_ann(base / "journal", keys)

    disks = 0
    for _, disk in power.failures(seed=1, limit=4):
        where = put(disk, tmp_path / str(disks))
        all_is_well(where / "journal", keys / "seal.pub", capsys)
        if disks % 5 == 0:
            ends_well(where / "journal", keys / "seal.pub", capsys)
        shutil.rmtree(where)
        disks += 1
        record_property(PROPERTY, Row(ERASING_POWER, "fsync", 1, RECORDS, RECORDS, 0, 0))
    assert disks > 40


# Beside others


def half_erased(folder: Path, number: int, size: int) -> tuple[Path, Overwriting]:
    """Overwrite a part of one record's content, as a reader finds it while somebody erases it."""
    seen = 0
    for index in segments(folder):
        path = folder / segment_name(index)
        offset = 0
        for line in path.read_bytes().splitlines(keepends=True):
            place = salted_part(line)
            if place is not None:
                if seen == number:
                    new = Overwriting(offset + place.start, erased_part(line[place]))
                    data = path.read_bytes()
                    at, size = new.offset, min(size, len(new.data))
                    path.write_bytes(data[:at] + new.data[:size] + data[at + size :])
                    return path, new
                seen += 1
            offset += len(line)
    raise AssertionError


def say_that_it_is_erased(path: Path, new: Overwriting) -> None:
    """Write the file that says what is being overwritten, and nothing else."""
    with suppress(OSError):
        overwrite(path, [new], with_calls(UNSYNCED, unlink=_refuse, open=_only_new))


def _only_new(path: Any, flags: int, mode: int = 0o777) -> int:
    if not flags & os.O_CREAT:
        raise OSError("not now")
    return SYSTEM.open(path, flags, mode)


def _refuse(*_: object) -> None:
    raise OSError("not now")


@pytest.mark.parametrize("number", [0, 1, 5, 11])
@pytest.mark.parametrize("size", [20, 40, 66, 90])
def test_whoever_reads_a_half_overwritten_line_reads_it_again(
    tmp_path: Path, number: int, size: int, capsys: Any
) -> None:
    public = recorded(tmp_path / "journal")
    root = tmp_path / "journal"
    [folder] = folders(root)
    before = said_in(root)
    path, new = half_erased(folder, number, size)
    torn = path.read_bytes()
    assert len(said_in(root)) == RECORDS - 1  # without the file it would be damaged
    say_that_it_is_erased(path, new)
    assert path.read_bytes() == torn

    found = said_in(root)
    assert found[:number] + found[number + 1 :] == before[:number] + before[number + 1 :]
    assert str(found[number][1]).startswith("[wakelog: ")
    assert delivered_from(root) == [user for user, _ in before]
    assert len(list(read(path))) == sum(
        entry.mark.segment == int(path.stem) for entry in read(root)
    )
    with Index(root) as index:
        assert len(list(index.read(index.events(Selection())))) == RECORDS
    # The seal still fits; what nobody has signed for is named, and not as damage.
    misfit = verify(root, public, capsys=capsys)["misfits"][0]["what"]
    assert "no seal says so" in misfit


def test_a_seal_of_a_half_overwritten_line_is_that_of_the_whole_line(
    tmp_path: Path, capsys: Any
) -> None:
    private, public = key_files(tmp_path / "keys")
    journal = Journal(tmp_path / "journal")
    for number in range(4):
        journal.append(uuid7(), content_of("ann", number), RESOURCE)
    journal.close()
    [folder] = folders(tmp_path / "journal")
    path, new = half_erased(folder, 1, 50)
    say_that_it_is_erased(path, new)
    seal_folder(folder, Signer.from_file(private), "adopter", closing=True)
    erase_ann(tmp_path / "journal", tmp_path / "keys")
    said = verify(tmp_path / "journal", public, capsys=capsys)
    # The first overwriting was not signed for by anybody.
    assert [one["what"].split(" (")[0] for one in said["misfits"]] == [
        "its content was erased, and no seal says so"
    ]
    with SealFile.hold(folder) as file:
        assert file.last is not None


def test_erasing_beside_a_program_that_records_seals_and_delivers(
    tmp_path: Path, capsys: Any
) -> None:
    """Each line is delivered, with or without its content, and every seal fits in the end."""
    sealed = Sealed(tmp_path, segment_bytes=20_000)
    done = threading.Event()
    written = 0
    delivered: list[str] = []
    failures: list[BaseException] = []

    def keep(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not done.is_set():
                    work()
            except BaseException as error:
                failures.append(error)
                raise

        return run

    def record() -> None:
        nonlocal written
        if written == 800:
            return
        user = "ann" if written % 3 else "bob"
        sealed.journal.append(str(written), content_of(user, written, written % 700), RESOURCE)
        written += 1

    record()
    cursor = Cursor(sealed.folder, Mark(), later=True)

    def deliver() -> None:
        chunk = cursor.read(50, 1 << 20)
        assert not chunk.damaged, chunk.damaged
        delivered.extend(entry.record.id for entry in chunk.entries)

    threads = [threading.Thread(target=keep(work)) for work in (record, deliver, sealed.seal)]
    for thread in threads:
        thread.start()
    runs = 0
    while (runs < 5 or written < 800) and not failures:
        erase_ann(sealed.root, tmp_path / "keys")
        assert first_misfit_but_open(sealed.folder) is None
        runs += 1
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    sealed.journal.close()
    deliver()
    while len(delivered) < written:
        deliver()
    cursor.close()

    assert delivered == [str(number) for number in range(written)]
    erase_ann(sealed.root, tmp_path / "keys")
    assert b"ann says" not in everything(sealed.root)
    said = sealed.verify(capsys=capsys)
    assert said["fits"], said["misfits"]
    bodies = said_in(sealed.root)
    assert all(str(text).startswith("bob says") for user, text in bodies if user == "bob")


def first_misfit_but_open(folder: Path) -> object:
    """Return the first misfit, whatever has been signed for."""

    class Everything(frozenset[str]):
        def __contains__(self, _: object) -> bool:
            return True

    return first_misfit(folder, Everything())


# What is left of lines that never became whole


def torn_lines() -> Iterator[tuple[bytes, bool]]:
    line = content_of("ann", 1, 50)
    whole = b'{"id":"x","seq":99%b,"crc":"00000000"}' % line
    for size in (40, 80, 130, len(whole) - 30, len(whole) - 1):
        yield whole[:size], True
    other = b'{"id":"x","seq":99%b' % content_of("bob", 1)
    yield other, False  # bob's line is complete enough to tell that it is his


@pytest.mark.parametrize("torn, goes", list(torn_lines()))
@pytest.mark.parametrize("saved", [False, True])
def test_a_torn_line_loses_content_that_is_or_may_be_the_persons(
    tmp_path: Path, torn: bytes, goes: bool, saved: bool, capsys: Any
) -> None:
    public = recorded(tmp_path / "journal")
    [folder] = folders(tmp_path / "journal")
    last = folder / segment_name(segments(folder)[-1])
    path = last.with_suffix(".torn") if saved else last
    before = last.read_bytes()
    with path.open("ab") as file:
        file.write(torn)
    found = erase_ann(tmp_path / "journal", tmp_path / "keys")
    assert found.damaged == goes
    assert (torn[17:] in path.read_bytes()) != goes
    assert last.stat().st_size == len(before) + len(torn) * (not saved)
    all_is_well(tmp_path / "journal", public, capsys)


def test_a_line_that_is_damaged_outside_its_content_loses_it_too(tmp_path: Path) -> None:
    recorded(tmp_path / "journal")
    [folder] = folders(tmp_path / "journal")
    path = folder / segment_name(1)
    path.write_bytes(
        path.read_bytes().replace(
            b'"attributes":{"user.id":"ann"', b'"attributes":{"user.id:"ann"', 1
        )
    )
    found = erase_ann(tmp_path / "journal", tmp_path / "keys")
    assert found.damaged == 1
    assert b"ann says" not in everything(tmp_path / "journal")


def test_a_file_that_names_other_places_overwrites_nothing(tmp_path: Path) -> None:
    recorded(tmp_path / "journal")
    [folder] = folders(tmp_path / "journal")
    before = {path.name: path.read_bytes() for path in folder.glob("0*.jsonl")}
    for offset in (0, 10, 150, 10**9):
        overwrite(folder / segment_name(1), [Overwriting(offset, b"0" * 101)])
    overwrite(folder / segment_name(99), [Overwriting(200, b"0" * 101)])
    assert {path.name: path.read_bytes() for path in folder.glob("0*.jsonl")} == before
    (folder / NAME).write_bytes(b"nonsense")
    assert len(said_in(tmp_path / "journal")) == RECORDS
    erase_ann(tmp_path / "journal", tmp_path / "keys")
    assert not (folder / NAME).exists()


def test_an_error_in_the_middle_is_raised_and_the_next_run_completes(
    tmp_path: Path, capsys: Any
) -> None:
    public = recorded(tmp_path / "journal")
    for operation, code in itertools.product(
        ("write", "fdatasync", "fsync", "rename"), ("EIO", "ENOSPC")
    ):
        for number in itertools.count(1):
            root = tmp_path / f"{operation}-{code}-{number}" / "journal"
            shutil.copytree(tmp_path / "journal", root)
            fault = f"error:{operation}:{number}:{code}"
            with in_place_of_the_system(with_fault(UNSYNCED, fault)):
                try:
                    erase_ann(root, public.parent)
                    break
                except WakelogError:
                    pass
            all_is_well(root, public, capsys)
            ends_well(root, public, capsys)
        assert number > 2


# Whoever alters erasable content


def test_content_that_is_altered_or_erased_without_the_key_is_noticed(
    tmp_path: Path, capsys: Any
) -> None:
    sealed = Sealed(tmp_path)
    for number in range(4):
        sealed.journal.append(uuid7(), content_of("ann", number), RESOURCE)
    sealed.journal.close()
    path = sealed.folder / segment_name(1)
    whole = path.read_bytes()

    altered(sealed.folder, lambda lines: _edit(lines[1]))
    assert "not the line that was sealed" in sealed.verify(capsys=capsys)["misfits"][0]["what"]
    path.write_bytes(whole.replace(b"ann says 2", b"ann said 2"))
    assert "checksum does not match" in str(first_misfit(sealed.folder))
    path.write_bytes(whole)
    half_erased(sealed.folder, 2, 10**6)
    assert "no seal says so" in sealed.verify(capsys=capsys)["misfits"][0]["what"]
    path.write_bytes(whole)
    assert sealed.verify(capsys=capsys)["fits"]


def _edit(lines: list[bytes]) -> None:
    lines[3] = lines[3].replace(b"ann says 2", b"ann said 2")


def test_what_is_exported_as_an_audit_trail_is_the_same_after_it_was_erased(
    tmp_path: Path, capsys: Any
) -> None:
    recorded(tmp_path / "journal")
    trails = []
    for _ in range(2):
        capsys.readouterr()
        assert main(["export", str(tmp_path / "journal"), "--format", "aat"]) == 0
        trails.append(capsys.readouterr().out)
        erase_ann(tmp_path / "journal", tmp_path / "keys")
    assert trails[0] == trails[1]
    assert trails[0].count('"content_hash":"') == RECORDS
