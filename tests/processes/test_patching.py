"""gevent and eventlet may patch a process at any time: it goes on, and nothing is lost."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.front_doors import DOORS, IN_AN_EVENT_LOOP
from tests.support.patching_program import GREENLETS, RECORDS, SECONDS
from tests.support.scripted import ScriptedHTTP

# eventlet replaces the locks under threads that are running already, but not in the conditions that were
# made of them. What needs no such thread works all the same.
WITHOUT_THREADS = ["processor", "JSONLSink", "gateway", "streams"]


class Program:
    """Runs `tests.support.patching_program` with some doors, and keeps what came of each.

    Args:
        library: What patches.
        when: When it does.
        doors: The doors.
        directory: An empty directory.
        environment: What else stands in the environment.
    """

    def __init__(
        self, library: str, when: str, doors: list[str], directory: Path, **environment: str
    ) -> None:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
        program = "tests.support.patching_program"
        done = subprocess.run(
            # Both warn, for good reason, that they come too late.
            [sys.executable, "-W", "ignore", "-m", program, library, when, str(directory), *doors],
            env={**os.environ, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS * len(doors) + 60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self._codes = [line.split() for line in done.stdout.splitlines()]
        self._doors, self._when, self._directory = doors, when, directory

    def check(self, door: str) -> Counter[str]:
        """See that a door lost nothing; return what it had accepted."""
        number = self._doors.index(door)
        said, errors = ((self._directory / f"{number}.{end}").read_text() for end in ("out", "err"))
        assert self._codes[number] == [str(number), "0"], errors
        *lines, last = [line for line in said.splitlines() if not line.startswith("kept ")]
        assert last == "closed"
        accepted = Counter(line.removeprefix("accepted ") for line in lines)
        greenlets = 1 if door in IN_AN_EVENT_LOOP else GREENLETS
        assert accepted.total() == greenlets * RECORDS + (self._when == "used")
        if door == "audit, memory":
            return accepted
        files = [one for one in (self._directory / str(number)).rglob("*") if one.is_file()]
        kept = b"".join(path.read_bytes() for path in files).decode(errors="replace")
        assert [text for text in accepted if text not in kept] == []
        return accepted


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Program]:
    """A program of all doors for each library and moment: importing takes far longer than a door."""

    @functools.cache
    def program(library: str, when: str) -> Program:
        late = library == "eventlet" and when in ("made", "used")
        doors = WITHOUT_THREADS if late else list(DOORS)
        return Program(library, when, doors, tmp_path_factory.mktemp(f"{library}-{when}"))

    return program


@pytest.mark.timeout(SECONDS * len(DOORS) + 100)
@pytest.mark.parametrize("when", ["first", "imported", "made", "used"])
@pytest.mark.parametrize("door", DOORS)
def test_gevent_may_patch_at_any_time(
    patched: Callable[..., Program], door: str, when: str
) -> None:
    patched("gevent", when).check(door)


@pytest.mark.timeout(SECONDS * len(DOORS) + 100)
@pytest.mark.parametrize(
    "door, when",
    [(door, when) for door in DOORS for when in ("first", "imported")]
    + [(door, when) for door in WITHOUT_THREADS for when in ("made", "used")],
)
def test_eventlet_may_patch_until_a_thread_has_been_started(
    patched: Callable[..., Program], door: str, when: str
) -> None:
    patched("eventlet", when).check(door)


@pytest.mark.parametrize("when", ["first", "imported", "made", "used"])
@pytest.mark.parametrize("door", ["processor", "configure"])
def test_delivery_goes_on_when_gevent_patches(tmp_path: Path, door: str, when: str) -> None:
    with ScriptedHTTP() as hop:
        program = Program(
            "gevent",
            when,
            [door],
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=hop.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
        )
        assert len(set(hop.uids())) >= program.check(door).total()
