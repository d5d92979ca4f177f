"""Fetches Apache Kafka's broker for tests from Maven Central, once per `tests/support/kafka_broker/pom.xml`.

About 75 MB are fetched, of which 43 MB stay in the cache (see `scripts/go_program.py`); Maven's own repository is
left alone.

Exit codes: 0 with the folder of the jars on standard output, 1 when fetching failed, 3 when Maven or Java is
missing.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.go_program import cache_directory, run

POM = Path(__file__).resolve().parent.parent / "tests" / "support" / "kafka_broker" / "pom.xml"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
JAVA = 17

EXIT_FETCH_FAILED = 1
EXIT_NO_JAVA = 3


def jars() -> Path:
    """Returns the folder in which the jars belong, whether it is there or not."""
    key = hashlib.sha256(PLUGIN.encode() + POM.read_bytes())
    return cache_directory() / "kafka-broker" / key.hexdigest()[:16]


def missing() -> str:
    """Returns why the broker cannot run on this machine, empty when it can."""
    java = shutil.which("java")
    if java is None:
        return f"Java is not on PATH: install Java {JAVA} or later"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None or int(found[1]) < JAVA:
        return (
            f"Kafka's broker needs Java {JAVA} or later, and this is {said.partition(chr(10))[0]}"
        )
    return ""


def unavailable() -> str:
    """Returns why the broker cannot be fetched and run on this machine, empty when it can."""
    return missing() or ("" if shutil.which("mvn") else "Maven (mvn) is not on PATH")


def fetch() -> None:
    """Fetches the jars.

    Raises:
        subprocess.CalledProcessError: When Maven fails.
    """
    folder = jars()
    print("Fetching Apache Kafka, once; it takes less than a minute", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as work:
        run(
            *("mvn", "--batch-mode", "--quiet", "--strict-checksums", f"--file={POM}", PLUGIN),
            *("-DincludeScope=runtime", f"-DoutputDirectory={work}/jars"),
            f"-Dmaven.repo.local={work}/repository",
            cwd=Path(work),
        )
        if not folder.exists():  # somebody else may have fetched them meanwhile
            # In one step, so that no reader sees half of it.
            Path(work, "jars").replace(folder)


def main() -> int:
    """Fetches the jars unless they are there, prints their folder, and returns the exit code."""
    if not jars().exists():
        if reason := unavailable():
            print(
                f"{reason}. Without it, the tests of KafkaTransport are skipped.", file=sys.stderr
            )
            return EXIT_NO_JAVA
        try:
            fetch()
        except subprocess.CalledProcessError as error:
            print(f"kafka: {error}", file=sys.stderr)
            return EXIT_FETCH_FAILED
    print(jars())
    return 0


if __name__ == "__main__":
    sys.exit(main())
