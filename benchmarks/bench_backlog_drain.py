"""Draining a backlog into a real Collector while live events arrive, beside the SDK's own road.

    python benchmarks/bench_backlog_drain.py [--records N] [--directory DIR] [--protocol P]

A writer that is gone has left N records (100,000 unless told otherwise). A fresh process delivers them
and records a live event every 20 ms meanwhile; a live event's delay is the time from its call to its
acceptance in the ledger, looked at every 5 ms. Before and after it, other processes push the first of the same records from
memory through the SDK's BatchLogRecordProcessor and the same exporter into the same Collector. The
project's aims: 99 of 100 live events within a second, at least 0.8 of the SDK's rate, and less than
50 MB of memory growth, however large the backlog is. Needs the Collector (`make collector`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from opentelemetry._logs import LogRecord  # noqa: E402
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (  # noqa: E402
    OTLPLogExporter as GRPCExporter,
)
from opentelemetry.exporter.otlp.proto.http._log_exporter import (  # noqa: E402
    OTLPLogExporter as HTTPExporter,
)
from opentelemetry.sdk._logs import LoggerProvider, ReadWriteLogRecord  # noqa: E402
from opentelemetry.sdk._logs.export import (  # noqa: E402
    BatchLogRecordProcessor,
    LogRecordExporter,
)
from opentelemetry.sdk.resources import Resource as SDKResource  # noqa: E402

from scripts.build_collector import COLLECTOR  # noqa: E402
from tests.support.collector import Collector  # noqa: E402
from wakelog.journal import Folder, Journal, books, read  # noqa: E402
from wakelog.journal._ledger import load  # noqa: E402
from wakelog.otel import DurableLogRecordProcessor  # noqa: E402
from wakelog.otel._content import ContentPolicy  # noqa: E402
from wakelog.otel._rebuilder import Rebuilder  # noqa: E402
from wakelog.record import DEFAULT_PIPELINE, Resource, encode, seal, seal_header, uuid7  # noqa: E402

MEGABYTE = 10**6
SEGMENT_BYTES = 16 * 1024 * 1024
WATCH_PAUSE = 0.005
LIVE_PAUSE = 0.02
SDK_RECORDS = 20_000
RESOURCE = Resource({"service.name": "bench", "service.version": "1.2.3"})
CONTENT = encode(
    {
        "timestamp": "2026-11-21T02:37:11.123456789Z",
        "event_name": "app.order",
        "severity_number": 9,
        "severity_text": "INFO",
        "body": "order 4711 has left the warehouse and is on its way",
        "attributes": {
            "order.id": 4711,
            "customer.id": "c-0815",
            "order.lines": ["book", "pen", "paper"],
            "order.total": 47.11,
            "note": "x" * 200,
        },
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "trace_flags": 1,
        "scope": {"name": "shop"},
    },
    1 << 20,
)


def leave_backlog(root: Path, records: int) -> None:
    """Write what a writer that is gone has left."""
    Journal(root).close()
    folder = Folder.create(root, uuid7())
    base = uuid7()[:-12]
    seq = crc = segment = 0
    while seq < records:
        segment += 1
        line, header = seal_header(folder.writer, segment, seq, crc, RESOURCE)
        lines, length, crc = [line], len(line), header.crc
        while length < SEGMENT_BYTES and seq < records:
            seq += 1
            line, crc = seal(f"{base}{seq:012x}", seq, CONTENT, crc)
            lines.append(line)
            length += len(line)
        (folder.path / f"{segment:08d}.jsonl").write_bytes(b"".join(lines))
    folder.release()


def exporter_for(protocol: str, endpoint: str) -> LogRecordExporter:
    """Make the official exporter."""
    if protocol == "grpc":
        return GRPCExporter(endpoint=endpoint, insecure=True)
    return HTTPExporter(endpoint=f"{endpoint}/v1/logs")


def peak_memory() -> int:
    """Return the peak of this process's resident size, in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def as_the_sdk_makes_it(record: ReadWriteLogRecord) -> ReadWriteLogRecord:
    """Return the record that the SDK's logger hands to its processors when it is emitted."""
    ours = record.log_record
    theirs = LogRecord(
        timestamp=ours.timestamp,
        observed_timestamp=ours.observed_timestamp,
        severity_text=ours.severity_text,
        severity_number=ours.severity_number,
        body=ours.body,
        attributes=ours.attributes,
        event_name=ours.event_name,
    )
    theirs.trace_id, theirs.span_id = ours.trace_id, ours.span_id
    theirs.trace_flags = ours.trace_flags
    return ReadWriteLogRecord(theirs, record.resource, record.instrumentation_scope, record.limits)


