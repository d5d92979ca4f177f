"""A program that records, delivers and recovers at the level of the journal, to be killed.

    python journal_program.py DIRECTORY work|recover

It says on standard output, with one write a line, what it tries, what was acknowledged and what it
has delivered; what it said before it was killed is known to whoever reads.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from wakelog.journal import Cursor, Durability, Folder, Journal
from wakelog.journal._ledger import load, save
from wakelog.record import Resource, encode, uuid7

EVENTS = 12


def say(word: str, record_id: str) -> None:
    """Tell the reader, before anything else happens."""
    os.write(1, f"{word} {record_id}\n".encode())


def deliver(folder: Path, *, complete: bool) -> None:
    """Deliver what the ledger has not covered, as delivery does: verdict first, ledger second."""
    mark = load(folder, folder.name)
    cursor = Cursor(folder, mark, complete=complete)
    while (chunk := cursor.read(3, 10_000)).entries or chunk.damaged:
        for entry in chunk.entries:
            say("sent", entry.record.id)
        save(folder, folder.name, chunk.mark)
    cursor.close()


def work(journal: Journal) -> None:
    """Record events with both durabilities, over several segments and resources."""
    for number in range(EVENTS):
        record_id = uuid7()
        say("tried", record_id)
        level = Durability.FSYNC if number % 3 == 0 else None
        content = encode({"body": "x" * 150}, 1 << 20)
        receipt = journal.append(record_id, content, Resource({"n": number // 8}), level)
        say("fsync" if receipt.durability is Durability.FSYNC else "buffered", record_id)
        if number % 5 == 4 and journal.writer is not None:
            deliver(journal.writer.folder.path, complete=False)
    journal.close()


def recover(journal: Journal) -> None:
    """Deliver what processes that are gone have left."""
    for orphan in journal.orphans():
        adopted: Folder = orphan
        deliver(adopted.path, complete=True)
        adopted.release()


if __name__ == "__main__":
    made = Journal(sys.argv[1], segment_bytes=900)
    work(made) if sys.argv[2] == "work" else recover(made)
