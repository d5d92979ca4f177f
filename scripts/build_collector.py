"""Builds the OpenTelemetry Collector of `collector-config/builder.yaml` once per manifest.

The binary lives outside the repository, in `$WAKELOG_CACHE`, else `$XDG_CACHE_HOME/wakelog`, else
`~/.cache/wakelog`, under a name that is a hash of the manifest, the builder's version and the platform.

Exit codes: 0 with the binary's path on standard output, 1 when the build failed, 3 when Go is missing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MANIFEST = Path(__file__).resolve().parent.parent / "collector-config" / "builder.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.158.0"
NAME = "otelcol-wakelog"  # `dist.name` and `dist.output_path` in the manifest

EXIT_BUILD_FAILED = 1
EXIT_NO_GO = 3


def cache_directory() -> Path:
    """Returns the directory in which built Collectors are kept; it may not exist yet."""
    if own := os.environ.get("WAKELOG_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wakelog"


def target() -> tuple[str, str]:
    """Returns this machine as Go's `(GOOS, GOARCH)`, found without asking Go."""
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), arch


def binary_path() -> Path:
    """Returns where the binary for the present manifest belongs, whether it is there or not."""
    goos, goarch = target()
    key = hashlib.sha256()
    for part in (MANIFEST.read_bytes(), BUILDER.encode(), goos.encode(), goarch.encode()):
        key.update(len(part).to_bytes(8) + part)
    return cache_directory() / "collector" / key.hexdigest()[:16] / NAME


def build(go: str, binary: Path) -> None:
    """Builds the Collector and moves it into place in one step, so that no reader sees half of it.

    Args:
        go: The Go command.
        binary: Where the finished binary goes.

    Raises:
        subprocess.CalledProcessError: The builder could not be installed, or the build failed.
    """
    goos, goarch = target()
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=binary.parent) as work:
        env = os.environ | {"GOOS": goos, "GOARCH": goarch, "GOBIN": work}
        # Standard output is the caller's: it carries the binary's path and nothing else.
        subprocess.run([go, "install", BUILDER], cwd=work, env=env, stdout=sys.stderr, check=True)
        subprocess.run(
            [Path(work, "builder"), f"--config={MANIFEST}"],
            cwd=work,
            env=env,
            stdout=sys.stderr,
            check=True,
        )
        Path(work, NAME, NAME).replace(binary)


def main() -> int:
    """Builds the Collector unless it is there, prints its path, and returns the exit code."""
    binary = binary_path()
    if not binary.exists():
        go = shutil.which("go")
        if go is None:
            print(
                "build_collector: Go is not on PATH, so the Collector cannot be built.\n"
                "Install Go (https://go.dev/dl) and run `make collector` again; without it, the tests "
                "that need a real Collector are skipped.",
                file=sys.stderr,
            )
            return EXIT_NO_GO
        print(
            "build_collector: building, which takes a few minutes the first time", file=sys.stderr
        )
        try:
            build(go, binary)
        except subprocess.CalledProcessError as error:
            print(f"build_collector: {error}", file=sys.stderr)
            return EXIT_BUILD_FAILED
    print(binary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
