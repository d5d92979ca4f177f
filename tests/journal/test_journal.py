"""The journal: accepted means on disk, one bad line costs one record, the ledger is a hint."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from wakelog.errors import JournalError, JournalFormatError
from wakelog.journal import (
    Cursor,
    Durability,
    Folder,
    Journal,
    Mark,
    Writer,
    books,
    read,
    save_torn_tail,
)
from wakelog.journal._ledger import load, save
from wakelog.journal._shared_file import SharedFile
from wakelog.journal._writer import write_line
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem
from wakelog.storage import segment_name, segments

BEGINNING = Mark()
RESOURCE = Resource({"service.name": "tests"})


def content(number: int, size: int = 20) -> bytes:
    return encode({"body": f"{number}:" + "x" * size}, 1 << 20)


def fill(journal: Journal, count: int, start: int = 0) -> list[str]:
    ids = [uuid7() for _ in range(count)]
    for number, record_id in enumerate(ids, start):
        journal.append(record_id, content(number), RESOURCE)
    return ids


def bodies(path: Path) -> list[int]:
    return [int(str(entry.record.body).split(":")[0]) for entry in read(path)]


def only_folder(root: Path) -> Path:
    [folder] = [path for path in root.iterdir() if path.is_dir()]
    return folder


def read_all(folder: Path, mark: Mark = BEGINNING) -> tuple[list[int], Mark, list[bytes]]:
    cursor = Cursor(folder, mark, complete=True)
    seqs: list[int] = []
    damaged: list[bytes] = []
    while (chunk := cursor.read(7, 1000)).entries or chunk.damaged:
        seqs += [entry.record.seq for entry in chunk.entries]
        damaged += chunk.damaged
    cursor.close()
    return seqs, cursor.mark, damaged


# Accepted means on disk


PROGRAM = """
import os, sys
from wakelog.journal import Journal, Durability
from wakelog.record import Resource, encode, uuid7
journal = Journal(sys.argv[1], durability=Durability(sys.argv[2]), segment_bytes=20_000)
resource = Resource({})
while True:
    receipt = journal.append(uuid7(), encode({"body": "x" * 200}, 1 << 20), resource)
    os.write(1, b"%d\\n" % receipt.seq)
