"""What a backlog costs the process that starts on it: its first event, and its memory.

    python benchmarks/bench_backlog.py [--gigabytes N] [--directory DIR]

A writer that is gone has left N GB (1 unless told otherwise, 10 at most) that nobody has delivered.
A fresh process makes the processor on that directory and emits one event; imports are done before.
Memory is the resident size 3 s later, and the peak until then, less what it was before. First the
next hop refuses everything; then, in another process, it takes everything, so that the backlog is
being read. The project's aim: less than 200 ms and less than 30 MB, however much there is. The
backlog is made in a new directory inside DIR and deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource as SDKResource

from wakelog.journal import Folder, Journal, books
from wakelog.otel import DurableLogRecordProcessor
from wakelog.record import DEFAULT_PIPELINE, Resource, encode, seal, seal_header, uuid7

GIGABYTE, MEGABYTE = 10**9, 10**6
SEGMENT_BYTES = 16 * 1024 * 1024
WATCHED_SECONDS = 3.0
RESOURCE = Resource({"service.name": "bench"})
CONTENT = encode(
    {
        "timestamp": "2026-11-21T02:37:11.123456789Z",
        "event_name": "wakelog.tool_call",
        "severity_number": 9,
        "attributes": {"wakelog.run.id": "r-1", "wakelog.payload": {"text": "x" * 700}},
    },
    1 << 20,
)


class NextHop(LogRecordExporter):
    """A next hop that always gives the same answer."""

    def __init__(self, answer: LogRecordExportResult) -> None:
        self.answer = answer

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        """Give it."""
        return self.answer

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return True."""
        return True


def leave_backlog(root: Path, size: int) -> int:
    """Write what a writer that is gone has left, and return how many records that are."""
    Journal(root).close()
    folder = Folder.create(root, uuid7())
    base = uuid7()[:-12]
    written = seq = crc = segment = 0
    while written < size:
        segment += 1
        line, header = seal_header(folder.writer, segment, seq, crc, RESOURCE)
        lines, length, crc = [line], len(line), header.crc
        while length < SEGMENT_BYTES:
            seq += 1
            line, crc = seal(f"{base}{seq:012x}", seq, CONTENT, crc)
            lines.append(line)
            length += len(line)
        (folder.path / f"{segment:08d}.jsonl").write_bytes(b"".join(lines))
        written += length
    folder.release()
    return seq


def memory() -> tuple[int, int]:
    """Return this process's resident size and its peak, in bytes (Linux)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return resident, peak


def measure(root: Path, answer: LogRecordExportResult) -> dict[str, float]:
    """Start on a backlog, in this process, and watch it."""
    provider = LoggerProvider(shutdown_on_exit=False)
    logger = provider.get_logger("bench")
    before, _ = memory()
    begin = time.perf_counter()
    processor = DurableLogRecordProcessor(
        NextHop(answer),
        directory=root,
        pipeline=DEFAULT_PIPELINE,
        resource=SDKResource(RESOURCE.attributes),
    )
    made = time.perf_counter()
    provider.add_log_record_processor(processor)
    logger.emit(event_name="wakelog.custom", body="the first event")
    emitted = time.perf_counter()
    time.sleep(WATCHED_SECONDS)
    after, peak = memory()
    begin_exit = time.perf_counter()
    provider.shutdown()
    return {
        "made": (made - begin) * 1000,
        "emitted": (emitted - made) * 1000,
        "grown": (after - before) / MEGABYTE,
        "peak": (peak - before) / MEGABYTE,
        "exit": (time.perf_counter() - begin_exit) * 1000,
    }


def measure_elsewhere(root: Path, answer: LogRecordExportResult) -> None:
    """Measure in a fresh process and print what was found."""
    command = [sys.executable, os.fspath(Path(__file__)), "--measure", answer.name, os.fspath(root)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(f"the next hop answers {answer.name}")
    print(
        f"  start and first emit {found['made'] + found['emitted']:8.1f} ms"
        f"   (the first emit alone: {found['emitted']:.1f} ms)"
    )
    print(
        f"  memory growth        {found['grown']:8.1f} MB   (at its peak: {found['peak']:.1f} MB)"
    )
    print(f"  exit                 {found['exit']:8.1f} ms")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, help="a directory on the disk to measure")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="1 by default, 10 at most")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        answer, journal = arguments.measure
        print(json.dumps(measure(Path(journal), LogRecordExportResult[answer])))
        return
    if not 0 < arguments.gigabytes <= 10:
        parser.error("--gigabytes takes more than 0 and at most 10")
    if arguments.directory is not None:
        arguments.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        root = Path(directory) / "journal"
        begin = time.perf_counter()
        count = leave_backlog(root, int(arguments.gigabytes * GIGABYTE))
        made = time.perf_counter() - begin
        print(f"backlog: {arguments.gigabytes:g} GB, {count:,} records, made in {made:.0f} s")
        measure_elsewhere(root, LogRecordExportResult.FAILURE)
        begin = time.perf_counter()
        pending = sum(one.pending for one in books(root))
        looked = (time.perf_counter() - begin) * 1000
        print(f"the books, read in     {looked:8.1f} ms   ({pending:,} pending)")
        measure_elsewhere(root, LogRecordExportResult.SUCCESS)


if __name__ == "__main__":
    main()
