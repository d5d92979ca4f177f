"""Builds VictoriaLogs for the tests that look agents' events up where logs are kept."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.go_program import GoProgram, run, target

NAME, VERSION = "victoria-logs", "v1.52.2"  # that of compose-victoria.yaml
PACKAGE = f"github.com/VictoriaMetrics/VictoriaLogs/app/{NAME}@{VERSION}"


def build(go: str, work: Path) -> Path:
    """Builds VictoriaLogs in a folder, and returns where it is."""
    goos, goarch = target()
    flags = ("-trimpath", "-ldflags=-s -w")
    run(go, "install", *flags, PACKAGE, cwd=work, GOOS=goos, GOARCH=goarch, GOBIN=str(work))
    return work / NAME


VICTORIA_LOGS = GoProgram(NAME, (PACKAGE.encode(),), build)

if __name__ == "__main__":
    sys.exit(VICTORIA_LOGS.main())
