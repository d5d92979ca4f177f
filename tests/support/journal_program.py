"""A program that records, delivers and recovers at the level of the journal, to be killed.

    python journal_program.py DIRECTORY work|recover
    python journal_program.py

It says on standard output, with one write a line, what it tries, what was acknowledged and what it
has delivered; what it said before it was killed is known to whoever reads.

Without arguments it reads lines of `[DIRECTORY, ROLE, FAULT, OUTPUT]` in JSON, does each in a process
of its own that writes to the file OUTPUT, and answers with its exit code. A fork of a program that has
imported everything costs a fiftieth of a new one, and is killed just as well.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.support.faults import with_fault
from wakelog.journal import Cursor, Durability, Folder, Journal
from wakelog.journal._ledger import load, save
from wakelog.record import Resource, encode, uuid7
from wakelog.runtime._filesystem import SYSTEM, FileSystem

EVENTS = 12


def say(word: str, record_id: str) -> None:
    """Tell the reader, before anything else happens."""
    os.write(1, f"{word} {record_id}\n".encode())


def deliver(folder: Path, fs: FileSystem, *, complete: bool) -> None:
    """Deliver what the ledger has not covered, as delivery does: verdict first, ledger second."""
    mark = load(folder, folder.name)
    cursor = Cursor(folder, mark, complete=complete)
    while (chunk := cursor.read(3, 10_000)).entries or chunk.damaged:
        for entry in chunk.entries:
            say("sent", entry.record.id)
        save(folder, folder.name, chunk.mark, fs)
    cursor.close()


def work(journal: Journal, fs: FileSystem) -> None:
    """Record events with both durabilities, over several segments and resources."""
    for number in range(EVENTS):
        record_id = uuid7()
        say("tried", record_id)
        level = Durability.FSYNC if number % 3 == 0 else None
        content = encode({"body": "x" * 150}, 1 << 20)
        receipt = journal.append(record_id, content, Resource({"n": number // 8}), level)
        say("fsync" if receipt.durability is Durability.FSYNC else "buffered", record_id)
        if number % 5 == 4 and journal.writer is not None:
            deliver(journal.writer.folder.path, fs, complete=False)
    journal.close()


def recover(journal: Journal, fs: FileSystem) -> None:
    """Deliver what processes that are gone have left."""
    for orphan in journal.orphans():
        adopted: Folder = orphan
        deliver(adopted.path, fs, complete=True)
        adopted.release()


def run(directory: str, role: str, fs: FileSystem) -> None:
    """Play one of the two parts on a journal."""
    journal = Journal(directory, segment_bytes=900, fs=fs)
    (work if role == "work" else recover)(journal, fs)


def serve() -> None:
    """Play a part for each line that comes, each in a process of its own."""
    for line in sys.stdin:
        directory, role, fault, output = json.loads(line)
        if (pid := os.fork()) == 0:
            code = 1
            try:
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 1)
                run(directory, role, with_fault(FileSystem(), fault) if fault else SYSTEM)
                code = 0
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        run(sys.argv[1], sys.argv[2], SYSTEM)
