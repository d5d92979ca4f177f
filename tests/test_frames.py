"""How many of Wakelog's own Python frames one record costs until it is on the disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import structlog
from opentelemetry._logs import LogRecord, get_logger_provider

import wakelog
from wakelog.integrations.structlog import WakelogProcessor

OWN = str(Path(wakelog.__file__).parent)
RECORDS = 64
# More is a step back; fewer is a reason to lower the number.
MOST = {"drop-in": 13, "emit": 33, "tool_call": 36, "structlog": 37}


def doors(log: Any) -> dict[str, Callable[[], object]]:
    """Return one call for each, which records one event."""
    logger = structlog.wrap_logger(
        None, processors=[WakelogProcessor(log, last=True)], wrapper_class=structlog.BoundLogger
    )
    record = LogRecord(body="sold", attributes={"customer": "c-12", "express": True})
    drop_in = get_logger_provider().get_logger("frames")
    return {
        "drop-in": lambda: drop_in.emit(record),
        "emit": lambda: log.emit("custom", payload={"n": 1}),
        "tool_call": lambda: log.tool_call("search", {"query": "flights", "limit": 3}),
        "structlog": lambda: logger.info("searched", query="flights", limit=3),
    }


def own_frames(call: Callable[[], object]) -> list[str]:
    """Return the functions of Wakelog's that run in this thread for a usual record, in order."""
    frames: list[str] = []

    def count(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OWN):
            frames.append(f"{Path(code.co_filename).stem}.{code.co_qualname}")

    records = []
    for _ in range(RECORDS):
        frames = []
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(None)
        records.append(frames)
    # Now and then one does more: the first, or one that looks at the directory.
    return sorted(records, key=len)[RECORDS // 2]


@pytest.mark.parametrize("door", MOST)
def test_a_record_costs_no_more_frames_than_it_did(tmp_path: Path, door: str) -> None:
    log = wakelog.configure("clerk", directory=tmp_path)
    frames = own_frames(doors(log)[door])

    assert len(frames) <= MOST[door], frames
