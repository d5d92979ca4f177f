"""gevent and eventlet may patch a process at any time: it goes on, and nothing is lost."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.front_doors import DOORS, IN_AN_EVENT_LOOP
from tests.support.patching_program import GREENLETS, RECORDS
from tests.support.scripted import ScriptedHTTP

# eventlet replaces the locks under threads that are running already, but not in the conditions that were
# made of them. What needs no such thread works all the same.
WITHOUT_THREADS = ["processor", "JSONLSink", "gateway", "streams"]


def run(door: str, library: str, when: str, directory: Path, **environment: str) -> Counter[str]:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    program = "tests.support.patching_program"
    done = subprocess.run(
        # Both warn, for good reason, that they come too late.
        [sys.executable, "-W", "ignore", "-m", program, door, library, when, str(directory)],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = [line for line in done.stdout.splitlines() if not line.startswith("kept ")]
    assert last == "closed"
    accepted = Counter(line.removeprefix("accepted ") for line in lines)
    greenlets = 1 if door in IN_AN_EVENT_LOOP else GREENLETS
    assert accepted.total() == greenlets * RECORDS + (when == "used")
    if door == "audit, memory":
        return accepted
    kept = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file()).decode(
        errors="replace"
    )
    assert [text for text in accepted if text not in kept] == []
    return accepted


@pytest.mark.parametrize("when", ["first", "imported", "made", "used"])
@pytest.mark.parametrize("door", DOORS)
def test_gevent_may_patch_at_any_time(tmp_path: Path, door: str, when: str) -> None:
    run(door, "gevent", when, tmp_path)


@pytest.mark.parametrize(
    "door, when",
    [(door, when) for door in DOORS for when in ("first", "imported")]
    + [(door, when) for door in WITHOUT_THREADS for when in ("made", "used")],
)
def test_eventlet_may_patch_until_a_thread_has_been_started(
    tmp_path: Path, door: str, when: str
) -> None:
    run(door, "eventlet", when, tmp_path)


@pytest.mark.parametrize("when", ["first", "imported", "made", "used"])
@pytest.mark.parametrize("door", ["processor", "configure"])
def test_delivery_goes_on_when_gevent_patches(tmp_path: Path, door: str, when: str) -> None:
    with ScriptedHTTP() as hop:
        accepted = run(
            door,
            "gevent",
            when,
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=hop.endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
        )
        assert len(set(hop.uids())) >= accepted.total()
