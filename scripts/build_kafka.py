"""Builds the in-memory Kafka broker of the tests, `tests/support/kafka`, once per source.

It is kept beside the Collector, see `build_collector.py`. Exit codes are the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.build_collector import EXIT_BUILD_FAILED, EXIT_NO_GO, cache_directory

SOURCE = Path(__file__).resolve().parent.parent / "tests" / "support" / "kafka"
NAME = "kafka-in-memory"


def binary_path() -> Path:
    """Returns where the binary for the present source belongs, whether it is there or not."""
    key = hashlib.sha256()
    for file in sorted(SOURCE.iterdir()):
        key.update(file.name.encode() + file.read_bytes())
    return cache_directory() / "kafka" / key.hexdigest()[:16] / NAME


def main() -> int:
    """Builds the broker unless it is there, prints its path, and returns the exit code."""
    binary = binary_path()
    if not binary.exists():
        go = shutil.which("go")
        if go is None:
            print("build_kafka: Go is not on PATH", file=sys.stderr)
            return EXIT_NO_GO
        binary.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=binary.parent) as work:
            output = Path(work, NAME)
            try:
                subprocess.run([go, "build", "-o", output, "."], cwd=SOURCE, check=True)
            except subprocess.CalledProcessError as error:
                print(f"build_kafka: {error}", file=sys.stderr)
                return EXIT_BUILD_FAILED
            os.replace(output, binary)
    print(binary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
