"""Programs of their own, with the environment that a test gives them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.collector import Collector

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENT = Path(__file__).with_name("patient.py")
# The same, for a program that is given as text.
PATIENTLY = "from wakelog.otel import _delivery; _delivery._PATIENCE_SECONDS = 60.0\n"
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
SECONDS = 60


def environment(collector: Collector | None = None, /, **more: str) -> dict[str, str]:
    """Return the test's environment, with the Collector as OTLP endpoint."""
    to_it = {}
    if collector is not None:
        to_it = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
    return {**os.environ, **to_it, "PYTHONUNBUFFERED": "1", **more}


def run(*command: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments until it ends by itself, with exit code 0."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def wait_until(holds: Callable[[], bool], what: str, timeout: float = SECONDS) -> None:
    """Wait for something, and fail by its name when it does not come."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout} s"
        time.sleep(0.02)
