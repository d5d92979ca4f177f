"""Names of segments and whole lines at the end of a file, against the simplest reading there is."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakelog.errors import JournalError
from wakelog.runtime import JournalErrors, UnlessMissing, open_to_read
from wakelog.runtime._filesystem import FileSystem
from wakelog.storage import (
    COMPRESSED,
    _lines,
    end_of_lines,
    ends_with_a_line,
    line_before,
    segment_index,
    segment_name,
    segments,
    whole_lines,
)

# Longer than the blocks in which files are read, shorter, and just at their borders.
LENGTHS = st.sampled_from([0, 1, 2, 4094, 4095, 4096, 4097, 69_631, 69_632, 70_000, 1_200_000])


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(LENGTHS, max_size=4), rest=LENGTHS)
def test_lines_are_found_from_the_end_whatever_their_length(tmp_path_factory, lengths, rest):
    lines = [bytes([97 + number]) * length for number, length in enumerate(lengths)]
    content = b"".join(line + b"\n" for line in lines) + b"z" * rest
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(content)

    with path.open("rb") as file:
        end = end_of_lines(file.fileno())
        whole = ends_with_a_line(file.fileno())
        blocks = list(whole_lines(file.fileno(), 0))
        found = []
        at = end
        while at:
            at, line = line_before(file.fileno(), at)
            found.append(line)

    assert end == len(content) - rest
    assert whole == (rest == 0)
    assert found[::-1] == lines
    assert b"".join(block for _, block in blocks) == content[:end]
    assert all(content[at:].startswith(block) for at, block in blocks)


def test_a_line_that_is_too_long_is_left_out_and_the_next_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(_lines, "_SCANNED", 8)
    monkeypatch.setattr(_lines, "LONGEST_BLOCK", 32)
    path = tmp_path / "file"
    path.write_bytes(b"a\n" + b"x" * 100 + b"\nb\n" + b"y" * 100)

    with path.open("rb") as file:
        assert list(whole_lines(file.fileno(), 0)) == [(0, b"a\n"), (103, b"b\n")]


def test_the_systems_error_becomes_one_of_the_journal_with_its_words(tmp_path):
    path = tmp_path / "missing"

    words = f"cannot read {path}: No such file.*[.] Look again"
    with pytest.raises(JournalError, match=words), JournalErrors("read", path, "Look again"):
        path.read_bytes()


@pytest.mark.parametrize("errors", [JournalErrors, UnlessMissing])
@pytest.mark.parametrize("raised", [TimeoutError("late"), FileNotFoundError(2, "mine")], ids=str)
def test_an_error_of_a_signal_handler_is_the_programs(errors, raised, tmp_path):
    def handler(*_: object) -> None:
        raise raised

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(type(raised)) as found, errors("read", tmp_path):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert found.value is raised


def test_only_a_missing_file_or_if_asked_for_a_link_ends_a_block_without_an_error(tmp_path):
    with UnlessMissing("read", tmp_path / "missing"):
        open_to_read(tmp_path / "missing")
    (tmp_path / "link").symlink_to(tmp_path)
    with UnlessMissing("read", tmp_path / "link", or_foreign=True):
        open_to_read(tmp_path / "link")

    link = tmp_path / "link"
    with pytest.raises(JournalError, match="it is a link"), UnlessMissing("read", link):
        open_to_read(link)
    with pytest.raises(ValueError, match="not of the system"), UnlessMissing("read", tmp_path):
        raise ValueError("not of the system")


def test_the_end_of_lines_up_to_a_size_leaves_out_what_came_later(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthree\n")

    with path.open("rb") as file:
        assert [end_of_lines(file.fileno(), size) for size in (0, 3, 4, 7, 8, 14)] == [
            0,
            0,
            4,
            4,
            8,
            14,
        ]


@pytest.mark.parametrize("index", [1, 42, 99_999_999, 100_000_000])
def test_the_name_of_a_segment_says_its_index(index):
    assert segment_index(segment_name(index)) == index
    assert segment_index(segment_name(index, COMPRESSED), COMPRESSED) == index


@pytest.mark.parametrize(
    "name",
    [
        "1.jsonl",
        "000000001.jsonl",
        "00000000.jsonl",
        "٠٠٠٠٠٠٠١.jsonl",
        "0000000a.jsonl",
        "00000001.jsonl.gz",
        "00000001.json",
        "00000001",
        "dead_letters.jsonl",
        ".jsonl",
    ],
)
def test_another_file_is_no_segment(tmp_path, name):
    (tmp_path / name).touch()
    (tmp_path / segment_name(7)).touch()

    assert segment_index(name) is None
    assert segments(tmp_path) == [7]


def test_a_folder_that_is_missing_is_an_error_unless_that_may_be(tmp_path):
    assert segments(tmp_path / "gone", missing_ok=True) == []
    with pytest.raises(JournalError, match=f"cannot list .*gone: {os.strerror(2)}"):
        segments(tmp_path / "gone")


def test_a_call_that_a_file_system_does_not_have_is_named_with_those_that_it_has():
    known = "fdatasync, fsync, mkdir, open, rename, rmdir, unlink, write"
    with pytest.raises(TypeError, match=f"takes no 'fdatasynk'; it takes {known}$"):
        FileSystem(fdatasynk=lambda _: None)
