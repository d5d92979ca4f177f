"""What the scripts that make environments of their own do with uv, which `make` installs into `.venv`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def uv() -> str:
    """Returns the path of uv: the one beside this Python, else the one on the path.

    Raises:
        SystemExit: When there is none.
    """
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        sys.exit("uv is missing: pip install uv")
    return found


def run(*command: str | Path, cwd: Path = ROOT, quiet: bool = False) -> str:
    """Runs a command without the variables of a surrounding environment, and returns what it printed.

    Args:
        command: The program and its arguments.
        cwd: Where it runs.
        quiet: Whether output is returned only, and not shown.

    Raises:
        SystemExit: When it fails; what it printed is shown before.
    """
    outside = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=outside,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout or ''}failed ({done.returncode}): {' '.join(map(str, command))}")
    return done.stdout or ""


def environment(where: Path, python: str | None = None) -> Path:
    """Makes a virtual environment without anything in it, and returns its Python."""
    run(uv(), "venv", "--quiet", "--clear", where, "--python", python or sys.executable)
    return where / "bin" / "python"


def install(python: Path, *what: str | Path) -> None:
    """Installs into the environment of a Python; options of `uv pip install` may be among the arguments."""
    run(uv(), "pip", "install", "--quiet", "--python", python, *what)
