"""Content that can be erased: where it is on its line, and what is left of it afterwards."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from tests.support.faults import with_calls
from wakelog.cli import main
from wakelog.errors import CorruptLineError
from wakelog.evidence import verify_proof
from wakelog.journal import Cursor, Durability, Journal, Mark, folders, read
from wakelog.record import (
    ERASED,
    SALTED,
    SMALLEST_PART,
    Content,
    Resource,
    decode,
    digest_of,
    encode,
    erased_digest,
    erased_part,
    is_cut_in_content,
    salted_field,
    salted_part,
    seal,
    sealed_form,
    stated_crc,
    uuid7,
    verify,
)
from wakelog.runtime import SYSTEM
from wakelog.storage import Blobs, blob_folder, put_blobs, segment_name, segments

RESOURCE = Resource({})
CONTENT = frozenset({"said"})
SEED = 77
JSON_VALUES = st.recursive(
    st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def content_of(said: object, **more: Any) -> bytes:
    fields: dict[str, object] = {"body": f"body of {said}", "attributes": {"said": said, **more}}
    return encode(fields, 1 << 20, apart=CONTENT)


def line_of(said: object, *, seed: int = SEED, **more: Any) -> bytes:
    return seal("an-id", 1, content_of(said, **more), seed)[0][:-1]


def part_of(line: bytes) -> bytes:
    place = salted_part(line)
    assert place is not None
    return line[place]


def erased(line: bytes) -> bytes:
    place = salted_part(line)
    assert place is not None
    return line[: place.start] + erased_part(line[place]) + line[place.stop :]


def journal_of(root: Path, count: int, **settings: Any) -> Journal:
    journal = Journal(root, **settings)
    for number in range(count):
        journal.append(uuid7(), content_of(f"word {number}", number=number), RESOURCE)
    return journal


def lines_in(root: Path) -> list[bytes]:
    return [
        line
        for folder in folders(root)
        for index in segments(folder)
        for line in (folder / segment_name(index)).read_bytes().splitlines()[1:]
    ]


def said_in(root: Path) -> list[object]:
    return [entry.record.attributes.get("said") for entry in read(root)]


# The line


def test_content_is_in_one_part_behind_the_number_and_nowhere_else(tmp_path: Path) -> None:
    journal_of(tmp_path, 40, segment_bytes=6000).close()

    for number, line in enumerate(lines_in(tmp_path)):
        place = salted_part(line)
        assert place is not None
        assert b"word" not in line[: place.start] + line[place.stop :]
        size, salt, content = json.loads(line)[SALTED]
        assert line.startswith(b',"salted":[%d,' % size, line.index(b',"salted"'))
        assert (size, len(bytes.fromhex(salt))) == (place.stop - place.start, 16)
        assert content["attributes"] == {"said": f"word {number}"}
    assert said_in(tmp_path) == [f"word {number}" for number in range(40)]
    assert [entry.record.body for entry in read(tmp_path)][7] == "body of word 7"
    assert [entry.record.attributes["number"] for entry in read(tmp_path)] == list(range(40))
    assert not list(tmp_path.rglob("*.blobs"))


@settings(max_examples=times(2000), deadline=None)
@given(JSON_VALUES, st.integers(0, 2**32 - 1), st.booleans())
def test_whatever_is_erased_keeps_size_checksum_and_seal(said: Any, seed: int, body: bool) -> None:
    fields = {"attributes": {"said": said, "other": 1}, **({"body": said} if body else {})}
    content = encode(fields, 1 << 20, apart=CONTENT, ending=b',"scope":{"name":"x"}')
    line = seal("an-id", 9, content, seed)[0][:-1]
    gone = erased(line)

    assert (
        decode(line).attributes["said"]
        == decode(seal("an-id", 9, encode(fields, 1 << 20), seed)[0]).attributes["said"]
    )
    assert len(gone) == len(line)
    assert verify(gone, seed) == verify(line, seed) == stated_crc(line)
    assert crc32(part_of(gone)) == crc32(part_of(line))
    assert sealed_form(gone) == sealed_form(line) == verify_proof.sealed_form(line)
    assert verify_proof.sealed_form(gone) == sealed_form(line)
    assert erased(gone) == gone
    record = decode(gone)
    assert record.attributes.keys() == {"other", ERASED}
    assert record.body is None
    assert record.content_sha256 == decode(line).content_sha256 == digest_of(part_of(line))


@pytest.mark.parametrize("text", [b'{"attributes":{}}', b"{}", b""])
def test_tiny_content_leaves_room_for_what_replaces_it(text: bytes) -> None:
    line = seal("i", 1, salted_field(text), 0)[0]
    assert len(part_of(line)) == SMALLEST_PART
    assert len(erased_part(part_of(line))) == SMALLEST_PART


def test_content_that_looks_like_the_end_of_its_part_does_not_end_it() -> None:
    for said in (
        ']],"crc":"00000000"}',
        '],"salted":[101,"',
        {"salted": [5, "x", {"a": ["]", "],"]}]},
        ["]" * 300],
        '"' + "0" * 64 + '","' + "0" * 32 + '"',
        "\\" * 99 + '"]',
    ):
        line = line_of(said, seq=5, salted="a", attributes={"salted": [1, "a", "b"]})
        assert decode(line).attributes["said"] == said
        gone = erased(line)
        assert decode(gone).attributes.keys() == {"seq", "salted", "attributes", ERASED}
        assert verify(gone, SEED) is not None
        assert sealed_form(gone) == sealed_form(line)


def test_a_line_with_such_a_field_elsewhere_has_no_part() -> None:
    """Only the place makes it the part: neither an id nor an attribute can pretend to be one."""
    plain = encode({"attributes": {"a": {"salted": [3, "x", {}]}}}, 1 << 20)
    for record_id in ("i", '","seq":1,"salted":[4,', 'a\\","seq":1,"salted":[4,12]'):
        line = seal(record_id, 1, plain, 0)[0][:-1]
        assert salted_part(line) is None
        assert sealed_form(line) == line == verify_proof.sealed_form(line)
        assert decode(line).content_sha256 == ""


@pytest.mark.parametrize(
    "part",
    [
        b'[3,"a"]',
        b'[110,"0000","0000"]',
        b'{"a":1}',
        b"7",
        b'[7,"a",{},{}]',
        b'[10,"a",[1,2]]',
        b'[22,"a",{"attributes":[1]}]',
        b'[999999999,"a",{}]',
        b'[99999999999999999999,"a",{}]',
    ],
)
def test_a_part_of_another_form_is_no_record(part: bytes) -> None:
    line = seal("i", 1, b',"salted":%b,"attributes":{"a":1}' % part, 0)[0]
    with pytest.raises(CorruptLineError):
        decode(line)
    assert sealed_form(line[:-1]) == verify_proof.sealed_form(line[:-1])


def test_a_change_of_content_changes_the_checksum_and_the_seal() -> None:
    line = line_of("word")
    place = salted_part(line)
    assert place is not None
    for at in range(place.start, place.stop):
        for bit in (1, 32):
            other = line[:at] + bytes([line[at] ^ bit]) + line[at + 1 :]
            assert verify(other, SEED) is None
            assert sealed_form(other) != sealed_form(line)
            # Nor does it help to erase the changed content: the digest is of that.
            assert sealed_form(erased(other)) != sealed_form(line)


def test_a_change_of_the_erased_form_is_noticed() -> None:
    gone = erased(line_of("word"))
    place = salted_part(gone)
    assert place is not None
    for at in range(place.start, place.stop):
        for bit in (1, 32):
            other = gone[:at] + bytes([gone[at] ^ bit]) + gone[at + 1 :]
            assert verify(other, SEED) is None
    # The padding alone is not sealed, but it must be a padding.
    other = gone[: place.stop - 2] + b'x"' + gone[place.stop :]
    assert sealed_form(other) != sealed_form(gone)


def test_little_content_cannot_be_confirmed_from_what_is_left() -> None:
    line = line_of("yes")
    gone = erased(line)
    digest, salt = erased_digest(part_of(gone)), orjson.loads(line)[SALTED][1].encode()
    assert digest is not None
    assert salt not in gone
    content = part_of(line)[33:]
    for guess in (content, part_of(line_of("no "))[33:], part_of(line_of("may"))[33:]):
        # The digest fits only together with the salt, which is gone.
        assert (sha256(b'"' + salt + guess).hexdigest() == digest) == (guess == content)
        # And the checksum fits every guess, with one of the salts that there might have been.
        assert crc32(with_the_checksum(guess, stated_crc(gone) or 0, gone)) == crc32(part_of(line))


def with_the_checksum(guess: bytes, crc: int, gone: bytes) -> bytes:
    """Return a part with a guess, and with a salt for which the line has the checksum."""
    place = salted_part(gone)
    assert place is not None

    def crc_with(salt: int) -> int:
        part = b'"' + f"{salt:032b}".encode() + guess
        whole = gone[: place.start] + part + gone[place.stop : -len(b',"crc":"00000000"}')]
        return crc32(whole, SEED)

    none, rows = crc_with(0), dict[int, tuple[int, int]]()
    for bit in range(32):
        change, salt = crc_with(1 << bit) ^ none, 1 << bit
        while (top := change.bit_length()) in rows:
            change, salt = change ^ rows[top][0], salt ^ rows[top][1]
        rows[top] = change, salt
    wanted, chosen = crc ^ none, 0
    while wanted:
        change, salt = rows[wanted.bit_length()]
        wanted, chosen = wanted ^ change, chosen ^ salt
    return b'"' + f"{chosen:032b}".encode() + guess


# Whoever reads


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


_NESTED = {"salted": [1], "attributes": {"b": {}}, "body": "x", "span": {}}
_ENDING = b',"scope":%b' % json.dumps({"name": "s", "attributes": {"m": _NESTED}}).encode()
_MORE: list[dict[str, Any]] = [
    {},
    {"number": 1},
    {"last": _NESTED},
    {"raw": b"bytes"},
    {"last": {"$wakelog": "blob", **_NESTED}},
    {"$wakelog": "map"},
    {"text": ',"salted":[3,"x",{}]'},
    {"text": "x" * 5000},
]


@pytest.mark.parametrize("ending", [b"", _ENDING])
@pytest.mark.parametrize("body", [None, "said", {"a": {"b": {}}}, "", "y" * 4000])
@pytest.mark.parametrize("more", _MORE)
@pytest.mark.parametrize("said", ["word", {"a": [1, {"$": "}"}]}, None, "z" * 6000])
def test_a_line_with_a_part_says_what_it_says_without(
    said: object, more: dict[str, Any], body: object, ending: bytes, tmp_path: Path
) -> None:
    attributes = {**more, **({} if said is None else {"said": said})}
    fields: dict[str, object] = {"trace_id": "ab", "dropped_attributes_count": 3}
    fields |= {"attributes": attributes} if attributes else {}
    fields |= {} if body is None else {"body": body}
    plain = seal("id", 1, encode(fields, 1 << 20, ending=ending), 0)[0]
    for order in (fields, dict(reversed(fields.items()))):
        content = encode(order, 3000, apart=CONTENT, ending=ending)
        line = seal("id", 1, content, 0)[0]
        assert len(line) <= 3000
        path = tmp_path / "lines"
        if type(content) is Content:
            put_blobs(path, content.blobs)
        found = decode(line, Blobs(path))
        digest, found.content_sha256 = found.content_sha256, ""
        assert found == decode(plain)
        assert bool(digest) == (said is not None or body is not None)
        place = salted_part(line)
        for word in (b"word", b"said", b"zzz", b"yyy"):
            outside = line if place is None else line[: place.start] + line[place.stop :]
            assert word not in outside
        for file in blob_folder(path).glob("*"):
            file.unlink()


def test_large_content_has_a_file_of_its_own_behind_a_salt(tmp_path: Path) -> None:
    """Two records never share one, and its name does not tell what is in it."""
    journal = Journal(tmp_path)
    for _ in range(2):
        fields: dict[str, object] = {"attributes": {"said": "x" * 9000, "other": "y" * 9000}}
        journal.append(uuid7(), encode(fields, 3000, apart=CONTENT), RESOURCE)
    journal.close()

    [folder] = folders(tmp_path)
    files = sorted(blob_folder(folder / segment_name(1)).iterdir())
    datas = [file.read_bytes() for file in files]
    assert len(datas) == 3  # what is no content is shared
    assert datas.count(b"y" * 9000) == 1
    salted = [data for data in datas if data.endswith(b"x")]
    assert len({data[:32] for data in salted}) == 2
    assert {len(data) for data in salted} == {9032}
    assert said_in(tmp_path) == ["x" * 9000] * 2


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

    salts = [orjson.loads(line)[SALTED][1] for line in lines_in(tmp_path)]
    assert len(set(salts)) == len(salts) == 3


def test_an_event_with_content_is_one_write_and_one_sync(tmp_path: Path) -> None:
    calls: list[str] = []

    def write(fd: int, data: bytes) -> int:
        calls.append("write")
        return os.write(fd, data)

    def fdatasync(fd: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)

    fs = with_calls(SYSTEM, write=write, fdatasync=fdatasync)
    journal = Journal(tmp_path, durability=Durability.FSYNC, fs=fs)
    journal.append(uuid7(), content_of("first"), RESOURCE)
    calls.clear()
    for number in range(3):
        journal.append(uuid7(), content_of(f"word {number}"), RESOURCE)
    journal.close()
    assert calls == ["write", segment_name(1)] * 3


def test_a_text_in_content_finds_its_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal_of(tmp_path, 30).close()
    assert main(["show", str(tmp_path), "--text", "WORD 17", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "word 17" in shown
    assert "word 16" not in shown


def test_a_line_that_ends_inside_its_content_is_known_to() -> None:
    line = line_of("word", number=1)
    place = salted_part(line)
    assert place is not None
    inside = [size for size in range(len(line)) if is_cut_in_content(line[:size])]
    assert inside == list(range(place.start, place.stop + 1))
