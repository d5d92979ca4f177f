"""Hashes of lines and of trees that are computed in compiled code are those of the code in Python."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from wakelog._native import native
from wakelog.evidence import Signer, _merkle, _scan, verify_proof
from wakelog.evidence._merkle import HASH_BYTES, Tree, _leaves_of, _root_of, leaves_of, root_of
from wakelog.evidence._scan import Part, scan
from wakelog.evidence._seal import FIRST, MARK_BYTES, SEAL, checkpoint_of, make_seal
from wakelog.journal import Journal, folders
from wakelog.record import Resource, encode, erased_part, salted_part, seal, uuid7
from wakelog.storage import segment_name

compiled = pytest.mark.skipif(native is None, reason="wakelog-native is not used")
CONTENT = frozenset({"said"})
RESOURCE = Resource({"service.name": "clerk"})


def erased(line: bytes) -> bytes:
    place = salted_part(line)
    assert place is not None
    return line[: place.start] + erased_part(line[place]) + line[place.stop :]


def line_of(said: object, record_id: str = "an-id", **more: Any) -> bytes:
    content = encode({"attributes": {"said": said, "n": 1}, **more}, 1 << 20, apart=CONTENT)
    return seal(record_id, 12, content, 0)[0][:-1]


def checkpoint() -> dict[str, Any]:
    fields = {
        "kind": SEAL,
        "number": 1,
        "writer": "w",
        "previous": FIRST,
        "time": "2026-11-30T00:00:00.000000000Z",
        "by": "process",
    }
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    signer = Signer(key.sign, key.public_key().public_bytes_raw())
    return checkpoint_of(make_seal(fields, signer.id, key.sign))


ORDINARY = [
    b'{"writer":"w","format":1,"resource":{"attributes":{}}}',  # as a header begins
    seal("an-id", 1, encode({"body": "plain"}, 1 << 20), 0)[0][:-1],
    seal("an-id", 2, encode(checkpoint(), 1 << 20), 0)[0][:-1],
    line_of("a word"),
    line_of("a word", body="and a body"),
    line_of("", signal="span"),
    line_of("a word", signal="span_start"),
    line_of("a word", record_id='an "id" with \\ signs'),
    line_of({"salted": '],"salted":[101,"', "quoted": '"' + "0" * 64 + '","000"'}),
    line_of("long " * 4000),
    seal("an-id", 1, b',"salted":[7,"a",{},{}]', 0)[0][:-1],
    seal("an-id", 1, b',"signal":"span","salted":[110,"0000","0000"]', 0)[0][:-1],
]
ERASED = [erased(line) for line in ORDINARY if len(line[salted_part(line) or slice(0)]) > 100]
BEGINNING = b'{"id":"i","seq":1'
DIGEST = b"0123456789abcdef" * 4
UNUSUAL = [
    b"",
    b"\r",
    b"not JSON",
    b'{"id":"\\',
    b'{"id":"\\"","seq":1,"salted":[3,"a"]}',
    b'{"id":"i","seq":,"salted":[3,"a"]}',
    b'{"id":"i","seq":-1,"salted":[3,"a"]}',
    b'{"id":"i","seq":1.0,"salted":[3,"a"]}',
    b'{"id":"i","seq":' + b"9" * 300 + b',"salted":[3,"a"]}',
    b'{"id":"","seq":0,"salted":[3,"a"]}',
    b'{"id":"\xff","seq":0,"salted":[3,"a"]}',
    *(
        BEGINNING + rest
        for rest in (
            b',"signal":"","salted":[3,"a"]}',
            b',"signal":"Span","salted":[3,"a"]}',
            b',"signal":"span,"salted":[3,"a"]}',
            b',"signal":"_","signal":"_","salted":[3,"a"]}',
            b',"salted":[,"a"]}',
            b',"salted":[0,"a"]}',
            b',"salted":[0,',
            b',"salted":[000000003,"a"]}',
            b',"salted":[0000000003,"a"]}',
            b',"salted":[999999999,"a"]}',
            b',"salted":[9999999999,"a"]}',
            b',"salted":[4 ,"a"]}',
            b',"salted":[69,"%b",""]}' % DIGEST,
            b',"salted":[70,"%b","0"]}' % DIGEST,
            b',"salted":[70,"%b","2"]}' % DIGEST,
            b',"salted":[70,"%b","0"]}' % DIGEST.upper(),
            b',"salted":[68,"%b",""]}' % DIGEST,
            b',"salted":[67,"%b",""]}' % DIGEST,
            b',"salted":[40,"%b",{}]}' % DIGEST[:32],
            b',"salted":[35,"%b",""]}' % DIGEST[:32],
            b',"salted":[34,"%b",""]}' % DIGEST[:32],
            b',"salted":[104,"%b","%b","' % (DIGEST[:32], DIGEST),
        )
    ),
]
ALL = [*ORDINARY, *ERASED, *UNUSUAL]


@st.composite
def damaged_lines(draw: st.DrawFn) -> bytes:
    """Return one of the lines, cut off or with another byte somewhere, without a newline in it."""
    line = bytearray(draw(st.sampled_from(ALL)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, min(len(line), 400)))
        line[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from(b'0"\\,:[]{}9a\xff')
        ).to_bytes()
    if draw(st.booleans()):
        del line[draw(st.integers(0, len(line))) :]
    return bytes(line)


LINES = st.lists(st.sampled_from(ALL) | damaged_lines() | st.binary(max_size=90), max_size=12)


def leaf_by_hand(line: bytes) -> bytes:
    """The hash as a recipient of a proof computes it."""
    return sha256(b"\x00" + verify_proof.sealed_form(line)).digest()


@compiled
@pytest.mark.parametrize("line", ALL, ids=range(len(ALL)))
def test_each_kind_of_line_has_the_leaf_of_python_and_of_the_verifier(line: bytes) -> None:
    assert native.leaves_of(line) == _leaves_of(line) == leaf_by_hand(line)


@compiled
@settings(max_examples=times(5000), deadline=None)
@given(LINES)
def test_the_leaves_of_a_block_are_the_same(lines: list[bytes]) -> None:
    block = b"\n".join(lines)
    assert native.leaves_of(block) == _leaves_of(block)


@compiled
@pytest.mark.parametrize("line", [*ERASED, *ORDINARY[3:7]], ids=range(len(ERASED) + 4))
def test_a_line_that_is_cut_off_anywhere_has_the_same_leaf(line: bytes) -> None:
    for size in range(len(line)):
        assert native.leaves_of(line[:size]) == _leaves_of(line[:size])


@compiled
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, 4095, 4096, 4097])
def test_the_root_of_a_tree_is_the_same(count: int) -> None:
    leaves = random.Random(count).randbytes(count * HASH_BYTES)
    assert native.root_of(leaves) == _root_of(leaves)


@settings(max_examples=times(300), deadline=None)
@given(st.integers(1, 40), st.data())
def test_a_path_leads_from_each_leaf_to_the_root(count: int, data: st.DataObject) -> None:
    leaves = random.Random(count).randbytes(count * HASH_BYTES)
    index = data.draw(st.integers(0, count - 1))
    leaf = leaves[index * HASH_BYTES : (index + 1) * HASH_BYTES]
    path = _merkle.path_of(leaves, index)
    assert verify_proof.root_from(leaf, index, count, path) == root_of(leaves)


def in_python(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Part]) -> Part:
    with monkeypatch.context() as patch:
        patch.setattr(_scan, "leaves_of", _leaves_of)
        patch.setattr(_merkle, "root_of", _root_of)
        return call()


@compiled
def test_parts_of_segments_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    path = tmp_path / "w" / segment_name(1)
    path.parent.mkdir()
    for count in (0, 1, 5, 40, 300, 9000):
        lines = chance.choices(ALL, k=count) if count < 9000 else chance.choices(ALL[-30:], k=count)
        ending = chance.choice([b"", b"\n", b"\nbegun"])
        path.write_bytes(b"\n".join(lines) + ending)
        size = path.stat().st_size
        for begin, end in ((0, None), (size // 3, None), (0, size // 2), (size, None)):
            part = scan(path, begin, end, keep=True)
            assert part == in_python(monkeypatch, partial(scan, path, begin, end, keep=True))
            assert len(part.leaves) == part.lines * HASH_BYTES
            assert len(part.marks) == part.lines * MARK_BYTES


@compiled
def test_parts_of_a_journal_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path)
    for number in range(500):
        apart = CONTENT if number % 3 else frozenset()
        said = f"word {number}" * (number % 50)
        fields: dict[str, object] = {"attributes": {"said": said, "n": number}}
        journal.append(uuid7(), encode(fields, 1 << 20, apart=apart), RESOURCE)
    [folder] = folders(tmp_path)
    path = folder / segment_name(1)
    part = scan(path, 0)
    assert part == in_python(monkeypatch, lambda: scan(path, 0))
    assert (part.lines, part.first_seq, part.last_seq) == (501, 1, 500)
    journal.close()


@pytest.mark.parametrize("leaves", [leaves_of, _leaves_of])
def test_marks_are_the_first_bytes_of_each_hash(leaves: Callable[[bytes], bytes]) -> None:
    expected = b"".join(leaf_by_hand(line)[:MARK_BYTES] for line in ALL)
    assert _scan.marks_of(leaves(b"\n".join(ALL))) == expected


@compiled
@pytest.mark.parametrize("work", ["leaves_of", "root_of"])
def test_other_threads_run_while_a_block_is_hashed(work: str) -> None:
    """No thread gives the interpreter lock away by itself here, so only the call can release it."""
    go, ran = threading.Event(), threading.Event()
    hashed, interval = getattr(native, work), sys.getswitchinterval()

    def other() -> None:
        go.wait(60)
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    sys.setswitchinterval(1000)
    try:
        go.set()
        deadline = time.monotonic() + 60
        while not ran.is_set() and time.monotonic() < deadline:
            hashed(b"x" * (1 << 20))
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join(60)


def test_a_tree_keeps_no_more_leaves_than_a_subtree_has() -> None:
    tree = Tree()
    for _ in range(5):
        tree.add(bytes(3000 * HASH_BYTES))
        assert len(tree._leaves) < 4096 * HASH_BYTES
    assert tree.finish() == _root_of(bytes(15_000 * HASH_BYTES))
