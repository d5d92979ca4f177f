"""Reading: what was asked for and nothing else, in constant memory, past anything damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.attack import times
from wakelog.errors import ConfigurationError, JournalError, JournalFormatError
from wakelog.journal import Cursor, Durability, Entry, Folder, Journal, Mark, books, read
from wakelog.journal._ledger import load, save
from wakelog.journal._shared_file import SharedFile
from wakelog.record import Resource, encode, rfc3339, seal, seal_header, uuid7
from wakelog.storage import segment_name, segments

RESOURCE = Resource({"service.name": "tests"})
SECOND = 1_000_000_000
NOON = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * SECOND


def fields(number: int) -> dict[str, object]:
    return {
        "timestamp": rfc3339(NOON + number * SECOND),
        "event_name": "wakelog.tool_call" if number % 2 else "wakelog.model_call",
        "body": number,
        "attributes": {
            "gen_ai.conversation.id": f"s-{number % 3}",
            "wakelog.run.id": f"r-{number % 4}",
            "ratio": number / 2,
        },
    }


def fill(root: Path, numbers: range, segment_bytes: int = 1 << 20) -> str:
    """Write records as one writer, and return its id."""
    journal = Journal(root, segment_bytes=segment_bytes)
    for number in numbers:
        receipt = journal.append(uuid7(), encode(fields(number), 1 << 20), RESOURCE)
    journal.close()
    return receipt.writer


def shared_file(path: Path, numbers: range, writers: tuple[str, ...] = ("w-0", "w-1")) -> None:
    """Write a file in which writers take turns."""
    crcs = dict.fromkeys(writers, 0)
    with path.open("wb") as file:
        for number in numbers:
            writer = writers[number % len(writers)]
            line, crcs[writer] = seal(
                uuid7(), number + 1, encode(fields(number), 1 << 20), crcs[writer], writer
            )
            file.write(line)


def numbers_of(entries: object) -> list[object]:
    assert hasattr(entries, "__iter__")
    return [entry.record.body for entry in entries]


# What was asked for


def test_each_filter_keeps_what_it_names_and_all_of_it(tmp_path: Path) -> None:
    fill(tmp_path, range(24), segment_bytes=1000)

    by_name = numbers_of(read(tmp_path, event_name="wakelog.tool_call"))
    by_attribute = numbers_of(read(tmp_path, where={"wakelog.run.id": "r-3"}))
    by_two = numbers_of(read(tmp_path, where={"wakelog.run.id": "r-3", "ratio": 3.5}))
    by_absence = numbers_of(read(tmp_path, where={"nobody.sets": None}))

    assert by_name == list(range(1, 24, 2))
    assert by_attribute == list(range(3, 24, 4))
    assert by_two == [7]
    assert by_absence == []


@pytest.mark.parametrize("in_a_file", [False, True])
def test_times_are_the_records_own_from_the_first_up_to_and_without_the_last(
    tmp_path: Path, in_a_file: bool
) -> None:
    path = tmp_path / "events.jsonl" if in_a_file else tmp_path
    if in_a_file:
        shared_file(path, range(10))
    else:
        fill(path, range(10))
    third = datetime(2026, 11, 21, 13, 0, 3, tzinfo=timezone(timedelta(hours=1)))

    between = numbers_of(read(path, since=third, until=NOON + 6 * SECOND))
    a_nanosecond_later = numbers_of(read(path, since=NOON + 3 * SECOND + 1))

    assert between == [3, 4, 5]
    assert a_nanosecond_later == [4, 5, 6, 7, 8, 9]


def test_the_observed_time_stands_in_and_without_any_a_record_has_no_place_in_time(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    for number, name in enumerate(("observed_timestamp", "event_name")):
        content = encode({name: rfc3339(NOON), "body": number}, 1 << 20)
        journal.append(uuid7(), content, RESOURCE)

    in_time = numbers_of(read(tmp_path, since=NOON))
    at_any = numbers_of(read(tmp_path))

    assert in_time == [0]
    assert at_any == [0, 1]


def test_a_time_without_a_zone_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    naive = datetime(2026, 11, 21)

    with pytest.raises(ConfigurationError, match=r"until=.*no time zone"):
        read(tmp_path / "nowhere", until=naive)

    with pytest.raises(JournalError, match="no such file"):
        list(read(tmp_path / "nowhere", until=naive.replace(tzinfo=UTC)))


def test_an_attribute_is_compared_in_the_form_in_which_it_comes_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    given_value = {"raw": b"\x00", "pair": (1, 2)}
    journal.append(uuid7(), encode({"attributes": {"x": given_value}}, 1 << 20), RESOURCE)

    found = list(read(tmp_path, where={"x": given_value}))
    not_found = list(read(tmp_path, where={"x": {"raw": b"\x01", "pair": (1, 2)}}))

    assert [entry.record.attributes["x"] for entry in found] == [{"raw": b"\x00", "pair": [1, 2]}]
    assert not_found == []


def test_who_asks_for_one_writer_opens_no_other_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = [fill(tmp_path, range(n * 10, n * 10 + 10)) for n in range(3)]
    opened: list[str] = []
    real_open = os.open

    def watched(path: object, *arguments: int, **named: int) -> int:
        opened.append(str(path))
        return real_open(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", watched)
    found = numbers_of(read(tmp_path, writer=writers[1]))
    of_nobody = numbers_of(read(tmp_path, writer="nobody"))

    assert found == list(range(10, 20))
    assert of_nobody == []
    assert [path for path in opened if Path(path).name in writers] != []
    assert not {writers[0], writers[2]} & {name for path in opened for name in Path(path).parts}


def test_a_file_that_writers_share_is_read_by_writer_too(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    shared_file(path, range(10))

    found = list(read(path, writer="w-1", event_name="wakelog.tool_call"))

    assert numbers_of(found) == [1, 3, 5, 7, 9]
    assert {entry.writer for entry in found} == {"w-1"}


# From a position


@pytest.mark.parametrize("in_a_file", [False, True])
def test_reading_goes_on_after_any_entry_with_the_next_one(tmp_path: Path, in_a_file: bool) -> None:
    path = tmp_path / "events.jsonl" if in_a_file else tmp_path
    if in_a_file:
        shared_file(path, range(12))
    else:
        fill(path, range(6), segment_bytes=600)
        fill(path, range(6, 12), segment_bytes=600)
    everything = list(read(path))
    after: dict[str, Mark] = {}

    for number, entry in enumerate(everything):
        after[entry.writer] = entry.mark
        assert numbers_of(read(path, after=after)) == list(range(number + 1, 12))


def test_another_process_goes_on_from_marks_written_down_and_sees_what_came_since(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal", segment_bytes=600)
    for number in range(5):
        journal.append(uuid7(), encode(fields(number), 1 << 20), RESOURCE)
    marks = {entry.writer: asdict(entry.mark) for entry in read(tmp_path / "journal")}
    for number in range(5, 9):
        journal.append(uuid7(), encode(fields(number), 1 << 20), RESOURCE)
    fill(tmp_path / "journal", range(9, 11))

    program = (
        "import json, sys; from wakelog.journal import Mark, read\n"
        "after = {name: Mark(**mark) for name, mark in json.loads(sys.argv[2]).items()}\n"
        "print([entry.record.body for entry in read(sys.argv[1], after=after)])\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "journal"), json.dumps(marks)]
    seen = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert json.loads(seen) == [5, 6, 7, 8, 9, 10]


def test_a_mark_whose_segment_was_deleted_goes_on_with_the_next(tmp_path: Path) -> None:
    writer = fill(tmp_path, range(9), segment_bytes=600)
    everything = list(read(tmp_path))
    second = [entry for entry in everything if entry.mark.segment == 2]
    (tmp_path / writer / segment_name(2)).unlink()

    found = numbers_of(read(tmp_path, after={writer: second[0].mark}))

    assert found == numbers_of(entry for entry in everything if entry.mark.segment > 2)


def test_a_segment_by_itself_has_its_writer_its_resource_and_the_same_marks(tmp_path: Path) -> None:
    writer = fill(tmp_path, range(9), segment_bytes=600)
    expected = [entry for entry in read(tmp_path) if entry.mark.segment == 2]
    segment = tmp_path / writer / segment_name(2)

    found = list(read(segment, writer=writer))
    rest = list(read(segment, after={writer: expected[0].mark}))

    assert found == expected
    assert rest == expected[1:]


# Never fails because of a bad line


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\r",
        b"\x00" * 5000,
        b"\xff\xfe",
        b"null",
        b'{"id":"x","seq":1,"body":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"id":"x","seq":[],"writer":{}}',
        b'{"writer":5,"format":"x"}',
    ],
)
def test_a_bad_line_costs_nothing_but_itself(tmp_path: Path, bad: bytes) -> None:
    writer = fill(tmp_path, range(6))
    segment = tmp_path / writer / segment_name(1)
    lines = segment.read_bytes().split(b"\n")
    segment.write_bytes(b"\n".join([*lines[:3], bad, *lines[3:]]))
    file = tmp_path / "shared.jsonl"
    shared_file(file, range(6))
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([*lines[:3], bad, *lines[3:]]))

    assert numbers_of(read(tmp_path)) == list(range(6))
    assert numbers_of(read(segment)) == list(range(6))
    assert numbers_of(read(file)) == list(range(6))


def test_a_line_whose_writer_is_no_name_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    shared_file(path, range(4))
    path.write_bytes(b'{"id":"x","seq":1,"writer":["w-1"]}\n' + path.read_bytes())

    found = read(path, writer="w-1", after={"w-1": Mark()})

    assert numbers_of(found) == [1, 3]


@pytest.mark.attack
@settings(max_examples=times(20_000), deadline=None)
@given(st.lists(st.binary(max_size=60)), st.booleans())
def test_whatever_is_in_a_file_reading_ends_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], begins_like_ours: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(b"\n".join((b'{"id":"' if begins_like_ours else b"") + x for x in lines))

    found = list(read(path, writer="w", event_name="e", since=0, where={"a": 1}))

    assert found == []


def test_blank_lines_are_no_damage_however_many(tmp_path: Path) -> None:
    writer = fill(tmp_path, range(6))
    segment = tmp_path / writer / segment_name(1)
    head, tail = segment.read_bytes()[:-1].rsplit(b"\n", 1)
    segment.write_bytes(head + b"\n" * 600_000 + tail + b"\n")

    cursor = Cursor(tmp_path / writer, Mark())
    chunk = cursor.read(100, 1000)
    while len(chunk.entries) == 5:
        chunk = cursor.read(100, 1000)
    cursor.close()

    assert numbers_of(read(tmp_path)) == list(range(6))
    assert (cursor.mark.corrupt, chunk.damaged) == (0, [])


@pytest.mark.parametrize("bit", [1 << n for n in range(8)])
def test_a_flipped_bit_in_a_header_is_not_taken_for_a_newer_wakelog(
    tmp_path: Path, bit: int
) -> None:
    writer = fill(tmp_path, range(3))
    segment = tmp_path / writer / segment_name(1)
    whole = segment.read_bytes()
    place = whole.index(b'"format":') + len(b'"format":')
    segment.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])

    found = list(read(tmp_path))

    assert numbers_of(found) == numbers_of(read(segment)) == [0, 1, 2]


def test_a_newer_wakelog_is_said_to_be_one(tmp_path: Path) -> None:
    folder = Folder.create(tmp_path, uuid7())
    line, _ = seal_header(folder.writer, 1, 0, 0, RESOURCE)
    newer = line.replace(b'"format":2', b'"format":3,"new":1')
    (folder.path / segment_name(1)).write_bytes(newer)
    folder.release()

    with pytest.raises(JournalFormatError, match="newer Wakelog"):
        list(read(tmp_path))


# In constant memory


def peak_of(entries: object) -> int:
    tracemalloc.start()
    try:
        assert hasattr(entries, "__iter__")
        for _ in entries:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("in_a_file", [False, True])
def test_ten_times_the_records_take_no_more_memory(tmp_path: Path, in_a_file: bool) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for path, count in ((small, 2_000), (large, 20_000)):
        if in_a_file:
            shared_file(path, range(count))
        else:
            fill(path, range(count), segment_bytes=200_000)

    peaks = [peak_of(read(path)) for path in (small, large)]

    assert peaks[1] < peaks[0] + 500_000


def test_who_stops_reading_leaves_no_file_open(tmp_path: Path) -> None:
    fill(tmp_path, range(6))
    before = len(os.listdir("/dev/fd"))

    for _ in range(5):
        first: Entry = next(iter(read(tmp_path, where={"ratio": 0.5})))

    assert first.record.body == 1
    assert len(os.listdir("/dev/fd")) == before


# The books of a large backlog


def leave_backlog(root: Path, mebibytes: int = 12) -> Path:
    """Leave segments of 1 MiB of a writer that is gone."""
    folder = Folder.create(root, uuid7())
    content = encode({"body": "x" * 4000}, 1 << 20)
    seq = crc = 0
    for segment in range(1, mebibytes + 1):
        line, header = seal_header(folder.writer, segment, seq, crc, RESOURCE)
        lines, crc = [line], header.crc
        for _ in range(256):
            seq += 1
            line, crc = seal(uuid7(), seq, content, crc)
            lines.append(line)
        (folder.path / segment_name(segment)).write_bytes(b"".join(lines))
    folder.release()
    return folder.path


def opened_by_books(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    read_by: list[int] = []
    real = Cursor.read

    def watched(self: Cursor, max_records: int, max_bytes: int) -> object:
        chunk = real(self, max_records, max_bytes)
        read_by.extend(entry.mark.segment for entry in chunk.entries)
        return chunk

    with monkeypatch.context() as patch:
        patch.setattr(Cursor, "read", watched)
        books(root)
    return sorted(set(read_by))


def test_the_books_of_a_large_backlog_read_its_last_segment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = leave_backlog(tmp_path)

    before = books(tmp_path)
    save(folder, folder.name, next(read(folder)).mark)
    [after] = books(tmp_path)

    assert [one.pending for one in before] == [12 * 256]
    assert (after.accepted, after.delivered, after.pending) == (12 * 256, 1, 12 * 256 - 1)
    assert [after] == books(tmp_path, exact=True)
    assert opened_by_books(tmp_path, monkeypatch) == [12]


def test_damage_in_a_large_backlog_is_pending_until_it_is_read(tmp_path: Path) -> None:
    folder = leave_backlog(tmp_path)
    segment = folder / segment_name(3)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:100_000] + b"?" + whole[100_001:])
    (folder / segment_name(5)).unlink()

    [quick] = books(tmp_path)
    [exact] = books(tmp_path, exact=True)

    assert (quick.accepted, quick.corrupt, quick.pending) == (12 * 256, 0, 12 * 256)
    assert (exact.accepted, exact.corrupt, exact.pending) == (12 * 256, 257, 11 * 256 - 1)


@pytest.mark.parametrize("damage", ["the last header", "the line before it", "no lines after it"])
def test_books_that_cannot_trust_the_last_header_begin_earlier(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = leave_backlog(tmp_path)
    last, before = folder / segment_name(12), folder / segment_name(11)
    if damage == "the last header":
        last.write_bytes(last.read_bytes().replace(b'"last_seq"', b'"lost_seq"', 1))
    elif damage == "the line before it":
        before.write_bytes(before.read_bytes()[:-3000] + b"\n")
    else:
        last.write_bytes(last.read_bytes()[:40])

    [quick] = books(tmp_path)

    assert quick == books(tmp_path, exact=True)[0]
    assert 11 in opened_by_books(tmp_path, monkeypatch)
    assert 10 not in opened_by_books(tmp_path, monkeypatch) or damage == "the line before it"


def test_lines_that_a_failed_sync_repeated_are_counted_once(tmp_path: Path) -> None:
    folder = leave_backlog(tmp_path)
    line, header = seal_header(folder.name, 13, 12 * 256 - 3, 0, RESOURCE)
    again, _ = seal(uuid7(), 12 * 256 - 2, encode({"body": 1}, 1 << 20), header.crc)
    (folder / segment_name(13)).write_bytes(line + again)

    [quick] = books(tmp_path)

    assert quick == books(tmp_path, exact=True)[0]
    assert (quick.accepted, quick.corrupt) == (12 * 256, 0)
    assert (load(folder, folder.name), segments(folder)[-1]) == (Mark(), 13)


# A file by itself is checked line by line


def taking_turns(path: Path, numbers: range) -> None:
    """Have two sinks write one file, line by line in turn."""
    files = [SharedFile(path), SharedFile(path)]
    for number in numbers:
        body = encode(fields(number), 1 << 20)
        files[number % 2].append(uuid7(), body, Durability.OS_BUFFERED)
    for file in files:
        file.close()


@pytest.mark.parametrize("bit", [0x01, 0x10, 0x80])
def test_a_flipped_byte_in_a_named_file_costs_its_line_at_most_and_brings_no_wrong_one(
    tmp_path: Path, bit: int
) -> None:
    path = tmp_path / "events.jsonl"
    taking_turns(path, range(6))
    whole = path.read_bytes()
    good = [(entry.record.id, entry.record.body) for entry in read(path)]
    assert len(good) == 6

    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        found = [(entry.record.id, entry.record.body) for entry in read(path)]
        assert len([one for one in found if one in good]) >= 5, place
        assert [one for one in found if one not in good] == [], place


def test_lines_that_were_taken_out_of_a_named_file_cost_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    taking_turns(path, range(12))
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [number for number in range(12) if number % 3 != 1]
    path.write_bytes(b"".join(lines[number] for number in kept))

    assert numbers_of(read(path)) == kept


def test_a_line_that_a_kill_cut_off_in_a_named_file_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    taking_turns(path, range(6))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:40]  # its writer is gone; the other one goes on behind it
    path.write_bytes(b"".join(lines))

    assert numbers_of(read(path)) == [0, 1, 3, 4, 5]


def test_behind_a_damaged_header_a_damaged_record_is_not_believed(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    [path] = tmp_path.glob("*/00000001.jsonl")
    header, first, *rest = path.read_bytes().splitlines(keepends=True)
    damaged = header.replace(b'"format":2', b'"format": ')
    wrong = first.replace(b'"body":0', b'"body":7')
    assert damaged != header
    assert wrong != first

    path.write_bytes(b"".join([damaged, wrong, *rest]))
    assert numbers_of(read(tmp_path)) == [1, 2]
    path.write_bytes(b"".join([damaged, first, *rest]))
    assert numbers_of(read(tmp_path)) == [0, 1, 2]
