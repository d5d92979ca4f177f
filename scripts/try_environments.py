"""Runs a small set of tests under other Pythons, and with the oldest and the newest dependencies.

`python -m scripts.try_environments pythons` takes every Python of the supported versions that uv finds on this machine,
each with what is locked. `... dependencies` takes the lower bounds in `pyproject.toml` (uv's `lowest-direct`), and then the
newest of everything. Both need PyPI. `make pythons` and `make dependencies` run them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from scripts.uv import ROOT, environment, install, run, uv

VERSIONS = ("3.11", "3.12", "3.13", "3.14")

# About a minute: one file for each part that a Python or a dependency can break.
SMALL_SET = (
    "tests/events/test_events.py",
    "tests/events/test_logger.py",
    "tests/events/test_logger_events.py",
    "tests/events/test_logger_sinks.py",
    "tests/otel/test_processor.py",
    "tests/otel/test_importing.py",
    "tests/otel/test_setup.py",
    "tests/otel/test_setup_settings.py",
    "tests/view/test_index.py",
    "tests/spans/test_span_lines.py",
    "tests/delivery/test_export_outcomes.py",
    "tests/delivery/test_export_without_answer.py",
    "tests/delivery/test_exporters.py",
    "tests/integrations/test_structlog.py",
    "tests/project/test_optional_packages.py",
)
# What these tests need besides Wakelog and its extras.
OF_TESTS = ("pytest", "pytest-timeout", "hypothesis", "jsonschema", "loguru", "pydantic")


def found(version: str) -> str | None:
    """Returns the path of a Python on this machine, which is never downloaded."""
    done = subprocess.run(
        [uv(), "python", "find", "--no-python-downloads", "--no-project", version],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.strip()
    # pyenv's shims, which uv finds on the path, fail for every version that is not the chosen one.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    installed = sorted((root / "versions").glob(f"{version}.*/bin/python"))
    return str(installed[-1]) if installed else None


def try_tests(python: Path, what: str) -> bool:
    """Runs the small set, says how it ended, and returns whether everything passed."""
    try:
        printed = run(
            python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SMALL_SET, quiet=True
        )
    except SystemExit as error:
        print(f"{what}: {error}", flush=True)
        return False
    print(f"{what}: {printed.strip().splitlines()[-1]}", flush=True)
    return True


def pythons() -> bool:
    """Tries each Python with what is locked, says which are not here, and returns whether all passed."""
    passed = True
    for version in VERSIONS:
        interpreter = found(version)
        if interpreter is None:
            print(f"Python {version}: not on this machine", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="wakelog-python-") as folder:
            python = environment(Path(folder) / "venv", interpreter)
            install(python, "--require-hashes", "-r", ROOT / "requirements-dev.lock")
            install(python, "--no-deps", "--no-build-isolation", "--editable", ROOT)
            passed &= try_tests(python, run(python, "--version", quiet=True).strip())
    return passed


def dependencies() -> bool:
    """Tries both ends of what `pyproject.toml` allows, and returns whether all passed."""
    passed = True
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = ",".join(project["project"]["optional-dependencies"])
    group = project["dependency-groups"]["dev"]
    of_tests = [one for one in group if one.partition(">=")[0] in OF_TESTS]
    for resolution in ("lowest-direct", "highest"):
        with tempfile.TemporaryDirectory(prefix="wakelog-dependencies-") as folder:
            python = environment(Path(folder) / "venv")
            chosen = ["--resolution", resolution, "--upgrade"]
            install(python, *chosen, f"wakelog[{extras}] @ {ROOT.as_uri()}", *of_tests)
            names = [one.partition(">=")[0] for one in project["project"]["dependencies"]]
            listed = run(uv(), "pip", "list", "--quiet", "--python", python, quiet=True)
            used = [line for line in listed.splitlines() if line.split()[0] in names]
            print(*(" ".join(line.split()) for line in used), sep=", ", flush=True)
            passed &= try_tests(python, f"{resolution} dependencies")
    return passed


if __name__ == "__main__":
    sys.exit(0 if {"pythons": pythons, "dependencies": dependencies}[sys.argv[1]]() else 1)
