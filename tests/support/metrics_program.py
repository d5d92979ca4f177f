"""A program that records through outages, with everything that can become of a record, and says its books.

Arguments: the journal's directory. A line of JSON on standard output for each collection. When standard
input ends, it stops recording, delivers everything and ends; until then it is there to be killed.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from tests.support.figures import Hop, Meter, emitting
from wakelog import Buffer, OverflowPolicy
from wakelog.journal import QuotaPolicy, Space, books
from wakelog.otel import DurableLogRecordProcessor

_OUTAGE = 25


def left_on_disk(root: Path) -> int:
    """Return how many records are pending by the files, which some process has yet to adopt."""
    return sum(one.pending for one in books(root))


def main() -> None:
    """Record, and say the books at once and again."""
    hop, meter, root = Hop(), Meter(), Path(sys.argv[1])
    processor = DurableLogRecordProcessor(
        hop,
        5,
        directory=root,
        segment_bytes=8000,
        space=Space(quota_bytes=200_000, quota_policy=QuotaPolicy.EVICT_OLDEST),
        buffer=Buffer(8, OverflowPolicy.DROP_OLDEST),
        meter_provider=meter.provider,
    )
    emit = emitting(processor)
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            emit(*["good"] * 50, "bad")

    def wait() -> None:
        sys.stdin.read()
        ending.set()

    for task in (work, work, wait):
        threading.Thread(target=task, daemon=True).start()
    rounds = 0
    while True:
        rounds += 1
        over = ending.is_set()
        hop.down = not over and rounds // _OUTAGE % 2 == 1
        if over:
            processor.force_flush()
        scrape = meter.read()
        own = scrape("wakelog.events.accepted", wakelog__origin="own")
        dropped = scrape("wakelog.buffer.dropped")
        print(json.dumps({**scrape.books(), "own": own, "dropped": dropped}), flush=True)
        if over and scrape("wakelog.events.pending") == 0 and not left_on_disk(root):
            break
    processor.shutdown()


if __name__ == "__main__":
    main()
