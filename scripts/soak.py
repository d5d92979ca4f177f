"""Records for an hour while the next hop comes and goes, and judges whether anything grows.

    python -m scripts.soak [--minutes 60] [--rate 200] [--kills SECONDS] [--directory DIR]

A program of its own records runs of an agent, with spans, and delivers them over OTLP/HTTP to a server here, which is
there for two thirds of each cycle, and for one refuses connections, answers 503, resets connections or never answers,
in turn. Memory, descriptors, threads and bytes on the disk are looked at once a second, or more often in a short run. After a
quarter of the time, what is the most in the first third of the rest is held against the most in the last
third. At the end everything that was accepted has to have arrived. The exit code is 1 when something grows or is missing.

With `--kills` the program is killed each so many seconds, and another one goes on. It needs Linux.
"""

from __future__ import annotations

import argparse
import http.server
import itertools
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from wakelog.journal import books

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024
QUOTA, RETENTION, SEGMENT = 256 * MIB, 32 * MIB, 4 * MIB
# How long it may take in the end until everything has been delivered.
DRAIN_SECONDS = 120.0
CYCLE_SECONDS, CYCLES_AT_LEAST = 60.0, 4
TROUBLES = ("refused", "503", "reset", "silent")
LOGS_PATH, TRACES_PATH = "/v1/logs", "/v1/traces"

PROGRAM = """
import logging, os, sys, threading, traceback, wakelog
logging.basicConfig(level=logging.ERROR)
def fail(what):
    traceback.print_exception(what.exc_type, what.exc_value, what.exc_traceback)
    os._exit(1)
threading.excepthook = fail
rate, segment, retention, quota = map(int, sys.argv[1:])
space = wakelog.Space(retention_bytes=retention, quota_bytes=quota)
log = wakelog.configure("clerk", service_name="soak", segment_bytes=segment, space=space)
ended = threading.Event()
def record(number=0):
    while not ended.wait(2 * 7 / rate):  # two threads, seven events a run
        with log.run(session_id=f"s-{number % 100}"):
            log.user_message("What is the weather in Paris?")
            with log.model("m-1", "openai") as call:
                call.respond("I will look it up.", input_tokens=20, output_tokens=8)
            with log.tool("search", {"city": "Paris"}) as call:
                call.result("x" * (1_200_000 if number % 500 == 250 else 2_000))
        number += 1
threads = [threading.Thread(target=record) for _ in range(2)]
for one in threads:
    one.start()
print("recording", flush=True)
sys.stdin.readline()
ended.set()
for one in threads:
    one.join()
print("has recorded", flush=True)
sys.stdin.read()
wakelog.shutdown()
"""


