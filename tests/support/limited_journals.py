"""What tests of storage limits share: journals that are filled and delivered, and what is on the disk."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from wakelog.journal import Books, Cursor, Journal, QuotaPolicy, books
from wakelog.journal._ledger import load, save
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import FileSystem

RESOURCE = Resource({"service.name": "tests"})
UNSYNCED = FileSystem(fdatasync=lambda _: None, fsync=lambda _: None)
DAY = 86_400.0
EVICT, BLOCK = QuotaPolicy.EVICT_OLDEST, QuotaPolicy.BLOCK


def fill(journal: Journal, count: int, size: int = 300) -> list[str]:
    ids = [uuid7() for _ in range(count)]
    for record_id in ids:
        journal.append(record_id, encode({"body": "x" * size}, 1 << 20), RESOURCE)
    return ids


def own_folder(journal: Journal) -> Path:
    assert journal.writer is not None
    return journal.writer.folder.path


def deliver(folder: Path, count: int = 1 << 30, *, complete: bool = False) -> list[str]:
    """Deliver some records as delivery does, and note it in the ledger."""
    cursor = Cursor(folder, load(folder, folder.name), complete=complete)
    sent: list[str] = []
    while len(sent) < count:
        chunk = cursor.read(min(count - len(sent), 50), 1 << 20)
        sent += [entry.record.id for entry in chunk.entries]
        if not chunk.entries and not chunk.damaged:
            break
    cursor.close()
    save(folder, folder.name, cursor.mark, UNSYNCED)
    return sent


def dead_writer(root: Path, count: int, *, delivered: bool, segment_bytes: int = 1000) -> Path:
    """Leave the folder of a writer that is gone."""
    journal = Journal(root, segment_bytes=segment_bytes, fs=UNSYNCED)
    fill(journal, count)
    folder = own_folder(journal)
    journal.close()
    if delivered:
        deliver(folder, complete=True)
    return folder


def size_of(root: Path) -> int:
    size = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):  # cleaning has just deleted it
                size += os.stat(os.path.join(folder, name)).st_size
    return size


def total(root: Path) -> Books:
    """Add the books up, and see that they balance."""
    found = books(root)
    for one in found:
        figures = (one.delivered, one.dead_lettered, one.evicted, one.corrupt, one.pending)
        assert min(figures) >= 0, one
        assert sum(figures) == one.accepted
    names = ("accepted", "delivered", "dead_lettered", "evicted", "corrupt")
    sums = {name: sum(getattr(one, name) for one in found) for name in names}
    return Books(writer="total", live=False, **sums)


def age(path: Path, days: float) -> None:
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):  # a journal that is open cleans up by itself
            os.utime(file, (time.time() - days * DAY,) * 2)
