"""A program that records through outages, with everything that can become of a record, and says its books.

Arguments: the journal's directory, and a file while which exists an outage does not end. A line of JSON on standard output for each collection. When standard
input ends, it stops recording, delivers everything and ends; until then it is there to be killed.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from tests.support.figures import Hop, Meter, emitting
from wakelog import Buffer, OverflowPolicy, journal
from wakelog.journal import QuotaPolicy, Space
from wakelog.otel import DurableLogRecordProcessor


def left_on_disk(root: Path) -> int:
    """Return how many records are pending by the files, which some process has yet to adopt."""
    return sum(one.pending for one in journal.books(root))


def main() -> None:
    """Record, and say the books at once and again."""
    hop, meter = Hop(), Meter()
    root, hold = map(Path, sys.argv[1:])

    def processing() -> DurableLogRecordProcessor:
        return DurableLogRecordProcessor(
            hop,
            5,
            directory=root,
            segment_bytes=8000,
            space=Space(quota_bytes=120_000, quota_policy=QuotaPolicy.EVICT_OLDEST),
            buffer=Buffer(8, OverflowPolicy.DROP_OLDEST),
            meter_provider=meter.provider,
        )

    processor = processing()
    emit = emitting(processor)
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            emit(*["good"] * 50, "bad")

    def wait() -> None:
        sys.stdin.read()
        ending.set()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in (*workers, threading.Thread(target=wait, daemon=True)):
        thread.start()

    def say() -> dict[str, float]:
        scrape = meter.read()
        own = scrape("wakelog.events.accepted", wakelog__origin="own")
        books = {**scrape.books(), "own": own, "dropped": scrape("wakelog.buffer.dropped")}
        books["held"] = float(hop.down and hold.exists())
        print(json.dumps(books), flush=True)
        return books

    before = say()
    while not ending.is_set():
        # An outage lasts until something is evicted, and is over until something is set aside.
        now = say()
        fate = "evicted" if hop.down else "dead_lettered"
        if hold.exists():
            hop.down = True
        elif now[fate] > before[fate]:
            hop.down, before = not hop.down, now
    hop.down = False
    for thread in workers:
        thread.join()
    # Each processor looks at once for what others have left, and goes on with these books.
    while say()["pending"] or left_on_disk(root):
        processor.shutdown()
        processor = processing()
        for _ in range(50):
            say()
    processor.shutdown()
    say()


if __name__ == "__main__":
    main()