"""


@pytest.mark.parametrize("durability", ["os_buffered", "fsync"])
@pytest.mark.parametrize("acknowledged", [1, 150, 400])
def test_a_record_is_there_after_sigkill_once_its_append_returned(
    tmp_path: Path, durability: str, acknowledged: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), durability], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(acknowledged):
            process.stdout.readline()
        process.kill()
        rest = process.stdout.read().split(b"\n")[:-1]
    last = int(rest[-1]) if rest else acknowledged

    seqs = [entry.record.seq for entry in read(tmp_path)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) >= max(last, acknowledged)


def test_records_are_numbered_without_gaps_over_segments_threads_and_resources(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, segment_bytes=3000)
    resources = [Resource({"n": n}) for n in range(2)]

    def emit(number: int) -> None:
        for i in range(100):
            journal.append(uuid7(), content(i), resources[number % 2 if i % 10 == 0 else 0])

    threads = [threading.Thread(target=emit, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = list(read(tmp_path))
    assert [entry.record.seq for entry in entries] == list(range(1, 401))
    assert len(segments(only_folder(tmp_path))) > 10
    assert {entry.resource.attributes["n"] for entry in entries} == {0, 1}


def test_a_program_that_records_nothing_leaves_no_folder(tmp_path: Path) -> None:
    Journal(tmp_path / "deep" / "journal").close()

    assert [path.name for path in (tmp_path / "deep" / "journal").iterdir()] == ["wakelog.json"]


def test_nobody_else_may_look(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    fill(journal, 1)
    assert journal.writer is not None
    save(journal.writer.folder.path, journal.writer.id, Mark())

    for path in [tmp_path / "journal", *(tmp_path / "journal").rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_one_event_may_ask_for_more_and_none_for_less(tmp_path: Path) -> None:
    buffered, synced = Journal(tmp_path / "a"), Journal(tmp_path / "b", durability=Durability.FSYNC)

    more = buffered.append("i", content(1), RESOURCE, Durability.FSYNC)
    less = synced.append("i", content(1), RESOURCE, Durability.OS_BUFFERED)

    assert (more.durability, less.durability) == (Durability.FSYNC, Durability.FSYNC)


def test_closing_between_two_events_costs_neither(tmp_path: Path) -> None:
    journal = Journal(tmp_path, durability=Durability.FSYNC)
    stop = threading.Event()
    accepted: list[int] = []

    def emit() -> None:
        while not stop.is_set():
            fill(journal, 1)
            accepted.append(1)

    threads = [threading.Thread(target=emit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        journal.close()
        before = len(accepted)
        while len(accepted) < before + 5:
            time.sleep(0.001)  # the emitters need the interpreter
    stop.set()
    for thread in threads:
        thread.join()

    assert sum(b.accepted for b in books(tmp_path)) == len(accepted)


# Not accepted means raised


class Disk:
    """Stands between a writer and its files, and fails when it is told to."""

    def __init__(self) -> None:
        self.fail: Callable[[bytes], int] | None = None
        self.sync_errors: list[int] = []
        self.synced: list[int] = []

    def write(self, fd: int, data: bytes) -> int:
        if self.fail is not None:
            allowed = self.fail(data)
            if allowed < 0:
                raise OSError(-allowed, os.strerror(-allowed))
            data = data[:allowed]
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        if self.sync_errors:
            code = self.sync_errors.pop(0)
            raise OSError(code, os.strerror(code))
        os.fdatasync(fd)
        self.synced.append(os.fstat(fd).st_ino)


def writer_on(disk: Disk, root: Path, segment_bytes: int = 1 << 20) -> Writer:
    folder = Folder.create(root, uuid7())
    fs = FileSystem(write=disk.write, fdatasync=disk.sync)
    return Writer(folder, segment_bytes=segment_bytes, fs=fs)


def append(writer: Writer, number: int, level: Durability = Durability.OS_BUFFERED) -> int:
    seq = write_line(writer, uuid7(), content(number), RESOURCE, level, True)
    if level is Durability.FSYNC:
        writer.commit(seq)
    return seq


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_or_broken_disk_is_an_error_and_recording_goes_on_after_it(
    tmp_path: Path, code: int
) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    append(writer, 0)
    disk.fail = lambda _: -code
    with pytest.raises(JournalError, match=re.escape(os.strerror(code))) as caught:
        append(writer, 1)
    assert str(tmp_path) in str(caught.value)
    disk.fail = None

    assert append(writer, 2) == 2
    assert bodies(tmp_path) == [0, 2]


@pytest.mark.parametrize("taken", [1, 30, 90])
def test_a_short_write_is_finished_or_never_joined_with_the_next_line(
    tmp_path: Path, taken: int
) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    append(writer, 0)
    answers = iter([taken, 10_000])
    disk.fail = lambda _: next(answers)
    assert append(writer, 1) == 2  # the rest went in with a second write

    failing = iter([taken, -errno.ENOSPC])
    disk.fail = lambda _: next(failing)
    with pytest.raises(JournalError):
        append(writer, 2)
    disk.fail = None
    append(writer, 3)

    seqs, mark, _ = read_all(only_folder(tmp_path))
    assert bodies(tmp_path) == [0, 1, 3]
    assert seqs == [1, 2, 3]
    assert mark.corrupt == 0


def test_a_segment_that_could_not_be_begun_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path, segment_bytes=300)
    append(writer, 0)
    append(writer, 1)
    disk.fail = lambda data: 5 if data.startswith(b'{"writer"') else len(data)
    with pytest.raises(JournalError, match="begin a segment"):
        append(writer, 2)
    disk.fail = None
    append(writer, 3)

    assert bodies(tmp_path) == [0, 1, 3]


@pytest.mark.parametrize("failures", [1, 2])
def test_after_a_failed_sync_the_file_is_never_trusted_again(tmp_path: Path, failures: int) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    append(writer, 0, Durability.FSYNC)
    [failed_file] = disk.synced
    append(writer, 1)
    disk.synced.clear()
    disk.sync_errors = [errno.EIO] * failures
    if failures == 1:
        # The lines that are waited for go into a new file, and that one is synced.
        assert append(writer, 2, Durability.FSYNC) == 3
    else:
        with pytest.raises(JournalError, match="sync"):
            append(writer, 2, Durability.FSYNC)
        with pytest.raises(JournalError, match="sync"):
            writer.commit(3)  # the kernel would now say that all is well
    append(writer, 3, Durability.FSYNC)

    assert disk.synced
    assert failed_file not in disk.synced
    assert bodies(tmp_path) == [0, 1, 2, 3]
    assert books(tmp_path)[0].corrupt == 0


def test_what_was_waited_for_is_there_even_when_the_failed_file_is_gone(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path)
    append(writer, 0)
    disk.sync_errors = [errno.EIO]
    append(writer, 1, Durability.FSYNC)
    (only_folder(tmp_path) / segment_name(1)).unlink()  # what the kernel dropped

    assert bodies(tmp_path) == [1]
    [lost] = books(tmp_path)
    assert (lost.accepted, lost.corrupt) == (2, 1)


def test_a_sync_covers_every_segment_that_holds_a_line_to_be_synced(tmp_path: Path) -> None:
    disk = Disk()
    writer = writer_on(disk, tmp_path, segment_bytes=1)
    for number in range(4):
        append(writer, number)
    assert disk.synced == []

    append(writer, 4, Durability.FSYNC)

    folder = only_folder(tmp_path)
    assert (folder / segment_name(5)).stat().st_ino in disk.synced


def test_ended_segments_are_closed(tmp_path: Path) -> None:
    writer = writer_on(Disk(), tmp_path, segment_bytes=1)
    append(writer, 0, Durability.FSYNC)
    before = len(os.listdir("/dev/fd"))
    for number in range(50):
        append(writer, number)

    assert len(os.listdir("/dev/fd")) <= before + 1


@pytest.mark.parametrize("durability", [Durability.OS_BUFFERED, Durability.FSYNC])
@pytest.mark.parametrize("whole", [True, False])
def test_a_directory_that_is_deleted_under_us_is_raised_once_and_made_again(
    tmp_path: Path, durability: Durability, whole: bool
) -> None:
    root = tmp_path / "journal"
    journal = Journal(root, durability=durability)
    fill(journal, 3)
    writer = journal.writer
    assert writer is not None
    shutil.rmtree(root if whole else writer.folder.path)
    writer._tick_at = 0.0  # a second has passed

    with pytest.raises(JournalError, match=r"No such file|has been deleted"):
        fill(journal, 1)
    fill(journal, 2, start=10)

    assert bodies(root) == [10, 11]
    journal.close()


def test_cleaning_puts_nothing_into_a_directory_that_somebody_is_deleting(tmp_path: Path) -> None:
    root = tmp_path / "journal"
    journal = Journal(root)
    fill(journal, 3)
    for (
        path
    ) in root.iterdir():  # what `rm -r` does before its last step, which removes the directory
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    journal.clean_up()

    assert list(root.iterdir()) == []
    root.rmdir()
    with pytest.raises(JournalError, match="cannot clean up"):
        journal.clean_up()
    assert not root.exists()


@pytest.mark.parametrize("renamed", [True, False])
def test_a_named_file_that_is_rotated_away_or_deleted_is_made_again(
    tmp_path: Path, renamed: bool
) -> None:
    path = tmp_path / "folder" / "events.jsonl"
    file = SharedFile(path)
    file.append(uuid7(), content(1), Durability.OS_BUFFERED)
    if renamed:
        path.rename(tmp_path / "events.1")
    else:
        shutil.rmtree(path.parent)
    file._check_at = 0.0  # a second has passed
    file.append(uuid7(), content(2), Durability.FSYNC)
    file.close()

    assert bodies(path) == [2]
    if renamed:
        assert bodies(tmp_path / "events.1") == [1]


def test_after_a_rotation_by_others_the_new_name_and_the_old_lines_are_synced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    synced: list[int] = []

    def sync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)

    file = SharedFile(path, sync_interval=3600, fs=FileSystem(fdatasync=sync, fsync=sync))
    file.append(uuid7(), content(1), Durability.FSYNC)
    file.append(uuid7(), content(2), Durability.PERIODIC)
    path.rename(tmp_path / "events.1")
    file._check_at = 0.0  # a second has passed
    synced.clear()
    file.append(uuid7(), content(3), Durability.FSYNC)
    file.close()

    files = [tmp_path / "events.1", path, tmp_path]
    assert synced == [file.stat().st_ino for file in files]


# One bad record costs one record


def test_a_file_cut_at_any_byte_of_its_last_line_loses_that_line_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal, 5)
    journal.close()
    path = only_folder(tmp_path) / segment_name(1)
    whole = path.read_bytes()
    last_line = whole.rindex(b"\n", 0, -1) + 1

    for size in range(last_line, len(whole)):
        path.write_bytes(whole[:size])
        seqs, mark, damaged = read_all(path.parent)
        assert seqs == [1, 2, 3, 4]
        assert (mark.offset, damaged) == (last_line, [])


@pytest.mark.parametrize("bit", [0x01, 0x10, 0x80])
def test_any_flipped_byte_costs_at_most_the_record_that_it_is_in(tmp_path: Path, bit: int) -> None:
    journal = Journal(tmp_path)
    fill(journal, 6)
    journal.close()
    path = only_folder(tmp_path) / segment_name(1)
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == 0x0A]

    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        seqs, mark, _ = read_all(path.parent)
        line = sum(end < place for end in ends)  # 0 is the header
        in_the_middle = place in ends[:-1]
        expected = {1, 2, 3, 4, 5, 6} - (set() if in_the_middle else {line})
        assert expected <= set(seqs), place
        assert mark.corrupt + (6 - mark.seq) == 6 - len(seqs), place


def test_a_damaged_header_costs_no_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=400)
    fill(journal, 6)
    journal.close()
    folder = only_folder(tmp_path)
    path = folder / segment_name(2)
    data = bytearray(path.read_bytes())
    data[60] ^= 0x01
    path.write_bytes(data)

    assert bodies(tmp_path) == [0, 1, 2, 3, 4, 5]


def test_a_missing_segment_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=400)
    fill(journal, 9)
    journal.close()
    folder = only_folder(tmp_path)
    lost = len([e for e in read(folder) if e.mark.segment == 2])
    (folder / segment_name(2)).unlink()

    seqs, mark, _ = read_all(folder)
    assert len(seqs) == 9 - lost
    assert mark.corrupt == lost
    assert books(tmp_path)[0].accepted == 9


def test_a_damaged_header_keeps_what_can_be_read_of_its_resource(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal, 2)
    journal.close()
    path = only_folder(tmp_path) / segment_name(1)
    path.write_bytes(path.read_bytes().replace(b'"last_seq":0', b'"last_seq":1', 1))

    assert [entry.resource for entry in read(tmp_path)] == [RESOURCE, RESOURCE]


@pytest.mark.parametrize("size", [1, 100, 700_000])
def test_a_torn_tail_is_saved_once_and_changes_nothing(tmp_path: Path, size: int) -> None:
    journal = Journal(tmp_path)
    fill(journal, 3)
    journal.close()
    path = only_folder(tmp_path) / segment_name(1)
    tail = b'{"id":"' + b"x" * (size - 1)
    path.write_bytes(path.read_bytes() + tail)
    before = path.read_bytes()

    saved = save_torn_tail(path.parent)
    assert saved is not None
    assert saved.read_bytes() == tail
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert save_torn_tail(path.parent) is None
    assert path.read_bytes() == before
    assert bodies(tmp_path) == [0, 1, 2]


# The ledger is a hint


def marks_of(folder: Path) -> list[Mark]:
    return [entry.mark for entry in read(folder)]


def test_reading_goes_on_exactly_where_a_mark_says(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=400)
    fill(journal, 9)
    journal.close()
    folder = only_folder(tmp_path)

    for number, mark in enumerate(marks_of(folder), 1):
        save(folder, folder.name, mark)
        seqs, end, damaged = read_all(folder, load(folder, folder.name))
        assert seqs == list(range(number + 1, 10))
        assert (end.seq, end.corrupt, damaged) == (9, 0, [])


@pytest.mark.parametrize(
    "ledger",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"writer":"another","segment":1,"offset":0,"seq":3}',
        b'{"writer":"SELF","segment":9,"offset":77,"seq":3,"crc":null}',
        b'{"writer":"SELF","segment":1,"offset":77,"seq":3,"crc":null}',
        b'{"writer":"SELF","segment":1,"offset":99999999,"seq":3,"crc":null}',
        b'{"writer":"SELF","segment":1,"offset":0,"seq":-3}',
        b'{"writer":"SELF","segment":"1","offset":0,"seq":3}',
        b'{"writer":"SELF","unknown":1}',
    ],
)
def test_a_ledger_that_cannot_be_believed_means_from_the_beginning(
    tmp_path: Path, ledger: bytes | None
) -> None:
    journal = Journal(tmp_path)
    fill(journal, 5)
    journal.close()
    folder = only_folder(tmp_path)
    if ledger is not None:
        (folder / "ledger").write_bytes(ledger.replace(b"SELF", folder.name.encode()))

    assert load(folder, folder.name) == Mark()
    assert read_all(folder, load(folder, folder.name))[0] == [1, 2, 3, 4, 5]


def test_the_books_balance_with_and_without_a_ledger(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal, 5)
    folder = only_folder(tmp_path)
    [before] = books(tmp_path)
    save(folder, folder.name, marks_of(folder)[2])
    [after] = books(tmp_path)

    assert (before.accepted, before.delivered, before.pending, before.live) == (5, 0, 5, True)
    assert (after.accepted, after.delivered, after.pending) == (5, 3, 2)
    journal.close()
    assert not books(tmp_path)[0].live


# Processes


def test_a_folder_belongs_to_one_process_and_is_adopted_once_when_it_is_gone(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "os_buffered"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    journal = Journal(tmp_path)
    assert list(journal.orphans()) == []
    process.kill()
    process.communicate()

    [orphan] = journal.orphans()
    assert list(Journal(tmp_path).orphans()) == []
    orphan.release()
    assert [folder.path for folder in Journal(tmp_path).orphans()] == [orphan.path]


def child_of_fork(journal: Journal, done: int) -> None:
    fill(journal, 10, start=100)
    os.write(done, b"x")
    os._exit(0)


def test_a_forked_child_begins_a_writer_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    fill(journal, 5)
    parent = journal.writer
    assert parent is not None
    pid = os.fork()
    if pid == 0:
        child_of_fork(journal, os.open(os.devnull, os.O_WRONLY))
    fill(journal, 5, start=5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    assert journal.writer is parent
    assert sorted(bodies(tmp_path)) == [*range(10), *range(100, 110)]
    assert sorted(b.accepted for b in books(tmp_path)) == [10, 10]
    # The child's end has not taken the parent's lock away.
    assert [folder.path.name for folder in Journal(tmp_path).orphans()] != [parent.id]


def test_a_living_child_does_not_keep_its_parents_folder_from_being_adopted(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    fill(journal, 1)
    reading, writing = os.pipe()
    running, runs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.write(runs, b"x")
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.read(running, 1)
    journal.close()  # what the kernel does when a process dies
    adopted = [folder.path for folder in Journal(tmp_path).orphans()]
    os.close(writing)
    os.waitpid(pid, 0)

    assert adopted == [only_folder(tmp_path)]


def test_a_fork_while_another_thread_is_writing_leaves_a_child_that_can_write(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    stop = threading.Event()

    def emit() -> None:
        while not stop.is_set():
            fill(journal, 1)

    thread = threading.Thread(target=emit)
    thread.start()
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                fill(journal, 3)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()

    for folder in tmp_path.iterdir():
        if folder.is_dir():
            seqs, mark, damaged = read_all(folder)
            assert (seqs, mark.corrupt, damaged) == ([*range(1, len(seqs) + 1)], 0, [])


def emit_in_child(root: str, count: int) -> None:
    fill(Journal(root), count)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_on_one_directory_never_share_a_folder(tmp_path: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    processes = [context.Process(target=emit_in_child, args=(str(tmp_path), 20)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [b.accepted for b in books(tmp_path)] == [20, 20, 20]


# Directories that cannot be used


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_place_of_the_directory_is_one_clear_error(tmp_path: Path, below: bool) -> None:
    path = tmp_path / "file"
    path.write_text("x")

    with pytest.raises(JournalError, match=r"file.*WAKELOG_DIR") as caught:
        Journal(path / "journal" if below else path)
    assert str(path) in str(caught.value)


def test_a_directory_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "wakelog.json").write_bytes(orjson.dumps({"format": 99}))

    with pytest.raises(JournalFormatError, match=r"format is 99.*newer Wakelog"):
        Journal(tmp_path)


def test_a_directory_that_vanishes_is_an_error_and_not_a_silence(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no such file or directory|No such file"):
        list(read(tmp_path / "nowhere"))
