"""What tests of `configure` share: a program of its own, the variables, and what is in its journal.

OpenTelemetry's providers are global and are set once a process, so most of these tests run a program
of their own and read what it printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import wakelog
from wakelog.journal import read

SOURCE = Path(wakelog.__file__).parent.parent


class Program:
    """Runs programs with no settings but the given ones, and with all they write in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("OTEL_", "WAKELOG_"))}
        self._environment = {
            **kept,
            "HOME": str(folder),
            "XDG_STATE_HOME": str(self.state),
            "PYTHONPATH": str(SOURCE),
            "PYTHONWARNINGS": "error",
        }
        self.stderr = self.stdout = ""

    def run(self, code: str, **variables: str) -> Any:
        """Return what the program printed, read as JSON; it must end with exit code 0."""
        result = subprocess.run(
            [sys.executable, "-c", "import json, wakelog\n" + dedent(code)],
            env={**self._environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.stdout, self.stderr = result.stdout, result.stderr
        assert result.returncode == 0, result.stderr
        return json.loads(self.stdout) if "print(json.dumps(" in code else None


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def names_of(directory: Path) -> list[str | None]:
    return [entry.record.event_name for entry in read(directory)]


ENDPOINT, PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
LOGS_ENDPOINT, LOGS_PROTOCOL = (
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
)


HTTP = {PROTOCOL: "http/protobuf"}
GOOD = {ENDPOINT: "http://localhost:4318"}
