"""A program that records from many threads at once, for tests that end it in different ways.

    python -m tests.support.audit_program journal|sqlite PATH THREADS RECORDS KEYS [exit|wait]

Each thread records RECORDS times `memory_recall`, with its own number as the tier and the step as the
hits, on the key of its number modulo KEYS. Then the program says `done` and ends, or waits to be ended.
"""

from __future__ import annotations

import signal
import sys
import threading
import time

from wakelog.audit import (
    JournalSessionLog,
    SessionAuditSink,
    SessionLog,
    SQLiteSessionLog,
    ThreadKey,
)


def main() -> None:
    backend, path, threads, records, keys, how = sys.argv[1:]
    log: SessionLog
    if backend == "journal":
        log = JournalSessionLog(path)
    else:
        log = SQLiteSessionLog(path)
        # What docs/audit.md tells programs whose log has a queue.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sink = SessionAuditSink(log, ThreadKey("acme", "0"))

    def work(number: int) -> None:
        mine = sink.with_thread_key(ThreadKey("acme", str(number % int(keys))))
        for step in range(int(records)):
            mine.record_memory_recall(f"{number}", "ns", step)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(int(threads))]
    print("begin", flush=True)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("done", *sink.counts(), flush=True)
    while how == "wait":
        time.sleep(0.05)  # not `pause`, which a signal just before it would not end


main()
