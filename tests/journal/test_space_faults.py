"""A crash at any system call of cleaning: nothing is lost, and the books balance."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults import with_fault
from tests.support.guarantees import CLEANING, PROPERTY, Row
from wakelog.journal import Cursor, Durability, Folder, Journal, QuotaPolicy, Space, books, read
from wakelog.journal import _deletions as deletions
from wakelog.journal._folder import folders
from wakelog.journal._ledger import load, save
from wakelog.journal._quota import Quota
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem

# What the disk does is the matter of test_power_loss.py.
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)
OPERATIONS = ["open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir"]
QUOTA = 38_500
Said = dict[str, list[tuple[str, str, int]]]
"""What a program has said, by word: a record's id, its writer and its number."""


class Program:
    """Records, delivers and cleans in a forked process, and says on a pipe what it does."""

    def __init__(self, root: Path, fault: str | None) -> None:
        self.root = root
        self.fs = with_fault(UNSYNCED, fault) if fault else UNSYNCED
        self.pipe = -1

    def run(self, part: Callable[[Program], None]) -> tuple[bool, Said]:
        """Run a part in a child, and return whether it was killed, and what it had said."""
        reading, self.pipe = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                part(self)
                code = 0
            finally:
                os._exit(code)
        os.close(self.pipe)
        said: Said = defaultdict(list)
        with os.fdopen(reading) as lines:
            for line in lines:
                word, record_id, writer, seq = line.split()
                said[word].append((record_id, writer, int(seq)))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL)
        return code != 0, said

    def say(self, word: str, record_id: str, writer: str = "?", seq: int = 0) -> None:
        os.write(self.pipe, f"{word} {record_id} {writer} {seq}\n".encode())

    def journal(self) -> Journal:
        space = Space(
            retention_age=0,
            retention_writers=0,
            quota_bytes=QUOTA,
            quota_policy=QuotaPolicy.EVICT_OLDEST,
        )
        # An hour later, so that all that was delivered is past its time.
        return Journal(
            self.root,
            segment_bytes=900,
            space=space,
            fs=self.fs,
            clock=lambda: time.time() + 3600,
        )

    def emit(self, journal: Journal, count: int, level: Durability | None = None) -> None:
        for _ in range(count):
            record_id = uuid7()
            self.say("tried", record_id)
            content = encode({"body": "x" * 150}, 1 << 20)
            receipt = journal.append(record_id, content, Resource({}), level)
            self.say("acknowledged", record_id, receipt.writer, receipt.seq)

    def deliver(self, folder: Path, count: int, *, complete: bool) -> None:
        mark = load(folder, folder.name)
        cursor = Cursor(folder, mark, complete=complete)
        while count > 0 and (
            (chunk := cursor.read(min(3, count), 10_000)).entries or chunk.damaged
        ):
            for entry in chunk.entries:
                self.say("sent", entry.record.id, folder.name, entry.record.seq)
            count -= len(chunk.entries)
            save(folder, folder.name, chunk.mark, self.fs)
        cursor.close()


def seed(program: Program) -> None:
    """Leave a writer whose records are delivered, and one whose are not, but for three."""
    for delivered in (1000, 3):
        journal = program.journal()
        program.emit(journal, 10)
        assert journal.writer is not None
        folder = journal.writer.folder.path
        journal.close()
        program.deliver(folder, delivered, complete=True)


def work(program: Program) -> None:
    """Record beyond the quota, deliver and clean meanwhile."""
    journal = program.journal()
    program.emit(journal, 2)
    assert journal.writer is not None
    program.deliver(journal.writer.folder.path, 6, complete=False)
    journal.clean_up()
    program.emit(journal, 6, Durability.FSYNC)
    program.deliver(journal.writer.folder.path, 2, complete=False)
    program.emit(journal, 4)
    journal.clean_up()
    journal.close()


def recover(program: Program) -> None:
    """Clean, deliver what processes that are gone have left, and clean again."""
    journal = program.journal()
    journal.clean_up()
    for orphan in journal.orphans():
        adopted: Folder = orphan
        program.deliver(adopted.path, 1000, complete=True)
        adopted.release()
    journal.clean_up()
    journal.close()


@pytest.fixture
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Said]:
    # In the order of the calls here, and not of a thread's.
    monkeypatch.setattr(Quota, "_clean_soon", lambda _: None)
    killed, said = Program(tmp_path / "seed", None).run(seed)
    assert not killed
    return tmp_path / "seed", said


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_at_any_system_call_of_cleaning_loses_nothing_and_the_books_balance(
    seeded: tuple[Path, Said],
    tmp_path: Path,
    operation: str,
    when: str,
    record_property: Callable[[str, object], None],
) -> None:
    count = evicted = 0
    while True:
        count += 1
        root = tmp_path / str(count)
        shutil.copytree(seeded[0], root)
        fault = f"{when}:{operation}:{count}"
        killed, first = Program(root, fault).run(work)
        if killed:  # books balance in the moment after a kill, too
            check_books(root, together(seeded[1], first), fault)
        # The first restart may be killed too; the second one is undisturbed.
        again, second = Program(root, fault).run(recover)
        _, third = Program(root, None).run(recover)
        row, gone = check(root, together(seeded[1], first, second, third), fault)
        evicted += gone
        shutil.rmtree(root)
        if not killed and not again:
            assert count > 1
            break
        record_property(PROPERTY, row)
    assert evicted > 0


def together(*parts: Said) -> Said:
    said: Said = defaultdict(list)
    for part in parts:
        for word, records in part.items():
            said[word] += records
    return said


def check_books(root: Path, said: Said, fault: str) -> tuple[int, int]:
    """See that every writer's books balance, and return how many records are evicted and pending."""
    kept = books(root)
    for one in kept:
        figures = (one.delivered, one.dead_lettered, one.evicted, one.corrupt, one.pending)
        assert min(figures) >= 0, fault
        assert one.corrupt == 0, fault
    accepted = sum(one.accepted for one in kept)
    # A record may be on the disk whose program did not live to hear of it.
    assert len(said["acknowledged"]) <= accepted <= len(said["acknowledged"]) + 2, fault
    return sum(one.evicted for one in kept), sum(one.pending for one in kept)


def check(root: Path, said: Said, fault: str) -> tuple[Row, int]:
    evicted, pending = check_books(root, said, fault)
    assert pending == 0, fault
    in_journal = {entry.record.id for entry in read(root)}
    tried = {record_id for record_id, _, _ in said["tried"]}
    sent = Counter(record_id for record_id, _, _ in said["sent"])
    assert in_journal | sent.keys() <= tried, fault
    gone = [r for r in said["acknowledged"] if r[0] not in in_journal | sent.keys()]
    assert len(gone) <= evicted, fault
    stones = {path.name: deletions.load(path).tombstones for path in folders(root)}
    for _, writer, seq in gone:
        # The tombstones of a folder that has been swept are in the sum.
        if writer in stones:
            assert any(s.first_seq <= seq <= s.last_seq for s in stones[writer]), fault
    leftovers = [path.name for path in root.rglob("*") if path.name.endswith((".new", ".gone"))]
    assert [name for name in leftovers if name.endswith(".gone")] == [], fault
    acknowledged, twice = len(said["acknowledged"]), sum(sent.values()) - len(sent)
    return Row(CLEANING, "os_buffered", 1, len(tried), acknowledged, 0, twice), evicted