def sdk_rate(root: Path, protocol: str, endpoint: str) -> float:
    """Push records from memory through the SDK, in this process, and return records a second."""
    rebuild = Rebuilder(ContentPolicy()).rebuild
    entries = islice(read(root), SDK_RECORDS)
    records = [as_the_sdk_makes_it(rebuild(entry, replayed=True)) for entry in entries]
    processor = BatchLogRecordProcessor(exporter_for(protocol, endpoint))
    begun = time.perf_counter()
    for start in range(0, len(records), 2048):  # what its queue holds, so that it drops nothing
        for record in records[start : start + 2048]:
            processor.on_emit(record)
        processor.force_flush()
    took = time.perf_counter() - begun
    processor.shutdown()
    return len(records) / took


def drain(root: Path, protocol: str, endpoint: str) -> dict[str, float]:
    """Deliver the backlog in this process while live events are recorded."""
    [before] = books(root)
    provider = LoggerProvider(shutdown_on_exit=False)
    logger = provider.get_logger("bench")
    memory = peak_memory()
    begun = time.perf_counter()
    processor = DurableLogRecordProcessor(
        exporter_for(protocol, endpoint),
        100,
        directory=root,
        pipeline=DEFAULT_PIPELINE,
        resource=SDKResource(RESOURCE.attributes),
    )
    provider.add_log_record_processor(processor)
    emitted: dict[int, float] = {}
    accepted: dict[int, float] = {}
    done, ended = threading.Event(), threading.Event()

    def watch() -> None:
        # The ledgers alone: the books would read a segment each time.
        [own] = [writer.folder.path for writer in processor.journal.open_writers]
        looks = 0
        while not ended.wait(WATCH_PAUSE):
            seq, now = load(own, own.name).seq, time.perf_counter()
            for number in range(len(accepted) + 1, seq + 1):
                accepted[number] = now
            looks += 1
            if looks % 10 == 0 and load(root / before.writer, before.writer).seq >= before.accepted:
                done.set()

    emitted[1] = time.perf_counter()
    logger.emit(event_name="live", body=1)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    number = 1
    while not done.wait(LIVE_PAUSE):
        number += 1
        emitted[number] = time.perf_counter()
        logger.emit(event_name="live", body=number)
    took = time.perf_counter() - begun
    grown = peak_memory() - memory
    processor.force_flush(10_000)
    time.sleep(10 * WATCH_PAUSE)
    ended.set()
    watcher.join()
    delays = sorted(accepted[number] - then for number, then in emitted.items())
    provider.shutdown()
    return {
        "rate": before.pending / took,
        "seconds": took,
        "live": len(delays),
        "p50": delays[len(delays) // 2],
        "p99": delays[int(len(delays) * 0.99)],
        "worst": delays[-1],
        "grown": grown / MEGABYTE,
    }


def elsewhere(what: str, root: Path, protocol: str, endpoint: str) -> Any:
    """Measure in a fresh process."""
    command = [sys.executable, os.fspath(Path(__file__)), "--measure", what, os.fspath(root)]
    command += [protocol, endpoint]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def compare(records: int, directory: Path | None, protocol: str) -> dict[str, float]:
    """Measure everything once.

    Returns:
        What ``drain`` found, the SDK's rate as ``sdk`` and how much of it was reached as ``ratio``.
    """
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        root, folder = Path(temporary) / "journal", Path(temporary) / "collector"
        folder.mkdir()
        leave_backlog(root, records)
        with Collector(COLLECTOR.binary, folder) as collector:
            grpc = protocol == "grpc"
            endpoint = collector.grpc_endpoint if grpc else collector.http_endpoint
            first = elsewhere("sdk", root, protocol, endpoint)
            found: dict[str, float] = elsewhere("drain", root, protocol, endpoint)
            second = elsewhere("sdk", root, protocol, endpoint)
        sdk = (first + second) / 2
        return {**found, "sdk": sdk, "ratio": found["rate"] / sdk}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000, help="100,000 by default")
    parser.add_argument("--directory", type=Path, help="a directory on the disk to measure")
    parser.add_argument("--protocol", default="http/protobuf", choices=("http/protobuf", "grpc"))
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        what, root, protocol, endpoint = arguments.measure
        measure = sdk_rate if what == "sdk" else drain
        print(json.dumps(measure(Path(root), protocol, endpoint)))
        return
    found = compare(arguments.records, arguments.directory, arguments.protocol)
    print(f"{arguments.records:,} records over {arguments.protocol}, {found['seconds']:.1f} s")
    print(f"  the SDK from memory  {found['sdk']:10,.0f} records/s")
    print(f"  the backlog          {found['rate']:10,.0f} records/s   ({found['ratio']:.2f} of it)")
    print(
        f"  live events          p50 {found['p50'] * 1000:.0f} ms, p99 {found['p99'] * 1000:.0f} ms,"
        f" worst {found['worst'] * 1000:.0f} ms, of {found['live']:.0f}"
    )
    print(f"  memory growth        {found['grown']:10.1f} MB")


if __name__ == "__main__":
    main()
