"""Fixtures that every test may use."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from scripts.build_collector import COLLECTOR
from scripts.go_program import GoProgram
from tests.support import postgres
from tests.support.attack import SEED_VARIABLE, VARIABLE, header, lengthen, repeat
from tests.support.collector import Collector
from tests.support.parts import REQUIRED, unavailable
from tests.support.postgres import Postgres
from wakelog._native import VARIABLE as NATIVE
from wakelog.otel import ANSWER_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
KEPT_VARIABLES = frozenset(
    {
        REQUIRED,
        "WAKELOG_ATTACK",
        "WAKELOG_CACHE",
        NATIVE,
        "WAKELOG_TEST_DATA",
        "WAKELOG_TEST_OUTAGE_SECONDS",
        SEED_VARIABLE,
        VARIABLE,
    }
)

# Who runs the tests in the background has them ignore Ctrl-C, and every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Says how this run can be repeated."""
    return header()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeats what `make attack` repeats."""
    repeat(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives tests more time under `make attack`."""
    lengthen(items, float(config.getini("timeout")))


@pytest.fixture(autouse=True)
def unchanged_environment() -> Iterator[None]:
    """Fails a test that leaves the environment changed for those after it."""
    before = os.environ.copy()
    yield
    after = os.environ.copy()
    for variables in (before, after):
        variables.pop("PYTEST_CURRENT_TEST", None)  # pytest changes it itself
    if before != after:
        os.environ.clear()
        os.environ.update(before)
        changed = sorted(name for name, _ in before.items() ^ after.items())
        pytest.fail(f"the test has left the environment changed: {', '.join(changed)}")


@pytest.fixture(autouse=True)
def isolated_environment(
    unchanged_environment: None,  # before monkeypatch, so that it ends after that
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Hides the developer's OpenTelemetry and Wakelog settings, and keeps journals in `tmp_path`."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "WAKELOG_", "AGENT_LOG_")) and name not in KEPT_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # Longer than by default, for the first answer of a server on a busy machine.
    monkeypatch.setenv(ANSWER_TIMEOUT, "2")


@pytest.fixture(autouse=True)
def logger_levels() -> Iterator[None]:
    """Puts back the level of OpenTelemetry's loggers, which commands set for the rest of their process."""
    logger = logging.getLogger("opentelemetry")
    level = logger.level
    yield
    logger.setLevel(level)


def required(program: GoProgram, part: str = "collector") -> Path:
    """Returns where a program is that `make servers` built; see `unavailable` for what happens without it."""
    if not program.binary.exists():
        reason = f"no {program.name} at {program.binary}: run `make servers` (needs Go)"
        unavailable(part, reason)
    return program.binary


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """The Collector that `make servers` built."""
    return required(COLLECTOR)


@pytest.fixture
def collector(collector_binary: Path, tmp_path: Path) -> Iterator[Collector]:
    """A running Collector of the test's own, which is stopped afterwards if the test has not."""
    folder = tmp_path / "collector"
    folder.mkdir()
    with Collector(collector_binary, folder) as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A running PostgreSQL server; without PostgreSQL on the machine the test is skipped."""
    if reason := postgres.missing():
        unavailable("postgresql", reason)
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def trajectories() -> list[dict[str, Any]]:
    """Recorded runs of a real agent, from `WAKELOG_TEST_DATA` or beside the repository.

    Each is `{"run": str, "reward": float, "messages": [chat-completions messages]}`.
    """
    default = ROOT.parent / "shared" / "data" / "tau-airline-gpt-4o.json"
    path = Path(os.environ.get("WAKELOG_TEST_DATA") or default)
    if not path.is_file():
        pytest.skip(f"no recorded runs at {path}: set WAKELOG_TEST_DATA to use them")
    runs: list[dict[str, Any]] = orjson.loads(path.read_bytes())
    return runs
