"""A program in Go that tests need: built once, and kept outside the repository.

It lives in `$WAKELOG_CACHE`, else `$XDG_CACHE_HOME/wakelog`, else `~/.cache/wakelog`, under a hash of what
it is made from and of the platform.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

EXIT_BUILD_FAILED = 1
EXIT_NO_GO = 3


class GoProgram(NamedTuple):
    """A program, and how to build it.

    Attributes:
        name: The binary's name, and that of its folder in the cache.
        made_from: Everything that decides what the binary does.
        build: Builds it with a Go command in an empty folder, and returns where the binary is; raises
            `subprocess.CalledProcessError` when that fails.
    """

    name: str
    made_from: tuple[bytes, ...]
    build: Callable[[str, Path], Path]

    @property
    def binary(self) -> Path:
        """Where the binary belongs, whether it is there or not."""
        key = hashlib.sha256()
        for part in (*self.made_from, *(word.encode() for word in target())):
            key.update(len(part).to_bytes(8) + part)
        return cache_directory() / self.name / key.hexdigest()[:16] / self.name

    def make(self, go: str) -> None:
        """Builds the program.

        Args:
            go: The Go command.

        Raises:
            subprocess.CalledProcessError: When that fails.
        """
        binary = self.binary
        print(f"Building {self.name}, once; it takes a few minutes", file=sys.stderr)
        binary.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=binary.parent) as work:
            # In one step, so that no reader sees half of it.
            self.build(go, Path(work)).replace(binary)

    def main(self) -> int:
        """Builds the program unless it is there, prints its path, and returns the exit code."""
        if not self.binary.exists():
            go = shutil.which("go")
            if go is None:
                print(
                    f"Go is not on PATH, so {self.name} cannot be built.\n"
                    "Install Go (https://go.dev/dl) and run this again; without it, the tests that "
                    f"need {self.name} are skipped.",
                    file=sys.stderr,
                )
                return EXIT_NO_GO
            try:
                self.make(go)
            except subprocess.CalledProcessError as error:
                print(f"{self.name}: {error}", file=sys.stderr)
                return EXIT_BUILD_FAILED
        print(self.binary)
        return 0


def run(*command: str | Path, cwd: Path, **environment: str) -> None:
    """Runs a step of a build; standard output is the caller's, so what it says goes to stderr."""
    subprocess.run(command, cwd=cwd, env=os.environ | environment, stdout=sys.stderr, check=True)


def cache_directory() -> Path:
    """Returns the directory in which built programs are kept; it may not exist yet."""
    if own := os.environ.get("WAKELOG_CACHE"):
        return Path(own).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wakelog"


def target() -> tuple[str, str]:
    """Returns this machine as Go's `(GOOS, GOARCH)`, found without asking Go."""
    machine = platform.machine().lower()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return platform.system().lower(), arch
