"""Any sequence of emits, crashes, deliveries and damage, against a model that is a few sets."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.attack import ATTACKING, times
from wakelog.journal import (
    Cursor,
    Durability,
    Folder,
    Journal,
    Space,
    books,
    folders,
    read,
    save_torn_tail,
    usage,
)
from wakelog.journal._cleaning import Cleaner
from wakelog.journal._ledger import load, save
from wakelog.journal._quota import Quota
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem
from wakelog.storage import segment_name, segments

RESOURCES = [Resource({"n": n}) for n in range(2)]
DURABILITIES = st.sampled_from(Durability)
# What the disk does is the matter of test_power_loss.py.
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)


class Recording(RuleBasedStateMachine):
    """One journal directory, in which processes come and go."""

    def __init__(self) -> None:
        super().__init__()
        # What is cleaned, and when, is a rule of its own.
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(Quota, "_clean_soon", lambda _: None)
        self.root = Path(tempfile.mkdtemp(prefix="wakelog-model-"))
        self.process: Journal | None = None
        self.acknowledged: dict[str, str] = {}  # a record and its writer, in order
        self.delivered: list[tuple[str, str, int]] = []
        self.flips = 0
        self.flipped: set[Path] = set()
        self.lost: set[str] = set()  # by a flip; never more than there were flips
        self.deleted = False  # whether anything has been, on purpose
        self.old_ledger: tuple[Path, bytes] | None = None

    def teardown(self) -> None:
        if self.process is not None:
            self.process.close()
        self.deliver_everything()
        for kept in books(self.root) if self.root.exists() else []:
            assert kept.pending == 0
        sent = {record_id for _, record_id, _ in self.delivered}
        assert sent <= self.acknowledged.keys()
        evicted = sum(one.evicted for one in books(self.root)) if self.root.exists() else 0
        assert len(self.acknowledged.keys() - sent) <= evicted + self.flips
        if not self.deleted:
            assert self.acknowledged.keys() - self.lost <= sent
        self.patch.undo()
        shutil.rmtree(self.root)

    def deliver_everything(self) -> None:
        for orphan in Journal(self.root, fs=UNSYNCED).orphans():
            save_torn_tail(orphan.path, UNSYNCED)
            while self.deliver_from(orphan, 1000, complete=True):
                pass
            orphan.release()

    def deliver_from(self, folder: Folder, count: int, *, complete: bool) -> int:
        mark = load(folder.path, folder.writer)
        cursor = Cursor(folder.path, mark, complete=complete)
        chunk = cursor.read(count, 100_000)
        cursor.close()
        seqs = [entry.record.seq for entry in chunk.entries]
        assert seqs == sorted(set(seqs))
        assert all(seq > mark.seq for seq in seqs)
        self.delivered += [(folder.writer, e.record.id, e.record.seq) for e in chunk.entries]
        save(folder.path, folder.writer, chunk.mark, UNSYNCED)
        return len(chunk.entries) + len(chunk.damaged)

    def dead(self) -> list[Path]:
        """List the folders that nobody owns and that hold something."""
        alive = self.process.writer if self.process is not None else None
        found = folders(self.root) if self.root.exists() else iter(())
        return [f for f in found if segments(f) and (alive is None or f != alive.folder.path)]

    # What processes do

    @precondition(lambda self: self.process is None)
    @rule(segment_bytes=st.sampled_from([1, 700, 1 << 20]))
    def start(self, segment_bytes: int) -> None:
        self.process = Journal(
            self.root, segment_bytes=segment_bytes, sync_interval=3600, fs=UNSYNCED
        )

    @precondition(lambda self: self.process is not None)
    @rule(
        levels=st.lists(DURABILITIES, min_size=1, max_size=6),
        size=st.sampled_from([0, 50, 500]),
        resource=st.sampled_from(RESOURCES),
    )
    def emit(self, levels: list[Durability], size: int, resource: Resource) -> None:
        assert self.process is not None
        for level in levels:
            body = encode({"body": "x" * size}, 1 << 20)
            receipt = self.process.append(uuid7(), body, resource, level)
            self.acknowledged[receipt.id] = receipt.writer

    @precondition(lambda self: self.process is not None)
    @rule()
    def exit(self) -> None:
        assert self.process is not None
        self.process.close()
        self.process = None

    @precondition(lambda self: self.process is not None and self.process.writer is not None)
    @rule(torn=st.sampled_from([b"", b"{", b'{"id":"01', b"\0" * 40]))
    def crash(self, torn: bytes) -> None:
        assert self.process is not None
        assert self.process.writer is not None
        folder = self.process.writer.folder.path
        self.process.writer.abandon()  # closes what the kernel would close, and no more
        self.process = None
        if torn and segments(folder):
            with (folder / segment_name(segments(folder)[-1])).open("ab") as file:
                file.write(torn)

    @precondition(lambda self: self.process is not None and self.process.writer is not None)
    @rule(count=st.integers(1, 9))
    def deliver_own(self, count: int) -> None:
        assert self.process is not None
        assert self.process.writer is not None
        self.deliver_from(self.process.writer.folder, count, complete=False)

    @rule(count=st.integers(1, 9))
    def adopt_and_deliver(self, count: int) -> None:
        for orphan in Journal(self.root, fs=UNSYNCED).orphans():
            save_torn_tail(orphan.path, UNSYNCED)
            self.deliver_from(orphan, count, complete=True)
            orphan.release()

    def clean(self, most: int, *, evict: bool) -> None:
        """Clean as the process that runs does, or a process that does nothing else."""
        own = self.process.writer if self.process is not None else None
        space = Space(retention_age=None, retention_writers=None)
        if own is not None and evict:
            own.end_segment()
        before = {path: segments(path) for path in folders(self.root)}
        cleaner = Cleaner(self.root, space, UNSYNCED)
        mine = {} if own is None else {own.folder.path: own}
        cleaned = cleaner.clean(mine, most, evict="quota" if evict else None)
        assert cleaned.error is None
        self.deleted |= before != {path: segments(path) for path in folders(self.root)}

    @precondition(lambda self: self.root.exists())
    @rule(part=st.sampled_from([0.0, 0.5, 0.9]))
    def delete_delivered(self, part: float) -> None:
        self.clean(int(part * usage(self.root)), evict=False)

    @precondition(lambda self: self.root.exists())
    @rule(part=st.sampled_from([0.0, 0.5, 0.9]))
    def evict(self, part: float) -> None:
        self.clean(int(part * usage(self.root)), evict=True)

    # What happens to the files

    @precondition(lambda self: self.dead())
    @rule(data=st.data())
    def remember_ledger(self, data: st.DataObject) -> None:
        ledger = data.draw(st.sampled_from(self.dead())) / "ledger"
        if ledger.exists():
            self.old_ledger = ledger, ledger.read_bytes()

    # Its folder may have been swept since.
    @precondition(lambda self: self.old_ledger is not None and self.old_ledger[0].parent.exists())
    @rule()
    def roll_back_ledger(self) -> None:
        assert self.old_ledger is not None
        path, content = self.old_ledger
        path.write_bytes(content)

    @precondition(lambda self: self.dead())
    @rule(data=st.data(), content=st.sampled_from([None, b"", b"{}", b'{"writer":"x"}', b"\0" * 9]))
    def damage_ledger(self, data: st.DataObject, content: bytes | None) -> None:
        ledger = data.draw(st.sampled_from(self.dead())) / "ledger"
        if content is None:
            ledger.unlink(missing_ok=True)
        else:
            ledger.write_bytes(content)

    @precondition(lambda self: self.dead())
    @rule(data=st.data(), bit=st.integers(0, 7))
    def flip(self, data: st.DataObject, bit: int) -> None:
        folder = data.draw(st.sampled_from(self.dead()))
        path = folder / segment_name(data.draw(st.sampled_from(segments(folder))))
        content = bytearray(path.read_bytes())
        # Behind a damaged header, damage to the first record does not show: one flip a segment.
        if not content or path in self.flipped:
            return
        self.flipped.add(path)
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << bit
        path.write_bytes(content)
        self.flips += 1

    # What always holds

    @invariant()
    def readable(self) -> None:
        if not self.root.exists():
            return
        entries = [(e.writer, e.record.id) for e in read(self.root)]
        ids = [record_id for _, record_id in entries]
        assert len(ids) == len(set(ids))
        assert set(ids) <= self.acknowledged.keys()
        if not self.deleted:
            self.lost |= self.acknowledged.keys() - set(ids)
        assert len(self.lost) <= self.flips
        # In the order in which each writer acknowledged them.
        for writer in {w for w, _ in entries}:
            mine = [i for w, i in entries if w == writer]
            wanted = set(mine)
            assert mine == [i for i in self.acknowledged if i in wanted]

    @invariant()
    def books_add_up(self) -> None:
        if not self.root.exists():
            return
        for kept in books(self.root):
            figures = (kept.accepted, kept.delivered, kept.pending, kept.corrupt, kept.evicted)
            assert min(figures) >= 0, figures
            counted = sum(writer == kept.writer for writer in self.acknowledged.values())
            # What a flip takes from the end of a writer that is gone leaves no number behind.
            if kept.writer != "swept":
                assert counted - self.flips <= kept.accepted <= counted
        accepted = sum(kept.accepted for kept in books(self.root))
        assert len(self.acknowledged) - self.flips <= accepted <= len(self.acknowledged)


TestRecording = pytest.mark.attack(Recording.TestCase)
TestRecording.settings = settings(
    max_examples=times(2000),
    stateful_step_count=30,
    deadline=None,
    derandomize=not ATTACKING,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