class NextHop:
    """An OTLP/HTTP server that counts each record and span once, and can be in trouble."""

    def __init__(self) -> None:
        self.trouble = ""
        self._lock = threading.Lock()
        self._logs: defaultdict[str, set[int]] = defaultdict(set)
        self._spans: set[bytes] = set()
        self.copies = 0
        self._server: http.server.ThreadingHTTPServer | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    @property
    def distinct(self) -> int:
        """How many records and spans have arrived, second copies left out."""
        with self._lock:
            return sum(map(len, self._logs.values())) + len(self._spans)

    def gaps(self) -> Iterator[tuple[str, str]]:
        """Each writer of records that left some out, with their sequence numbers, up to the last that arrived."""
        with self._lock:
            for writer, seqs in self._logs.items():
                absent = sorted({*range(1, max(seqs))} - seqs)
                if absent:
                    yield writer, f"{len(absent)}, from {absent[0]} to {absent[-1]}"

    def be(self, trouble: str) -> None:
        """Be well (empty), or in one of the troubles."""
        self.trouble = trouble
        if trouble == "refused":
            self.close()
        elif self._server is None:
            self._server = self._listening()
            threading.Thread(
                target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
            ).start()

    def close(self) -> None:
        """Refuse connections from now on."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def _listening(self) -> http.server.ThreadingHTTPServer:
        hop = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                while (trouble := hop.trouble) == "silent":
                    time.sleep(0.1)
                if trouble in ("refused", "reset"):
                    reset = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                    self.close_connection = True
                    return
                if not trouble:
                    hop.take(self.path, content)
                self.send_response(503 if trouble == "503" else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """Say nothing of clients that were killed."""

        return Server(("127.0.0.1", self.port), Handler)

    def take(self, path: str, content: bytes) -> None:
        """Count what a request brings."""
        with self._lock:
            if path == LOGS_PATH:
                logs = ExportLogsServiceRequest.FromString(content).resource_logs
                for record in (r for one in logs for s in one.scope_logs for r in s.log_records):
                    named = {a.key: a.value for a in record.attributes}
                    seqs = self._logs[named["wakelog.writer.id"].string_value]
                    seq = named["wakelog.seq"].int_value
                    self.copies += seq in seqs
                    seqs.add(seq)
            elif path == TRACES_PATH:
                traces = ExportTraceServiceRequest.FromString(content).resource_spans
                for span in (x for one in traces for s in one.scope_spans for x in s.spans):
                    self.copies += span.span_id in self._spans
                    self._spans.add(span.span_id)


class Sample(NamedTuple):
    """What was seen at one moment: bytes of memory, open descriptors, threads, bytes on the disk."""

    memory: int
    descriptors: int
    threads: int
    disk: int


class Figure(NamedTuple):
    """What became of one figure: its most early on and late, and what it may be late."""

    name: str
    early: int
    late: int
    limit: int

    @property
    def grows(self) -> bool:
        """Whether it is more than it may be."""
        return self.late > self.limit


def look(pid: int, journal: Path) -> Sample:
    """Look at a process and at a journal.

    Raises:
        OSError: When the process is gone.
    """
    proc = Path("/proc") / str(pid)
    resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    disk = 0
    for folder, _, names in os.walk(journal):
        for name in names:
            with suppress(FileNotFoundError):  # deleted or renamed in this moment
                disk += os.stat(os.path.join(folder, name)).st_size
    return Sample(resident, len(os.listdir(proc / "fd")), len(os.listdir(proc / "task")), disk)


def judge(samples: Sequence[Sample]) -> list[Figure]:
    """Hold the most that was seen late against the most that was seen early.

    Args:
        samples: At equal distances. The first quarter is for warming up.
    """
    rest = samples[len(samples) // 4 :]
    third = len(rest) // 3
    early, late = (
        Sample(*map(max, zip(*part, strict=True))) for part in (rest[:third], rest[-third:])
    )
    return [
        Figure("memory", early.memory, late.memory, early.memory + early.memory // 20 + 8 * MIB),
        Figure("descriptors", early.descriptors, late.descriptors, early.descriptors + 8),
        Figure("threads", early.threads, late.threads, early.threads + 4),
        # What may be kept, what an outage leaves, and what is written until the next cleaning.
        Figure("disk", early.disk, late.disk, min(QUOTA, 2 * early.disk + 2 * SEGMENT)),
    ]


def _parts(samples: Sequence[Sample], count: int) -> list[Sequence[Sample]]:
    """Return the samples in so many parts of equal length; what is left over is in none."""
    size = len(samples) // count
    return [samples[size * number : size * (number + 1)] for number in range(count if size else 0)]


class Recording:
    """The program that records, one after the other where it is killed."""

    def __init__(self, hop: NextHop, journal: Path, rate: int) -> None:
        self._command = [
            sys.executable, "-c", PROGRAM, *map(str, (rate, SEGMENT, RETENTION, QUOTA)),
        ]  # fmt: skip
        self._env = {
            **os.environ,
            "WAKELOG_DIR": str(journal),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hop.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        self._journal = journal
        self.started = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it records."""
        self._process = subprocess.Popen(
            self._command, env=self._env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.started += 1
        if self._process.stdout is not None:
            self._process.stdout.readline()

    def look(self) -> Sample:
        """Look at it now.

        Raises:
            subprocess.CalledProcessError: When it has ended by itself.
        """
        if self._process.poll() is not None:
            raise subprocess.CalledProcessError(self._process.returncode, "the program")
        return look(self._process.pid, self._journal)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()
        self._process.communicate()

    def rest(self) -> None:
        """Have it record nothing more; it goes on delivering."""
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
            self._process.stdout.readline()

    def end(self) -> None:
        """Have it shut down.

        Raises:
            subprocess.CalledProcessError: When it did not end well.
        """
        self._process.communicate()
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, "the program")


