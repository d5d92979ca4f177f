"""What Wakelog notes beside the records: one changed bit in it is noticed, and never makes a record skipped or delivered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.support.delivering import Bench, Hop, refuses
from wakelog.gateway import _ledger as gateway
from wakelog.journal import Folder, Mark, MarkRange, Space, Writer, books, dead_letters
from wakelog.journal import _ledger as ledger
from wakelog.journal import _retired_totals as retired
from wakelog.journal._dead_letters import DEAD_LETTERS
from wakelog.record import uuid7


def changed(path: Path) -> Iterator[None]:
    """Change one bit of each byte of a file in turn, and put it back in the end."""
    whole = path.read_bytes()
    for place, byte in enumerate(whole):
        path.write_bytes(whole[:place] + bytes([byte ^ 1]) + whole[place + 1 :])
        yield
    path.write_bytes(whole)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a writer whose records have been delivered but for two, which were set aside."""
    bench = Bench(tmp_path / "journal", Hop(refuses("bad")))
    bench.record("bad", *range(6), "bad")
    bench.drain()
    [writer] = bench.journal.open_writers
    assert isinstance(writer, Writer)
    bench.close()
    return writer.folder.path


def test_a_changed_bit_in_a_ledger_means_from_the_beginning(folder: Path) -> None:
    mark = ledger.load(folder, folder.name)
    ledger.save(folder, folder.name, mark, ahead=[MarkRange(mark, mark)])
    assert (mark.seq, mark.dead_lettered) == (8, 2)

    for _ in changed(folder / ledger.NAME):
        assert ledger.load_with_ranges(folder, folder.name) == (Mark(), [])
    assert ledger.load(folder, folder.name) == mark


def test_a_changed_bit_in_a_dead_letter_costs_the_letter_and_delivers_nothing(folder: Path) -> None:
    [before] = books(folder.parent)
    assert (before.delivered, before.dead_lettered, before.corrupt) == (6, 2, 0)

    for _ in changed(folder / DEAD_LETTERS):
        [now] = books(folder.parent)
        assert now.delivered == 6
        assert now.dead_lettered == len(list(dead_letters(folder))) < 2
        assert now.corrupt == 2 - now.dead_lettered


def test_a_changed_bit_in_the_sum_of_swept_folders_is_no_figure(folder: Path) -> None:
    root = folder.parent
    (folder / DEAD_LETTERS).unlink()
    bench = Bench(root, Hop())
    bench.journal._quota._cleaner._space = Space(retention_age=0, retention_writers=0)
    bench.journal.clean_up()
    bench.close()
    before = retired.load(root)
    assert before.counts.accepted == 8

    for _ in changed(root / retired.NAME):
        # Without the name of its checksum, it is as the first candidate wrote it.
        assert retired.load(root) in (retired.RetiredTotals(), before)


def test_a_changed_bit_in_a_gateway_s_ledger_means_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id":"a","crc":"00000001"}\n' * 20)
    at = gateway.FileMark(280, 1, failed=1)
    gateway.save(path, "w", at)
    assert gateway.load(path, "w") == at

    for _ in changed(tmp_path / ".events.jsonl.forwarded"):
        assert gateway.load(path, "w") == gateway.FileMark()


# What was written before there were checksums


def test_what_the_first_candidate_wrote_is_believed_as_it_stands(folder: Path) -> None:
    mark, root = ledger.load(folder, folder.name), folder.parent
    plain = {name: getattr(mark, name) for name in Mark.__slots__}
    (folder / ledger.NAME).write_bytes(orjson.dumps({"writer": folder.name, **plain}))
    letters = folder / DEAD_LETTERS
    old = [orjson.loads(line) for line in letters.read_bytes().splitlines()]
    letters.write_bytes(
        b"".join(orjson.dumps({k: v for k, v in one.items() if k != "crc"}) + b"\n" for one in old)
    )
    total = {"writers": 1, "accepted": 3, "delivered": 3, "dead_lettered": 0, "evicted": 0}
    (root / retired.NAME).write_bytes(orjson.dumps({**total, "corrupt": 0, "going": []}))
    session = root / "events.jsonl"
    session.write_bytes(b'{"id":"a","crc":"00000001"}\n' * 2)
    session.with_name(".events.jsonl.forwarded").write_bytes(
        b'{"writer":"w","offset":28,"crc":1,"failed":0}'
    )

    assert ledger.load(folder, folder.name) == mark
    assert [one.delivered for one in books(root)] == [3, 6]
    assert [one.dead_lettered for one in books(root)] == [0, 2]
    assert gateway.load(session, "w") == gateway.FileMark(28, 1)


def test_a_folder_of_the_first_candidate_keeps_a_ledger_that_it_reads(tmp_path: Path) -> None:
    made = Folder.create(tmp_path, uuid7())
    made.release()

    ledger.save(made.path, made.writer, Mark(segment=1, seq=3))

    fields = {"writer", *Mark.__slots__}
    assert orjson.loads((made.path / ledger.NAME).read_bytes()).keys() == fields
