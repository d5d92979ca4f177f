"""Fetches axe-core, which finds what keeps people out of a page, from the npm registry for a test, once.

It lives in the cache (see `scripts/go_program.py`), and is no part of the project: its licence is MPL-2.0.

Exit codes: 0 with the script's path on standard output, 1 when fetching failed, 3 when npm is missing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from scripts.go_program import cache_directory, run

VERSION = "4.10.3"

EXIT_FETCH_FAILED = 1
EXIT_NO_NPM = 3


def axe() -> Path:
    """Returns where the script belongs, whether it is there or not."""
    return cache_directory() / "axe-core" / VERSION / "axe.min.js"


def unavailable() -> str:
    """Returns why it cannot be fetched on this machine, empty when it can."""
    return "" if shutil.which("npm") else "npm is not on PATH"


def fetch() -> None:
    """Fetches it.

    Raises:
        subprocess.CalledProcessError: When npm fails.
    """
    folder = axe().parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as work:
        run("npm", "pack", "--silent", "--ignore-scripts", f"axe-core@{VERSION}", cwd=Path(work))
        [packed] = Path(work).glob("*.tgz")
        with tarfile.open(packed) as archive:
            archive.extractall(work, filter="data")
        if not folder.exists():  # somebody else may have fetched it meanwhile
            # In one step, so that no reader sees half of it.
            Path(work, "package").replace(folder)


def main() -> int:
    """Fetches it unless it is there, prints its path, and returns the exit code."""
    if not axe().exists():
        if reason := unavailable():
            print(f"{reason}. Without it, a test of the page is skipped.", file=sys.stderr)
            return EXIT_NO_NPM
        try:
            fetch()
        except subprocess.CalledProcessError as error:
            print(f"axe-core: {error}", file=sys.stderr)
            return EXIT_FETCH_FAILED
    print(axe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