def run(seconds: float, rate: int, kills: float | None, journal: Path) -> bool:
    """Run it, print what came of it, and return whether all is well.

    Args:
        seconds: For how long to record.
        rate: Events a second.
        kills: The seconds after which the program is killed each time; None for never.
        journal: The journal's directory.
    """
    hop, samples = NextHop(), []
    cycle = min(CYCLE_SECONDS, seconds / CYCLES_AT_LEAST)
    troubles = itertools.cycle(TROUBLES)
    hop.be("")
    recording = Recording(hop, journal, rate)
    try:
        began = time.monotonic()
        change_at, kill_at = began + cycle * 2 / 3, began + (kills or float("inf"))
        while (now := time.monotonic()) < began + seconds:
            if now >= change_at:
                well = bool(hop.trouble)
                hop.be("" if well else next(troubles))
                change_at = now + cycle * (2 if well else 1) / 3
            if now >= kill_at:
                recording.kill()
                recording.start()
                kill_at = now + (kills or float("inf"))
            samples.append(recording.look())
            time.sleep(min(1.0, seconds / 100))
        hop.be("")
        recording.rest()
        until = time.monotonic() + DRAIN_SECONDS
        while any(one.pending for one in books(journal)) and time.monotonic() < until:
            time.sleep(0.2)
        recording.end()
    except BaseException:
        recording.kill()
        raise
    hop.close()
    return report(hop, recording, samples, journal)


def report(hop: NextHop, recording: Recording, samples: Sequence[Sample], journal: Path) -> bool:
    """Print the figures, and return whether all is well."""
    found = books(journal, exact=True)
    accepted, pending = sum(b.accepted for b in found), sum(b.pending for b in found)
    lost = sum(b.corrupt + b.evicted + b.dead_lettered for b in found)
    print(f"{len(samples)} samples, {recording.started} processes")
    print(
        f"{accepted:,} records and spans accepted, {hop.distinct:,} arrived, {hop.copies:,} second"
        f" copies, {pending:,} pending, {lost:,} corrupt, evicted or set aside"
    )
    figures = judge(samples)
    for one in figures:
        early, late, limit = (
            f"{value / MIB:,.1f} MiB" if one.name in ("memory", "disk") else f"{value:,}"
            for value in one[1:]
        )
        word = "GROWS" if one.grows else "flat"
        print(f"{one.name}: at most {early} early, {late} late, {limit} allowed: {word}")
    tenths = [max(one.memory for one in part) for part in _parts(samples, 10)]
    print("memory by tenths of the time:", *(f"{value / MIB:.1f}" for value in tenths))
    well = hop.distinct == accepted and not pending and not lost
    if not well:
        print("SOMETHING IS MISSING")
        for book in found:
            print(f"  {book}")
        for writer, gaps in hop.gaps():
            print(f"  records of {writer} that did not arrive: {gaps}")
    return well and not any(one.grows for one in figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when nothing grows and nothing is missing."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="60 by default")
    parser.add_argument("--rate", type=int, default=200, help="events a second; 200 by default")
    parser.add_argument("--kills", type=float, metavar="SECONDS", help="kill it so often")
    parser.add_argument("--directory", type=Path, help="where to keep the journal")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="wakelog-soak-") as folder:
        journal = given.directory or Path(folder) / "journal"
        return 0 if run(given.minutes * 60, given.rate, given.kills, journal) else 1


if __name__ == "__main__":
    sys.exit(main())
