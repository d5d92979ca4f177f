"""What sealing costs: on the thread that records, and of the whole process.

    python benchmarks/bench_evidence.py [--events N] [--rounds N] [--directory DIR]

Each run is a process of its own, which records tool calls, delivers them to an exporter that does nothing, seals by
interval of a second, and ends. The kinds take turns; figures are medians over rounds: the CPU time of the thread
that records, for each event and beyond that of the run without sealing, and the CPU time of the whole process as a ratio
to it. The last kind also sets the content of each event apart on its line, so that it can be erased.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from opentelemetry.sdk._logs import LoggerProvider

from benchmarks.bench_emit import ARGUMENTS, Nowhere
from wakelog import AgentLogger
from wakelog.evidence import Sealing, Signer
from wakelog.otel import DurableLogRecordProcessor, OTelSink

KINDS = ("no seals", "seals", "seals, erasable content")


def run(kind: str, events: int, directory: Path) -> dict[str, float]:
    """Record, deliver, seal and end; return what that took, in seconds of CPU time."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    signer = Signer(key.sign, key.public_key().public_bytes_raw())
    sealing = Sealing(signer, 1.0, erasable=kind == KINDS[2]) if kind != KINDS[0] else None
    begun = time.process_time()
    processor = DurableLogRecordProcessor(Nowhere(), directory=directory, sealing=sealing)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    log = AgentLogger("agent", "workflow", OTelSink(provider))
    in_thread = time.thread_time()
    for _ in range(events):
        log.tool_call("search", ARGUMENTS)
    in_thread = time.thread_time() - in_thread
    processor.force_flush()
    processor.close(60)
    return {"thread": in_thread, "process": time.process_time() - begun}


def _environment() -> dict[str, str]:
    """Return an environment in which modules are compiled once, as those of an installed package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    """Run every kind in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", help="where journals go; a temporary one by default")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(run(arguments.kind, arguments.events, Path(arguments.directory))))
        return
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            events = arguments.events
            with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
                command = [sys.executable, "-m", "benchmarks.bench_evidence", "--kind", kind]
                command += ["--events", str(events), "--directory", directory]
                done = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=_environment()
                )
            taken = json.loads(done.stdout)
            found[kind].append({name: value / events * 1e6 for name, value in taken.items()})
    middle = {
        kind: {name: statistics.median(one[name] for one in runs) for name in runs[0]}
        for kind, runs in found.items()
    }
    plain = middle[KINDS[0]]
    print(f"{'':28}{'thread, µs':>12}{'more, µs':>10}{'process, µs':>13}{'ratio':>7}")
    for kind, row in middle.items():
        more, ratio = row["thread"] - plain["thread"], row["process"] / plain["process"]
        print(f"{kind:28}{row['thread']:12.1f}{more:10.1f}{row['process']:13.1f}{ratio:7.2f}")


if __name__ == "__main__":
    main()
