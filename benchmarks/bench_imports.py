"""What importing Wakelog costs above importing the parts of the SDK that it needs, in CPU time.

    python benchmarks/bench_imports.py [--runs N]

Each import runs in processes of its own, alternating, with compiled files. The figures are the least of all
runs, which is the one that other programs of the machine have disturbed least. The event is for a next hop over
HTTP that refuses connections, and is measured up to the return of the call.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile

SDK = (
    "import opentelemetry.sdk._logs.export, opentelemetry.sdk.trace.export;"
    "import opentelemetry.exporter.otlp.proto.http._log_exporter"
)
IMPORTS = {
    "the SDK and its exporter": SDK,
    "and DurableLogRecordProcessor": f"{SDK}; from wakelog.otel import DurableLogRecordProcessor",
    "and wakelog.configure": f"{SDK}; import wakelog; wakelog.configure",
    "and configure() and an event": f"{SDK}; import os, wakelog; "
    "wakelog.configure('a').user_message('hi'); os._exit(0)",
    "wakelog alone, no name used": "import wakelog",
}


def cpu_of(code: str) -> float:
    """Return the CPU milliseconds of a process that runs some code."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    environment["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    with tempfile.TemporaryDirectory() as directory:
        environment["WAKELOG_DIR"] = directory
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=25, help="25 by default")
    options = parser.parse_args()
    empty = min(cpu_of("pass") for _ in range(options.runs))
    least = dict.fromkeys(IMPORTS, float("inf"))
    for _ in range(options.runs):
        for name, code in IMPORTS.items():
            least[name] = min(least[name], cpu_of(code))
    sdk = least["the SDK and its exporter"]
    for name, took in least.items():
        above = f", {took - sdk:.0f} above it" if name.startswith("and ") else ""
        print(f"{name}: {took - empty:.0f} ms{above}")


if __name__ == "__main__":
    main()
