"""Builds uWSGI for tests, once for each Python: it is no dependency, as it takes a C compiler and a minute.

It lives in the cache (see `scripts/go_program.py`). Exit codes: 0 with the binary on standard output, 1 when
building failed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.go_program import cache_directory, run

VERSION = "2.0.31"


def uwsgi() -> Path:
    """Returns where the binary belongs, whether it is there or not."""
    python = f"{sys.implementation.cache_tag}-{sys.platform}"
    return cache_directory() / "uwsgi" / f"{VERSION}-{python}" / "bin" / "uwsgi"


def build_uwsgi() -> Path:
    """Builds it unless it is there, and returns where it is.

    Raises:
        subprocess.CalledProcessError: When building failed.
    """
    binary = uwsgi()
    if binary.exists():
        return binary
    print("Building uWSGI, once; it takes about a minute", file=sys.stderr)
    folder = binary.parents[1]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder.parent) as work:
        made = Path(work) / "made"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        run(
            *(*pip, "--disable-pip-version-check", "--ignore-installed"),
            *("--prefix", str(made), f"uwsgi=={VERSION}"),
            cwd=Path(work),
        )
        made.replace(folder)  # in one step, so that no reader sees half of it
    return binary


def main() -> int:
    """Builds it, prints its path, and returns the exit code."""
    try:
        print(build_uwsgi())
    except subprocess.CalledProcessError as error:
        print(f"uwsgi: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
