"""Content that can be erased: one file of it beside each segment, and what of each line is found there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.sealed import key_files, verify
from wakelog.cli import main
from wakelog.evidence import Signer, seal_folder
from wakelog.journal import Cursor, Durability, Journal, Mark, folders, read
from wakelog.record import Blob, Content, Resource, encode, rejoined, seal, uuid7
from wakelog.runtime import SYSTEM
from wakelog.storage import APART, SUFFIX, Apart, blob_folder, erase_apart, segment_name, segments

RESOURCE = Resource({})
CONTENT = frozenset({"said"})


def content_of(said: str, **more: Any) -> bytes:
    fields: dict[str, object] = {"body": f"body of {said}", "attributes": {"said": said, **more}}
    return encode(fields, 1 << 20, apart=CONTENT)


def journal_of(root: Path, count: int, **settings: Any) -> Journal:
    journal = Journal(root, **settings)
    for number in range(count):
        journal.append(uuid7(), content_of(f"word {number}", number=number), RESOURCE)
    return journal


def lines_of(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    return [
        (folder / segment_name(index), json.loads(line))
        for folder in folders(root)
        for index in segments(folder)
        for line in (folder / segment_name(index)).read_bytes().splitlines()[1:]
    ]


def said_in(root: Path) -> list[object]:
    return [entry.record.attributes.get("said") for entry in read(root)]


def test_content_of_all_lines_stands_in_one_file_beside_each_segment(tmp_path: Path) -> None:
    journal_of(tmp_path, 40, segment_bytes=6000).close()

    found = lines_of(tmp_path)
    assert len({path for path, _ in found}) > 2
    for path, line in found:
        assert b"word" not in json.dumps(line).encode()
        assert os.listdir(path.with_name(path.name + SUFFIX)) == [APART]
    assert said_in(tmp_path) == [f"word {number}" for number in range(40)]
    assert [entry.record.body for entry in read(tmp_path)][7] == "body of word 7"
    assert [entry.record.attributes["number"] for entry in read(tmp_path)] == list(range(40))


@pytest.mark.parametrize("later", [False, True])
def test_what_delivery_reads_has_its_content(tmp_path: Path, later: bool) -> None:
    journal_of(tmp_path, 700).close()
    [folder] = folders(tmp_path)
    cursor = Cursor(folder, Mark(), later=later)
    chunk = cursor.read(1000, 1 << 30)
    cursor.close()

    assert [entry.record.attributes["said"] for entry in chunk.entries] == [
        f"word {number}" for number in range(700)
    ]
    # What stands beside the lines counts among the bytes of a round.
    cursor = Cursor(folder, Mark(), later=later)
    few = cursor.read(1000, 20_000)
    cursor.close()
    lines = (folder / segment_name(1)).read_bytes().splitlines(keepends=True)
    assert 0 < sum(map(len, lines[: len(few.entries)])) < 17_000


_NESTED = {"apart": {"a": 1}, "apart_at": 7, "attributes": {"b": {}}, "body": "x", "span": {}}
_ENDING = b',"scope":%b' % json.dumps({"name": "s", "attributes": {"m": _NESTED}}).encode()


@pytest.mark.parametrize("ending", [b"", _ENDING])
@pytest.mark.parametrize("body", [None, "said", {"a": {"b": {}}}, "costs 5$", ""])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"number": 1},
        {"last": _NESTED},
        {"price": "5 $"},
        {"raw": b"bytes"},
        {"last": {"$wakelog": "blob", **_NESTED}},
        {"$wakelog": "map"},
        {"text": ',"apart":{"$wakelog":"blob","sha256":"'},
        {"text": "x" * 5000},
        {"last": {"x": {',"apart_at":': "12"}}},
    ],
)
@pytest.mark.parametrize("said", ["word", {"a": [1, {"$": "}"}]}, None])
def test_a_line_that_is_spliced_says_what_it_says_when_it_is_read(
    said: object, more: dict[str, Any], body: object, ending: bytes
) -> None:
    attributes = {**more, **({} if said is None else {"said": said})}
    fields: dict[str, object] = {"trace_id": "ab", "dropped_attributes_count": 3}
    fields |= {"attributes": attributes} if attributes else {}
    fields |= {} if body is None else {"body": body}
    for order in (fields, dict(reversed(fields.items()))):
        content = encode(order, 3000, apart=CONTENT, ending=ending)
        if type(content) is not Content or not content.apart:
            continue  # nothing was set apart
        beside = {blob.sha256: blob.data for blob in content.blobs}
        beside[sha256(content.apart).hexdigest()] = content.apart

        def get(digest: str, size: int, offset: int = 0, has: Any = beside) -> bytes:
            assert len(has[digest]) == size
            return bytes(has[digest])

        line = seal("id", 1, content + b',"apart_at":12', 0)[0][:-1]
        spliced, read_line = (rejoined(line, get, splices=splices) for splices in (True, False))
        if read_line is None or spliced is None:
            assert spliced is read_line is None
            continue
        assert json.loads(spliced) == json.loads(read_line)
        assert [*json.loads(spliced)][-1] == "crc"
        assert not ending or [*json.loads(spliced)][-2] == "scope"
        assert spliced.count(b'"attributes":') == read_line.count(b'"attributes":')


def test_a_large_value_has_a_file_of_its_own(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, 1)
    journal.append(uuid7(), content_of("x" * 100_000), RESOURCE)
    journal.close()

    [_, (path, line)] = lines_of(tmp_path)
    assert line["apart"]["sha256"] in os.listdir(blob_folder(path))
    assert "apart_at" not in line
    assert said_in(tmp_path) == ["word 0", "x" * 100_000]


def test_two_processes_never_use_one_salt(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, 1)
    child = os.fork()
    if child == 0:
        try:
            journal.append(uuid7(), content_of("same"), RESOURCE)
            journal.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    journal.append(uuid7(), content_of("same"), RESOURCE)
    journal.close()

    digests = [line["apart"]["sha256"] for _, line in lines_of(tmp_path)]
    assert len(set(digests)) == 3
    values = [
        value
        for folder in folders(tmp_path)
        for value in (blob_folder(folder / segment_name(1)) / APART).read_bytes().splitlines()
    ]
    assert len({value[:32] for value in values}) == 3


def test_a_record_in_the_middle_of_a_record_costs_neither_its_content(tmp_path: Path) -> None:
    """As the handler of a signal does it, between the place and the bytes."""
    journal: Journal | None = None
    nested = False

    def write(fd: int, data: bytes) -> int:
        nonlocal nested
        if b"word 5" in data and not nested:
            nested = True
            assert journal is not None
            journal.append(uuid7(), content_of("from the handler"), RESOURCE)
        return os.write(fd, data)

    journal = Journal(tmp_path, fs=replace(SYSTEM, write=write))
    for number in range(10):
        journal.append(uuid7(), content_of(f"word {number}"), RESOURCE)
    journal.close()

    assert sorted(map(str, said_in(tmp_path))) == sorted(
        ["from the handler", *(f"word {number}" for number in range(10))]
    )


def test_what_is_erased_leaves_all_others_where_they_are(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, 10)
    [path] = {path for path, _ in lines_of(tmp_path)}
    line = lines_of(tmp_path)[4][1]
    digest, size = line["apart"]["sha256"], line["apart"]["bytes"]
    place = Apart(blob_folder(path)).place(digest, size, line["apart_at"])
    assert place is not None
    erase_apart(blob_folder(path), [place])
    journal.append(uuid7(), content_of("after"), RESOURCE)  # the writer still has it open
    journal.close()

    assert b"word 4" not in (blob_folder(path) / APART).read_bytes()
    found = said_in(tmp_path)
    assert found[:4] + found[5:] == [f"word {n}" for n in (0, 1, 2, 3, 5, 6, 7, 8, 9)] + ["after"]
    assert found[4] is None
    assert Apart(blob_folder(path)).place(digest, size, line["apart_at"]) is None


def test_a_value_that_is_damaged_is_erased_too(tmp_path: Path) -> None:
    journal_of(tmp_path, 3).close()
    (path, line), *_ = lines_of(tmp_path)[1:]
    file = blob_folder(path) / APART
    file.write_bytes(file.read_bytes().replace(b"word 1", b"Word 1"))
    apart = Apart(blob_folder(path))
    digest, size, offset = line["apart"]["sha256"], line["apart"]["bytes"], line["apart_at"]
    assert apart.find(digest, size, offset) is None
    assert apart.place(digest, size, offset) == (offset, size)
    # Never what merely stands where a line says: that may be somebody else's.
    assert apart.place(digest, size, offset + 1) is None
    assert apart.place(digest, size - 1, offset) is None


@pytest.mark.parametrize("size, offset", [(10**15, 0), (100, 10**18), (0, 0), (100, 10**30)])
def test_whatever_a_line_says_costs_no_memory_and_no_error(
    tmp_path: Path, size: int, offset: int
) -> None:
    journal_of(tmp_path, 3).close()
    [path] = {path for path, _ in lines_of(tmp_path)}
    assert Apart(blob_folder(path)).find("0" * 64, size, offset) is None
    assert Apart(blob_folder(path)).place("0" * 64, size, offset) is None


def test_with_fsync_the_content_is_synced_before_its_line(tmp_path: Path) -> None:
    order: list[str] = []

    def fdatasync(fd: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)

    journal = Journal(
        tmp_path, durability=Durability.FSYNC, fs=replace(SYSTEM, fdatasync=fdatasync)
    )
    for number in range(3):
        journal.append(uuid7(), content_of(f"word {number}"), RESOURCE)
    journal.close()

    assert order == [APART, segment_name(1)] * 3


def test_a_deleted_file_of_content_is_noticed_and_not_written_to_for_ever(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, 3)
    [path] = {path for path, _ in lines_of(tmp_path)}
    (blob_folder(path) / APART).unlink()
    [writer] = journal.open_writers
    writer._tick_at = 0.0  # a second has gone by
    journal.append(uuid7(), content_of("after"), RESOURCE)
    journal.close()

    assert said_in(tmp_path)[-1] == "after"


def with_a_file_for_each_value(root: Path) -> Path:
    """Make a journal as builds before 0.1 did: each value in a file, behind 16 bytes of salt."""
    journal = Journal(root)
    for number, user in enumerate(["ann", "bob", "ann"]):
        data = os.urandom(16) + json.dumps({"attributes": {"said": f"{user} {number}"}}).encode()
        digest = sha256(data).hexdigest()
        reference = {
            "$wakelog": "blob", "sha256": digest, "bytes": len(data), "media": "application/json",
            "preview": "", "salt": 16,
        }  # fmt: skip
        line = {"attributes": {"user.id": user}, "apart": reference}
        content = Content(b"," + json.dumps(line, separators=(",", ":")).encode()[1:-1])
        content.blobs = (Blob(digest, data, unique=True),)
        journal.append(uuid7(), content, RESOURCE)
    journal.close()
    return root


def test_a_journal_of_an_earlier_build_is_read_verified_and_erased(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = with_a_file_for_each_value(tmp_path / "j")
    assert said_in(root) == ["ann 0", "bob 1", "ann 2"]
    [folder] = folders(root)
    cursor = Cursor(folder, Mark(), later=True)
    entries = cursor.read(10, 1 << 20).entries
    cursor.close()
    assert [entry.record.attributes["said"] for entry in entries] == ["ann 0", "bob 1", "ann 2"]

    private, public = key_files(tmp_path / "keys")
    seal_folder(folder, Signer.from_file(private), "adopter", closing=True)
    assert verify(root, public, capsys=capsys)["fits"]
    erase = ["erase", str(root), "--where", "user.id=ann", "--seal-key", str(private), "--apply"]
    assert main(erase) == 0
    assert said_in(root)[1] == "bob 1"
    assert len(os.listdir(blob_folder(folder / segment_name(1)))) == 1
    assert verify(root, public, capsys=capsys)["fits"]


def test_a_text_in_content_finds_its_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal_of(tmp_path, 30).close()
    assert main(["show", str(tmp_path), "--text", "WORD 17", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "word 17" in shown
    assert "word 16" not in shown
