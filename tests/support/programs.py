"""Programs of their own, with the environment that a test gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from tests.support.collector import Collector
from wakelog.otel import ANSWER_TIMEOUT, EXIT_TIMEOUT

EXAMPLES = Path(__file__).parents[2] / "examples"
# An exit that waits for a slow machine.
LONG_EXIT = {EXIT_TIMEOUT: "60", ANSWER_TIMEOUT: "60"}
# The same, for a program that is given as text.
PATIENTLY = f"import os; os.environ.update({LONG_EXIT!r})\n"
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
SECONDS = 60


UNUSED = ",".join(
    one.name
    for one in entry_points(group="opentelemetry_instrumentor")
    if one.name not in {"fastapi", "logging", "structlog"}
)


def environment(collector: Collector | None = None, /, **more: str) -> dict[str, str]:
    """Return the test's environment, with the Collector as OTLP endpoint.

    Of the instrumentations that are installed only those that the programs use are loaded by ``opentelemetry-instrument``:
    others import whole frameworks, which takes seconds.
    """
    to_it = {}
    if collector is not None:
        to_it = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http_endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
    always = {"PYTHONUNBUFFERED": "1", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": UNUSED}
    return {**os.environ, **to_it, **always, **more}


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
