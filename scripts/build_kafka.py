"""Builds the in-memory Kafka broker of the tests, `tests/support/kafka`, once per source."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.go_program import GoProgram, run

SOURCE = Path(__file__).resolve().parent.parent / "tests" / "support" / "kafka"


def build(go: str, work: Path) -> Path:
    """Builds the broker in a folder, and returns where it is."""
    run(go, "build", "-o", work / "kafka", ".", cwd=SOURCE)
    return work / "kafka"


KAFKA = GoProgram("kafka", tuple(file.read_bytes() for file in sorted(SOURCE.iterdir())), build)

if __name__ == "__main__":
    sys.exit(KAFKA.main())
