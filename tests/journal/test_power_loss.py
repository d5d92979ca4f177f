"""The power fails after any operation: what FSYNC has acknowledged is there, and all can be read."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.guarantees import POWER, POWER_SYNC, PROPERTY, Row
from tests.support.power import Power, State, put
from wakelog.errors import JournalError
from wakelog.journal import (
    Cursor,
    Durability,
    Folder,
    Journal,
    Space,
    _reserve,
    books,
    read,
    save_torn_tail,
)
from wakelog.journal._ledger import load, save
from wakelog.journal._quota import Quota
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem

RESOURCE = Resource({})
OTHER = Resource({"n": 1})
LIMIT = 10  # disks tried for each operation
LEVELS = [Durability.OS_BUFFERED, Durability.FSYNC, Durability.PERIODIC]
# What is tried on the disks needs no disk of its own.
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)


@pytest.fixture(autouse=True)
def _without_files_that_recovery_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reserve, "keep", lambda *_, **__: True)
    monkeypatch.setattr(Quota, "_say_settings", lambda _: None)
    # In the order of the calls here, and not of a thread's.
    monkeypatch.setattr(Quota, "_clean_soon", lambda _: None)


def content(size: int = 20) -> bytes:
    return encode({"body": "x" * size}, 1 << 20)


class History:
    """A program that records, on a file system that remembers."""

    def __init__(self, base: Path, segment_bytes: int = 1 << 20, root: str = "journal") -> None:
        self.power = Power(base)
        self.root = base / root
        self.levels: dict[str, Durability] = {}
        self._segment_bytes = segment_bytes
        # The same ids each time, so that checksums, and what is cut where, are the same too.
        self._ids = (f"01900000-0000-7000-8000-{n:012x}" for n in itertools.count())

    def new_id(self) -> str:
        return next(self._ids)

    def journal(self, **options: Any) -> Journal:
        return Journal(
            self.root,
            **options,
            sync_interval=3600,
            segment_bytes=self._segment_bytes,
            new_id=self.new_id,
            fs=self.power.fs,
        )

    def emit(
        self, journal: Journal, level: Durability = Durability.FSYNC, resource: Resource = RESOURCE
    ) -> None:
        record_id = self.new_id()
        self.levels[record_id] = level
        self.power.say("tried", record_id)
        receipt = journal.append(record_id, content(), resource, level)
        word = "fsync" if receipt.durability is Durability.FSYNC else "buffered"
        self.power.say(word, record_id)

    def deliver(self, journal: Journal) -> None:
        assert journal.writer is not None
        for sent in deliver(journal.writer.folder, self.power.fs):
            self.power.say("sent", sent)


def deliver(folder: Folder, fs: FileSystem, *, complete: bool = False) -> Iterator[str]:
    cursor = Cursor(folder.path, load(folder.path, folder.writer), complete=complete)
    while (chunk := cursor.read(2, 10_000)).entries or chunk.damaged:
        yield from (entry.record.id for entry in chunk.entries)
        save(folder.path, folder.writer, chunk.mark, fs)
    cursor.close()


def one_record(history: History) -> None:
    journal = history.journal()
    history.emit(journal)
    journal.close()


def several_segments(history: History) -> None:
    journal = history.journal()
    for _ in range(5):
        history.emit(journal)
    journal.close()


def mixed_durabilities(history: History) -> None:
    journal = history.journal()
    for number in range(9):
        history.emit(journal, LEVELS[number % 3])
    journal.close()


def several_segments_before_a_sync(history: History) -> None:
    journal = history.journal()
    for number in range(7):
        history.emit(journal, LEVELS[number % 3 == 2])
    journal.close()


def periodic_alone(history: History) -> None:
    journal = history.journal()
    for _ in range(4):
        history.emit(journal, Durability.PERIODIC)
    journal.close()


def changes_of_resource(history: History) -> None:
    journal = history.journal()
    for number in range(6):
        history.emit(journal, LEVELS[number % 2], OTHER if number % 3 else RESOURCE)
    journal.close()


def delivery_between(history: History) -> None:
    journal = history.journal()
    for number in range(6):
        history.emit(journal, LEVELS[number % 2])
        if number % 2:
            history.deliver(journal)
    journal.close()


def deletion_of_what_is_delivered(history: History) -> None:
    space = Space(retention_age=0)
    journal = history.journal(space=space, clock=lambda: time.time() + 60)
    for number in range(6):
        history.emit(journal, LEVELS[number % 3 % 2])
        if number % 2:
            history.deliver(journal)
            journal.clean_up()
    journal.close()


def two_writers(history: History) -> None:
    journals = [history.journal(), history.journal()]
    for number in range(6):
        history.emit(journals[number % 2], LEVELS[number % 3 % 2])
    for journal in journals:
        journal.close()


def failed_syncs(errors: list[int]) -> Callable[[History], None]:
    def failing(history: History) -> None:
        journal = history.journal()
        history.power.sync_errors = list(errors)
        for number in range(6):
            with suppress(JournalError):
                history.emit(journal, LEVELS[(number + 1) % 2])
        journal.close()

    failing.__name__ = "failed_syncs_" + "".join("x" if code else "-" for code in errors)
    return failing


EIO = errno.EIO
HISTORIES: list[tuple[Callable[[History], None], int]] = [
    (one_record, 1 << 20),
    (several_segments, 400),
    (several_segments, 1),
    (mixed_durabilities, 1 << 20),
    (mixed_durabilities, 400),
    (several_segments_before_a_sync, 1),
    (periodic_alone, 400),
    (changes_of_resource, 1 << 20),
    (delivery_between, 1 << 20),
    (delivery_between, 400),
    (deletion_of_what_is_delivered, 400),
    (two_writers, 1 << 20),
    (two_writers, 1),
    *(
        (failed_syncs(errors), segment_bytes)
        for errors in ([EIO], [0, EIO], [0, EIO, EIO], [EIO, EIO, EIO])
        for segment_bytes in (1 << 20, 1)
    ),
]


def names(case: Any) -> str:
    return str(getattr(case, "__name__", case))


def check(root: Path, said: dict[str, list[str]]) -> int:
    """Recover what is on a disk, and return how many records were delivered twice."""
    acknowledged, tried = set(said["fsync"]), set(said["tried"])
    if not root.exists():
        assert not acknowledged
        return 0
    found = [entry.record.id for entry in read(root)]
    # What was delivered may have been deleted since.
    assert acknowledged <= set(found) | set(said["sent"])
    assert set(found) <= tried
    assert len(found) == len(set(found))
    assert all(kept.pending >= 0 for kept in books(root))

    journal = Journal(root, fs=UNSYNCED)
    sent = list(said["sent"])
    for orphan in journal.orphans():
        save_torn_tail(orphan.path, UNSYNCED)
        sent += deliver(orphan, UNSYNCED, complete=True)
        orphan.release()
    assert acknowledged <= set(sent) <= tried
    assert set(found) <= set(sent)
    journal.append(uuid7(), content(), RESOURCE)
    journal.close()
    kept = books(root)
    assert [b.pending for b in kept] == [0] * (len(kept) - 1) + [1]
    return len(sent) - len(set(sent))


@pytest.mark.parametrize("work, segment_bytes", HISTORIES, ids=names)
def test_a_power_failure_after_any_operation_costs_nothing_that_fsync_has_acknowledged(
    tmp_path: Path,
    work: Callable[[History], None],
    segment_bytes: int,
    record_property: Callable[[str, object], None],
) -> None:
    base = tmp_path / "before"
    base.mkdir()
    Journal(base / "journal").close()  # the very first start is another test's
    history = History(base, segment_bytes)
    work(history)

    faults = duplicated = 0
    tried: Counter[Durability] = Counter()
    acknowledged: Counter[Durability] = Counter()
    for said, disk in history.power.failures(seed=1, limit=LIMIT):
        where = put(disk, tmp_path / str(faults))
        duplicated += check(where / "journal", said)
        shutil.rmtree(where)
        faults += 1
        tried.update(history.levels[record_id] for record_id in said["tried"])
        answered = said["fsync"] + said["buffered"]
        acknowledged.update(history.levels[record_id] for record_id in answered)

    assert faults > 20
    fault = POWER_SYNC if work.__name__.startswith("failed_syncs") else POWER
    for level in tried:
        synced = level is Durability.FSYNC
        row = Row(
            fault,
            level,
            faults,
            tried[level],
            acknowledged[level],
            0 if synced else None,
            duplicated if synced else None,
        )
        record_property(PROPERTY, row)


@pytest.mark.parametrize("root", ["journal", "new/journal"])
def test_a_power_failure_at_the_very_first_start_is_survived(tmp_path: Path, root: str) -> None:
    base = tmp_path / "before"
    base.mkdir()
    history = History(base, root=root)
    one_record(history)

    for number, (said, disk) in enumerate(history.power.failures(seed=1, limit=LIMIT)):
        check(put(disk, tmp_path / str(number)) / root, said)


def test_a_thread_that_asks_late_hears_of_a_sync_that_failed_before(tmp_path: Path) -> None:
    history = History(tmp_path)
    journal = history.journal()
    history.emit(journal)
    writer = journal.writer
    assert writer is not None
    history.power.sync_errors = [EIO, EIO]
    slow = journal.write(uuid7(), content(), RESOURCE, Durability.FSYNC)
    with pytest.raises(JournalError):
        history.emit(journal)
    history.emit(journal)  # in a new file, which is synced

    with pytest.raises(JournalError):
        writer.commit(slow.seq)


def test_a_task_that_asks_late_hears_of_a_sync_that_failed_before(tmp_path: Path) -> None:
    history = History(tmp_path)
    journal = history.journal()
    history.emit(journal)
    history.power.sync_errors = [EIO, EIO]
    slow = journal.write(uuid7(), content(), RESOURCE, Durability.FSYNC)
    with pytest.raises(JournalError):
        history.emit(journal)
    history.emit(journal, Durability.OS_BUFFERED)

    with pytest.raises(JournalError):
        asyncio.run(journal.settle(slow))


def test_a_thread_that_came_while_a_sync_was_failing_hears_of_it(tmp_path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()
    errors: list[int] = []

    def sync(fd: int) -> None:
        if len(errors) == 2:
            entered.set()
            assert go_on.wait(60)
        if errors:
            code = errors.pop(0)
            raise OSError(code, os.strerror(code))
        os.fsync(fd)

    journal = Journal(tmp_path, durability=Durability.FSYNC, fs=FileSystem(fdatasync=sync))
    journal.append(uuid7(), content(), RESOURCE)
    errors += [EIO, EIO]
    answers: list[object] = []

    def emit() -> None:
        try:
            answers.append(journal.append(uuid7(), content(), RESOURCE))
        except JournalError as error:
            answers.append(error)

    threads = [threading.Thread(target=emit) for _ in range(2)]
    threads[0].start()
    assert entered.wait(60)
    threads[1].start()
    writer = journal.writer
    assert writer is not None
    group = writer._group
    assert group is not None
    while not group._waiters:
        time.sleep(0.001)
    go_on.set()
    for thread in threads:
        thread.join()

    assert [type(answer) for answer in answers] == [JournalError, JournalError]


def test_without_a_descriptor_to_sync_with_nothing_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path, segment_bytes=1)
    journal = history.journal()
    waiting = journal.write(uuid7(), content(), RESOURCE, Durability.FSYNC)
    journal.append(uuid7(), content(), RESOURCE)
    writer = journal.writer
    assert writer is not None
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", no_descriptor)
        with pytest.raises(JournalError, match="Too many open files"):
            writer.commit(waiting.seq)
    record_id = uuid7()
    history.power.say("tried", record_id)
    journal.append(record_id, content(), RESOURCE, Durability.FSYNC)

    segment = writer.folder.path / "00000001.jsonl"
    assert all(state is State.SYNCED for state in history.power.states(segment))


def no_descriptor(_: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
