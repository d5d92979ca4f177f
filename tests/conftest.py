"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from scripts.build_collector import COLLECTOR
from scripts.go_program import GoProgram
from tests.support import postgres
from tests.support.collector import Collector
from tests.support.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
KEPT_VARIABLES = frozenset(
    {
        "WAKELOG_REQUIRE_COLLECTOR",
        "WAKELOG_REQUIRE_KAFKA",
        "WAKELOG_CACHE",
        "WAKELOG_TEST_DATA",
        "WAKELOG_TEST_OUTAGE_SECONDS",
        "WAKELOG_TEST_SEED",
    }
)

# Who runs the tests in the background has them ignore Ctrl-C, and every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides the developer's OpenTelemetry and Wakelog settings, and keeps journals in `tmp_path`."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "WAKELOG_", "AGENT_LOG_")) and name not in KEPT_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def required(program: GoProgram, target: str = "collector") -> Path:
    """Returns where a program is that `make collector` built; without it the test is skipped.

    With `WAKELOG_REQUIRE_COLLECTOR=1` the test fails instead, so that CI cannot pass without one. What
    another target builds is always skipped when it is not there.
    """
    if not program.binary.exists():
        reason = f"no {program.name} at {program.binary}: run `make {target}` (needs Go)"
        if target == "collector" and os.environ.get("WAKELOG_REQUIRE_COLLECTOR") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return program.binary


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """The Collector that `make collector` built."""
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
        pytest.skip(reason)
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
