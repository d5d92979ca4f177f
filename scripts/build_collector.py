"""Builds the OpenTelemetry Collector of `collector-config/builder.yaml`, once per manifest.

Exit codes: 0 with the binary's path on standard output, 1 when the build failed, 3 when Go is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.go_program import GoProgram, run, target

MANIFEST = Path(__file__).resolve().parent.parent / "collector-config" / "builder.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.158.0"
NAME = "otelcol-wakelog"  # `dist.name` and `dist.output_path` in the manifest


def build(go: str, work: Path) -> Path:
    """Builds the Collector in a folder, and returns where it is."""
    goos, goarch = target()
    here = {"GOOS": goos, "GOARCH": goarch, "GOBIN": str(work)}
    run(go, "install", BUILDER, cwd=work, **here)
    run(work / "builder", f"--config={MANIFEST}", cwd=work, **here)
    return work / NAME / NAME


COLLECTOR = GoProgram(NAME, (MANIFEST.read_bytes(), BUILDER.encode()), build)

if __name__ == "__main__":
    sys.exit(COLLECTOR.main())
