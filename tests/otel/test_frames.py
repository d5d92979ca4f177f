"""How many of Wakelog's own Python frames one record costs until it is on the disk."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SECONDS = 60
# More is a step back; fewer is a reason to lower the number.
MOST = {"drop-in": 9, "emit": 16, "tool_call": 17, "structlog": 16}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.frames_program", str(tmp_path_factory.mktemp("j"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("door", MOST)
def test_a_record_costs_no_more_frames_than_it_did(door: str, frames: dict[str, list[str]]) -> None:
    assert len(frames[door]) <= MOST[door], frames[door]
