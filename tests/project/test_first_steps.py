"""The first ten minutes: what the pages tell a new user to type, typed into an empty environment."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.collector import Collector

SECONDS = 60
# What runs until it is ended, and what a test adds so that nothing depends on when it is ready to follow.
UNTIL_CTRL_C = {"tail": " --from-start", "view": ""}

BEFORE = """
import logging
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

provider = LoggerProvider()
provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
logging.getLogger().addHandler(LoggingHandler(logger_provider=provider))
logging.warning("disk %s is nearly full", "sda")
provider.shutdown()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel in it, as `pip install` makes it, without PyPI."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    programs = folder / "venv" / "bin"
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    # Its dependencies are those of the environment that the tests run in, where Wakelog itself is editable.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ["--no-deps", "--no-index", "--no-cache-dir", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", *options]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return programs


class NewUser:
    """Types commands, with a home of their own and none of the developer's variables."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.work, home = folder / "work", folder / "home"
        for made in (self.work, home):
            made.mkdir()
        self.variables = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home)}

    def start(self, line: str) -> subprocess.Popen[str]:
        program, *arguments = shlex.split(line, comments=True)
        found = self.variables["PATH"].partition(":")[0] + f"/{program}"
        return subprocess.Popen(
            [found, *arguments],
            cwd=self.work,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def types(self, line: str) -> str:
        """Runs a line that has to work, and returns what it printed."""
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.variables[name] = value
            return ""
        typed = self.start(line)
        out, err = typed.communicate(timeout=SECONDS)
        assert typed.returncode == 0, f"{line}\n{out}{err}"
        return out

    def looks_and_leaves(self, line: str) -> str:
        """Starts what runs until Ctrl-C, waits for its first line, and ends it."""
        with self.start(line) as started:
            assert started.stdout is not None
            try:
                return started.stdout.readline()
            finally:
                started.send_signal(signal.SIGINT)


@pytest.fixture
def user(installed: Path, tmp_path: Path) -> NewUser:
    return NewUser(installed, tmp_path)


def section(page: str, heading: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def fenced(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_getting_started_works_as_it_is_typed(user: NewUser, collector: Collector) -> None:
    record = section("docs/getting-started.md", "Record a run")
    file, command = re.findall(r"Save this as `(.+?)`, and run it with `(.+?)`", record)[0]
    (user.work / file).write_text(fenced("python", record)[0])
    looks = [
        line
        for block in fenced("sh", section("docs/getting-started.md", "Look at it"))
        for line in block.splitlines()
    ]
    send = fenced("sh", section("docs/getting-started.md", "Send it to a Collector"))

    user.types(command)
    tree = user.types(looks.pop(0))
    firsts = {}
    for line in looks:
        command_line = line.partition("#")[0].rstrip()
        name = command_line.split()[1]
        if name in UNTIL_CTRL_C:
            firsts[name] = user.looks_and_leaves(command_line + UNTIL_CTRL_C[name])
        else:
            user.types(line)
    for line in send[1].splitlines():  # over HTTP
        user.types(line.replace("http://localhost:4318", collector.http_endpoint))
    user.types(command)

    assert "search_flights" in tree
    assert "run_start" in firsts["tail"]
    assert "http://127.0.0.1:" in firsts["view"]
    events = [log.event_name for log in collector.wait_for_logs(8)]
    assert any(name.endswith("tool_result") for name in events)


def test_the_one_line_of_the_drop_in_is_all_that_an_existing_program_changes(
    user: NewUser, collector: Collector
) -> None:
    (diff,) = fenced("diff", section("README.md", "Drop it into an OpenTelemetry pipeline"))
    taken = [line[1:] for line in diff.splitlines() if line.startswith("-")]
    put = [line[1:] for line in diff.splitlines() if line.startswith("+")]
    after = BEFORE
    for old, new in zip(taken, put, strict=True):
        assert old in after
        after = after.replace(old, new)
    (user.work / "app.py").write_text(after)
    user.types(f"export OTEL_EXPORTER_OTLP_ENDPOINT={collector.http_endpoint}")

    user.types("python app.py")

    (record, *_) = collector.wait_for_logs(1)
    assert record.body == "disk sda is nearly full"
    assert "wakelog.seq" in record.attributes
